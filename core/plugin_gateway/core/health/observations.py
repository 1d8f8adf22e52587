"""The observations that a backend can report. They are the inputs of the state function.

Each observation has a topic. A queue of observations keeps only the latest one of each topic, because a later one
repeats the earlier one. An observation whose topic is None is always kept, in its place in the order.
"""

from collections.abc import Hashable, Mapping
from typing import NamedTuple

from plugin_gateway.core.devices import FaultId, Inventory, Links, PortOfDevice
from plugin_gateway.core.health.faults import Checkup, Source
from plugin_gateway.core.health.policy import Action, EvidenceKind


class InventorySeen(NamedTuple):
    """A complete inventory of the node."""

    inventory: Inventory

    @property
    def topic(self) -> Hashable | None:
        """None, because the order relative to other observations matters."""
        return None


class LinksSeen(NamedTuple):
    """How the physical devices are connected. It comes after their inventory, and again if it has changed."""

    links: Links

    @property
    def topic(self) -> Hashable | None:
        """The same for all of them: only the latest one matters."""
        return "links"


class PortsSeen(NamedTuple):
    """The state of all ports of the devices that have some. It comes after their inventory, and if it has changed."""

    ports: tuple[PortOfDevice, ...]

    @property
    def topic(self) -> Hashable | None:
        """The same for all of them: only the latest one matters."""
        return "ports"


class FactsSeen(NamedTuple):
    """What a backend knows besides of its node and devices, in its own words. Nothing is offered by it.

    It comes only from a backend that is asked for it, after the inventory, and if it has changed.
    """

    node: Mapping[str, str]
    devices: Mapping[FaultId, Mapping[str, str]]
    """By the id of a physical device, or of a part of one. Each one of the inventory is in it."""

    @property
    def topic(self) -> Hashable | None:
        """The same for all of them: only the latest one matters."""
        return "facts"


class EvidenceReported(NamedTuple):
    """The driver reported evidence against a device that does not last by itself."""

    kind: EvidenceKind
    scope: FaultId | None
    """The physical device, which takes out every part of it, or only a part. None if the backend knows neither."""
    place: str = ""
    """The PCI address of an unknown device, if the driver reports it. Empty otherwise."""
    times: int = 1
    """How often the driver reported it, one after the other."""
    source: Source = Source.EVENT
    of_node: bool = False
    """Whether it is about a part of the node that is no device, at ``place``. ``scope`` is None then."""

    @property
    def topic(self) -> Hashable | None:
        """The device, its place and the kind of evidence."""
        return self.scope, self.place, self.kind


class EvidenceRefined(NamedTuple):
    """A more precise report about all evidence of a kind that was reported against a device so far."""

    kind: EvidenceKind
    scope: FaultId
    """The physical device, or only a part of it, as in the evidence."""
    action: Action
    """What follows: nothing if it explains all that evidence as harmless, a decision of the driver, or a reset."""
    what: str = ""
    """In words. Empty if there are none."""

    @property
    def topic(self) -> Hashable | None:
        """The device and the kind of evidence."""
        return "refined", self.scope, self.kind


class DevicesChecked(NamedTuple):
    """The results of a check of devices."""

    checkups: Mapping[FaultId, Checkup]
    age: float = 0.0
    """Seconds since the first question of the check, with the wait in the queue. The oldest answer can be as old."""

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

    def is_another_instance_than(self, other: "DriverSeen | None") -> bool:
        """Whether the devices were reset between the two. False if an instance is unknown."""
        return other is not None and None not in {self.instance, other.instance} and self.instance != other.instance

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
    todo: str = ""
    """What to do about it, for people. Empty if the cause was not found."""
    unserved: int = 0
    """How many devices the machine has for this driver. 0 if they cannot be seen."""
    is_released: bool = False
    """Whether an operator has the gateway keep its hands off the driver. Then no device can be given out at once."""

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


class KernelLogRead(NamedTuple):
    """Whether the backend can read the kernel's log, if it was told to."""

    problem: str | None
    """Why it cannot be read, otherwise None."""

    @property
    def topic(self) -> Hashable | None:
        """None, because the order relative to other observations matters."""
        return None


class DaemonsSeen(NamedTuple):
    """Whether the daemons are there through which containers share devices."""

    problems: Mapping[str, str]
    """Why the daemon of each resource is not there, for people. Empty if it is."""
    todo: str = ""
    """What to do about it, for people. Empty if the backend does not know."""

    @property
    def topic(self) -> Hashable | None:
        """The same for all of them: only the latest one matters."""
        return "daemons"


class RequirementSeen(NamedTuple):
    """Whether the node has what no container with one of the devices may be without."""

    problem: str
    """What it lacks, for people. Empty if it lacks nothing."""
    todo: str = ""
    """What to do about it, for people. Empty if the backend does not know."""

    @property
    def topic(self) -> Hashable | None:
        """The same for all of them: only the latest one matters."""
        return "requirement"


Observation = (
    InventorySeen
    | LinksSeen
    | PortsSeen
    | FactsSeen
    | EvidenceReported
    | EvidenceRefined
    | DevicesChecked
    | DriverSeen
    | DriverUnavailable
    | DriverSilence
    | EventsAwaited
    | KernelLogRead
    | DaemonsSeen
    | RequirementSeen
)


def merged(earlier: Observation, later: Observation) -> Observation:
    """Return one observation for two on the same topic.

    Evidence is counted. Of more precise reports the severest is kept. Of all else the later one says it all.
    """
    if isinstance(earlier, EvidenceReported) and isinstance(later, EvidenceReported):
        return later._replace(times=earlier.times + later.times)
    if isinstance(earlier, EvidenceRefined) and isinstance(later, EvidenceRefined):
        return max(later, earlier, key=lambda each: -1 if each.action.needs is None else each.action.needs)
    return later


def aged(observation: Observation, seconds: float) -> Observation:
    """Return the observation after it waited for its reader: the answers of a check are older then."""
    if isinstance(observation, DevicesChecked):
        return observation._replace(age=observation.age + seconds)
    return observation
