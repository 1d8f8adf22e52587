"""The answer to the kubelet's question which of the available devices a container should get."""

from collections import Counter
from typing import NamedTuple

from plugin_gateway.core.resources.links import Scores, best_set
from plugin_gateway.core.resources.partition import partition_set
from plugin_gateway.core.resources.policy import AllocationPreference, SharedPolicy
from plugin_gateway.core.resources.preference import PreferenceRequest
from plugin_gateway.core.resources.replicas import Places, share


class Preferences(NamedTuple):
    """The administrator's decisions about which devices are preferred."""

    whole: AllocationPreference = AllocationPreference.BEST
    shared: SharedPolicy = SharedPolicy.DISTRIBUTED


_DEFAULT = Preferences()


def choose(
    places: Places, scores: Scores, request: PreferenceRequest, preferences: Preferences = _DEFAULT
) -> tuple[str, ...]:
    """Return ``size`` ids: those of ``must_include`` first, then those that are preferred.

    If each id stands for a whole physical device, the links decide: ``scores`` has a row and a column for each physical
    device, by its number. Otherwise the policy for replicas and parts decides. It takes every id that is not available
    as given away.

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
    whole = len({place.physical for place in places.values()}) == len(places)
    preferred = _by_links(places, scores, known, preferences) if whole else _by_policy(places, known, preferences)
    others = sorted(set(request.available).difference(places, held))
    ranked = dict.fromkeys([*held, *preferred, *others])
    return tuple(ranked)[: max(request.size, len(held))]


def _by_links(places: Places, scores: Scores, request: PreferenceRequest, preferences: Preferences) -> tuple[str, ...]:
    rows = {name: place.physical for name, place in places.items() if place.physical < len(scores)}
    search = partition_set if preferences.whole is AllocationPreference.PARTITION else best_set
    held = [rows[name] for name in request.must_include if name in rows]
    size = request.size - len(request.must_include) + len(held)
    chosen = set(search(scores, {rows[name] for name in request.available if name in rows}, held, size))
    wanted = set(request.available)
    rest = [name for name in places if name in wanted and name not in rows]
    return (*(name for name, row in rows.items() if row in chosen), *rest)


def _by_policy(places: Places, request: PreferenceRequest, preferences: Preferences) -> tuple[str, ...]:
    here = {*request.available, *request.must_include}
    given_away = Counter(place.device for name, place in places.items() if name not in here)
    return share(preferences.shared, places, request.available, given_away, request.must_include, request.size)
