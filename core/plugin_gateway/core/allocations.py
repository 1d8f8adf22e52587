"""What a container gets that was given devices."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import NamedTuple

from plugin_gateway.core.devices import Device
from plugin_gateway.core.errors import RepeatedDeviceError, UnhealthyDeviceError, UnknownDeviceError
from plugin_gateway.core.policy import AllocationPolicy, DeviceIdStrategy
from plugin_gateway.core.resources import Advertisement

READ_WRITE = "rw"
_NOTHING: Mapping[str, str] = MappingProxyType({})


class DeviceNode(NamedTuple):
    """A device node that the container runtime makes in the container."""

    container_path: str
    host_path: str
    permissions: str = READ_WRITE


class Mount(NamedTuple):
    """A file or folder of the host that the container sees."""

    container_path: str
    host_path: str
    read_only: bool = True


class ContainerEdits(NamedTuple):
    """Everything the kubelet adds to a container; a dialect writes those parts that it knows."""

    environment: Mapping[str, str] = _NOTHING
    mounts: tuple[Mount, ...] = ()
    device_nodes: tuple[DeviceNode, ...] = ()
    annotations: Mapping[str, str] = _NOTHING
    cdi_devices: tuple[str, ...] = ()


NO_EDITS = ContainerEdits()


def allocate(
    advertised: Advertisement,
    ids: Sequence[str],
    policy: AllocationPolicy,
    node_exists: Callable[[str], bool],
) -> ContainerEdits:
    """Grant these devices to one container.

    ``node_exists`` tells for a host path whether the device node is there now: nodes come late with some drivers.

    Raises:
        UnknownDeviceError, RepeatedDeviceError, UnhealthyDeviceError: with the ids concerned.
    """
    if not ids:
        return NO_EDITS
    devices = _granted(advertised, ids)
    names = (str(device.index) for device in devices)
    if policy.device_id_strategy is DeviceIdStrategy.UUID:
        names = (device.id for device in devices)
    return ContainerEdits(
        environment={advertised.visibility_variable: ",".join(names)},
        device_nodes=_device_nodes(advertised, devices, policy, node_exists) if policy.pass_device_specs else (),
    )


def _granted(advertised: Advertisement, ids: Sequence[str]) -> list[Device]:
    unknown = [name for name in ids if name not in advertised.by_id]
    if unknown:
        raise UnknownDeviceError(unknown)
    if len(set(ids)) != len(ids):
        raise RepeatedDeviceError([name for name, times in Counter(ids).items() if times > 1])
    devices = [advertised.by_id[name] for name in ids]
    unhealthy = [device.id for device in devices if device.id in advertised.unhealthy]
    if unhealthy:
        raise UnhealthyDeviceError(unhealthy)
    devices.sort(key=lambda device: device.index)
    return devices


def _device_nodes(
    advertised: Advertisement,
    devices: Sequence[Device],
    policy: AllocationPolicy,
    node_exists: Callable[[str], bool],
) -> tuple[DeviceNode, ...]:
    root = policy.dev_root.rstrip("/")
    paths = [path for device in devices for path in device.nodes]
    paths += advertised.shared_nodes
    return tuple(DeviceNode(container_path=path, host_path=root + path) for path in paths if node_exists(root + path))
