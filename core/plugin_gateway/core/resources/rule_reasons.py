"""Why a rule for resources does not take a device, and which rules may be a mistake. All functions are pure.

`rules` has what decides. This module is for people who want to know why.
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from enum import Enum
from typing import NamedTuple, TypeAlias

from plugin_gateway.core.devices import Device, Inventory, place_words
from plugin_gateway.core.resources.rules import CONDITIONS, ResourceRule, Selector, one_of, taker, takers, words_of


class Missed(NamedTuple):
    """A rule does not take a device, because the device does not fulfil this condition of the selector."""

    condition: str
    """In words for people and programs."""
    allowed: tuple[str, ...]
    """What the selector allows."""
    found: str
    """What the device has. Empty if it has none, such as the profile of a whole device."""

    def __str__(self) -> str:
        found = repr(self.found) if self.found else "none"
        return f"its {self.condition} is {found}, and not {one_of([repr(each) for each in self.allowed])}"


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


def missed(selector: Selector, device: Device) -> Missed | None:
    """Return the first condition that a device does not fulfil. None if the selector matches it."""
    name = selector.unfulfilled(device)
    if name is None:
        return None
    condition = CONDITIONS.get(name)
    if condition is None:
        has = device.physical.attributes.get(name, ())
        return Missed(name, tuple(selector.attributes[name]), ", ".join(has))
    found = [words_of(each) for each in condition.has(device)]
    return Missed(condition.words, tuple(map(words_of, getattr(selector, name))), found[0] if found else "")


def _why_not(device: Device, rule: ResourceRule, taken: int) -> Missed | Full | None:
    """Return why a rule that has taken so many devices does not take this one. None if it does."""
    why = missed(rule.selector, device)
    if why is None and rule.at_most is not None and taken >= rule.at_most:
        return Full(rule.at_most)
    return why


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
        chosen = taker(device, rules, taken)
        others = {
            number: _why_not(device, rule, counts.get(number, 0)) or Later()
            for number, rule in enumerate(rules)
            if number != chosen
        }
        found.append(Explanation(device, chosen, others))
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
        told = f"the rule {rule.words}" + (f" ({rule.origin})" if rule.origin else "")
        match self.doubt:
            case Doubt.NAMES_ABSENT:
                return f"{told} names what this machine does not have: {', '.join(self.absent)}"
            case Doubt.IS_SHADOWED:
                earlier = ", ".join(rules[number].words for number in self.takers)
                return f"{told} gets no device, because earlier rules take all that match it: {earlier}"
            case Doubt.MATCHES_NOTHING:
                return f"{told} matches no device of this machine"


def absent_from(inventory: Inventory, selector: Selector) -> tuple[str, ...]:
    """Return the ids, indexes and PCI addresses of the selector that no device of the inventory has."""
    places = {(each.index,) for each in inventory.physical} | {each.place for each in inventory.devices}
    addresses = {each.pci_address for each in inventory.physical}
    return (
        *(each for each in selector.ids if each not in inventory.ids),
        *(place_words(each) for each in selector.places if each not in places),
        *(each for each in selector.addresses if each not in addresses),
    )


def doubtful(inventory: Inventory, rules: Sequence[ResourceRule]) -> tuple[DoubtfulRule, ...]:
    """Return the rules that may be a mistake, of those that an administrator wrote or asked for.

    A machine without any device says nothing about them.
    """
    if not inventory.physical:
        return ()
    chosen = takers(inventory.devices, rules)
    return tuple(
        each
        for number, rule in enumerate(rules)
        if rule.origin or rule.is_always_there
        for each in _doubts(number, rule, inventory, chosen)
    )


def doubtful_in_all(inventories: Sequence[Inventory], rules: Sequence[ResourceRule]) -> tuple[DoubtfulRule, ...]:
    """Return the rules that may be a mistake by each of these inventories, which are those of all backends.

    One without any device says nothing about them.
    """
    found = [doubtful(each, rules) for each in inventories if each.physical]
    return tuple(each for each in found[0] if all(each in others for others in found[1:])) if found else ()


def without_devices(inventories: Mapping[str, Inventory], rules: Sequence[ResourceRule]) -> tuple[ResourceRule, ...]:
    """Return the rules that take no device and whose resource is offered all the same, without any.

    ``inventories`` has those that are known, by the names of their backends. The only one of a node has no name.
    """
    chosen = [takers(each.devices, rules) for each in inventories.values()]
    return tuple(
        rule
        for number, rule in enumerate(rules)
        if rule.is_always_there and rule.name is not None and any(map(rule.is_about, inventories))
        if not any(number in each for each in chosen)
    )


def _doubts(
    number: int, rule: ResourceRule, inventory: Inventory, chosen: Sequence[int | None]
) -> Iterator[DoubtfulRule]:
    absent = absent_from(inventory, rule.selector)
    if absent:
        yield DoubtfulRule(number, Doubt.NAMES_ABSENT, absent=absent)
    if number in chosen:
        return
    matched = [
        taker
        for device, taker in zip(inventory.devices, chosen, strict=True)
        if rule.selector.unfulfilled(device) is None
    ]
    if matched:
        earlier = sorted({each for each in matched if each is not None})
        yield DoubtfulRule(number, Doubt.IS_SHADOWED, takers=tuple(earlier))
    elif not absent:
        yield DoubtfulRule(number, Doubt.MATCHES_NOTHING)
