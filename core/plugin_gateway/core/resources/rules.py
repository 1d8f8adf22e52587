"""Rules: which devices are offered under which name, how they are shared, and which are never offered.

A rule has a selector. The first rule whose selector matches a device takes it, and decides. `rule_reasons` says why the
other rules do not take a device, and which rules may be a mistake.
"""

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, NamedTuple

from plugin_gateway.core.devices import Device, DevicePlace, FaultId, Kind, place_words
from plugin_gateway.core.errors import InvalidValueError
from plugin_gateway.core.resources.names import ResourceName
from plugin_gateway.core.resources.sharing import ALONE, Sharing

if TYPE_CHECKING:
    from plugin_gateway.core.resources.container_options import ContainerOptions


class Condition(NamedTuple):
    """One thing that a selector can ask of a device."""

    words: str
    """For people and programs."""
    has: Callable[[Device], tuple[str | DevicePlace, ...]]
    """What a device has of it, the most precise first. A selector can name any of them."""
    is_pattern: bool = False
    """Whether a selector names shell patterns. Case matters."""

    def is_fulfilled(self, device: Device, allowed: Collection[str | DevicePlace]) -> bool:
        """Whether a device has one of what is allowed."""
        if not self.is_pattern:
            return any(each in allowed for each in self.has(device))
        return _matches(self.has(device), allowed)


def _matches(values: Iterable[str | DevicePlace], patterns: Collection[str | DevicePlace]) -> bool:
    return any(fnmatchcase(str(each), str(pattern)) for each in values for pattern in patterns)


