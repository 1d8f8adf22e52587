"""The label of the own node is followed over real TLS, with few calls, and through everything that can go wrong."""

import asyncio
import random
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from harness.api_server import ApiServer, api_server
from harness.node import until
from plugin_gateway.adapters.cluster import node_label
from plugin_gateway.adapters.cluster.kubernetes_api import KubernetesApi
from plugin_gateway.adapters.cluster.node_label import NodeLabel, Target

LABEL = "example.com/config"


@pytest.fixture
def server(tmp_path: Path) -> Iterator[ApiServer]:
    with api_server(tmp_path / "service-account") as server:
        yield server


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody waits for a first call, and errors cost little time."""
    monkeypatch.setattr(node_label, "START_JITTER", 0.0)
    monkeypatch.setattr(node_label, "MIN_RETRY", 0.01)
    monkeypatch.setattr(node_label, "MAX_RETRY", 0.05)
    monkeypatch.setattr(node_label, "STEADY", 0.3)


def of(server: ApiServer, label: str = LABEL) -> NodeLabel:
    return NodeLabel(Target("node-1", label), KubernetesApi(server.environment, server.service_account))


@asynccontextmanager
async def following(label: NodeLabel) -> AsyncIterator[list[str]]:
    values: list[str] = []
    async with asyncio.TaskGroup() as tasks:
        task = tasks.create_task(label.follow(values.append))
        try:
            yield values
        finally:
            task.cancel()


def has_watches(server: ApiServer, number: int) -> bool:
    return len(server.node.watches) >= number


async def test_each_change_of_the_label_is_told_and_only_the_own_node_is_asked_for(server: ApiServer) -> None:
    server.node.label(example_com__config="a")
    async with following(of(server)) as values:
        await until(lambda: values == ["a"], "the first value")
        await until(lambda: len(server.node.watches) == 1, "a watch")
        server.node.label(example_com__config="b", other_com__x="y")
        await until(lambda: values[-1] == "b", "the second value")
        server.node.label(example_com__config=None)
        await until(lambda: values[-1] == "", "no label")
    assert server.node.gets == 1
    (watch,) = server.node.watches
    assert watch["fieldSelector"] == ["metadata.name=node-1"]
    assert watch["resourceVersion"] == ["2"]
    assert {form for _, form in server.node.asked} == {node_label.METADATA}


async def test_the_ends_of_watches_are_spread_over_five_minutes(server: ApiServer) -> None:
    async with following(of(server)):
        for number in range(1, 7):
            await until(partial(has_watches, server, number), "a watch")
            server.node.end_watches()
    ends = [int(watch["timeoutSeconds"][0]) for watch in server.node.watches]
    assert all(300 <= each <= 600 for each in ends)
    assert len(set(ends)) > 1


async def test_the_first_call_comes_within_ten_seconds_at_random(
    server: ApiServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn: list[tuple[float, float]] = []

    def least(low: float, high: float) -> float:
        drawn.append((low, high))
        return low

    monkeypatch.setattr(node_label, "START_JITTER", 10.0)
    monkeypatch.setattr(random, "uniform", least)
    async with following(of(server)):
        await until(lambda: len(server.node.watches) == 1, "a watch")
    assert drawn == [(0, 10), (300, 600)]


async def test_a_change_between_two_watches_is_not_lost(server: ApiServer) -> None:
    async with following(of(server)) as values:
        await until(lambda: len(server.node.watches) == 1, "a watch")
        server.refused = {"node-1": 503, "watch": 503}
        server.node.end_watches()
        await until(lambda: server.refusals > 0, "a refusal")
        server.node.label(example_com__config="b")
        server.refused = {}
        await until(lambda: values[-1] == "b", "the new value")


async def test_a_version_that_is_too_old_begins_anew(server: ApiServer, told: list[dict[str, Any]]) -> None:
    async with following(of(server)) as values:
        await until(lambda: len(server.node.watches) == 1, "a watch")
        server.node.error = {"type": "ERROR", "object": {"kind": "Status", "code": 410, "message": "too old"}}
        server.node.label(example_com__config="b")
        await until(lambda: values[-1] == "b", "the new value")
        await until(lambda: len(told) == 2, "two lines")
    assert told[0]["problem"] == "the watch of the node ended: too old"
    assert told[1]["event"] == "the label of the node is read again"


async def test_a_watch_that_breaks_whenever_it_is_opened_is_said_once(
    server: ApiServer, told: list[dict[str, Any]]
) -> None:
    label = of(server)

    def breaks_again() -> bool:
        server.node.error = {"type": "ERROR", "object": {"kind": "Status", "code": 410, "message": "too old"}}
        server.node.label(example_com__config="a")
        return has_watches(server, 6)

    async with following(label):
        await until(breaks_again, "six watches")
        server.node.error = None
        assert [line["event"] for line in told] == ["the label of the node cannot be read"]
        await until(lambda: label.problem is None, "a watch that lasts")


async def test_what_is_refused_is_said_once_and_tried_again_and_again(
    server: ApiServer, told: list[dict[str, Any]]
) -> None:
    server.refused = {"watch": 403}
    server.node.label(example_com__config="a")
    label = of(server)
    async with following(label) as values:
        await until(lambda: server.refusals > 3, "refusals")
        assert label.problem is not None
        assert "403 Forbidden: words of the server" in label.problem
        server.node.label(example_com__config="b")
        await until(lambda: values[-1] == "b", "the value by GET alone")
        assert [line["event"] for line in told] == ["the label of the node cannot be read"]
        server.refused = {}
        await until(lambda: label.problem is None, "the end of the problem")
    assert told[0]["label"] == LABEL


async def test_the_pauses_after_errors_grow_to_a_minute(server: ApiServer, monkeypatch: pytest.MonkeyPatch) -> None:
    pauses: list[float] = []

    async def no_pause(seconds: float) -> None:
        pauses.append(seconds)
        await asyncio.sleep(0)

    monkeypatch.undo()
    monkeypatch.setattr(node_label, "START_JITTER", 0.0)
    monkeypatch.setattr(node_label, "_pause", no_pause)
    server.status = 500
    async with following(of(server)):
        await until(lambda: len(pauses) >= 8, "eight errors")
    assert pauses[:8] == [2, 4, 8, 16, 32, 60, 60, 60]


@pytest.mark.parametrize(
    "words",
    [
        b"",
        b"{",
        b"[]",
        b'{"metadata": 1}',
        b'{"metadata": {"labels": {}}}',
        b'{"metadata": {"resourceVersion": "\\ud800"}}',
    ],
)
async def test_an_answer_that_is_no_node_changes_nothing(words: bytes, server: ApiServer) -> None:
    server.node.words = words
    label = of(server)
    async with following(label) as values:
        await until(lambda: label.problem is not None, "a problem")
    assert values == []


@pytest.mark.parametrize(
    "event",
    [
        {"type": [], "object": {}},
        {"type": {}, "object": {}},
        {"type": "MODIFIED", "object": {"metadata": {"resourceVersion": "\ud800"}}},
        {"type": "ERROR", "object": []},
    ],
)
async def test_an_event_that_is_none_does_not_end_anything(server: ApiServer, event: dict[str, Any]) -> None:
    async with following(of(server)) as values:
        await until(lambda: len(server.node.watches) == 1, "a watch")
        server.node.error = event
        server.node.label(example_com__config="b")
        await until(lambda: values[-1] == "b", "the new value")


async def test_before_the_start_it_is_asked_for_so_long_and_no_longer(server: ApiServer) -> None:
    server.status = 503
    assert await of(server).ask_within(0.2) is None
    assert server.refusals > 1
    server.status = 200
    assert await of(server).ask_within(5) == ""
    server.node.label(example_com__config="a")
    assert await of(server).ask_within(5) == "a"


async def test_outside_a_pod_there_is_nobody_to_ask(tmp_path: Path) -> None:
    label = NodeLabel(Target("node-1", LABEL), KubernetesApi({}, tmp_path))
    assert await label.ask_within(0.05) is None
    assert label.problem == "no API server is known: KUBERNETES_SERVICE_HOST is not set, so this is no pod"


def has_pauses(pauses: list[float], number: int) -> bool:
    return len(pauses) >= number


async def test_a_watch_that_breaks_late_is_followed_by_a_short_pause(
    server: ApiServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    pauses: list[float] = []

    async def no_pause(seconds: float) -> None:
        pauses.append(seconds)

    monkeypatch.undo()
    monkeypatch.setattr(node_label, "START_JITTER", 0.0)
    monkeypatch.setattr(node_label, "SHORT_WATCH", 0.05)
    monkeypatch.setattr(node_label, "_pause", no_pause)
    async with following(of(server)):
        for number in range(1, 4):
            await until(partial(has_watches, server, number), "a watch")
            await asyncio.sleep(0.1)
            server.node.error = {"type": "ERROR", "object": {"kind": "Status", "code": 410, "message": "too old"}}
            server.node.label(example_com__config=str(number))
            await until(partial(has_pauses, pauses, number), "a pause")
    assert pauses == [node_label.MIN_RETRY] * 3
