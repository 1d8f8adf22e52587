"""Whatever the API server answers, the last state of a device reaches it at last."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from harness.api_server import ApiServer, api_server
from harness.node import device, until
from plugin_gateway.adapters.cluster import events, reports
from plugin_gateway.adapters.cluster.kubernetes_api import KubernetesApi
from plugin_gateway.adapters.cluster.reports import ClusterReports, Target
from plugin_gateway.core.devices import Inventory
from plugin_gateway.core.health.faults import Checkup, Moment
from plugin_gateway.core.health.observations import DevicesChecked, EvidenceReported, InventorySeen
from plugin_gateway.core.health.remedies import Remedy
from plugin_gateway.core.health.state import State
from plugin_gateway.core.health.state_function import advance
from plugin_gateway.nvidia.evidence import HEALTH_POLICY, xid_kind

GPU = device(0).id
WELL, _ = advance(
    State(),
    InventorySeen(Inventory(devices=(device(0),), visibility_variable="X")),
    Moment(1.0, 1.0),
    HEALTH_POLICY,
)
SICK, _ = advance(WELL, EvidenceReported(xid_kind(79), GPU), Moment(2.0, 2.0), HEALTH_POLICY)


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ApiServer]:
    monkeypatch.setattr(reports, "MIN_RETRY", 0.02)
    monkeypatch.setattr(reports, "MAX_RETRY", 0.05)
    monkeypatch.setattr(reports, "CONDITION_PAUSE", 0.0)
    monkeypatch.setattr(events, "PATCH_INTERVAL", 0.05)
    with api_server(tmp_path / "service-account") as server:
        yield server


@asynccontextmanager
async def reporting(server: ApiServer) -> AsyncIterator[ClusterReports]:
    api = KubernetesApi(server.environment, server.service_account)
    target = Target("node-1", events=True, condition="GpuProblem", device_word="GPU")
    told = ClusterReports(target, api, State(), lambda _: Remedy())
    async with asyncio.TaskGroup() as tasks:
        task = tasks.create_task(told.run())
        try:
            yield told
        finally:
            task.cancel()


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
    async with reporting(server) as told:
        told.keep(SICK)
        await until(lambda: len(server.events()) == 1, "the Event")
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
