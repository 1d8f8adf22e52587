"""Devices of several backends that one container gets: those that are near each other are preferred.

No call of the kubelet names a pod. But a kubelet admits one pod at a time, and asks for the resources of a container
one after the other, in any order. So what was allocated a moment ago of another backend's resource is mostly for the
same container. A wrong guess costs distance only: the answer has as many devices, with those that it must have.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from plugin_gateway.core.devices import PhysicalDevice
from plugin_gateway.core.resources.assignment import Advertisement
from plugin_gateway.core.resources.choice import Known, links_decide, preferred
from plugin_gateway.core.resources.names import ResourceName
from plugin_gateway.core.resources.policy import USUAL_PREFERENCES, AllocationPreference, Preferences
from plugin_gateway.core.resources.preference import PreferenceRequest

MAX_AGE = 1.0
"""Seconds for which an allocation can be for the container that the kubelet asks about now."""
FAR, ON_ONE_NODE, BELOW_ONE_HOST_BRIDGE = range(3)
"""How near two devices are. Each bridge that they have in common makes them nearer by one."""
_WORDS = ("far", "on one NUMA node", "below one host bridge")


class Grant(NamedTuple):
    """An answer to Allocate."""

    resource: ResourceName
    backend: str
    """The name of the backend that has the devices."""
    advertised: Advertisement
    """What the resource offered then."""
    ids: tuple[str, ...]
    at: float
    """When it was answered, in seconds of any steady clock."""

    @property
    def devices(self) -> tuple[PhysicalDevice, ...]:
        """The physical devices, each once."""
        offered = (self.advertised.by_id[each] for each in self.ids if each in self.advertised.by_id)
        return tuple({device.physical.id: device.physical for each in offered for device in each.devices}.values())


Grants = tuple[Grant, ...]
"""What one container was given so far, as far as it can be guessed."""


def noted(grants: Grants, grant: Grant) -> Grants:
    """Return what the container has with one more grant. If it had some of the resource, this is another container."""
    if any(each.resource == grant.resource for each in grants):
        return (grant,)
    return (*(each for each in grants if grant.at - each.at <= MAX_AGE), grant)


def counting(grants: Grants, resource: ResourceName, backend: str, now: float) -> Grants:
    """Return the grants of other backends near which a container should get devices of this resource.

    There are none if the resource was given already: then the question is about another container. So each grant counts
    once for each resource, and two pods of the same kind do not mix.
    """
    if any(each.resource == resource for each in grants):
        return ()
    return tuple(each for each in grants if each.backend != backend and now - each.at <= MAX_AGE)


def nearness(one: PhysicalDevice, other: PhysicalDevice) -> int:
    """Return how near two devices are: the bridges that they have in common count first, then their NUMA node."""
    return _near(_spot(one), _spot(other))


def words_of(near: int) -> str:
    """Return how near two devices are, for people."""
    bridges = near - BELOW_ONE_HOST_BRIDGE
    if bridges <= 0:
        return _WORDS[near]
    return "below one bridge" if bridges == 1 else f"below {bridges} bridges of each other"


def value_of(near: Iterable["Vector"]) -> int:
    """Return what a set of devices is worth, from how near each of them is to each device that was granted.

    It is the nearness of each device to the nearest one that was granted, and of each that was granted to the nearest
    one of the set. So none of several devices that were granted is forgotten for the sake of the others.
    """
    rows = list(near)
    columns: Iterable[Vector] = zip(*rows, strict=True)
    return sum(max(row) for row in rows) + sum(max(column) for column in columns)


def nearest(
    known: Known,
    request: PreferenceRequest,
    granted: Sequence[PhysicalDevice],
    preferences: Preferences = USUAL_PREFERENCES,
) -> tuple[str, ...]:
    """Return ``size`` ids as `preferred` does, but those that are near the devices that were granted.

    Among equally near ones, `preferred` decides. Several whole devices of which some pairs have more links than others
    are chosen by these links, and only equally good sets by nearness: all devices of such a set talk to each other, and
    that matters more than how near one or two of them are to another device. The function never fails, and never
    returns a set that is worth less than that of `preferred`.
    """
    usual = preferred(known, request, preferences)
    if not granted or len(usual) == len(request.must_include):
        return usual
    table = _Table(known, granted)
    left = table.classes(frozenset(request.available).difference(request.must_include))
    if len(left) < 2 or known.advertised.offered[0].pool:  # noqa: PLR2004 - all are equally near
        return usual
    if request.size > 1 and links_decide(known, request):
        if preferences.whole is not AllocationPreference.BEST:
            return usual
        found = preferred(known, request, preferences, table.rows())
    else:
        found = _by_nearness(known, request, preferences, table, left)
    return found if table.value(found) > table.value(usual) else usual


Vector = tuple[int, ...]
"""How near a device is to each of those that were granted."""


class _Spot(NamedTuple):
    """Where a device is in the machine."""

    pci_path: tuple[str, ...]
    numa_node: int | None


def _spot(device: PhysicalDevice) -> _Spot:
    return _Spot(device.pci_path, device.numa_node)


def _near(one: _Spot, other: _Spot) -> int:
    common = 0
    for mine, theirs in zip(one.pci_path, other.pci_path, strict=False):
        if mine != theirs:
            break
        common += 1
    if common:
        return BELOW_ONE_HOST_BRIDGE - 1 + common
    return ON_ONE_NODE if one.numa_node is not None and one.numa_node == other.numa_node else FAR


class _Table:
    """How near each id of a resource is to the devices that were granted."""

    def __init__(self, known: Known, granted: Sequence[PhysicalDevice]) -> None:
        self._places = known.places
        self._by_id = known.advertised.by_id
        self._granted = [_spot(device) for device in granted]
        self._known: dict[_Spot, Vector] = {}

    def classes(self, ids: Iterable[str]) -> dict[Vector, list[str]]:
        """Return the ids that are known, by how near they are."""
        by_device: dict[int, list[str]] = {}
        for each in ids:
            place = self._places.get(each)
            if place is not None:
                by_device.setdefault(place.device, []).append(each)
        found: dict[Vector, list[str]] = {}
        for of_device in by_device.values():
            found.setdefault(self._vector(of_device[0]), []).extend(of_device)
        return found

    def value(self, ids: Iterable[str]) -> int:
        """Return what a set of ids is worth. Unknown ones count nothing."""
        return value_of(self._vector(each) for each in ids if each in self._places)

    def rows(self) -> dict[int, int]:
        """Return how near each physical device is, by its number."""
        return {place.physical: max(self._vector(name)) for name, place in self._places.items()}

    def _vector(self, name: str) -> Vector:
        spot = _spot(self._by_id[name].device.physical)
        if spot not in self._known:
            self._known[spot] = tuple(_near(spot, other) for other in self._granted)
        return self._known[spot]


def _by_nearness(
    known: Known,
    request: PreferenceRequest,
    preferences: Preferences,
    table: _Table,
    left: Mapping[Vector, Sequence[str]],
) -> tuple[str, ...]:
    """Return the ids that are worth most, taken one after the other. `preferred` decides among equal ones.

    ``left`` has those that can be taken, by how near they are.
    """
    chosen = tuple(dict.fromkeys(request.must_include))
    held = list(table.classes(chosen)) or [(FAR,) * len(next(iter(left)))]
    covered = [max(column) for column in zip(*held, strict=True)]
    while left and len(chosen) < request.size:
        gains = {vector: _gain(vector, covered) for vector in left}
        best = max(map(sum, gains.values()))
        equal = [vector for vector, gain in gains.items() if sum(gain) == best]
        # As long as one that was granted comes to have a nearer one, what the next is worth depends on which it was.
        step = 1 if any(gains[vector][0] for vector in equal) else request.size
        among = [each for vector in equal for each in left[vector]]
        question = PreferenceRequest(among, chosen, min(len(chosen) + step, request.size))
        new = frozenset(answer := preferred(known, question, preferences)).difference(chosen)
        chosen = answer
        for vector in equal:
            if not new.isdisjoint(left[vector]):
                covered = [max(pair) for pair in zip(covered, vector, strict=True)]
        left = {vector: rest for vector, ids in left.items() if (rest := [each for each in ids if each not in new])}
    if len(chosen) < request.size:
        return preferred(known, request._replace(must_include=chosen), preferences)
    return chosen


def _gain(vector: Vector, covered: Sequence[int]) -> tuple[int, int]:
    """Return what a device adds to the nearness of those that were granted, and how near it is itself."""
    return sum(max(near - before, 0) for near, before in zip(vector, covered, strict=True)), max(vector)
