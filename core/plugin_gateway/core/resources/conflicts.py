"""Conflicts with another device plugin of the node, found in what the kubelet has and in the names of sockets.

A kubelet takes the registrations of every plugin. If two plugins have the same resource, it keeps the list that came
last, and asks the plugin that registered last. If two plugins offer the same device, two containers can get it.
"""

from collections.abc import Collection, Mapping, Sequence
from enum import Enum
from typing import NamedTuple

from plugin_gateway.core.devices import whole_device
from plugin_gateway.core.resources.names import ResourceName


class Cause(Enum):
    """How a conflict was found. The value is a token for metrics and programs."""

    FOREIGN_DEVICES = "foreign_devices"
    """The kubelet has devices of this resource that this gateway never offered."""
    SAME_DEVICES = "same_devices"
    """The kubelet has devices of this gateway under the name of another resource, too."""
    SOCKET_NAME = "socket_name"
    """The name of another plugin's socket is that of this resource. If both have the same device ids, nothing else
    shows that the kubelet may have them from the other one."""


class Conflict(NamedTuple):
    """Another plugin for the same resource, or for the same devices."""

    resource: ResourceName
    """The resource of this gateway."""
    cause: Cause
    devices: tuple[str, ...] = ()
    """The ids that show it, as the kubelet has them."""
    other_resource: str | None = None
    """The name under which the same devices are offered. None if it is the same resource."""
    sockets: tuple[str, ...] = ()
    """The sockets that may be those of the other plugin. Empty if none is in the kubelet's directory."""


class Sockets(NamedTuple):
    """The names of the sockets in the kubelet's directory on which somebody listens, without those of this gateway."""

    plugins: Sequence[str] = ()
    """Those of other device plugins."""
    gateways: Sequence[str] = ()
    """Those of other gateways."""


def find_conflicts(
    offered: Mapping[ResourceName, Collection[str]],
    serving: Collection[ResourceName],
    registered: Mapping[str, Collection[str]],
    sockets: Sockets,
) -> tuple[Conflict, ...]:
    """Return all conflicts.

    ``offered`` has the ids that this gateway offers now, or offered before. ``serving`` are the resources whose list
    the kubelet has from this gateway. ``registered`` are the devices that the kubelet has.
    """
    found: list[Conflict] = []
    for resource, ids in offered.items():
        foreign = _foreign(set(ids), registered.get(resource, ())) if resource in serving else ()
        named = tuple(name for name in sockets.plugins if _is_named_for(name, resource))
        if foreign:
            suspects = named or tuple(sockets.plugins)
            found.append(Conflict(resource, Cause.FOREIGN_DEVICES, foreign, sockets=suspects))
        elif named:
            found.append(Conflict(resource, Cause.SOCKET_NAME, sockets=named))
        found += _with_the_same_devices(resource, set(ids), registered.keys() - offered.keys(), registered, sockets)
    return tuple(found)


def _foreign(ours: Collection[str], registered: Collection[str]) -> tuple[str, ...]:
    return tuple(sorted(device for device in registered if device not in ours))


def _with_the_same_devices(
    resource: ResourceName,
    ours: Collection[str],
    others: Collection[str],
    registered: Mapping[str, Collection[str]],
    sockets: Sockets,
) -> list[Conflict]:
    found = []
    for other in sorted(others):
        devices = tuple(sorted(device for device in registered[other] if whole_device(device) in ours))
        named = tuple(name for name in sockets.plugins if _is_named_for(name, other))
        if devices:
            suspects = named or (*sockets.plugins, *sockets.gateways)
            found.append(Conflict(resource, Cause.SAME_DEVICES, devices, other, suspects))
    return found


def _is_named_for(socket: str, resource: str) -> bool:
    """Whether a socket has the name of a resource: ``a-b.sock``, ``a.com_b.sock`` or ``a.sock`` for ``a.com/b``.

    The domain alone is not enough, because one vendor can have plugins for several kinds of devices.
    """
    domain, _, last = resource.lower().partition("/")
    vendor, name = domain.partition(".")[0], socket.lower()
    return name == f"{vendor}.sock" or (name.startswith(vendor) and last in name.removeprefix(vendor))
