"""What a backend can report: the inputs of the state function."""

from collections.abc import Hashable, Mapping
from typing import NamedTuple

from plugin_gateway.core.devices import DeviceId, Inventory
from plugin_gateway.core.health.faults import Checkup
from plugin_gateway.core.health.policy import EvidenceKind


class InventorySeen(NamedTuple):
    """A whole snapshot."""

    inventory: Inventory

    @property
    def topic(self) -> Hashable | None:
        """What it is about: a later word on the same topic says it again. None for what has its place in a story."""
        return None


class EvidenceReported(NamedTuple):
    """The driver reported something that speaks against a device and does not last by itself."""

    kind: EvidenceKind
    device: DeviceId | None
    """None where the driver named no device that the backend knows."""
    place: str = ""
    """The PCI address of one that the backend does not know, as far as the driver names it."""

    @property
    def topic(self) -> Hashable | None:
        """Each kind of evidence against each device."""
        return self.device, self.place, self.kind


class DevicesChecked(NamedTuple):
    """What devices answered when they were asked how they are."""

    checkups: Mapping[DeviceId, Checkup]

    @property
    def topic(self) -> Hashable | None:
        """The same devices, with the same to say: a problem that was there for a moment was there."""
        return frozenset(
            (device, frozenset(checkup.problems), checkup.asks_for_recovery, checkup.unanswered)
            for device, checkup in self.checkups.items()
        )


class DriverSeen(NamedTuple):
    """Which driver answers."""

    version: str | None
    """None where it does not say."""
    instance: str | None
    """Another one after the kernel module was loaded again; None where that cannot be told."""

    @property
    def topic(self) -> Hashable | None:
        """None: what came before and after it counts."""
        return None


class DriverUnavailable(NamedTuple):
    """The driver cannot be asked at all."""

    problem: str

    @property
    def topic(self) -> Hashable | None:
        """None: what came before and after it counts."""
        return None


class DriverSilence(NamedTuple):
    """For how long the driver has not given any sign."""

    seconds: float

    @property
    def topic(self) -> Hashable | None:
        """The silence."""
        return "silence"


class EventsAwaited(NamedTuple):
    """Whether the driver's events can be waited for; what it says where they cannot."""

    problem: str | None

    @property
    def topic(self) -> Hashable | None:
        """None: what came before and after it counts."""
        return None


Observation = (
    InventorySeen | EvidenceReported | DevicesChecked | DriverSeen | DriverUnavailable | DriverSilence | EventsAwaited
)
