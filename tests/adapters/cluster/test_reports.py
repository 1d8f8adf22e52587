"""What the cluster is told about health, over real TLS; and that an API server that fails holds nobody up."""

import asyncio
import contextlib
import itertools
import re
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from harness.api_server import BOTH, ApiServer, api_server, reporting, told_before
from harness.devices import inventory
from harness.node import device, until
from plugin_gateway.adapters.cluster import events as cluster_events
from plugin_gateway.adapters.cluster import kubernetes_api
from plugin_gateway.adapters.cluster import reports as cluster_reports
from plugin_gateway.adapters.cluster.kubernetes_api import ApiError, KubernetesApi
from plugin_gateway.adapters.cluster.target import Target
from plugin_gateway.core.health.changes import Note, Significance
from plugin_gateway.core.health.faults import Checkup, Moment
from plugin_gateway.core.health.observations import (
    DevicesChecked,
    EvidenceReported,
    InventorySeen,
    Observation,
)
from plugin_gateway.core.health.state import State
from plugin_gateway.core.health.state_function import advance, clear
from plugin_gateway.nvidia.evidence import HEALTH_POLICY, xid_kind
from plugin_gateway.nvidia.remedies import remedy_for

GPU, OTHER = device(0).id, device(1).id
SEEN = InventorySeen(inventory(device(0), device(1)))


def after(*observations: Observation, state: State | None = None) -> State:
    state = state or State()
    for observation in observations:
        state, _ = advance(state, observation, Moment(1.0, 1.0), HEALTH_POLICY)
    return state


@pytest.fixture
def server(tmp_path: Path) -> Iterator[ApiServer]:
    with api_server(tmp_path / "service-account") as server:
        yield server


@pytest.fixture
def no_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    """Changes of the condition are reported at once."""
    monkeypatch.setattr(cluster_reports, "CONDITION_PAUSE", 0.0)


async def test_each_change_is_an_event_of_the_node(server: ApiServer) -> None:
    async with reporting(server) as reports:
        state = after(SEEN, EvidenceReported(xid_kind(1000), GPU))
        reports.keep(state)
        await until(lambda: len(server.events()) == 1, "an Event")
        state = after(DevicesChecked({GPU: Checkup({}, asks_for_recovery=False)}), state=state)
        reports.keep(state)
        await until(lambda: len(server.events()) == 2, "another Event")
        state, _ = clear(state, GPU, Moment(2.0, 2.0), HEALTH_POLICY)
        reports.keep(state)
        await until(lambda: len(server.events()) == 3, "the last Event")
    first, second, third = server.events()
    assert first["involvedObject"] == {"kind": "Node", "name": "node-1", "uid": "node-1"}
    assert first["metadata"]["namespace"] == "default"
    assert len({event["metadata"]["name"] for event in server.events()}) == 3
    assert [event["reason"] for event in server.events()] == ["GpuUnhealthy", "GpuOnProbation", "GpuHealthy"]
    assert [event["type"] for event in server.events()] == ["Warning", "Warning", "Normal"]
    assert first["message"] == f"{GPU}: XID 1000; it needs a check that finds nothing"
    assert second["message"] == f"{GPU}: XID 1000; it needs a quiet time"
    assert third["message"] == f"{GPU} is healthy again after XID 1000"
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", first["firstTimestamp"])
    assert "/api/v1/namespaces/default/events" in {call.path for call in server.calls}


async def test_evidence_that_is_only_reported_is_an_event_too(server: ApiServer) -> None:
    async with reporting(server) as reports:
        state, changes = advance(after(SEEN), EvidenceReported(xid_kind(31), GPU), Moment(1.0, 1.0), HEALTH_POLICY)
        reports.keep(state, (*changes.notes, Note(GPU, xid_kind(63), "XID 63", Significance.IGNORED)))
        await until(lambda: len(server.events()) == 1, "an Event")
        reports.keep(state, (Note(GPU, xid_kind(94), "XID 94", Significance.REPORTED, progress="2 of 3 within 600 s"),))
        await until(lambda: len(server.events()) == 2, "another Event")
    assert server.events()[0]["reason"] == "GpuEvidence"
    assert server.events()[0]["message"] == f"{GPU}: XID 31; reported by policy, the device stays as it is"
    repeated = "XID 94, 2 of 3 within 600 s; reported by policy, the device stays as it is"
    assert server.events()[1]["message"] == f"{GPU}: {repeated}"


