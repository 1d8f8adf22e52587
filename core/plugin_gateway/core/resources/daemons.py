"""Devices that containers share through a daemon of their vendor.

An administrator runs such a daemon beside the gateway, one for each resource, in a folder of its own below one root.
The gateway starts none. It looks whether the daemon is there, and says to each container how to reach it and which
share of the device it has. The recipe of a kind of device says how (`DaemonRecipe`).

As long as the daemon is not there, what it would share is not given out. The device itself is healthy then.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple

from plugin_gateway.core.devices import RESOURCE_MARK, DaemonRecipe, Device, DeviceId, Recipe
from plugin_gateway.core.health.state import State
from plugin_gateway.core.resources.assignment import Advertisement
from plugin_gateway.core.resources.names import ResourceName
from plugin_gateway.core.resources.rules import ResourceRule, named
from plugin_gateway.core.resources.sharing import Sharing

_MIB = 2**20
_ALL = 100
"""Percent."""
NOT_LOOKED_FOR = "nobody has looked for its daemon yet"


class Shared(NamedTuple):
    """How a device is shared through a daemon."""

    recipe: DaemonRecipe
    resource: ResourceName
    replicas: int
    word: str
    """The daemon, in a word of the backend."""


class Wait(NamedTuple):
    """Why a device is not given out although nothing is wrong with it."""

    reason: str
    since: float | None
    """In seconds since the epoch. None if nobody has looked yet, or if it cannot be otherwise."""
    todo: str = ""
    """What to do about it, for people. Empty if nothing is known."""


def with_daemons(
    wanted: Mapping[ResourceName, Advertisement], state: State, rules: Sequence[ResourceRule]
) -> Mapping[ResourceName, Advertisement]:
    """Return the advertisements with what is shared through daemons. What waits for one is unhealthy."""
    through: dict[ResourceName, dict[DeviceId, Shared]] = {}
    for device, name, sharing in _through(state, rules):
        recipe = _recipe(state, device, sharing)
        if recipe is not None:
            through.setdefault(name, {})[device.id] = Shared(recipe, name, sharing.replicas, sharing.through)
    waits = waiting(state, rules)
    return {
        name: replace(each.withholding(waits.keys()), through=through.get(name, {})) for name, each in wanted.items()
    }


def waiting(state: State, rules: Sequence[ResourceRule]) -> Mapping[DeviceId, Wait]:
    """Return the devices that are not given out because they wait for a daemon."""
    waits = ((device.id, _wait(state, device, name, sharing)) for device, name, sharing in _through(state, rules))
    return {device: wait for device, wait in waits if wait is not None}


def _through(state: State, rules: Sequence[ResourceRule]) -> Iterator[tuple[Device, ResourceName, Sharing]]:
    """Yield the devices that are shared through daemons."""
    if not any(rule.sharing.through for rule in rules):
        return
    yield from (each for each in named(state.devices, rules) if each[2].through)


def _recipe(state: State, device: Device, sharing: Sharing) -> DaemonRecipe | None:
    recipes = state.inventory.recipes if state.inventory is not None else {}
    return recipes[device.kind].daemons.get(sharing.through) if device.kind in recipes else None


def _wait(state: State, device: Device, name: ResourceName, sharing: Sharing) -> Wait | None:
    """Return why a device is not given out that is to be shared through a daemon. None if it is."""
    if _recipe(state, device, sharing) is None:
        return Wait(f"devices of the kind {device.kind} cannot be shared through {sharing.through}", None)
    seen = state.daemons.get(name)
    if seen is None:
        return Wait(NOT_LOOKED_FOR, None)
    return Wait(seen.problem, seen.since, seen.todo) if seen.problem else None


def through_of(answer: bytes, recipes: Iterable[Recipe]) -> str | None:
    """Return the daemon through which a container shares a device, by what it got. Empty if none, None if not known.

    ``answer`` is what the device plugin answered, as the kubelet keeps it. It has the name of each variable as it is.
    """
    if not answer:
        return None
    daemons = {word: daemon for recipe in recipes for word, daemon in recipe.daemons.items()}
    found = (word for word, daemon in daemons.items() if all(name.encode() in answer for name in daemon.environment))
    return next(found, "")


class Access(NamedTuple):
    """What a container gets to reach a daemon."""

    environment: Mapping[str, str]
    mounts: Mapping[str, str]
    """Folders of the host by their path in the container."""


def access(shares: Mapping[DeviceId, Shared], replicas: Sequence[Device], root: str) -> Access:
    """Return what a container gets for these replicas, each given by its device. ``root`` is that of the daemons.

    The share of the memory of each device is that of the replicas. The share of the threads is one number for all
    devices, so the smallest one counts.
    """
    granted = Counter(device.id for device in replicas if device.id in shares)
    environment: dict[str, str] = {}
    mounts: dict[str, str] = {}
    percents, memory = [], []
    devices = {each.id: each for each in replicas if each.id in granted}
    for device in sorted(devices.values(), key=lambda each: each.place):
        (recipe, resource, count, _), own = shares[device.id], granted[device.id]
        percents.append(max(_ALL * own // count, 1))
        memory.append(f"{device.id}={device.memory_bytes * own // count // _MIB}M")
        environment |= {name: path_of(each, resource) for name, each in recipe.environment.items()}
        environment |= {recipe.threads_variable: str(min(percents)), recipe.memory_variable: ",".join(memory)}
        mounts |= {path_of(inside, resource): below(root, each, resource) for each, inside in recipe.mounts.items()}
    return Access(environment, mounts)


def below(root: str, path: str, resource: str) -> str:
    """Return a path of a recipe below the root of the daemons."""
    return f"{root.rstrip('/')}/{path_of(path, resource)}"


def path_of(path: str, resource: str) -> str:
    """Return a path of a recipe with the name of the resource. It is no format: recipes can come from recordings."""
    return path.replace(RESOURCE_MARK, resource)
