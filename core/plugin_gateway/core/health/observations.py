"""The observations that a backend can report. They are the inputs of the state function.

Each observation has a topic. A queue of observations keeps only the latest one of each topic, because a later one
repeats the earlier one. An observation whose topic is None is always kept, in its place in the order.
"""

from collections.abc import Hashable, Mapping
from typing import NamedTuple

from plugin_gateway.core.devices import DeviceId, Inventory
from plugin_gateway.core.health.faults import Checkup, Source
from plugin_gateway.core.health.policy import EvidenceKind


class InventorySeen(NamedTuple):
    """A complete inventory of the node."""

    inventory: Inventory

    @property
    def topic(self) -> Hashable | None:
        """None, because the order relative to other observations matters."""
        return None


class EvidenceReported(NamedTuple):
    """The driver reported evidence against a device that does not last by itself."""

    kind: EvidenceKind
    device: DeviceId | None
    """None if the driver named no device that the backend knows."""
    place: str = ""
    """The PCI address of an unknown device, if the driver reports it. Empty otherwise."""
    times: int = 1
    """How often the driver reported it, one after the other."""
    source: Source = Source.EVENT

    @property
    def topic(self) -> Hashable | None:
        """The device, its place and the kind of evidence."""
        return self.device, self.place, self.kind


class DevicesChecked(NamedTuple):
    """The results of a check of devices."""

    checkups: Mapping[DeviceId, Checkup]
    age: float = 0.0
    """Seconds since the first question of the check. The oldest answer can be as old."""

    @property
    def topic(self) -> Hashable | None:
        """The devices and the result of each, without the wording.

        Only a check with the same result replaces an earlier one. A problem that was present for a moment is therefore
        not lost.
        """
        return frozenset(
            (device, frozenset(checkup.problems), checkup.asks_for_recovery, checkup.unanswered)
            for device, checkup in self.checkups.items()
        )


class DriverSeen(NamedTuple):
    """The driver answered and identified itself."""

    version: str | None
    """None if the driver does not report its version."""
    instance: str | None
    """Changes when the kernel module is loaded again. None if the instance is unknown."""

    @property
    def topic(self) -> Hashable | None:
        """None, because the order relative to other observations matters."""
        return None


class DriverUnavailable(NamedTuple):
    """The driver cannot be asked at all."""

    problem: str
    """The reason, for people."""
    restart_may_help: bool = False
    """Whether the driver is there, and this process could use it before, but cannot open it any more."""

    @property
    def topic(self) -> Hashable | None:
        """None, because the order relative to other observations matters."""
        return None


class DriverSilence(NamedTuple):
    """How long the driver has given no sign."""

    seconds: float

    @property
    def topic(self) -> Hashable | None:
        """The same for every silence: only the latest duration matters."""
        return "silence"


class EventsAwaited(NamedTuple):
    """Whether the backend can receive events of the driver."""

    problem: str | None
    """The driver's error if events cannot be received, otherwise None."""

    @property
    def topic(self) -> Hashable | None:
        """None, because the order relative to other observations matters."""
        return None


Observation = (
    InventorySeen | EvidenceReported | DevicesChecked | DriverSeen | DriverUnavailable | DriverSilence | EventsAwaited
)


def merged(earlier: Observation, later: Observation) -> Observation:
    """Return one observation for two on the same topic: evidence is counted, of all else the later one says it all."""
    if isinstance(earlier, EvidenceReported) and isinstance(later, EvidenceReported):
        return later._replace(times=earlier.times + later.times)
    return later
