"""The rules for resources, made from the sections `resources` and `sharing` of the configuration file.

The core knows one form of a rule. `resources.rules` is in this form. NVIDIA's `resources.gpus` and `resources.mig` are
rules about products and profiles. `sharing.timeSlicing` and `sharing.mps` change those rules that give the name that
they share.
"""

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, NamedTuple

from plugin_gateway.adapters.configuration.rules_by_backend import ONLY_ONE, Beside
from plugin_gateway.core.devices import DevicePlace, FaultId, Kind
from plugin_gateway.core.errors import InvalidValueError, InvalidValuesError
from plugin_gateway.core.resources.names import ResourceName, parse_resource_name
from plugin_gateway.core.resources.rules import ResourceRule, Selector
from plugin_gateway.core.resources.sharing import MAX_REPLICAS, Sharing

if TYPE_CHECKING:
    from plugin_gateway.adapters.configuration import document


class Way(NamedTuple):
    """A way to share GPUs, with the word that NVIDIA has for it."""

    word: str
    through: str
    """The daemon through which containers share a GPU. Empty if there is none."""
    max_replicas: int
    one_per_request: bool
    """Whether a container may get only one of the replicas unless somebody decides otherwise."""

    @property
    def key(self) -> str:
        """The section of the file that is about it."""
        return f"sharing.{self.word}"


TIME_SLICING = Way("timeSlicing", "", MAX_REPLICAS, one_per_request=False)
MPS = Way("mps", "mps", 48, one_per_request=True)
"""The MPS control daemon of NVIDIA's device plugin 0.20.0 allows 48 clients of a GPU, and 16 below compute capability
7.5."""
WAYS = (TIME_SLICING, MPS)
MIG = Kind("mig")
KINDS = (Kind("gpu"), MIG)
SHARED = ".shared"
"""What `renameByDefault` adds to a name, as NVIDIA's plugin does."""
_PROFILE = re.compile(r"(\d+c\.)?\d+g\.\d+gb([.-](me|gfx|all))*")
"""A profile as it stands in a name."""
BY_PROFILE = ResourceRule(selector=Selector(kinds=(MIG,)), name=ResourceName("nvidia.com/mig"), has_profile=True)
"""The rule with which each MIG device has the name of its profile, as NVIDIA's strategy ``mixed`` wants it."""


class OwnRule(NamedTuple):
    """An entry of `resources.rules`."""

    rule: ResourceRule
    has_replicas: bool
    """Whether it says itself how its devices are shared."""


class Chosen(NamedTuple):
    """Which devices of a resource are shared."""

    at_most: int | None = None
    ids: tuple[FaultId, ...] = ()
    places: tuple[DevicePlace, ...] = ()


ALL = Chosen()


@dataclass(frozen=True, slots=True, kw_only=True)
class SharedResource:
    """An entry of `sharing.timeSlicing.resources` or `sharing.mps.resources`."""

    name: ResourceName
    replicas: int
    rename: ResourceName | None = None
    devices: Chosen = ALL
    place: "document.Place"

    @property
    def origin(self) -> str:
        """Where it stands, as rules say it."""
        return f"file {self.place.line}"


@dataclass(frozen=True, slots=True, kw_only=True)
class SharedResources:
    """The section `sharing.timeSlicing` or `sharing.mps`."""

    way: Way = TIME_SLICING
    resources: tuple[SharedResource, ...] = ()
    rename_by_default: bool = False
    one_per_request: bool = False

    def new_name(self, entry: SharedResource) -> ResourceName:
        """Return the name of the shared devices of an entry.

        Raises:
            InvalidValueError: with the added `.shared` it is too long.
        """
        if entry.rename is not None or not self.rename_by_default:
            return entry.rename or entry.name
        try:
            return parse_resource_name(entry.name + SHARED)
        except InvalidValueError as error:
            raise InvalidValueError(f"{entry.place}: {self.way.key}.renameByDefault: {error}") from error

    def sharing(self, entry: SharedResource) -> Sharing:
        """Return how the devices of an entry are shared."""
        return Sharing(replicas=entry.replicas, one_per_request=self.one_per_request, through=self.way.through)