@pytest.mark.usefixtures("no_pause")
async def test_the_condition_is_true_while_a_device_is_not_healthy(server: ApiServer) -> None:
    async with reporting(server, BOTH._replace(events=False)) as reports:
        reports.keep(after(SEEN))
        await until(lambda: len(server.conditions()) == 1, "the condition")
        reports.keep(after(SEEN, EvidenceReported(xid_kind(79), GPU)))
        await until(lambda: len(server.conditions()) == 2, "another one")
    assert not server.events()
    first, second = server.conditions()
    assert (first["type"], first["status"], first["message"]) == ("GpuProblem", "False", "every GPU is healthy")
    assert (second["status"], second["reason"], second["message"]) == (
        "True",
        "GpuUnhealthy",
        f"{GPU}: XID 79 (RESTART_BM)",
    )
    call = server.calls[0]
    assert (call.method, call.path) == ("PATCH", "/api/v1/nodes/node-1/status")
    assert call.content_type == "application/strategic-merge-patch+json"


async def test_missing_devices_are_an_event_of_the_node_and_so_is_their_end(server: ApiServer) -> None:
    async with reporting(server) as reports:
        reports.keep(after(SEEN))
        reports.tell_missing("1 of 2 is here", is_news=False)
        reports.tell_missing("2 of 3 are here", is_news=True)
        await until(lambda: len(server.events()) == 1, "an Event")
        reports.tell_missing(None, is_news=True)
        await until(lambda: len(server.events()) == 2, "another Event")
        await until(lambda: len(server.conditions()) == 1, "the condition")
    told = [(event["reason"], event["type"], event["message"]) for event in server.events()]
    assert told == [
        ("GpusMissing", "Warning", "2 of 3 are here"),
        ("GpusComplete", "Normal", "no GPU is missing any more"),
    ]
    assert server.conditions()[0]["message"] == "every GPU is healthy"


@pytest.mark.usefixtures("no_pause")
async def test_missing_devices_are_in_the_condition_on_request(server: ApiServer) -> None:
    target = BOTH._replace(events=False, missing_in_condition=True)
    async with reporting(server, target) as reports:
        reports.tell_missing("2 of 3 are here", is_news=False)
        reports.keep(after(SEEN))
        await until(lambda: len(server.conditions()) == 1, "the condition")
        reports.keep(after(SEEN, EvidenceReported(xid_kind(79), GPU)))
        await until(lambda: len(server.conditions()) == 2, "another one")
        reports.tell_missing(None, is_news=True)
        await until(lambda: len(server.conditions()) == 3, "the third")
    assert [(each["status"], each["reason"], each["message"]) for each in server.conditions()] == [
        ("True", "GpusMissing", "2 of 3 are here"),
        ("True", "GpuUnhealthy", f"2 of 3 are here; {GPU}: XID 79 (RESTART_BM)"),
        ("True", "GpuUnhealthy", f"{GPU}: XID 79 (RESTART_BM)"),
    ]


async def test_what_an_earlier_instance_told_is_not_told_again(server: ApiServer) -> None:
    known = after(SEEN, EvidenceReported(xid_kind(79), GPU))
    told = told_before(server)
    async with reporting(server, BOTH._replace(condition=""), told) as reports:
        reports.keep(known)
        await until(lambda: told.about(GPU) is not None, "an Event")
    async with reporting(server) as reports:
        reports.keep(after(EvidenceReported(xid_kind(79), OTHER), state=known))
        await until(lambda: len(server.events()) == 2, "another Event")
        await until(lambda: len(server.conditions()) == 1, "the condition")
    assert server.events()[1]["message"].startswith(OTHER)
    assert server.conditions()[0]["message"] == f"{GPU}: XID 79 (RESTART_BM); {OTHER}: XID 79 (RESTART_BM)"


