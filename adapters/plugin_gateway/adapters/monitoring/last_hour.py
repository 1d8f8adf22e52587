"""The last hour: when the stream of each resource was open, and when devices were not healthy."""

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from plugin_gateway.adapters.gateway.device_status import DeviceStatus
from plugin_gateway.adapters.gateway.gateway import Gateway
from plugin_gateway.adapters.gateway.health_counters import Changed, HealthCounters
from plugin_gateway.adapters.registration.history import RegistrationRecords, ResourceStatus
from plugin_gateway.core.devices import FaultId
from plugin_gateway.core.health.faults import Stage

HOUR = 3600.0
"""Seconds that are shown."""


class Span(NamedTuple):
    """A time, in seconds since the epoch."""

    begin: float
    end: float


class Mark(NamedTuple):
    """What happened at one moment."""

    at: float
    """In seconds since the epoch."""
    words: str
    """What happened, for people."""
    is_bad: bool


class Row(NamedTuple):
    """What is known about one resource, or about the health of all devices. Nothing is from before the hour."""

    known: Span
    """The time of which something is known. It ends now."""
    spans: Sequence[Span]
    """When the stream was open, or when a device was not healthy. No two of them touch each other."""
    marks: Sequence[Mark]
    """Registrations and failures, or faults, the oldest first."""

    @property
    def seconds(self) -> float:
        """The length of all spans together."""
        return sum(each.end - each.begin for each in self.spans)


class LastHour(NamedTuple):
    """The last hour of a gateway."""

    now: float
    """When the hour ends, in seconds since the epoch."""
    health: Row
    streams: Mapping[str, Row]
    """By resource."""


def last_hour(gateway: Gateway, unhealthy: Sequence[DeviceStatus], now: float) -> LastHour:
    """Return the last hour of a gateway, from what it keeps anyway. ``unhealthy`` are the devices of this moment."""
    streams = {each.resource: stream_row(each, now) for each in gateway.registrar.status()}
    return LastHour(now, health_row([each.counted for each in gateway.backends], unhealthy, now), streams)


def stream_row(status: ResourceStatus, now: float) -> Row:
    """Return when the stream of a resource was open."""
    records = status.records
    known = Span(min(now, max(now - HOUR, _kept_from(records))), now)
    marks = [
        Mark(each.at, f"registered as {each.api_version}: {each.reason}", is_bad=False) for each in records.registered
    ]
    marks += [Mark(each.at, ": ".join(filter(None, (each.cause, each.words))), is_bad=True) for each in records.failed]
    return Row(known, _clipped(_open_spans(records, status.stream_opened, now), known), _within(marks, known))


def health_row(counted: Sequence[HealthCounters], unhealthy: Sequence[DeviceStatus], now: float) -> Row:
    """Return when a device was not healthy. What is so now began when its status says."""
    changes = sorted((change for each in counted for change in each.latest), key=lambda change: change.at)
    known = Span(min(now, max([now - HOUR, *map(_changes_from, counted)])), now)
    spans = [*_fault_spans(changes), *(Span(each.since, now) for each in unhealthy if each.since is not None)]
    marks = [Mark(at, f"{it.device}: {it.reason}", is_bad=True) for at, it in changes if it.after is Stage.UNHEALTHY]
    marks += [Mark(at, f"{it.device}: healthy", is_bad=False) for at, it in changes if it.after is Stage.HEALTHY]
    return Row(known, _clipped(spans, known), _within(marks, known))


def _kept_from(records: RegistrationRecords) -> float:
    """Return since when the records are complete: what is older than those that are kept is forgotten."""
    begins = [records.since]
    if len(records.registered) == records.registered.maxlen:
        begins.append(records.registered[0].at)
    if len(records.ended) == records.ended.maxlen:
        begins.append(records.ended[0])
    return max(begins)


def _changes_from(counted: HealthCounters) -> float:
    return counted.latest[0].at if len(counted.latest) == counted.latest.maxlen else counted.since


def _open_spans(records: RegistrationRecords, opened: float | None, now: float) -> Iterable[Span]:
    """Yield when the stream was open: from each registration to the end of its stream."""
    for each in records.registered:
        yield Span(
            each.at, next((end for end in records.ended if end >= each.at), now if opened is not None else each.at)
        )


def _fault_spans(changes: Iterable[Changed]) -> Iterable[Span]:
    """Yield the times without health that are over. The beginning of one can be forgotten already."""
    began: dict[FaultId, float] = {}
    for at, change in changes:
        if change.after is Stage.HEALTHY:
            yield Span(began.pop(change.device, 0.0), at)
        else:
            began.setdefault(change.device, at)


def _clipped(spans: Iterable[Span], known: Span) -> Sequence[Span]:
    """Return the parts of spans that are known, in order. Those that overlap become one."""
    found: list[Span] = []
    for begin, end in sorted(spans):
        begin, end = max(begin, known.begin), min(end, known.end)  # noqa: PLW2901 - clipped
        if found and begin <= found[-1].end:
            found[-1] = Span(found[-1].begin, max(end, found[-1].end))
        elif begin < end:
            found.append(Span(begin, end))
    return found


def _within(marks: Iterable[Mark], known: Span) -> Sequence[Mark]:
    return sorted(each for each in marks if known.begin <= each.at <= known.end)
