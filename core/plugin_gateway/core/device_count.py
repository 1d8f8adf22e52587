"""How many physical devices a node has, compared with how many it should have: a given number, or what it had before.

A device that is missing is said when it has been missing for some seconds, because a driver that comes up can show its
devices one after the other. Without any inventory for some seconds after the start, no device counts as present.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

from plugin_gateway.core.cards import PARENT
from plugin_gateway.core.devices import MAX_NAMES, Inventory, PhysicalDevice, PhysicalId, RejectedDevice

SETTLE_TIME = 10.0
"""Seconds for which a device has to be missing, or to be back, before that is said."""
MAX_SETTLE_TIME = 20.0
"""Seconds after which it is said although devices keep appearing."""
FIRST_LOOK_TIME = 30.0
"""Seconds after the start in which the first inventory is awaited. Without one, every expected device is missing."""


class KnownDevice(NamedTuple):
    """A device that the node had, with what people need to find it."""

    id: PhysicalId
    pci_address: str
    """Empty if it is not known."""

    def __str__(self) -> str:
        return f"{self.id} at {self.pci_address}" if self.pci_address not in {"", self.id} else self.id


class Known(NamedTuple):
    """The devices that the node had when it had most of them, or that an operator accepted."""

    number: int
    devices: tuple[KnownDevice, ...]
    """Fewer than `number` if the record of some cannot be read."""


class Comparison(NamedTuple):
    """The devices that are present and can be offered, compared with the expected ones."""

    expected: int
    present: int
    missing: tuple[KnownDevice, ...] = ()
    """The known devices that are not present. Empty while as many are present as expected."""
    rejected: tuple[RejectedDevice, ...] = ()
    """The devices that are present but cannot be offered. Empty while as many are present as expected."""

    @property
    def lacking(self) -> int:
        """How many devices are missing."""
        return max(self.expected - self.present, 0)

    @property
    def surplus(self) -> int:
        """How many devices there are more than expected."""
        return max(self.present - self.expected, 0)

    def problem(self, word: str) -> str | None:
        """Return which devices are missing, in words. None if none is. ``word`` is the word for a device."""
        if not self.lacking:
            return None
        lost = [each for each in self.missing if not any(_is_at(each, other) for other in self.rejected)]
        named = [f"{each} is missing" for each in lost]
        named += [f"{each.place} cannot be offered: {each.problem}" for each in self.rejected]
        more = max(self.lacking, len(named)) - min(len(named), MAX_NAMES)
        parts = [*named[:MAX_NAMES], f"{more} more" if named else "their ids are not known"] if more else named
        return f"{self.present} of {self.expected} {_plural(word, self.expected)} can be offered; {'; '.join(parts)}"


def _is_at(device: KnownDevice, rejected: RejectedDevice) -> bool:
    return bool(device.pci_address) and device.pci_address in rejected.place


def _plural(word: str, count: int) -> str:
    return word if count == 1 else f"{word}s"


class DeviceCount(NamedTuple):
    """What is known about the number of devices, and what was said about it. Times are seconds on a monotonic clock."""

    word: str
    """The common word for a device, in the singular."""
    given: int | None = None
    """The number that the administrator gave. None if the node should have what it had before."""
    known: Known | None = None
    """None until the node had devices."""
    inventory: Inventory | None = None
    told: str | None = None
    """The problem that was said last. None if it was said that there is none any more, or nothing was said."""
    untrue_since: float | None = None
    """Since when something else is true than what was said last. None if that is still true."""
    risen_at: float = -math.inf
    """When more devices appeared last."""
    awaited_until: float = math.inf
    """Until when the first inventory is awaited."""
    is_overdue: bool = False
    """Whether the first inventory did not come in that time. Then no device counts as present."""

    @property
    def expected(self) -> int | None:
        """The number of devices that there should be. None if it is not known."""
        if self.given is not None:
            return self.given
        return self.known.number if self.known is not None else None

    @property
    def comparison(self) -> Comparison | None:
        """The comparison with the latest inventory. None until there is one, or until it is overdue."""
        if self.present is None or self.expected is None:
            return None
        here = offerable(self.inventory) if self.inventory is not None else ()
        if len(here) >= self.expected:
            return Comparison(self.expected, len(here))
        ids = {device.id for device in here}
        known = self.known.devices if self.known is not None else ()
        missing = tuple(each for each in known if each.id not in ids)
        rejected = self.inventory.rejected if self.inventory is not None else ()
        rejected = tuple(each for each in rejected if each.physical not in ids)  # the others are here
        return Comparison(self.expected, len(here), missing, rejected)

    @property
    def present(self) -> int | None:
        """How many devices can be offered. None until that is known."""
        if self.inventory is not None:
            return len(offerable(self.inventory))
        return 0 if self.is_overdue else None

    @property
    def due(self) -> float | None:
        """When the next thing is to be said. None if nothing is."""
        if self.untrue_since is None:
            return self._first_due
        return min(max(self.untrue_since, self.risen_at) + SETTLE_TIME, self.untrue_since + MAX_SETTLE_TIME)

    @property
    def _first_due(self) -> float | None:
        """When the first inventory is overdue. None if it came, or is overdue already, or none is expected."""
        is_awaited = self.inventory is None and not self.is_overdue and self.expected is not None
        return self.awaited_until if is_awaited and self.awaited_until < math.inf else None

    @property
    def problem(self) -> str | None:
        """Which devices are missing now, in words."""
        comparison = self.comparison
        return comparison.problem(self.word) if comparison is not None else None


def offerable(inventory: Inventory) -> Sequence[PhysicalDevice]:
    """Return the physical devices of which anything can be offered. The reason is known for all others.

    Virtual functions are none of them: an administrator makes and removes them while the node runs.
    """
    lasting = [each for each in inventory.physical if not each.attributes.get(PARENT)]
    if all(each.physical is None for each in inventory.rejected):
        return lasting
    refused = {each.physical for each in inventory.rejected} - {each.physical.id for each in inventory.devices}
    return [each for each in lasting if each.id not in refused]


def see(count: DeviceCount, inventory: Inventory, now: float) -> DeviceCount:
    """Return the count with a new inventory. The node is remembered with the most devices that it had."""
    before = len(offerable(count.inventory)) if count.inventory is not None else 0
    here = offerable(inventory)
    risen_at = now if len(here) > before else count.risen_at
    known = _learn(count, here)
    return _compare(count._replace(inventory=inventory, known=known, risen_at=risen_at), now)


def _learn(count: DeviceCount, devices: Sequence[PhysicalDevice]) -> Known | None:
    """Return the devices to remember: those that are here, unless some of the known ones are missing."""
    known = count.known
    if known is not None:
        enough = known.number if count.given is None else min(known.number, count.given)
        if len(devices) < enough:
            return known
    return known_of(devices)


def known_of(devices: Sequence[PhysicalDevice]) -> Known:
    """Return what is remembered of these devices."""
    return Known(len(devices), tuple(KnownDevice(device.id, device.pci_address) for device in devices))


def expect(count: DeviceCount, given: int | None, now: float) -> DeviceCount:
    """Return the count with another number that the administrator gave, or none."""
    return _compare(count._replace(given=given), now)


def accept(count: DeviceCount, now: float) -> DeviceCount:
    """Return the count after an operator accepted the devices that are here now. This is said at once."""
    assert count.inventory is not None
    accepted = count._replace(known=known_of(offerable(count.inventory)), untrue_since=now - MAX_SETTLE_TIME)
    return _compare(accepted, now)


def say(count: DeviceCount, now: float) -> DeviceCount:
    """Return the count after what is due has been said."""
    if count.due is None or now < count.due:
        return count
    if count.untrue_since is None:
        return say(_compare(count._replace(is_overdue=True), now - MAX_SETTLE_TIME), now)
    return count._replace(told=count.problem, untrue_since=None)


def _compare(count: DeviceCount, now: float) -> DeviceCount:
    """Note since when something else is true than what was said."""
    if count.comparison is None or count.problem == count.told:
        return count._replace(untrue_since=None)
    return count if count.untrue_since is not None else count._replace(untrue_since=now)