async def test_a_server_that_refuses_is_told_once_and_tried_again_with_what_is_true_then(
    server: ApiServer, monkeypatch: pytest.MonkeyPatch, told: list[dict[str, Any]]
) -> None:
    monkeypatch.setattr(cluster_reports, "MIN_RETRY", 0.05)
    server.status = 500
    async with reporting(server, BOTH._replace(condition="")) as reports:
        state = after(SEEN, EvidenceReported(xid_kind(79), GPU))
        reports.keep(state)
        await until(lambda: len(told) == 1, "the complaint")
        await asyncio.sleep(0.3)
        reports.keep(after(EvidenceReported(xid_kind(79), OTHER), state=state))
        server.status = 201
        await until(lambda: len(server.events()) == 2, "both Events")
        await until(lambda: len(told) == 2, "the end of the complaint")
    assert told[0]["problem"] == (
        "POST /api/v1/namespaces/default/events: 500 Internal Server Error: words of the server"
    )
    assert [(line["level"], line["output"]) for line in told] == [("warning", "Events"), ("info", "Events")]


async def test_calls_that_are_refused_for_good_hold_nothing_else_up(
    server: ApiServer, told: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cluster_reports, "MIN_RETRY", 0.01)
    server.refused["/events"] = 403
    async with reporting(server) as reports:
        reports.keep(after(SEEN, EvidenceReported(xid_kind(79), GPU)))
        await until(lambda: len(server.conditions()) == 1, "the condition")
        await until(lambda: len(told) == 1, "the complaint")
        await asyncio.sleep(0.3)
        assert server.refusals == 1
    assert told[0]["output"] == "Events"
    assert "403 Forbidden" in told[0]["problem"]


async def test_events_go_on_while_the_condition_is_refused(server: ApiServer, told: list[dict[str, Any]]) -> None:
    server.refused["/status"] = 403
    async with reporting(server) as reports:
        reports.keep(after(SEEN, EvidenceReported(xid_kind(79), GPU)))
        await until(lambda: len(server.events()) == 1, "the Event")
        await until(lambda: len(told) == 1, "the complaint")
    assert told[0]["output"] == "condition"


async def test_a_storm_is_one_event_with_the_right_count(server: ApiServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cluster_events, "PATCH_INTERVAL", 0.5)
    state = after(SEEN)
    async with reporting(server) as reports:
        for _ in range(1000):
            state, changes = advance(
                state, EvidenceReported(xid_kind(31), GPU, times=5), Moment(1.0, 1.0), HEALTH_POLICY
            )
            reports.keep(state, changes.notes)
            await asyncio.sleep(0)
        await until(lambda: list(server.counts().values()) == [5000], "the count")
    assert len(server.events()) == 1
    assert len(server.calls) <= 5


async def test_the_event_of_an_unhealthy_device_counts_the_same_evidence(
    server: ApiServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cluster_events, "PATCH_INTERVAL", 0.1)
    state = after(SEEN)
    async with reporting(server) as reports:
        for times in (1, 2, 30):
            state, changes = advance(
                state, EvidenceReported(xid_kind(79), GPU, times=times), Moment(1.0, 1.0), HEALTH_POLICY
            )
            reports.keep(state, changes.notes)
        await until(lambda: list(server.counts().values()) == [33], "the count")
    assert len(server.events()) == 1


async def test_an_event_that_has_expired_is_created_anew(
    server: ApiServer, told: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cluster_events, "PATCH_INTERVAL", 0.1)
    state, changes = advance(after(SEEN), EvidenceReported(xid_kind(31), GPU), Moment(1.0, 1.0), HEALTH_POLICY)
    async with reporting(server) as reports:
        reports.keep(state, changes.notes)
        await until(lambda: len(server.events()) == 1, "an Event")
        server.refused[server.events()[0]["metadata"]["name"]] = 404
        reports.keep(state, changes.notes)
        await until(lambda: len(server.events()) == 2, "another one")
    assert server.events()[1]["count"] == 1
    assert not told


