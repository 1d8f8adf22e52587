"""Joins what NVML's events and the kernel's log say about the same error, so that it counts once.

NVML's event does not tell the sub-code, the line of the log does. The driver reports both within a moment, in either
order. Events and lines of one device and kind are paired one to one, the oldest first:

- An event counts at once, unless it is paired with a line that counted already.
- A line counts only if there was no event within a second before it, and without sub-codes no line that counted either.
- A line with a sub-code that asks for nothing explains its event. If every event of the device and kind is explained,
  the device and kind are explained. In a storm this is said only when there was no event for a second.
- A line with a sub-code that asks for a reset says so at once. Another line that explains nothing counts again if all
  that counted before it was explained.
- An event without such a line within a second is for the driver to decide, and so is everything while records of the
  log were lost: nothing may be explained by the line of another event.
"""

from collections import deque
from collections.abc import Container
from dataclasses import dataclass, field
from math import inf
from typing import NamedTuple

from plugin_gateway.core.devices import FaultId
from plugin_gateway.core.health.faults import Source
from plugin_gateway.core.health.observations import EvidenceRefined, EvidenceReported, Observation
from plugin_gateway.core.health.policy import Action, EvidenceKind

WINDOW = 1.0
"""Seconds between an event and its line, at most."""
CALM = 10.0
"""Seconds after a doubt in which nothing is explained, and after an explanation in which the next one waits."""
MAX_WAITING = 1000
"""Events or lines of one device and kind that wait for each other. With more of them the driver decides."""
MAX_TRACKS = 1024
"""Devices and kinds that are remembered at most, if they are quiet."""


class LineMeaning(NamedTuple):
    """What a line of the log says about an error."""

    action: Action
    """IGNORE, UNTIL_DRIVER_DECIDES or UNTIL_RESET."""
    what: str
    """In words. Empty if the line has none of its own."""


UNCLEAR = LineMeaning(Action.UNTIL_DRIVER_DECIDES, "")
"""A line whose sub-code could not be read."""


class Subject(NamedTuple):
    """What an event or a line is about."""

    kind: EvidenceKind
    device: FaultId | None
    place: str


class _Line(NamedTuple):
    """A line that waits for its event. ``explains`` is its meaning if it has not counted itself."""

    at: float
    explains: LineMeaning | None


@dataclass(slots=True)
class _Track:
    """What is known about one subject. Times are of the caller's clock."""

    unexplained: deque[float] = field(default_factory=deque)
    """When each event came that still waits for its line."""
    lines: deque[_Line] = field(default_factory=lambda: deque(maxlen=MAX_WAITING))
    """Lines that still wait for their event."""
    last_event: float = -inf
    counted_at: float = -inf
    """When an event or a line counted last."""
    last: float = -inf
    """When an event or a line came last."""
    doubted_at: float = -inf
    explained_at: float = -inf
    waiting: LineMeaning | None = None
    """What will be said when it is quiet."""


