"""Rules: which devices are offered under which name, how they are shared, and which are never offered.

A rule has a selector. The first rule whose selector matches a device takes it, and decides. All functions are pure:
they say which rule took a device, why the others did not, and which rules may be a mistake.
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from fnmatch import fnmatchcase
from typing import NamedTuple, TypeAlias

from plugin_gateway.core.devices import Device, FaultId, Inventory, Kind
from plugin_gateway.core.errors import InvalidValueError
from plugin_gateway.core.resources.names import ResourceName
from plugin_gateway.core.resources.sharing import ALONE, Sharing

Place: TypeAlias = tuple[int, ...]
"""The index of a physical device, or that and the number of a part of it."""


class Condition(Enum):
    """What a selector can ask of a device. The values are words for people and programs."""

    ID = "id"
    PLACE = "index"
    ADDRESS = "PCI address"
    PRODUCT = "product"
    PROFILE = "profile"
    KIND = "kind"


class Missed(NamedTuple):
    """A rule does not take a device, because the device does not fulfil this condition of the selector."""

    condition: Condition
    allowed: tuple[str, ...]
    """What the selector allows."""
    found: str
    """What the device has. Empty if it has none, such as the profile of a whole device."""

    def __str__(self) -> str:
        found = repr(self.found) if self.found else "none"
        return f"its {self.condition.value} is {found}, and not {' or '.join(map(repr, self.allowed))}"


class Full(NamedTuple):
    """A rule does not take a device, because it has taken as many as it may."""

    at_most: int

    def __str__(self) -> str:
        return f"it has taken {self.at_most} already, and may take no more"


class Later(NamedTuple):
    """A rule matches a device, but comes after the one that took it."""

    def __str__(self) -> str:
        return "it comes later"


WhyNot: TypeAlias = Missed | Full | Later


@dataclass(frozen=True, slots=True, kw_only=True)
class Selector:
    """Which devices a rule is about.

    A device has to fulfil each condition that is not empty. It fulfils one if it has one of the values. An empty
    selector matches every device. What is said of a physical device is said of its parts, too.
    """

    ids: tuple[FaultId, ...] = ()
    """Ids of devices, or of physical devices."""
    places: tuple[Place, ...] = ()
    """Indexes of physical devices, and places of parts."""
    addresses: tuple[str, ...] = ()
    """PCI addresses of physical devices, as sysfs writes them."""
    products: tuple[str, ...] = ()
    """Shell patterns for the whole product name, such as ``*80GB*``. Case matters."""
    profiles: tuple[str, ...] = ()
    """Shell patterns for the profile of a part. A whole device has no profile."""
    kinds: tuple[Kind, ...] = ()

    def __post_init__(self) -> None:
        """Reject an empty text, because it matches nothing."""
        for name in ("ids", "addresses", "products", "profiles", "kinds"):
            if "" in getattr(self, name):
                raise InvalidValueError(f"selector: '' in {name} matches no device; '*' is the pattern for every one")

    def missed(self, device: Device) -> Missed | None:
        """Return the first condition that a device does not fulfil. None if the selector matches it."""
        return next((missed for missed, is_fulfilled in self._conditions(device) if not is_fulfilled), None)

    def _conditions(self, device: Device) -> Iterator[tuple[Missed, bool]]:
        """Yield each condition that there is, as it is told where it is missed, and whether it is fulfilled."""
        physical, ids, places = device.physical, self.ids, self.places
        if ids:
            yield Missed(Condition.ID, ids, device.id), device.id in ids or physical.id in ids
        if places:
            words = tuple(map(place_words, places))
            yield (
                Missed(Condition.PLACE, words, device.place_words),
                device.place in places or device.place[:1] in places,
            )
        if self.addresses:
            yield (
                Missed(Condition.ADDRESS, self.addresses, physical.pci_address),
                physical.pci_address in self.addresses,
            )
        if self.products:
            yield Missed(Condition.PRODUCT, self.products, physical.product), _fits(physical.product, self.products)
        if self.profiles:
            yield (
                Missed(Condition.PROFILE, self.profiles, device.profile),
                bool(device.profile) and _fits(device.profile, self.profiles),
            )
        if self.kinds:
            yield Missed(Condition.KIND, self.kinds, device.kind), device.kind in self.kinds

    def __str__(self) -> str:
        given = {
            "": self.products,
            "profile ": self.profiles,
            "id ": self.ids,
            "index ": tuple(map(place_words, self.places)),
            "PCI address ": self.addresses,
            "kind ": self.kinds,
        }
        return " and ".join(f"{what}{' or '.join(values)}" for what, values in given.items() if values) or EVERY_PRODUCT

    def absent(self, inventory: Inventory) -> tuple[str, ...]:
        """Return the ids, indexes and PCI addresses of the selector that no device of the inventory has."""
        places = {(each.index,) for each in inventory.physical} | {each.place for each in inventory.devices}
        addresses = {each.pci_address for each in inventory.physical}
        return (
            *(each for each in self.ids if each not in inventory.ids),
            *(place_words(each) for each in self.places if each not in places),
            *(each for each in self.addresses if each not in addresses),
        )


EVERY_DEVICE = Selector()
EVERY_PRODUCT = "*"
"""The pattern that matches each product."""


def place_words(place: Place) -> str:
    """Return a place as people write it: ``0`` for a physical device, ``0:1`` for a part."""
    return ":".join(map(str, place))


def _fits(text: str, patterns: Sequence[str]) -> bool:
    return any(fnmatchcase(text, pattern) for pattern in patterns)


@dataclass(frozen=True, slots=True, kw_only=True)
class ResourceRule:
    """The devices that match the selector are offered under this name, if no earlier rule takes them."""

    selector: Selector = EVERY_DEVICE
    name: ResourceName | None
    """None: they are never offered."""
    has_profile: bool = False
    """Whether the profile of a part is a part of the name: ``NAME-PROFILE``. What no name may have becomes a dot."""
    sharing: Sharing = ALONE
    at_most: int | None = None
    """How many devices the rule takes, in the order of their place. None: all that match."""
    origin: str = field(default="", compare=False)
    """Where the administrator wrote it, for people. Empty if nobody did."""

    def __post_init__(self) -> None:
        """Reject a rule that takes no device."""
        if self.at_most is not None and self.at_most < 1:
            raise InvalidValueError(f"a rule takes {self.at_most} devices, allowed are 1 and more")

    def name_for(self, device: Device) -> ResourceName | None:
        """Return the name under which a device that the rule takes is offered. None if it is not offered."""
        if self.name is None or not (self.has_profile and device.profile):
            return self.name
        return ResourceName(f"{self.name}-{device.profile.replace('+', '.')}")

    @property
    def words(self) -> str:
        """The rule as people read it in one line, such as ``*80GB*=example.com/device x4``."""
        name = "never offered" if self.name is None else f"{self.name}-PROFILE" if self.has_profile else self.name
        times = f" x{self.sharing.replicas}" if self.sharing.replicas > 1 else ""
        limit = f"{self.at_most} of " if self.at_most is not None else ""
        return f"{limit}{self.selector}={name}{times}"


def takers(devices: Sequence[Device], rules: Sequence[ResourceRule]) -> tuple[int | None, ...]:
    """Return the number of the rule that takes each device, counted from 0. None if no rule matches it.

    ``devices`` are all of the inventory, in its order.
    """
    taken: Counter[int] = Counter()
    return tuple(_taker(device, rules, taken) for device in devices)


def _taker(device: Device, rules: Sequence[ResourceRule], taken: Counter[int]) -> int | None:
    """Return the number of the rule that takes a device. ``taken`` counts what each rule has taken so far."""
    for number, rule in enumerate(rules):
        if _why_not(device, rule, taken[number]) is None:
            taken[number] += 1
            return number
    return None


def _why_not(device: Device, rule: ResourceRule, taken: int) -> Missed | Full | None:
    """Return why a rule that has taken so many devices does not take this one. None if it does."""
    missed = rule.selector.missed(device)
    if missed is None and rule.at_most is not None and taken >= rule.at_most:
        return Full(rule.at_most)
    return missed


class Explanation(NamedTuple):
    """Which rule took a device, and why the others did not."""

    device: Device
    taker: int | None
    """The number of the rule. None if no rule matches the device."""
    others: Mapping[int, WhyNot]
    """Why not, by the number of the rule."""


def explain(devices: Sequence[Device], rules: Sequence[ResourceRule]) -> tuple[Explanation, ...]:
    """Return an explanation for each device. ``devices`` are all of the inventory, in its order."""
    taken: Counter[int] = Counter()
    found = []
    for device in devices:
        counts = dict(taken)
        taker = _taker(device, rules, taken)
        others = {
            number: _why_not(device, rule, counts.get(number, 0)) or Later()
            for number, rule in enumerate(rules)
            if number != taker
        }
        found.append(Explanation(device, taker, others))
    return tuple(found)


class Doubt(Enum):
    """What may be wrong with a rule. The values are words for programs."""

    MATCHES_NOTHING = "matches_nothing"
    """No device of this machine fulfils its conditions."""
    IS_SHADOWED = "is_shadowed"
    """Earlier rules take every device that matches."""
    NAMES_ABSENT = "names_absent"
    """It names a device that is not in this machine."""


class DoubtfulRule(NamedTuple):
    """A rule that may be a mistake. The others are followed as they are."""

    number: int
    """The number of the rule, counted from 0."""
    doubt: Doubt
    absent: tuple[str, ...] = ()
    """The ids, indexes and PCI addresses that are not in this machine."""
    takers: tuple[int, ...] = ()
    """The numbers of the rules that take what it matches."""

    def words(self, rules: Sequence[ResourceRule]) -> str:
        """Return it as people read it. ``rules`` are those that its numbers count."""
        rule = rules[self.number]
        told = f"the rule {rule.words} ({rule.origin})"
        match self.doubt:
            case Doubt.NAMES_ABSENT:
                return f"{told} names what this machine does not have: {', '.join(self.absent)}"
            case Doubt.IS_SHADOWED:
                earlier = ", ".join(rules[number].words for number in self.takers)
                return f"{told} gets no device, because earlier rules take all that match it: {earlier}"
            case Doubt.MATCHES_NOTHING:
                return f"{told} matches no device of this machine"


def doubtful(inventory: Inventory, rules: Sequence[ResourceRule]) -> tuple[DoubtfulRule, ...]:
    """Return the rules that may be a mistake, of those that an administrator wrote.

    A machine without any device says nothing about them.
    """
    if not inventory.physical:
        return ()
    chosen = takers(inventory.devices, rules)
    return tuple(
        each for number, rule in enumerate(rules) if rule.origin for each in _doubts(number, rule, inventory, chosen)
    )


def _doubts(
    number: int, rule: ResourceRule, inventory: Inventory, chosen: Sequence[int | None]
) -> Iterator[DoubtfulRule]:
    absent = rule.selector.absent(inventory)
    if absent:
        yield DoubtfulRule(number, Doubt.NAMES_ABSENT, absent=absent)
    if number in chosen:
        return
    matched = [
        taker for device, taker in zip(inventory.devices, chosen, strict=True) if rule.selector.missed(device) is None
    ]
    if matched:
        earlier = sorted({taker for taker in matched if taker is not None})
        yield DoubtfulRule(number, Doubt.IS_SHADOWED, takers=tuple(earlier))
    elif not absent:
        yield DoubtfulRule(number, Doubt.MATCHES_NOTHING)