async def test_changes_that_are_refused_are_logged_once_though_new_events_are_taken(
    server: ApiServer, told: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """An account of an older chart may create Events and not change them."""
    monkeypatch.setattr(cluster_events, "PATCH_INTERVAL", 0.05)
    state = after(SEEN)
    async with reporting(server, BOTH._replace(condition="")) as reports:
        for xid in (31, 13, 45):
            for _ in range(2):
                state, changes = advance(state, EvidenceReported(xid_kind(xid), GPU), Moment(1.0, 1.0), HEALTH_POLICY)
                reports.keep(state, changes.notes)
                await until(lambda xid=xid: any(f"XID {xid}" in each for each in server.counts()), "the Event")  # type: ignore[misc]
                server.refused[server.events()[-1]["metadata"]["name"]] = 403
        await until(lambda: server.refusals == 3, "three refused changes")
    assert [(line["level"], line["output"]) for line in told] == [("warning", "changes of Events")]
    assert told[0]["problem"].startswith("PATCH /api/v1/namespaces/default/events/NAME: 403 Forbidden")


async def test_the_condition_is_sent_again_now_and_then(server: ApiServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cluster_reports, "CONDITION_PAUSE", 0.0)
    monkeypatch.setattr(cluster_reports, "HEARTBEAT", 0.1)
    async with reporting(server) as reports:
        reports.keep(after(SEEN))
        await until(lambda: len(server.conditions()) == 3, "three times the same")
    assert {(each["status"], each["lastTransitionTime"]) for each in server.conditions()} == {
        ("False", server.conditions()[0]["lastTransitionTime"])
    }


async def test_a_condition_that_flaps_is_sent_seldom_and_its_end_is_right(
    server: ApiServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cluster_reports, "CONDITION_PAUSE", 0.3)
    good, bad = after(SEEN), after(SEEN, EvidenceReported(xid_kind(79), GPU))
    async with reporting(server, BOTH._replace(events=False)) as reports:
        reports.keep(good)
        await until(lambda: len(server.conditions()) == 1, "the condition")
        for _ in range(50):
            reports.keep(bad)
            reports.keep(good)
        reports.keep(bad)
        await until(lambda: server.conditions()[-1]["status"] == "True", "the last state")
        await asyncio.sleep(0.4)
    assert len(server.conditions()) <= 3


@pytest.mark.usefixtures("no_pause")
async def test_the_condition_names_a_limited_number_of_devices(server: ApiServer) -> None:
    many = tuple(device(number) for number in range(40))
    seen = InventorySeen(inventory(*many))
    async with reporting(server, BOTH._replace(events=False)) as reports:
        reports.keep(after(seen, *(EvidenceReported(xid_kind(79), each.id) for each in many)))
        await until(lambda: len(server.conditions()) == 1, "the condition")
    assert server.conditions()[0]["message"].count("XID 79") <= 32
    assert len(server.conditions()[0]["message"]) <= 1024


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda server: server.environment.clear(), "no API server is known: KUBERNETES_SERVICE_HOST is not set"),
        (lambda server: server.environment.update(KUBERNETES_SERVICE_PORT="x"), "no API server is known"),
        (lambda server: server.environment.update(KUBERNETES_SERVICE_PORT="1"), "Connection refused"),
        (lambda server: (server.service_account / "token").unlink(), "the service account cannot be used: .*token"),
        (lambda server: (server.service_account / "token").write_text("a\nb"), "its token is not one line of text"),
        (lambda server: (server.service_account / "token").write_text("other"), "401 Unauthorized"),
        (lambda server: (server.service_account / "ca.crt").write_text(""), "the service account cannot be used"),
        (lambda server: server.environment.update(KUBERNETES_SERVICE_HOST="localhost"), "certificate verify failed"),
    ],
)
async def test_an_api_that_cannot_be_used_says_why(spoil: Any, words: str, server: ApiServer) -> None:
    spoil(server)
    with pytest.raises(ApiError, match=words):
        await KubernetesApi(server.environment, server.service_account).post("/x", {})
    assert not server.calls


