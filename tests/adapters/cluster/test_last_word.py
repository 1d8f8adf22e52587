"""Whatever the API server answers, the last state of a device reaches it at last."""

import asyncio
import contextlib
import json
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from harness.api_server import ApiServer, api_server, reporting, told_before
from harness.devices import inventory
from harness.node import device, until
from plugin_gateway.adapters.cluster import events, reports
from plugin_gateway.adapters.cluster.kubernetes_api import KubernetesApi
from plugin_gateway.adapters.cluster.told_states import NAME, ToldStates
from plugin_gateway.core.health.faults import Checkup, Moment
from plugin_gateway.core.health.observations import DevicesChecked, EvidenceReported, InventorySeen
from plugin_gateway.core.health.state import State
from plugin_gateway.core.health.state_function import advance
from plugin_gateway.nvidia.evidence import HEALTH_POLICY, xid_kind

GPU = device(0).id
WELL, _ = advance(
    State(),
    InventorySeen(inventory(device(0))),
    Moment(1.0, 1.0),
    HEALTH_POLICY,
)
SICK, _ = advance(WELL, EvidenceReported(xid_kind(79), GPU), Moment(2.0, 2.0), HEALTH_POLICY)

SICK_OTHERWISE, _ = advance(WELL, EvidenceReported(xid_kind(48), GPU), Moment(2.0, 2.0), HEALTH_POLICY)
GONE, _ = advance(State(), InventorySeen(inventory()), Moment(1.0, 1.0), HEALTH_POLICY)


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ApiServer]:
    monkeypatch.setattr(reports, "MIN_RETRY", 0.02)
    monkeypatch.setattr(reports, "MAX_RETRY", 0.05)
    monkeypatch.setattr(reports, "CONDITION_PAUSE", 0.0)
    monkeypatch.setattr(events, "PATCH_INTERVAL", 0.05)
    with api_server(tmp_path / "service-account") as server:
        yield server


@pytest.mark.parametrize("status", [302, 401, 408, 409, 429, 500, 503])
async def test_what_was_not_taken_for_the_moment_is_sent_again(status: int, server: ApiServer) -> None:
    server.status = status
    async with reporting(server) as told:
        told.keep(SICK)
        await until(lambda: server.refusals >= 3, "refusals")
        told.keep(WELL)
        await until(lambda: server.refusals >= 6, "more refusals")
        server.status = 201
        await until(lambda: len(server.events()) == 1, "the Event")
        await until(lambda: len(server.conditions()) >= 1, "the condition")
    assert [event["reason"] for event in server.events()] == ["GpuHealthy"]
    assert server.conditions()[-1]["status"] == "False"


@pytest.mark.parametrize(
    ("first", "untold", "last", "reasons"),
    [
        (None, SICK, SICK, ["GpuUnhealthy"]),
        (None, SICK, WELL, []),
        (SICK, None, SICK, ["GpuUnhealthy"]),
        (SICK, WELL, WELL, ["GpuUnhealthy", "GpuHealthy"]),
        (SICK, None, SICK_OTHERWISE, ["GpuUnhealthy", "GpuUnhealthy"]),
        (SICK, None, GONE, ["GpuUnhealthy"]),
    ],
)
async def test_over_a_restart_nothing_is_lost_and_nothing_told_twice(
    first: State | None, untold: State | None, last: State, reasons: list[str], server: ApiServer
) -> None:
    states = told_before(server)
    async with reporting(server, told=states) as told:
        if first is not None:
            told.keep(first)
            await until(lambda: states.about(GPU) is not None, "the Event")
        server.status = 503
        if untold is not None:
            refusals = server.refusals
            told.keep(untold)
            await until(lambda: server.refusals > refusals + 1, "refusals")
    server.status = 201
    words = last.faults[GPU].reason if GPU in last.faults else ""

    def is_told(states: ToldStates) -> bool:
        about = states.about(GPU)
        return about is None if last is WELL else about is not None and words in about.detail

    for _ in range(2):
        states = told_before(server)
        async with reporting(server, told=states) as told:
            conditions = len(server.conditions())
            told.keep(last)
            await until(lambda: len(server.events()) >= len(reasons), "the last word")
            await until(partial(is_told, states), "the answer")
            await until(lambda before=conditions: len(server.conditions()) > before, "the condition")  # type: ignore[misc]
    assert [event["reason"] for event in server.events()] == reasons
    if GPU in last.faults:
        assert server.events()[-1]["message"].startswith(f"{GPU}: {last.faults[GPU].reason};")


async def test_missing_devices_that_could_not_be_told_of_are_told_of_by_the_next_start(server: ApiServer) -> None:
    server.status = 503
    async with reporting(server) as told:
        told.tell_missing("1 of 2 is here", is_news=True)
        await until(lambda: server.refusals >= 2, "refusals")
    server.status = 201
    for _ in range(2):
        states = told_before(server)
        async with reporting(server, told=states) as told:
            told.tell_missing("1 of 2 is here", is_news=False)
            told.keep(WELL)
            await until(lambda states=states: states.about("") is not None, "the Event")  # type: ignore[misc]
    assert [event["reason"] for event in server.events()] == ["GpusMissing"]