class Correlator:
    """Turns events and lines into observations. It has no clock and no thread; one caller at a time may use it."""

    def __init__(self, explainable: Container[EvidenceKind]) -> None:
        """``explainable`` are the kinds of evidence that have sub-codes."""
        self._explainable = explainable
        self._tracks: dict[Subject, _Track] = {}
        self._lost_at = -inf

    def event(self, evidence: EvidenceReported, now: float) -> list[Observation]:
        """Return what follows from an event of NVML."""
        subject = Subject(evidence.kind, evidence.scope, evidence.place)
        track, told = self._update(subject, now)
        track.last = track.last_event = now
        line = track.lines.popleft() if track.lines else None
        if line is not None and line.explains is None:
            return told
        told.append(evidence)
        track.counted_at = now
        if line is not None:
            track.waiting = line.explains
            return told + self._explained(subject, track, now)
        if subject.kind in self._explainable:
            track.unexplained.append(now)
            if len(track.unexplained) > MAX_WAITING:
                told += self._doubt(subject, track, now)
        return told

    def line(self, subject: Subject, meaning: LineMeaning | None, now: float) -> list[Observation]:
        """Return what follows from a line of the log. ``meaning`` is None for a kind of evidence without sub-codes."""
        track, told = self._update(subject, now)
        track.last = now
        counts = now >= track.last_event + WINDOW and not (meaning is None and track.lines)
        if counts:
            track.counted_at = now
            told.append(EvidenceReported(*subject, source=Source.KERNEL_LOG))
            track.lines.append(_Line(now, explains=None))
        if meaning is None or subject.device is None:
            return told
        return told + self._mean(subject, track, meaning, now, counts=counts)

    def _mean(
        self, subject: Subject, track: _Track, meaning: LineMeaning, now: float, *, counts: bool
    ) -> list[Observation]:
        if meaning.action is Action.UNTIL_DRIVER_DECIDES or (
            meaning.action is Action.IGNORE and now - self._lost_at < WINDOW
        ):
            doubted = self._doubt(subject, track, now, meaning.what)
            if counts or track.explained_at < track.counted_at:
                return doubted
            track.counted_at = now
            return [EvidenceReported(*subject, source=Source.KERNEL_LOG), *doubted]
        is_paired = bool(track.unexplained)
        if is_paired:
            track.unexplained.popleft()
        if meaning.action is not Action.IGNORE:
            track.waiting = None
            return [_refined(subject, meaning)]
        if not is_paired and not counts:
            track.lines.append(_Line(now, explains=meaning))
            return []
        track.waiting = meaning
        return self._explained(subject, track, now)

    def lost(self, now: float) -> list[Observation]:
        """Return what follows from the loss of records. The lines of events before and after it can be among them."""
        self._lost_at = now
        told: list[Observation] = []
        for subject, track in self._tracks.items():
            track.lines.clear()
            if track.unexplained or track.waiting is not None:
                told += self._doubt(subject, track, now)
        return told

    def due(self) -> float | None:
        """Return when `settle` has something to say, at the earliest. None if it has nothing."""
        return min((track.last + WINDOW for track in self._tracks.values() if track.waiting is not None), default=None)

    def settle(self, now: float) -> list[Observation]:
        """Return what is explained and waited only for a quiet moment."""
        told: list[Observation] = []
        for subject, track in self._tracks.items():
            if track.waiting is not None and now >= track.last + WINDOW:
                told += [*self._expire(subject, track, now), *self._say_explained(subject, track, now)]
        return told

    def _update(self, subject: Subject, now: float) -> tuple[_Track, list[Observation]]:
        """Return the track of a subject, and what follows from the time that has passed."""
        track = self._tracks.get(subject)
        if track is None:
            if len(self._tracks) >= MAX_TRACKS:
                self._tracks = {each: kept for each, kept in self._tracks.items() if now - kept.last <= CALM}
            track = self._tracks[subject] = _Track()
        return track, self._expire(subject, track, now)

    def _expire(self, subject: Subject, track: _Track, now: float) -> list[Observation]:
        while track.lines and now >= track.lines[0].at + WINDOW:
            track.lines.popleft()
        if track.unexplained and now >= track.unexplained[0] + WINDOW:
            return self._doubt(subject, track, now)
        return []

    def _doubt(self, subject: Subject, track: _Track, now: float, what: str = "") -> list[Observation]:
        """Leave all events so far to the driver."""
        track.unexplained.clear()
        track.lines = deque((line for line in track.lines if line.explains is None), maxlen=MAX_WAITING)
        track.waiting = None
        track.doubted_at = now
        return [_refined(subject, UNCLEAR._replace(what=what))] if subject.device is not None else []

    def _explained(self, subject: Subject, track: _Track, now: float) -> list[Observation]:
        """Say that every event is explained, if that is so. Wait with it if it was said a moment ago."""
        if track.unexplained or now - track.explained_at < CALM:
            return []
        return self._say_explained(subject, track, now)

    def _say_explained(self, subject: Subject, track: _Track, now: float) -> list[Observation]:
        meaning, track.waiting = track.waiting, None
        if meaning is None or now - track.doubted_at < CALM:
            return []
        track.explained_at = now
        return [_refined(subject, meaning)]


def _refined(subject: Subject, meaning: LineMeaning) -> EvidenceRefined:
    assert subject.device is not None
    return EvidenceRefined(subject.kind, subject.device, meaning.action, meaning.what)