@pytest.mark.usefixtures("no_pause")
async def test_a_device_that_is_not_there_is_no_problem_of_the_node(server: ApiServer) -> None:
    async with reporting(server, BOTH._replace(events=False)) as reports:
        state = after(SEEN, EvidenceReported(xid_kind(79), GPU))
        reports.keep(state)
        await until(lambda: len(server.conditions()) == 1, "the condition")
        without = InventorySeen(inventory(device(1)))
        reports.keep(after(without, state=state))
        await until(lambda: len(server.conditions()) == 2, "another one")
    assert [each["status"] for each in server.conditions()] == ["True", "False"]


@asynccontextmanager
async def dripping(server: ApiServer, words: bytes) -> AsyncIterator[None]:
    """An API server that says this, a byte at a time, and never ends."""
    ended = asyncio.Event()

    async def drip(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            for each in itertools.cycle(words):
                writer.write(bytes([each]))
                await writer.drain()
                await asyncio.sleep(0.01)
        writer.transport.abort()
        ended.set()

    listener = await asyncio.start_server(drip, "127.0.0.1", 0, ssl=server.context)
    server.environment["KUBERNETES_SERVICE_PORT"] = str(listener.sockets[0].getsockname()[1])
    async with listener:
        yield
        await asyncio.wait_for(ended.wait(), 5)


@pytest.mark.parametrize("words", [b"HTTP/1.1 200 OK\r\nX: ", b"HTTP/1.1 200 OK\r\n\r\n"])
async def test_a_server_that_never_ends_its_answer_has_a_limit(
    words: bytes, server: ApiServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kubernetes_api, "TIMEOUT", 0.5)
    async with dripping(server, words):
        with pytest.raises(ApiError, match="POST /x: no answer within 0 s"):
            await KubernetesApi(server.environment, server.service_account).post("/x", {})


async def test_nobody_waits_for_a_server_that_never_ends_its_answer(server: ApiServer) -> None:
    began = asyncio.get_running_loop().time()
    async with dripping(server, b"HTTP/1.1 200 OK\r\n\r\n"), reporting(server) as reports:
        reports.keep(after(SEEN, EvidenceReported(xid_kind(79), GPU)))
        await asyncio.sleep(0.2)
    assert asyncio.get_running_loop().time() - began < 2


async def test_a_port_that_cannot_be_is_a_problem_and_not_the_end(server: ApiServer) -> None:
    api = KubernetesApi({**server.environment, "KUBERNETES_SERVICE_PORT": "99999"}, server.service_account)
    with pytest.raises(ApiError, match="port must be 0-65535"):
        await api.post("/x/events", {})


def test_the_condition_says_what_is_wrong_with_any_backend() -> None:
    nothing: Any = None
    condition = cluster_reports.NodeCondition(Target("n", False, "GpuProblem", "GPU"), nothing, remedy_for)
    well, broken = after(SEEN), after(SEEN, EvidenceReported(xid_kind(79), GPU))
    condition.keep(well, "a")
    condition.keep(State(), "b")
    assert condition._judge_all() is None, "the second has not answered"
    condition.keep(well, "b")
    verdict = condition._judge_all()
    assert verdict is not None
    assert verdict.status == "False"
    condition.keep(broken, "b")
    verdict = condition._judge_all()
    assert verdict is not None
    assert (verdict.status, verdict.reason) == ("True", "GpuUnhealthy")
    assert GPU in verdict.message
    condition.keep(broken, "a")
    both = condition._judge_all()
    assert both is not None
    assert both.message == verdict.message, "the same is said once"
