"""Which backend's devices are offered under which name, where a node has several backends side by side.

A resource belongs to one backend. If another one has devices with the same name, such as parts of the same size, they
are not offered: a kubelet takes all devices of a resource for equal.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple

from plugin_gateway.core.devices import DeviceId
from plugin_gateway.core.errors import InvalidValueError
from plugin_gateway.core.health.state import State
from plugin_gateway.core.resources.assignment import Advertisement, advertise
from plugin_gateway.core.resources.names import ResourceName
from plugin_gateway.core.resources.rules import EVERY_PRODUCT, ResourceRule, Selector

TODO_NAME = "give the devices of one of the backends another name in resources.rules, with the key backend"
"""What to do about devices that are not offered because of their name."""


class NameTaken(NamedTuple):
    """Devices are not offered, because an earlier backend has the name."""

    resource: ResourceName
    backend: str
    """The backend whose devices are not offered."""
    owner: str
    """The backend that offers the resource."""
    devices: tuple[DeviceId, ...]

    def __str__(self) -> str:
        return f"backend {self.owner} offers {self.resource}, and a resource has devices of one backend only"


class SideBySide(NamedTuple):
    """What all backends offer."""

    wanted: Mapping[ResourceName, Advertisement]
    owners: Mapping[ResourceName, str]
    """The backend of each resource."""
    taken: tuple[NameTaken, ...]


def advertise_side_by_side(
    states: Mapping[str, State], rules: Sequence[ResourceRule], *, numa_hints: bool = True
) -> SideBySide:
    """Return what backends offer. ``states`` has them by name, in the order of their precedence."""
    wanted: dict[ResourceName, Advertisement] = {}
    owners: dict[ResourceName, str] = {}
    taken: list[NameTaken] = []
    for backend, state in states.items():
        for name, advertisement in advertise(state, rules, numa_hints=numa_hints, backend=backend).items():
            owner = owners.get(name)
            if owner is None or not wanted[name].offered:  # a name without devices is nobody's
                owners[name], wanted[name] = backend, advertisement
            elif advertisement.offered:
                taken.append(NameTaken(name, backend, owner, tuple(device.id for device in advertisement.devices)))
    return SideBySide(wanted, owners, tuple(taken))


def check_names(rules: Sequence[ResourceRule], backends: Sequence[str]) -> None:
    """Check that no name is given to the devices of two backends, as far as the rules alone say it.

    Rules with patterns can match devices of several backends, too. That shows when the devices are there.

    Raises:
        InvalidValueError: a name is. The message has the name and both backends.
    """
    owners: dict[ResourceName, str] = {}
    decided: set[str] = set()
    """The backends of which no device is left for later rules."""
    for rule in rules:
        named = [each for each in _surely_named(rule, backends) if each not in decided]
        for backend in named:
            owner = backend if rule.name is None else owners.setdefault(rule.name, backend)
            if owner != backend:
                where = f" ({rule.origin})" if rule.origin else ""
                raise InvalidValueError(
                    f"resource {rule.name}{where} is given to devices of backend {owner} and of backend {backend}; "
                    "expected one backend for each resource: give the devices of one of them another name"
                )
        if _takes_every_device(rule):
            decided.update(named)


def _surely_named(rule: ResourceRule, backends: Sequence[str]) -> Sequence[str]:
    """Return the backends that a rule is about: those that it names, or all if it takes every device."""
    if rule.selector.backends:
        return [each for each in backends if each in rule.selector.backends]
    return backends if _takes_every_device(rule) else ()


def _takes_every_device(rule: ResourceRule) -> bool:
    """Whether a rule leaves no device of its backends for later ones."""
    asked = {word: patterns for word, patterns in rule.selector.attributes.items() if patterns}
    everywhere = replace(rule.selector, backends=(), attributes=asked)
    return rule.at_most is None and everywhere in (Selector(), Selector(products=(EVERY_PRODUCT,)))
