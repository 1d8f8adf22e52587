"""What a container gets for the devices that the kubelet allocates to it."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from enum import Enum
from functools import lru_cache
from operator import attrgetter
from types import MappingProxyType
from typing import TYPE_CHECKING, NamedTuple

from plugin_gateway.core.devices import Device
from plugin_gateway.core.errors import RepeatedDeviceError, UnhealthyDeviceError, UnknownDeviceError
from plugin_gateway.core.resources.assignment import Advertisement
from plugin_gateway.core.resources.policy import AllocationPolicy, DeviceIdStrategy

if TYPE_CHECKING:
    from plugin_gateway.core.ports import HostNodes

READ_WRITE = "rw"
"""The permissions of a device node in the container, as the device plugin API writes them."""
_INDEX = attrgetter("index")
_NOTHING: Mapping[str, str] = MappingProxyType({})


class DeviceNode(NamedTuple):
    """A device node that the container runtime creates in the container."""

    container_path: str
    host_path: str
    permissions: str = READ_WRITE


class Mount(NamedTuple):
    """A file or folder of the host that is mounted into the container."""

    container_path: str
    host_path: str
    read_only: bool = True


class Edit(Enum):
    """The kinds of edits. The value is the field of `ContainerEdits`. Each dialect says which of them it carries."""

    ENVIRONMENT = "environment"
    MOUNTS = "mounts"
    DEVICE_NODES = "device_nodes"
    ANNOTATIONS = "annotations"
    CDI_DEVICES = "cdi_devices"

    @property
    def words(self) -> str:
        """The name for people."""
        return "CDI devices" if self is Edit.CDI_DEVICES else self.value.replace("_", " ")


class ContainerEdits(NamedTuple):
    """Everything that the kubelet adds to a container."""

    environment: Mapping[str, str] = _NOTHING
    mounts: tuple[Mount, ...] = ()
    device_nodes: tuple[DeviceNode, ...] = ()
    annotations: Mapping[str, str] = _NOTHING
    cdi_devices: tuple[str, ...] = ()
    absent_nodes: tuple[str, ...] = ()
    """Device nodes that the container needs but the host lacks. They are logged, not sent."""

    def among(self, kinds: Iterable[Edit]) -> frozenset[Edit]:
        """Return those of these kinds that the container gets something of."""
        return frozenset(kind for kind in kinds if getattr(self, kind.value))


NO_EDITS = ContainerEdits()


def allocate(
    advertised: Advertisement,
    ids: Sequence[str],
    policy: AllocationPolicy,
    host: "HostNodes",
) -> ContainerEdits:
    """Return what one container gets for these devices.

    ``host`` knows which device nodes exist now. Some drivers create them late, so this is checked at every allocation.
    If the folder of the device nodes is not visible, the container gets those that it needs all the same. Others are
    left out, because a device node that the host lacks keeps the container from starting.

    Raises:
        UnknownDeviceError, RepeatedDeviceError, UnhealthyDeviceError: with the ids concerned.
    """
    if not ids:
        return NO_EDITS
    devices = _granted(advertised, ids)
    by_uuid = policy.device_id_strategy is DeviceIdStrategy.UUID
    names = [device.id if by_uuid else str(device.index) for device in devices]
    environment = {advertised.visibility_variable: ",".join(names)}
    if not policy.pass_device_specs:
        return ContainerEdits(environment)
    needed = [*[path for device in devices for path in device.nodes], *advertised.shared_nodes]
    paths = [*needed, *advertised.optional_nodes]
    present, root = host.present(paths), policy.dev_root.rstrip("/")
    absent = [path for path in needed if path not in present]
    unseen = absent if absent and not host.is_visible() else ()
    return ContainerEdits(
        environment,
        device_nodes=tuple([_node(path, root) for path in paths if path in present or path in unseen]),
        absent_nodes=() if unseen else tuple(absent),
    )


@lru_cache(4096)
def _node(path: str, root: str) -> DeviceNode:
    """Return a device node. Making the same ones anew would take a tenth of the time of an allocation."""
    return DeviceNode(path, root + path)


def _granted(advertised: Advertisement, ids: Sequence[str]) -> list[Device]:
    """Return the devices with these ids, ordered by index, because kubelets send ids in random order."""
    by_id = advertised.by_id
    try:
        devices = [by_id[name] for name in ids]
    except KeyError:
        raise UnknownDeviceError([name for name in ids if name not in by_id]) from None
    if len(set(ids)) != len(ids):
        raise RepeatedDeviceError([name for name, times in Counter(ids).items() if times > 1])
    if not advertised.unhealthy.isdisjoint(ids):
        raise UnhealthyDeviceError([name for name in ids if name in advertised.unhealthy])
    devices.sort(key=_INDEX)
    return devices
