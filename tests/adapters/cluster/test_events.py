"""Which Events are sent and when, in virtual time."""

import itertools
import math
from collections import Counter
from collections.abc import Iterator
from enum import Enum

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from plugin_gateway.adapters.cluster.events import (
    BURST,
    MAX_CAUSES,
    PATCH_INTERVAL,
    TOKEN_INTERVAL,
    Cause,
    EventLedger,
    Sending,
)

OUT = Cause("GPU-1", "GpuUnhealthy", "XID 79", is_state=True)
BACK = Cause("GPU-1", "GpuHealthy", "XID 79", is_state=True)
REPORTED = Cause("GPU-1", "GpuEvidence", "XID 31")


class Server:
    """An API server in virtual time that takes everything it is sent."""

    def __init__(self, ledger: EventLedger) -> None:
        self.ledger = ledger
        self.calls: list[tuple[float, Sending]] = []
        self.counts: dict[str, int] = {}

    def serve(self, since: float, until: float) -> None:
        """Let the sender work for a time."""
        now = since
        while now <= until:
            sending = self.ledger.next(now)
            if sending is None:
                now = self.ledger.due(now)
                continue
            name = sending.name or f"event-{len(self.calls)}"
            self.calls.append((now, sending))
            self.counts[name] = sending.times
            self.ledger.sent(sending, name, now)

    def created(self) -> int:
        return sum(sending.name is None for _, sending in self.calls)


def note(ledger: EventLedger, cause: Cause, epoch: float = 0.0, times: int = 1) -> None:
    ledger.note(cause, cause.detail, kind="Warning", epoch=epoch, times=times)


@pytest.fixture
def ledger() -> EventLedger:
    return EventLedger()


@pytest.fixture
def server(ledger: EventLedger) -> Server:
    return Server(ledger)


def test_a_storm_is_one_event_whose_count_is_right_a_minute_later(ledger: EventLedger, server: Server) -> None:
    for number in range(11_760):
        now = 20 * number / 11_760
        note(ledger, REPORTED, epoch=now)
        server.serve(now, now)
    server.serve(20, 81)
    assert server.created() == 1
    assert len(server.calls) <= 4
    assert list(server.counts.values()) == [11_760]


def test_an_event_is_patched_once_in_a_minute_at_most(ledger: EventLedger, server: Server) -> None:
    for second in range(600):
        note(ledger, REPORTED, epoch=second)
        server.serve(second, second + 0.9)
    times = [now for now, _ in server.calls]
    assert all(later - earlier >= PATCH_INTERVAL for earlier, later in itertools.pairwise(times))
    assert server.created() == 1


def test_a_node_sends_25_at_once_and_then_one_in_five_minutes(ledger: EventLedger, server: Server) -> None:
    for number in range(60):
        note(ledger, Cause(f"GPU-{number}", "GpuEvidence", "XID 31"))
    server.serve(0, 0)
    assert len(server.calls) == BURST
    server.serve(0.1, 3 * TOKEN_INTERVAL + 1)
    assert len(server.calls) == BURST + 3


def test_of_the_states_of_a_device_the_last_one_waits(ledger: EventLedger, server: Server) -> None:
    for number in range(BURST):
        note(ledger, Cause(f"GPU-{number + 10}", "GpuEvidence", "XID 31"))
    server.serve(0, 0)
    for _ in range(50):
        note(ledger, OUT)
        note(ledger, BACK)
    server.serve(1, 10 * TOKEN_INTERVAL)
    assert [sending.cause for _, sending in server.calls[BURST:]] == [BACK]


def test_a_state_goes_before_evidence(ledger: EventLedger, server: Server) -> None:
    note(ledger, REPORTED)
    note(ledger, OUT)
    server.serve(0, 0)
    assert [sending.cause for _, sending in server.calls] == [OUT, REPORTED]


def test_a_state_that_was_sent_before_does_not_go_before_the_last_one(ledger: EventLedger, server: Server) -> None:
    for cause in (OUT, BACK):
        note(ledger, cause)
        server.serve(0, 0)
    for number in range(BURST - 2):
        note(ledger, Cause(f"GPU-{number + 10}", "GpuEvidence", "XID 31"))
    server.serve(0, 0)
    note(ledger, OUT)
    note(ledger, BACK)
    server.serve(100, 10 * TOKEN_INTERVAL)
    assert [sending.cause for _, sending in server.calls[BURST:]] == [BACK]


def test_calls_that_are_refused_have_the_same_limit(ledger: EventLedger) -> None:
    calls = 0
    for second in range(3600):
        for number in range(50):
            note(ledger, Cause(f"GPU-{number}", "GpuEvidence", "XID 31"))
        while (sending := ledger.next(second)) is not None:
            ledger.refused(sending, second)
            calls += 1
    assert calls <= BURST + 3600 / TOKEN_INTERVAL


def test_what_happens_while_an_event_that_was_forgotten_is_sent_is_sent_too(ledger: EventLedger) -> None:
    note(ledger, OUT, times=3)
    sending = ledger.next(0)
    assert sending is not None
    note(ledger, BACK)
    note(ledger, OUT)
    ledger.sent(sending, "event", 0)
    note(ledger, OUT)
    assert ledger.due(0) < math.inf


