"""A configuration that is refused is an Event of the node, once, and so is its end. A restart repeats neither."""

from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from harness.api_server import BOTH, ApiServer, api_server, reporting, told_before
from harness.node import until
from plugin_gateway.adapters.cluster.kubernetes_api import KubernetesApi
from plugin_gateway.adapters.cluster.reports import CONFIGURATION
from plugin_gateway.adapters.cluster.told_states import ToldStates

EVENTS = BOTH._replace(condition="")


@pytest.fixture
def server(tmp_path: Path) -> Iterator[ApiServer]:
    with api_server(tmp_path / "service-account") as server:
        yield server


def told(server: ApiServer) -> list[tuple[str, str, str]]:
    return [(event["type"], event["reason"], event["message"]) for event in server.events()]


def is_kept(known: ToldStates, problem: str | None) -> bool:
    """Return whether this problem is what the next start will know, because the API server answered."""
    kept = known.about(CONFIGURATION)
    return (kept.detail if kept is not None else None) == problem


async def test_each_problem_is_told_once_also_over_restarts(server: ApiServer) -> None:
    for before_the_next_start, last in (
        ((None, "it is\nwrong", "it is\nwrong"), "it is wrong"),
        (("it is\nwrong", "it is worse"), "it is worse"),
        ((None,), None),
        ((None, "new"), "new"),
    ):
        known = told_before(server)
        async with reporting(server, EVENTS, known) as reports:
            for problem in before_the_next_start:
                reports.tell_configuration(problem)
            await until(partial(is_kept, known, last), "the answer to the last Event")
    assert told(server) == [
        ("Warning", "ConfigurationRefused", "it is wrong"),
        ("Warning", "ConfigurationRefused", "it is worse"),
        ("Normal", "ConfigurationAccepted", "the configuration is in order again after it is worse"),
        ("Warning", "ConfigurationRefused", "new"),
    ]


async def test_what_is_over_before_it_could_be_told_is_not_told(server: ApiServer) -> None:
    server.status = 503
    async with reporting(server, EVENTS) as reports:
        reports.tell_configuration("wrong")
        await until(lambda: server.refusals > 0, "a refusal")
        reports.tell_configuration(None)
        server.status = 200
        await until(lambda: len(told(server)) == 1, "the last word")
    assert told(server)[0][:2] == ("Normal", "ConfigurationAccepted")


async def test_the_condition_says_nothing_of_it(server: ApiServer) -> None:
    async with reporting(server, BOTH._replace(events=False)) as reports:
        reports.tell_configuration("wrong")
    assert not server.calls


async def test_an_object_that_is_read_has_the_form_that_was_asked_for(server: ApiServer) -> None:
    api = KubernetesApi(server.environment, server.service_account)
    server.node.label(a_b__c="d")
    assert (await api.get(server.node.path, "application/json"))["metadata"]["labels"] == {"a.b/c": "d"}
    assert server.node.asked == [(server.node.path, "application/json")]
