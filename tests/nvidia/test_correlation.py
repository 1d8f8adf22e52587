"""An event of NVML and its line in the kernel's log count once, and a harmless line never explains a fatal event."""

from collections.abc import Sequence
from typing import NamedTuple

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from core.health.story import GPU, OTHER, POLICY, WELL, Story
from plugin_gateway.adapters.gateway.observation_queue import ObservationQueue
from plugin_gateway.core.health.faults import Source, Stage
from plugin_gateway.core.health.observations import EvidenceRefined, EvidenceReported, Observation
from plugin_gateway.core.health.policy import Action
from plugin_gateway.nvidia.correlation import (
    CALM,
    MAX_TRACKS,
    MAX_WAITING,
    UNCLEAR,
    WINDOW,
    Correlator,
    LineMeaning,
    Subject,
)
from plugin_gateway.nvidia.evidence import xid_kind

KINDS = (xid_kind(145), xid_kind(149))
KIND = KINDS[0]
EVENT, SUBJECT = EvidenceReported(KIND, GPU), Subject(KIND, GPU, "")
LINE = EVENT._replace(source=Source.KERNEL_LOG)
HARMLESS, FATAL = LineMeaning(Action.IGNORE, "harmless"), LineMeaning(Action.UNTIL_RESET, "fatal")
EXPLAINED, NEEDS_RESET, OPEN = (
    EvidenceRefined(KIND, GPU, Action.IGNORE, "harmless"),
    EvidenceRefined(KIND, GPU, Action.UNTIL_RESET, "fatal"),
    EvidenceRefined(KIND, GPU, Action.UNTIL_DRIVER_DECIDES),
)


def correlator() -> Correlator:
    return Correlator(frozenset(KINDS))


def test_an_event_counts_at_once_and_its_line_explains_it() -> None:
    joined = correlator()
    assert joined.event(EVENT, 100.0) == [EVENT]
    assert joined.line(SUBJECT, HARMLESS, 100.9) == [EXPLAINED]


def test_a_line_counts_at_once_and_its_event_does_not_count_again() -> None:
    joined = correlator()
    assert joined.line(SUBJECT, HARMLESS, 100.0) == [LINE, EXPLAINED]
    assert joined.event(EVENT, 100.9) == []
    assert joined.event(EVENT, 101.0) == [EVENT]


@pytest.mark.parametrize("apart", [WINDOW, 5.0])
def test_what_is_further_apart_counts_twice_and_is_for_the_driver_to_decide(apart: float) -> None:
    joined = correlator()
    assert joined.event(EVENT, 100.0) == [EVENT]
    assert joined.line(SUBJECT, HARMLESS, 100.0 + apart) == [OPEN, LINE]


def test_a_fatal_line_says_so_at_once_in_either_order() -> None:
    joined = correlator()
    assert joined.event(EVENT, 100.0) + joined.line(SUBJECT, FATAL, 100.1) == [EVENT, NEEDS_RESET]
    joined = correlator()
    assert joined.line(SUBJECT, FATAL, 100.0) + joined.event(EVENT, 100.1) == [LINE, NEEDS_RESET]


def test_a_kind_without_sub_codes_is_only_counted_once() -> None:
    subject, event = Subject(xid_kind(79), GPU, ""), EvidenceReported(xid_kind(79), GPU)
    joined = correlator()
    assert joined.event(event, 100.0) + joined.line(subject, None, 100.1) == [event]
    line = event._replace(source=Source.KERNEL_LOG)
    assert joined.line(subject, None, 200.0) + joined.event(event, 200.1) == [line]
    assert joined.line(subject, None, 300.0) + joined.line(subject, None, 301.0) == [line, line]


def test_several_lines_for_one_event_count_once() -> None:
    """Some XIDs have a line for each unit of the GPU."""
    subject, event = Subject(xid_kind(13), GPU, ""), EvidenceReported(xid_kind(13), GPU)
    joined = correlator()
    assert joined.event(event, 100.0) == [event]
    assert [joined.line(subject, None, 100.0 + each / 10) for each in range(3)] == [[], [], []]
    line = event._replace(source=Source.KERNEL_LOG)
    assert [joined.line(subject, None, 200.0 + each / 10) for each in range(3)] == [[line], [], []]
    assert joined.event(event, 200.3) == []
    assert joined.event(event, 200.4) == [event], "another error"