def test_what_was_refused_is_not_sent_again_until_it_happens_again(ledger: EventLedger, server: Server) -> None:
    note(ledger, OUT)
    sending = ledger.next(0)
    assert sending is not None
    ledger.refused(sending, 0)
    assert ledger.due(0) == math.inf
    note(ledger, OUT)
    assert ledger.next(PATCH_INTERVAL - 1) is None
    server.serve(PATCH_INTERVAL, PATCH_INTERVAL)
    assert server.created() == 1


def test_an_event_that_is_gone_is_created_anew_with_what_was_not_said(ledger: EventLedger, server: Server) -> None:
    note(ledger, REPORTED, times=5)
    server.serve(0, 0)
    note(ledger, REPORTED, epoch=100.0, times=2)
    sending = ledger.next(100)
    assert sending is not None
    assert (sending.name, sending.times) == ("event-0", 7)
    ledger.gone(sending)
    again = ledger.next(100)
    assert again is not None
    assert (again.name, again.times, again.first) == (None, 2, 100.0)


def test_memory_has_a_limit_while_the_server_is_away(ledger: EventLedger, server: Server) -> None:
    note(ledger, OUT)
    for number in range(10_000):
        note(ledger, Cause(f"GPU-{number % 7}", "GpuEvidence", f"XID {number}"))
    assert len(ledger._events) <= MAX_CAUSES
    server.serve(0, 0)
    assert OUT in {sending.cause for _, sending in server.calls}


CAUSES = st.builds(
    Cause,
    st.sampled_from(("GPU-1", "GPU-2")),
    st.sampled_from(("GpuUnhealthy", "GpuHealthy")),
    st.sampled_from(("XID 79", "XID 31")),
    st.booleans(),
)


def _bursts(times: list[float], window: float) -> Iterator[int]:
    for start in times:
        yield sum(start <= time < start + window for time in times)


@given(st.lists(st.tuples(CAUSES, st.integers(1, 50), st.floats(0, 400)), max_size=60))
def test_nothing_is_lost_and_no_limit_is_broken(happened: list[tuple[Cause, int, float]]) -> None:
    ledger = EventLedger()
    server, now, counted = Server(ledger), 0.0, Counter[Cause]()
    for cause, times, pause in happened:
        note(ledger, cause, epoch=now, times=times)
        counted[cause] += times
        server.serve(now, now + pause)
        now += pause
    server.serve(now, now + 100 * TOKEN_INTERVAL)
    assert ledger.due(now + 100 * TOKEN_INTERVAL) == math.inf
    assert max(_bursts([each for each, _ in server.calls], TOKEN_INTERVAL), default=0) <= BURST + 1
    said = Counter[Cause]()
    for _, sending in server.calls:
        said[sending.cause] = max(said[sending.cause], sending.times)
    evidence = {cause: times for cause, times in counted.items() if not cause.is_state}
    assert {cause: said[cause] for cause in evidence} == evidence
    states = [cause for cause, _, _ in happened if cause.is_state]
    for subject in {cause.subject for cause in states}:
        last = [cause for cause in states if cause.subject == subject][-1]
        assert said[last]


class Outcome(Enum):
    """What becomes of a call."""

    TAKEN = "taken"
    FAILED = "failed"
    """The server is away or busy: it is tried again."""
    GONE = "gone"
    """The Event that was to be changed does not exist any more."""


CALLS = st.tuples(st.lists(CAUSES, max_size=3), st.sampled_from(Outcome), st.sampled_from((0.0, 61.0, 301.0)))
"""What happens during a call, what becomes of it, and the time until the next one."""


@given(st.lists(CALLS, max_size=14))
@example([([OUT], Outcome.TAKEN, 0.0), ([OUT], Outcome.TAKEN, 61.0), ([BACK], Outcome.GONE, 0.0)])
def test_the_last_state_of_each_device_is_the_last_that_the_server_takes(
    calls: list[tuple[list[Cause], Outcome, float]],
) -> None:
    """Whatever happens while a call is under way, and whatever becomes of the call."""
    ledger, now = EventLedger(), 0.0
    server, noted = Server(ledger), dict[str, Cause]()
    for causes, outcome, pause in calls:
        sending = ledger.next(now)
        for cause in causes:
            note(ledger, cause, epoch=now)
            if cause.is_state:
                noted[cause.subject] = cause
        if sending is not None and outcome is Outcome.TAKEN:
            server.calls.append((now, sending))
            ledger.sent(sending, sending.name or f"first-{len(server.calls)}", now)
        elif sending is not None and outcome is Outcome.GONE and sending.name is not None:
            ledger.gone(sending)
        now += pause
    taken_before = len(server.calls)
    server.serve(now, now + 100 * TOKEN_INTERVAL)
    taken = {sending.cause.subject: sending.cause for _, sending in server.calls if sending.cause.is_state}
    assert taken == noted
    for subject in noted:
        late = [sending.cause for _, sending in server.calls[taken_before:] if sending.cause.subject == subject]
        assert {cause for cause in late if cause.is_state} <= {noted[subject]}, "only the last state waits"
