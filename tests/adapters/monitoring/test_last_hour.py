"""What the page knows of the last hour, from the records of registrations and of health."""

from collections.abc import Sequence
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from harness.node import RESOURCE, Node, device, running, until
from plugin_gateway.adapters.fake_kubelet import FakeKubelet, release
from plugin_gateway.adapters.gateway import health_counters
from plugin_gateway.adapters.gateway.device_status import DeviceStatus
from plugin_gateway.adapters.gateway.health_counters import Changed, HealthCounters
from plugin_gateway.adapters.monitoring.last_hour import HOUR, Mark, Row, Span, health_row, stream_row
from plugin_gateway.adapters.registration import history
from plugin_gateway.adapters.registration.history import Registered, RegistrationRecords, ResourceStatus
from plugin_gateway.core.devices import PhysicalId
from plugin_gateway.core.health.changes import Changes, HealthChange
from plugin_gateway.core.health.faults import Stage
from plugin_gateway.core.health.policy import EvidenceKind
from plugin_gateway.core.registration.failures import Failure
from plugin_gateway.nvidia.evidence import HEALTH_POLICY

NOW = 100_000.0
BEGIN = NOW - HOUR
TIMES = st.floats(min_value=BEGIN - HOUR, max_value=NOW + HOUR)


def stream(registered: Sequence[float], ended: Sequence[float], *, since: float = 0.0, is_open: bool = False) -> Row:
    """The row of a resource that was registered at these times, and whose streams ended at those."""
    records = RegistrationRecords()
    records.since = since
    records.registered.extend(Registered(at, "v1beta1", "kubelet.sock appeared", "a.sock", 1.0) for at in registered)
    records.ended.extend(ended)
    opened = registered[-1] if is_open else None
    return stream_row(ResourceStatus(RESOURCE, None, None, opened, False, False, records), NOW)


def change(before: Stage, after: Stage, name: str = "GPU-1") -> HealthChange:
    return HealthChange(PhysicalId(name), before, after, "XID 79", None, EvidenceKind("xid:79"))


def test_a_stream_is_open_from_its_registration_to_its_end() -> None:
    row = stream([BEGIN + 10, BEGIN + 100], [BEGIN + 60], is_open=True)
    assert row.known == Span(BEGIN, NOW)
    assert row.spans == [Span(BEGIN + 10, BEGIN + 60), Span(BEGIN + 100, NOW)]
    assert row.seconds == HOUR - 50
    assert [mark.at for mark in row.marks] == [BEGIN + 10, BEGIN + 100]


def test_a_stream_from_before_the_hour_is_open_from_its_beginning() -> None:
    row = stream([BEGIN - 500], [], is_open=True)
    assert (row.spans, row.marks) == ([Span(BEGIN, NOW)], [])


def test_a_gateway_that_has_just_started_knows_nothing_of_the_time_before() -> None:
    row = stream([NOW - 4], [], since=NOW - 5, is_open=True)
    assert row.known == Span(NOW - 5, NOW)
    assert row.spans == [Span(NOW - 4, NOW)]


def test_what_was_forgotten_is_not_known_either() -> None:
    times = [NOW - 2.0 * (history.MAX_KEPT - index) for index in range(history.MAX_KEPT)]
    assert stream(times, [at + 1 for at in times]).known.begin == times[0] + 1
    assert stream(times[1:], [at + 1 for at in times[1:]]).known.begin == BEGIN


@given(st.lists(TIMES, max_size=8), st.lists(TIMES, max_size=8), TIMES, st.booleans())
def test_spans_are_in_order_within_what_is_known_whatever_the_clock_did(
    registered: list[float], ended: list[float], since: float, is_open: bool
) -> None:
    row = stream(registered, ended, since=since, is_open=is_open and bool(registered))
    edges = [edge for span in row.spans for edge in span]
    assert BEGIN <= row.known.begin <= row.known.end == NOW
    assert edges == sorted(set(edges)), "none is empty, and no two touch each other"
    assert all(row.known.begin <= edge <= NOW for edge in edges)
    assert all(row.known.begin <= mark.at <= NOW for mark in row.marks)


def test_faults_that_are_over_and_those_of_now_become_one_time_without_health() -> None:
    counted = HealthCounters()
    counted.since = 0.0
    counted.latest += [
        Changed(BEGIN + 10, change(Stage.HEALTHY, Stage.UNHEALTHY)),
        Changed(BEGIN + 20, change(Stage.UNHEALTHY, Stage.PROBATION)),
        Changed(BEGIN + 30, change(Stage.PROBATION, Stage.HEALTHY)),
        Changed(BEGIN + 25, change(Stage.HEALTHY, Stage.UNHEALTHY, "GPU-2")),
        Changed(BEGIN + 40, change(Stage.UNHEALTHY, Stage.HEALTHY, "GPU-2")),
        Changed(NOW - 9, change(Stage.HEALTHY, Stage.UNHEALTHY)),
    ]
    sick = DeviceStatus(id="GPU-1", health=Stage.UNHEALTHY, since=NOW - 9)
    row = health_row([counted], [sick], NOW)
    assert row.spans == [Span(BEGIN + 10, BEGIN + 40), Span(NOW - 9, NOW)]
    assert [mark.at - BEGIN for mark in row.marks if mark.is_bad] == [10, 25, HOUR - 9]
    assert Mark(BEGIN + 30, "GPU-1: healthy", is_bad=False) in row.marks


def test_a_fault_from_before_the_start_is_there_since_the_gateway_runs() -> None:
    counted = HealthCounters()
    counted.since = NOW - 60
    sick = DeviceStatus(id="GPU-1", health=Stage.UNHEALTHY, since=NOW - 4000)
    assert health_row([counted], [sick], NOW).spans == [Span(NOW - 60, NOW)]
    counted.latest.append(Changed(NOW - 30, change(Stage.UNHEALTHY, Stage.HEALTHY)))
    assert health_row([counted], [], NOW).spans == [Span(NOW - 60, NOW - 30)]


def test_however_much_happens_only_the_latest_is_kept() -> None:
    counted, records = HealthCounters(), RegistrationRecords()
    for _ in range(health_counters.MAX_KEPT + 1):
        counted.count(Changes(health=(change(Stage.HEALTHY, Stage.UNHEALTHY),)), HEALTH_POLICY)
        records.note_ended()
        records.note_failed(Failure.CANNOT_SERVE, "")
    assert len(counted.latest) == health_counters.MAX_KEPT
    assert len(records.ended) == history.MAX_KEPT


async def test_the_end_of_a_stream_is_kept(kubelet_dir: Path) -> None:
    node = Node(kubelet_dir)
    async with FakeKubelet(kubelet_dir, release("1.36")) as kubelet, running(node):
        await until(lambda: any(each.stream_opened for each in node.registrar.status()), "the stream")
        (known,) = node.registrar.status()
        assert not known.records.ended
        await kubelet.restart()
        await until(lambda: len(known.records.ended) == 1, "its end")
        assert known.records.since <= known.records.registered[0].at <= known.records.ended[0]


async def test_a_change_of_health_is_kept_with_its_time(kubelet_dir: Path) -> None:
    node = Node(kubelet_dir)
    async with running(node):
        await until(lambda: len(node.gateway.state.devices) == 8, "8 devices")
        node.fail(3)
        await until(lambda: bool(node.backend.counted.latest), "the fault")
        (changed,) = node.backend.counted.latest
        assert (changed.change.device, changed.change.after) == (device(3).physical.id, Stage.UNHEALTHY)
        assert changed.at >= node.backend.counted.since