@pytest.mark.parametrize(
    ("content", "reasons"),
    [
        ("no JSON", ["GpuUnhealthy"]),
        ('{"told": 5}', ["GpuUnhealthy"]),
        (json.dumps({"told": {GPU: {"reason": 5}}}), ["GpuUnhealthy"]),
        (
            json.dumps({"version": 9, "new": 1, "told": {GPU: {"reason": "GpuUnhealthy", "detail": "XID 79", "x": 1}}}),
            [],
        ),
    ],
)
async def test_a_file_that_cannot_be_read_costs_an_event_and_no_more(
    content: str, reasons: list[str], server: ApiServer
) -> None:
    folder = server.service_account.parent / "state"
    folder.mkdir(mode=0o700)
    (folder / NAME).write_text(content)
    async with reporting(server) as told:
        told.keep(SICK)
        await until(lambda: len(server.events()) >= len(reasons), "the Events")
        await until(lambda: bool(server.conditions()), "the condition")
    assert [event["reason"] for event in server.events()] == reasons


@pytest.mark.parametrize("status", [201, 403])
async def test_a_condition_that_stays_the_same_is_not_sent_with_each_check(status: int, server: ApiServer) -> None:
    server.status = status
    async with reporting(server) as told:
        told.keep(SICK)
        await until(lambda: bool(server.conditions()) or server.refusals >= 2, "the condition")
        state = SICK
        for number in range(10):
            checked = DevicesChecked({GPU: Checkup({}, asks_for_recovery=False)})
            state, _ = advance(state, checked, Moment(3.0 + number, 1.0), HEALTH_POLICY)
            told.keep(state)
            await asyncio.sleep(0.02)
    assert len(server.conditions()) <= 1
    assert server.refusals <= 2, "the Event and the condition"


async def test_a_change_of_an_event_that_is_refused_for_good_becomes_an_event_of_its_own(server: ApiServer) -> None:
    """An account of an older chart may create Events, and not change them."""
    async with reporting(server) as told:
        for number, state in enumerate((SICK, WELL), 1):
            told.keep(state)
            await until(lambda number=number: len(server.events()) == number, "an Event")  # type: ignore[misc]
        server.refused[server.events()[0]["metadata"]["name"]] = 403
        told.keep(SICK)
        await until(lambda: len(server.events()) == 3, "the last word")
    assert [event["reason"] for event in server.events()] == ["GpuUnhealthy", "GpuHealthy", "GpuUnhealthy"]


async def test_an_event_that_the_server_cannot_change_holds_up_no_other(server: ApiServer) -> None:
    """For example because a webhook fails for it, or its object is damaged."""
    states = told_before(server)
    async with reporting(server, told=states) as told:
        told.keep(SICK)
        await until(lambda: states.about(GPU) is not None, "the answer to the Event")
        server.refused[server.events()[0]["metadata"]["name"]] = 500
        told.keep(WELL)
        await until(lambda: len(server.events()) == 2, "the Event of the other state")
        told.keep(SICK)
        await until(lambda: server.refusals >= 2, "refusals")
        told.tell_missing("1 GPU is missing", is_news=True)
        await until(lambda: len(server.events()) == 3, "the Event about another subject")


@pytest.mark.parametrize("words", [b"[" * 100_000, b"\xff\xfe", b'{"message": [1]}', b"5", b""])
async def test_an_error_in_words_that_nobody_understands_is_an_error_like_others(
    words: bytes, server: ApiServer
) -> None:
    server.status, server.words = 500, words
    async with reporting(server) as told:
        told.keep(SICK)
        await until(lambda: server.refusals >= 3, "refusals")
        server.status = 201
        await until(lambda: len(server.events()) == 1, "the Event")


def connections_to(port: str) -> int:
    """Return how many sockets of this machine are connected to this port and still open on their side."""
    rows = [line.split() for line in Path("/proc/self/net/tcp").read_text().splitlines()[1:]]
    return sum(int(row[2].partition(":")[2], 16) == int(port) and row[9] != "0" for row in rows)


async def test_a_call_has_closed_its_connection_whenever_it_is_cancelled(server: ApiServer) -> None:
    """Otherwise an event loop that ends directly afterwards leaves the connection open."""
    api, port = KubernetesApi(server.environment, server.service_account), server.environment["KUBERNETES_SERVICE_PORT"]
    turns = 0
    while True:
        call = asyncio.create_task(api.post("/x/events", {"message": "x", "count": 1}))
        for _ in range(turns):
            await asyncio.sleep(0)
            time.sleep(0.001)  # noqa: ASYNC251 - the server's thread gets on meanwhile, and this loop does not
        if call.done():
            break
        call.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await call
        assert connections_to(port) == 0, f"cancelled in turn {turns} of the event loop"
        turns += 1
    assert turns > 5
