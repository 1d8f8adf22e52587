"""Which replicas, or which parts of devices, a container should get.

A replica is one of several ids of the same device. A part is a device that lies on a physical device with others. A
part can have replicas as well: then the physical device is decided first, then the part, then the replica.
"""

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from typing import NamedTuple

from plugin_gateway.core.resources.policy import SharedPolicy


class Place(NamedTuple):
    """What an id stands for."""

    device: int
    """The number of the device. Replicas of one device have the same number."""
    physical: int
    """The number of the physical device. Parts of one physical device have the same number."""


Places = Mapping[str, Place]
"""What each id of a resource stands for, in the order of its list."""


class _Use(NamedTuple):
    """How much of each device, or of each physical device, is in use."""

    load: Counter[int]
    """The ids that are given away, with those that this container has already."""
    picks: Counter[int]
    """The ids that this container has already."""


def share(
    policy: SharedPolicy,
    places: Places,
    available: Collection[str],
    given_away: Mapping[int, int],
    must_include: Collection[str],
    size: int,
) -> tuple[str, ...]:
    """Return ``size`` ids: those of ``must_include``, then those of ``available`` that the policy prefers.

    ``given_away`` says how many replicas of each device other containers have. Equals are taken in the order of their
    numbers. The same question always has the same answer. All ids have to be in ``places``. Fewer are returned only if
    there are fewer, and more only if ``must_include`` has more.

    Ids are taken one by one. `SharedPolicy.DISTRIBUTED` takes from the device with the lowest load, and
    `SharedPolicy.PACKED` from the one with the highest. The load is what is given away, with what is taken here. Of
    devices with the same load, it is the one with the fewest ids of this container.

    If several devices lie on one physical device, this is decided between physical devices first, and then between the
    devices of one. `SharedPolicy.PACKED` then takes as few physical devices as possible.
    """
    chosen = tuple(dict.fromkeys(must_include))
    missing = max(size - len(chosen), 0)
    wanted = set(available).difference(chosen)
    free = [name for name in places if name in wanted]
    if missing and len(free) > missing:
        free = _ranked(policy, places, free, given_away, chosen, missing)
    return chosen + tuple(free[:missing])


def _ranked(
    policy: SharedPolicy,
    places: Places,
    free: Sequence[str],
    given_away: Mapping[int, int],
    chosen: Sequence[str],
    missing: int,
) -> list[str]:
    physical_of = {place.device: place.physical for place in places.values()}
    picks = Counter(places[name].device for name in chosen)
    load = Counter(given_away) + picks
    owners = [places[name].device for name in free]
    most = len(free) if policy is SharedPolicy.PACKED else missing
    by_device = _by_owner(policy, free, owners, _Use(load, picks), most)
    if len(physical_of) == len(set(physical_of.values())):
        return by_device

    use = _Use(_summed(load, physical_of), _summed(picks, physical_of))
    owners = [places[name].physical for name in by_device]
    if policy is SharedPolicy.PACKED:
        return _fewest_owners(by_device, owners, use, missing)
    return _by_owner(policy, by_device, owners, use, most)


def _summed(counts: Mapping[int, int], physical_of: Mapping[int, int]) -> Counter[int]:
    summed: Counter[int] = Counter()
    for device, count in counts.items():
        if device in physical_of:
            summed[physical_of[device]] += count
    return summed


def _by_owner(policy: SharedPolicy, names: Sequence[str], owners: Sequence[int], use: _Use, most: int) -> list[str]:
    """Return the ids in the order in which the policy takes them: of each owner the first ``most``, in their order.

    With each id that is taken, load and picks of its owner grow by one. So they are known for each id beforehand, and
    one sort does what one search for each id would do. `SharedPolicy.PACKED` stays with an owner that it has begun, so
    only the owners are sorted.
    """
    by_owner: dict[int, list[str]] = {}
    for name, owner in zip(names, owners, strict=True):
        by_owner.setdefault(owner, []).append(name)
    if policy is SharedPolicy.PACKED:
        fullest = sorted(by_owner, key=lambda owner: (-use.load[owner], use.picks[owner], owner))
        return [name for owner in fullest for name in by_owner[owner][:most]]
    ranked: list[tuple[int, int, int, int, str]] = []
    for owner, mine in by_owner.items():
        load, picks = use.load[owner], use.picks[owner]
        for taken, name in enumerate(mine[:most]):
            first, then = (load, picks) if policy is SharedPolicy.DISTRIBUTED else (picks, load)
            ranked.append((first + taken, then + taken, owner, taken, name))
    return [name for *_, name in sorted(ranked)]


def _fewest_owners(names: Sequence[str], owners: Sequence[int], use: _Use, missing: int) -> list[str]:
    """Return the ids of as few owners as possible: those that this container has already, then the largest.

    The last one is the smallest that is large enough, so that the large ones stay whole for others.
    """
    room = Counter(owners)
    held = sorted((owner for owner in room if use.picks[owner]), key=lambda owner: (-use.load[owner], owner))
    largest = sorted(room.keys() - held, key=lambda owner: (-room[owner], -use.load[owner], owner))
    missing -= sum(room[owner] for owner in held)
    taken = held
    for place, owner in enumerate(largest):
        if room[owner] >= missing:
            enough = (other for other in largest[place:] if room[other] >= missing)
            taken.append(min(enough, key=lambda other: (room[other], -use.load[other], other)))
            break
        taken.append(owner)
        missing -= room[owner]
    rank = {owner: number for number, owner in enumerate(taken)}
    of_them = [(rank[owner], position) for position, owner in enumerate(owners) if owner in rank]
    return [names[position] for _, position in sorted(of_them)]