class Rules(NamedTuple):
    """What a file says about resources."""

    rules: tuple[ResourceRule, ...]
    remarks: tuple[str, ...]
    """What has no effect, for people."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FileResources:
    """The sections `resources` and `sharing` of a file."""

    own: tuple[OwnRule, ...] = ()
    mig: tuple[ResourceRule, ...] = ()
    gpus: tuple[ResourceRule, ...] = ()
    shared: SharedResources = SharedResources()
    place: "document.Place"
    """That of the first key."""

    def rules(
        self, resource_name: ResourceName | None, by_profile: Sequence[ResourceRule] = (), beside: Beside = ONLY_ONE
    ) -> Rules:
        """Return the rules. With ``resource_name`` every device has that name, whatever the section `resources` says.

        ``by_profile`` come before the rules for all other devices. ``beside`` says what other backends mean for them.

        Raises:
            InvalidValueError: names collide, or an entry cannot be followed. The message has each with its place.
        """
        own: tuple[OwnRule, ...]
        if resource_name is not None:
            own, others = (), (*by_profile, ResourceRule(name=resource_name))
        else:
            own, others = self.own, (*self.mig, *by_profile, *(self.gpus or (ResourceRule(name=beside.default),)))
        others = (*beside.of_first(others), *beside.further)
        every = (*own, *(OwnRule(rule, has_replicas=False) for rule in others))
        return _share(every, len(own), self.shared)


def _share(rules: Sequence[OwnRule], own: int, section: SharedResources) -> Rules:
    """Return the rules with what is shared. The first ``own`` of them are entries of `resources.rules`."""
    problems: list[str] = []
    names = Counter(rule.name for rule, _ in rules)
    taken: dict[str, SharedResource] = {}
    for entry in section.resources:
        try:
            _check(entry, section, names, taken, rules[:own])
            _check_profiles(entry, section, rules)
        except InvalidValueError as error:
            problems += error.problems
    if problems:
        raise InvalidValuesError(problems) if len(problems) > 1 else InvalidValueError(problems[0])
    return Rules(
        tuple(each for rule in rules for each in _shared(rule, section, names)),
        tuple(
            _without_effect(section.way, entry)
            for entry in section.resources
            if not any(_gives(rule, entry) for rule in rules)
        ),
    )


def _check(
    entry: SharedResource,
    section: SharedResources,
    names: Counter[ResourceName | None],
    taken: dict[str, SharedResource],
    own: Sequence[OwnRule],
) -> None:
    """Check one entry. ``names`` are those that rules give, and ``taken`` those that earlier entries give."""
    new, where = section.new_name(entry), f"{entry.place}: {section.way.key}.resources"
    is_taken = new in taken and taken[new].name != entry.name  # the same entry twice is another mistake
    if new != entry.name and (new in names or is_taken):
        raise _collision(entry, section)
    taken[new] = entry
    if entry.devices != ALL and any(_gives(rule, entry) for rule in own):
        raise InvalidValueError(
            f"{where}: devices of {entry.name} are chosen by resources.rules already; expected all; or write "
            "replicas into the rule"
        )
    if entry.devices.at_most is not None and names[entry.name] > 1:
        raise InvalidValueError(
            f"{where}.devices: a number of devices, but {names[entry.name]} rules give the name {entry.name}; "
            "expected all or a list of indexes and UUIDs"
        )


def _check_profiles(entry: SharedResource, section: SharedResources, rules: Sequence[OwnRule]) -> None:
    """Check that the new name is not one that a MIG device can get from its profile."""
    new = section.new_name(entry)
    prefixes = (f"{rule.name}-" for rule, _ in rules if rule.has_profile)
    if new != entry.name and any(new.startswith(each) and _PROFILE.fullmatch(new, len(each)) for each in prefixes):
        raise _collision(entry, section)


def _collision(entry: SharedResource, section: SharedResources) -> InvalidValueError:
    return InvalidValueError(
        f"{entry.place}: {section.way.key}.resources: {entry.name} is renamed to {section.new_name(entry)}, which is "
        "the name of other devices too; expected a name that no rule and no other entry gives"
    )


def _gives(own: OwnRule, entry: SharedResource) -> bool:
    """Whether the entry is about devices of the rule."""
    rule = own.rule
    if own.has_replicas or rule.name is None:
        return False
    return entry.name.startswith(f"{rule.name}-") if rule.has_profile else entry.name == rule.name


def _shared(own: OwnRule, section: SharedResources, names: Counter[ResourceName | None]) -> Iterator[ResourceRule]:
    """Yield the rules that take the place of one: those for what is shared, and itself for what is left."""
    rule = own.rule
    for entry in section.resources:
        if _gives(own, entry):
            named = rule if not rule.has_profile else _for_profile(rule, entry)
            shared = replace(named, name=section.new_name(entry), sharing=section.sharing(entry))
            if entry.devices == ALL and not rule.has_profile:
                yield replace(shared, origin=rule.origin or entry.origin)
                return
            # A profile's name that a rule gives, too, need not be that of a profile: nobody wrote a rule for it then.
            is_written = not rule.has_profile or entry.name not in names
            yield from _chosen(replace(shared, origin=entry.origin if is_written else ""), entry.devices)
    yield rule


def _for_profile(rule: ResourceRule, entry: SharedResource) -> ResourceRule:
    """Return the part of a rule that gives the one name, which has a profile in it."""
    profile = entry.name.removeprefix(f"{rule.name}-")
    pattern = profile.replace(".", "[.+]")  # a + in a profile is a dot in a name
    return replace(rule, selector=replace(rule.selector, profiles=(pattern,)), has_profile=False)


def _chosen(rule: ResourceRule, devices: Chosen) -> Iterator[ResourceRule]:
    """Yield rules for the chosen devices: one for those that are named by id, and one for those named by index."""
    if devices.at_most is not None or devices == ALL:
        yield replace(rule, at_most=devices.at_most)
    if devices.ids:
        yield replace(rule, selector=_narrowed(rule.selector, ids=devices.ids))
    if devices.places:
        yield replace(rule, selector=_narrowed(rule.selector, places=devices.places))


def _narrowed(selector: Selector, ids: tuple[FaultId, ...] = (), places: tuple[DevicePlace, ...] = ()) -> Selector:
    return replace(selector, ids=ids, places=places)


def _without_effect(way: Way, entry: SharedResource) -> str:
    is_profile = entry.name.startswith(f"{BY_PROFILE.name}-")
    hint = "; --mig-strategy=mixed gives names like this" if is_profile else ""
    return f"{entry.place}: {way.key} shares {entry.name}, and no rule gives a device this name{hint}"
