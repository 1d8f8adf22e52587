"""The answer to the kubelet's question which of the available devices a container should get."""

from collections import Counter
from collections.abc import Mapping
from types import MappingProxyType
from typing import NamedTuple

from plugin_gateway.core.cards import parent_address
from plugin_gateway.core.devices import DeviceId, Links, PhysicalDevice
from plugin_gateway.core.resources.assignment import Advertisement
from plugin_gateway.core.resources.links import Scores, all_alike, best_set, differ_in_links, pair_score
from plugin_gateway.core.resources.partition import partition_set
from plugin_gateway.core.resources.policy import USUAL_PREFERENCES, AllocationPreference, Preferences
from plugin_gateway.core.resources.preference import PreferenceRequest, prefer
from plugin_gateway.core.resources.replicas import Place, Places, share

NOWHERE: Mapping[int, int] = MappingProxyType({})
"""Where no device has to be near others."""


class Known(NamedTuple):
    """What every question about a resource needs. It stays the same until the resource or the links change."""

    advertised: Advertisement
    links: Links
    places: Places
    scores: Scores
    """The score of each pair, in the order of the links."""
    numa_decides: bool
    """Whether each id stands for a whole physical device, and the links say nothing about them."""


def known_of(advertised: Advertisement, links: Links) -> Known:
    """Return what is known of the ids of a resource."""
    devices: dict[DeviceId, Place] = {}
    physical: dict[str, int] = {each: row for row, each in enumerate(links.ids)}
    for device in (each.device for each in advertised.offered):
        if device.id not in devices:
            number = physical.setdefault(_function_of(device.physical), len(physical))
            devices[device.id] = Place(len(devices), number)
    scores = tuple(tuple(pair_score(*pair) for pair in row) for row in links.pairs)
    rows = [place.physical for place in devices.values() if place.physical < len(scores)]
    is_whole = len({place.physical for place in devices.values()}) == len(advertised.offered)
    is_told = len(rows) > 1 and not all_alike(scores, rows)
    places = {name: devices[each.device.id] for name, each in advertised.by_id.items()}
    return Known(advertised, links, places, scores, is_whole and not is_told)


def _function_of(device: PhysicalDevice) -> str:
    """Return the id of the physical device, or the address of the one that it is a virtual function of."""
    return (parent_address(device.attributes) if device.attributes else None) or device.id


def links_decide(known: Known, request: PreferenceRequest) -> bool:
    """Whether the devices that can be chosen are whole ones, of which some pairs have more links than others."""
    if known.numa_decides or not _are_whole(known.places):
        return False
    names = {*request.available, *request.must_include}
    rows = [place.physical for name, place in known.places.items() if name in names]
    return differ_in_links(known.scores, [row for row in rows if row < len(known.scores)])


def _are_whole(places: Places) -> bool:
    return len({place.physical for place in places.values()}) == len(places)


def preferred(
    known: Known,
    request: PreferenceRequest,
    preferences: Preferences = USUAL_PREFERENCES,
    near: Mapping[int, int] = NOWHERE,
) -> tuple[str, ...]:
    """Return ``size`` ids: those of ``must_include`` first, then those that are preferred.

    Whole devices are chosen by their links, or by NUMA node and index if these say nothing about them, and replicas,
    parts and virtual functions by policy. The function never fails, see `choose`.
    """
    if known.numa_decides:
        return prefer(known.advertised, *request)
    return choose(known.places, known.scores, request, preferences, near)


def choose(
    places: Places,
    scores: Scores,
    request: PreferenceRequest,
    preferences: Preferences = USUAL_PREFERENCES,
    near: Mapping[int, int] = NOWHERE,
) -> tuple[str, ...]:
    """Return ``size`` ids: those of ``must_include`` first, then those that are preferred.

    If each id stands for a whole physical device, the links decide: ``scores`` has a row and a column for each physical
    device, by its number, and of sets with the best links the one is taken whose devices have most in ``near``.
    Otherwise the policy for replicas and parts decides. It takes every id that is not available as given away.

    The function never fails, because an error would fail the admission of the pod. Devices without a row in ``scores``
    come after those with one, and unknown ids come last. If there are too few ids, all are returned. More than ``size``
    ids are returned only if ``must_include`` has more.
    """
    held = tuple(dict.fromkeys(request.must_include))
    strangers = sum(1 for name in held if name not in places)
    known = PreferenceRequest(
        available=[name for name in request.available if name in places],
        must_include=[name for name in held if name in places],
        size=request.size - strangers,
    )
    is_whole = _are_whole(places)
    preferred = (
        _by_links(places, scores, known, preferences, near) if is_whole else _by_policy(places, known, preferences)
    )
    others = sorted(set(request.available).difference(places, held))
    ranked = dict.fromkeys([*held, *preferred, *others])
    return tuple(ranked)[: max(request.size, len(held))]


def _by_links(
    places: Places, scores: Scores, request: PreferenceRequest, preferences: Preferences, near: Mapping[int, int]
) -> tuple[str, ...]:
    rows = {name: place.physical for name, place in places.items() if place.physical < len(scores)}
    held = [rows[name] for name in request.must_include if name in rows]
    size = request.size - len(request.must_include) + len(held)
    free = {rows[name] for name in request.available if name in rows}
    if preferences.whole is AllocationPreference.PARTITION:
        chosen = set(partition_set(scores, free, held, size))
    else:
        chosen = set(best_set(scores, free, held, size, near))
    wanted = set(request.available)
    rest = [name for name in places if name in wanted and name not in rows]
    return (*(name for name, row in rows.items() if row in chosen), *rest)


def _by_policy(places: Places, request: PreferenceRequest, preferences: Preferences) -> tuple[str, ...]:
    here = {*request.available, *request.must_include}
    given_away = Counter(place.device for name, place in places.items() if name not in here)
    return share(preferences.shared, places, request.available, given_away, request.must_include, request.size)