CONDITIONS: Mapping[str, Condition] = {
    "products": Condition("product", lambda device: (device.physical.product,), is_pattern=True),
    "profiles": Condition("profile", lambda device: (device.profile,) if device.profile else (), is_pattern=True),
    "ids": Condition("id", lambda device: (device.id, device.physical.id)),
    "places": Condition("index", lambda device: (device.place, device.place[:1])),
    "addresses": Condition("PCI address", lambda device: (device.physical.pci_address,)),
    "kinds": Condition("kind", lambda device: (device.kind,)),
    "backends": Condition("backend", lambda device: (device.physical.backend,)),
}
"""By the field of the selector, in the order in which people read them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Selector:
    """Which devices a rule is about.

    A device has to fulfil each condition that is not empty. It fulfils one if it has one of the values. An empty
    selector matches every device. What is said of a physical device is said of its parts, too.
    """

    ids: tuple[FaultId, ...] = ()
    """Ids of devices, or of physical devices."""
    places: tuple[DevicePlace, ...] = ()
    """Indexes of physical devices, and places of parts."""
    addresses: tuple[str, ...] = ()
    """PCI addresses of physical devices, as sysfs writes them."""
    products: tuple[str, ...] = ()
    """Shell patterns for the whole product name, such as ``*80GB*``."""
    profiles: tuple[str, ...] = ()
    """Shell patterns for the profile of a part. A whole device has no profile."""
    kinds: tuple[Kind, ...] = ()
    backends: tuple[str, ...] = ()
    """Names of backends. With only one backend on the node, none of its devices has a name to match."""
    attributes: Mapping[str, tuple[str, ...]] = field(default_factory=dict, hash=False)
    """Shell patterns for `PhysicalDevice.attributes`, by the word of each. Case matters."""

    def __post_init__(self) -> None:
        """Reject an empty text, because it matches nothing."""
        listed = {name: getattr(self, name) for name in CONDITIONS} | dict(self.attributes)
        for name, allowed in listed.items():
            if "" in allowed:
                raise InvalidValueError(f"selector: '' in {name} matches no device; '*' is the pattern for every one")

    def unfulfilled(self, device: Device) -> str | None:
        """Return the first condition that a device does not fulfil. None if the selector matches.

        It is the name of a field, or the word of an attribute.
        """
        for name, condition in CONDITIONS.items():
            allowed = getattr(self, name)
            if allowed and not condition.is_fulfilled(device, allowed):
                return name
        for word, patterns in self.attributes.items():
            if patterns and not _matches(device.physical.attributes.get(word, ()), patterns):
                return word
        return None

    def __str__(self) -> str:
        told = [
            f"{'' if name == 'products' else f'{condition.words} '}{' or '.join(map(words_of, allowed))}"
            for name, condition in CONDITIONS.items()
            if (allowed := getattr(self, name))
        ]
        told += [f"{word} {one_of(patterns)}" for word, patterns in self.attributes.items() if patterns]
        return " and ".join(told) or EVERY_PRODUCT


MAX_VALUES = 8
"""Values of one condition that are named. A range of numbers can stand for hundreds."""


def one_of(values: Sequence[str]) -> str:
    """Return the values that a condition allows as people read them."""
    more = len(values) - MAX_VALUES
    return " or ".join((*values[:MAX_VALUES], f"{more} more") if more > 0 else values)


EVERY_DEVICE = Selector()
EVERY_PRODUCT = "*"
"""The pattern that matches each product."""


def words_of(value: str | DevicePlace) -> str:
    """Return a value of a condition as people write it."""
    return value if isinstance(value, str) else place_words(value)


@dataclass(frozen=True, slots=True, kw_only=True)
class ResourceRule:
    """The devices that match the selector are offered under this name, if no earlier rule takes them."""

    selector: Selector = EVERY_DEVICE
    name: ResourceName | None
    """None: they are never offered."""
    has_profile: bool = False
    """Whether the profile of a part is a part of the name: ``NAME-PROFILE``. What no name may have becomes a dot."""
    sharing: Sharing = ALONE
    options: "ContainerOptions | None" = None
    """What its containers get besides what the devices need. None if nothing."""
    is_always_there: bool = False
    """Whether the resource is offered with no device where the rule takes none."""
    at_most: int | None = None
    """How many devices the rule takes, in the order of their place. None: all that match."""
    origin: str = field(default="", compare=False)
    """Where the administrator wrote it, for people. Empty if nobody did."""

    def __post_init__(self) -> None:
        """Reject a rule that takes no device."""
        if self.at_most is not None and self.at_most < 1:
            raise InvalidValueError(f"a rule takes {self.at_most} devices; expected 1 or more")

    def name_for(self, device: Device) -> ResourceName | None:
        """Return the name under which a device that the rule takes is offered. None if it is not offered."""
        if self.name is None or not (self.has_profile and device.profile):
            return self.name
        return ResourceName(f"{self.name}-{device.profile.replace('+', '.')}")

    def is_about(self, backend: str) -> bool:
        """Whether the rule can take devices of a backend. The only one of a node has no name."""
        return not self.selector.backends or backend in self.selector.backends

    @property
    def words(self) -> str:
        """The rule as people read it in one line, such as ``*80GB*=example.com/device x4``."""
        name = "never offered" if self.name is None else f"{self.name}-PROFILE" if self.has_profile else self.name
        limit = f"{self.at_most} of " if self.at_most is not None else ""
        return f"{limit}{self.selector}={name}{self.sharing.words}"


def takers(devices: Sequence[Device], rules: Sequence[ResourceRule]) -> tuple[int | None, ...]:
    """Return the number of the rule that takes each device, counted from 0. None if no rule matches it.

    ``devices`` are all of the inventory, in its order.
    """
    taken: Counter[int] = Counter()
    return tuple(taker(device, rules, taken) for device in devices)


def named(devices: Sequence[Device], rules: Sequence[ResourceRule]) -> Iterator[tuple[Device, ResourceName, Sharing]]:
    """Yield each device that is offered, with its name and how it is shared. ``devices`` are as for `takers`."""
    for device, number in zip(devices, takers(devices, rules), strict=True):
        name = None if number is None else rules[number].name_for(device)
        if number is not None and name is not None:
            yield device, name, rules[number].sharing


def unmatched(devices: Sequence[Device], rules: Sequence[ResourceRule]) -> tuple[Device, ...]:
    """Return the devices that no rule matches. ``devices`` are as for `takers`."""
    chosen = zip(devices, takers(devices, rules), strict=True)
    return tuple(device for device, number in chosen if number is None)


def excluded(devices: Sequence[Device], rules: Sequence[ResourceRule]) -> tuple[Device, ...]:
    """Return the devices that a rule says are never offered. ``devices`` are as for `takers`."""
    chosen = zip(devices, takers(devices, rules), strict=True)
    return tuple(device for device, number in chosen if number is not None and rules[number].name is None)


def taker(device: Device, rules: Sequence[ResourceRule], taken: Counter[int]) -> int | None:
    """Return the number of the rule that takes a device. ``taken`` has how many each took before, and counts it."""
    for number, rule in enumerate(rules):
        is_full = rule.at_most is not None and taken[number] >= rule.at_most
        if not is_full and rule.selector.unfulfilled(device) is None:
            taken[number] += 1
            return number
    return None