def test_every_event_has_to_be_explained() -> None:
    joined = correlator()
    joined.event(EVENT, 100.0)
    joined.event(EVENT, 100.1)
    assert joined.line(SUBJECT, HARMLESS, 100.2) == []
    assert joined.line(SUBJECT, HARMLESS, 100.3) == [EXPLAINED]


def test_a_line_that_comes_before_the_next_event_explains_that_one() -> None:
    joined = correlator()
    joined.event(EVENT, 100.0)
    joined.line(SUBJECT, HARMLESS, 100.1)
    assert joined.line(SUBJECT, HARMLESS, 100.2) == []
    assert joined.event(EVENT, 100.3) == [EVENT], "the explanation waits for a quiet moment"
    assert joined.due() == 101.3
    assert joined.settle(101.2) == []
    assert joined.settle(101.3) == [EXPLAINED]
    assert joined.due() is None


def test_one_kind_explains_no_other_and_one_device_no_other() -> None:
    joined = correlator()
    joined.event(EVENT, 100.0)
    for subject in (Subject(KINDS[1], GPU, ""), Subject(KIND, OTHER, "")):
        assert EXPLAINED not in joined.line(subject, HARMLESS, 100.1)


@pytest.mark.parametrize("meaning", [UNCLEAR, LineMeaning(Action.UNTIL_DRIVER_DECIDES, "asks the driver")])
def test_after_an_unclear_line_nothing_is_explained_for_a_while(meaning: LineMeaning) -> None:
    joined = correlator()
    joined.event(EVENT, 100.0)
    assert joined.line(SUBJECT, meaning, 100.1) == [OPEN._replace(what=meaning.what)]
    for number in range(5):
        assert EXPLAINED not in joined.event(EVENT, 102.0 + number)
        assert EXPLAINED not in joined.line(SUBJECT, HARMLESS, 102.1 + number)
    assert EXPLAINED not in joined.settle(110.0)
    joined.event(EVENT, 120.0)
    assert joined.line(SUBJECT, HARMLESS, 120.1) == [EXPLAINED]


@pytest.mark.parametrize("meaning", [UNCLEAR, LineMeaning(Action.UNTIL_DRIVER_DECIDES, "asks the driver")])
@pytest.mark.parametrize("event_comes_first", [True, False])
def test_a_further_line_that_explains_nothing_opens_the_question_again(
    meaning: LineMeaning, *, event_comes_first: bool
) -> None:
    joined, story = correlator(), Story()
    for is_event in (event_comes_first, not event_comes_first):
        story.see(*(joined.event(EVENT, 100.0) if is_event else joined.line(SUBJECT, HARMLESS, 100.0)))
    assert story.stage is Stage.HEALTHY
    told = joined.line(SUBJECT, meaning, 100.1)
    assert told == [LINE, OPEN._replace(what=meaning.what)]
    assert story.see(*told).stage is Stage.UNHEALTHY
    assert joined.line(SUBJECT, meaning, 100.2) == [OPEN._replace(what=meaning.what)], "it counts once"


def test_when_records_were_lost_nothing_around_it_is_explained() -> None:
    joined = correlator()
    joined.event(EVENT, 100.0)
    assert joined.lost(100.1) == [OPEN]
    assert EXPLAINED not in joined.line(SUBJECT, HARMLESS, 100.2)
    joined = correlator()
    joined.line(SUBJECT, HARMLESS, 100.0)
    assert joined.lost(100.1) == []
    assert joined.event(EVENT, 100.2) == [EVENT], "the line of this event may be the one that was lost"


def test_in_a_storm_it_is_explained_once_and_then_when_it_is_quiet() -> None:
    joined = correlator()
    told: list[Observation] = []
    for number in range(1000):
        told += joined.event(EVENT, 100.0 + number / 100)
        told += joined.line(SUBJECT, HARMLESS, 100.005 + number / 100)
    assert told.count(EVENT) == 1000
    assert told.count(EXPLAINED) <= 1 + 10 / CALM
    assert joined.settle(111.1) == [EXPLAINED]


def test_a_storm_without_lines_needs_little_memory_and_is_for_the_driver_to_decide() -> None:
    joined = correlator()
    told: list[Observation] = []
    for _ in range(3 * MAX_WAITING):
        told += joined.event(EVENT, 100.0)
    assert told.count(EVENT) == 3 * MAX_WAITING
    assert OPEN in told


def test_many_subjects_that_are_quiet_are_forgotten() -> None:
    joined = correlator()
    for number in range(3 * MAX_TRACKS):
        joined.event(EvidenceReported(xid_kind(number), GPU), 100.0 * number)
    assert len(joined._tracks) <= MAX_TRACKS


class Error(NamedTuple):
    """An error of a GPU as the driver reports it: an event and a line, each a moment later."""

    at: float
    kind: int
    is_fatal: bool
    event_after: float
    line_after: float


class Happening(NamedTuple):
    at: float
    error: Error
    is_line: bool


def _seconds(most: int) -> st.SearchStrategy[float]:
    """Few different times, so that they meet."""
    return st.integers(0, most).map(lambda tenths: tenths / 10)


ERRORS = st.builds(
    Error,
    at=_seconds(8),
    kind=st.sampled_from((0, 0, 0, 0, 1)),
    is_fatal=st.booleans(),
    event_after=_seconds(9),
    line_after=_seconds(9),
)


def happenings(errors: Sequence[Error]) -> list[Happening]:
    both = [Happening(error.at + error.event_after, error, is_line=False) for error in errors]
    both += [Happening(error.at + error.line_after, error, is_line=True) for error in errors]
    return sorted(both, key=lambda each: each.at)


class Play:
    """Lets a correlator report to a gateway that reads its queue only now and then."""

    def __init__(self, pauses: Sequence[bool]) -> None:
        self.story = Story()
        self._correlator = correlator()
        self._queue = ObservationQueue()
        self._pauses = iter(pauses)

    def play(self, *happened: Happening, lost: Sequence[Error] = (), no_event: Sequence[Error] = ()) -> Stage:
        for at, error, is_line in happened:
            self._settle_until(at)
            kind = KINDS[error.kind]
            if is_line and error in lost:
                self._put(self._correlator.lost(at))
            elif is_line:
                meaning = FATAL if error.is_fatal else HARMLESS
                self._put(self._correlator.line(Subject(kind, GPU, ""), meaning, at))
            elif error not in no_event:
                self._put(self._correlator.event(EvidenceReported(kind, GPU), at))
            if not next(self._pauses, False):
                self._read(at)
        self._settle_until(20.0)
        self._read(20.0)
        return self.story.stage

    def _settle_until(self, at: float) -> None:
        while (due := self._correlator.due()) is not None and due <= at:
            self._put(self._correlator.settle(due))

    def _put(self, told: Sequence[Observation]) -> None:
        for observation in told:
            self._queue.put(observation)

    def _read(self, at: float) -> None:
        self.story.now = max(self.story.now, at)
        self.story.see(*self._queue.take())


MANY = settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.too_slow])
PAUSES = st.lists(st.booleans(), max_size=40)


@MANY
@given(st.lists(ERRORS, min_size=1, max_size=8), PAUSES, st.data())
def test_no_fatal_error_is_over_without_a_reset(errors: list[Error], pauses: list[bool], data: st.DataObject) -> None:
    no_event = data.draw(st.lists(st.sampled_from(errors), max_size=3))
    play = Play(pauses)
    stage = play.play(*happenings(errors), no_event=no_event)
    if any(error.is_fatal for error in errors):
        assert stage is Stage.UNHEALTHY
        assert play.story.sleep(POLICY.decision_time).check(WELL).sleep(1000).check(WELL).stage is Stage.UNHEALTHY


@MANY
@given(st.lists(ERRORS.map(lambda error: error._replace(is_fatal=False)), max_size=8), PAUSES, st.data())
def test_no_storm_of_harmless_errors_leaves_it_out(
    errors: list[Error], pauses: list[bool], data: st.DataObject
) -> None:
    no_event = data.draw(st.lists(st.sampled_from(errors), max_size=3)) if errors else []
    assert Play(pauses).play(*happenings(errors), no_event=no_event) is Stage.HEALTHY


@MANY
@given(st.lists(ERRORS, min_size=1, max_size=3, unique=True), PAUSES, st.data())
def test_an_error_whose_line_was_lost_is_for_the_driver_to_decide(
    errors: list[Error], pauses: list[bool], data: st.DataObject
) -> None:
    lost = data.draw(st.lists(st.sampled_from(errors), min_size=1))
    play = Play(pauses)
    assert play.play(*happenings(errors), lost=lost) is Stage.UNHEALTHY
    harmless = not any(error.is_fatal for error in errors if error not in lost)
    stage = play.story.sleep(POLICY.decision_time).check(WELL).stage
    assert stage is (Stage.HEALTHY if harmless else Stage.UNHEALTHY)
