"""The kubelet's half of each dialect: requests out of plain values, plain values out of answers."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

from google.protobuf.descriptor_pb2 import FieldDescriptorProto, FileDescriptorProto
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message import DecodeError
from google.protobuf.message_factory import GetMessageClass

from plugin_gateway.adapters.fake_kubelet.events import Answer
from plugin_gateway.api.v1alpha import api_pb2 as wire19
from plugin_gateway.api.v1alpha1 import api_pb2 as wire18
from plugin_gateway.api.v1beta1 import api_pb2 as wire

AnyMessage = Any


@dataclass(frozen=True, slots=True)
class Wire:
    """One dialect from the kubelet's side."""

    allocate_request: Callable[[Sequence[str]], bytes]
    allocate_answer: Callable[[bytes], Answer | None]
    """None where the answer has no container."""


def read_list(data: bytes, *, any_bytes: bool) -> tuple[tuple[str, str], ...]:
    """Read id and health of each device; the newest form reads those of every dialect.

    Raises:
        DecodeError: it is none, or an id is not UTF-8 where that matters.
    """
    try:
        devices = wire.ListAndWatchResponse.FromString(data).devices
    except DecodeError:
        if not any_bytes:
            raise
        return _read_any_bytes(data)
    return tuple((device.ID, device.health) for device in devices)


def _read_any_bytes(data: bytes) -> tuple[tuple[str, str], ...]:
    """Read a list as Go once did, whose strings were any bytes."""
    devices = _list_of_bytes().FromString(data).devices
    return tuple((device.ID.decode(errors="replace"), device.health.decode(errors="replace")) for device in devices)


@cache
def _list_of_bytes() -> Any:
    """Make the message once more, with bytes where it has strings."""
    file = FileDescriptorProto()
    wire.DESCRIPTOR.CopyToProto(file)
    for message in file.message_type:
        for entry in message.field:
            if entry.type == FieldDescriptorProto.TYPE_STRING:
                entry.type = FieldDescriptorProto.TYPE_BYTES
    pool = DescriptorPool()
    pool.Add(file)
    return GetMessageClass(pool.FindMessageTypeByName(wire.ListAndWatchResponse.DESCRIPTOR.full_name))


def _merge(parts: Sequence[AnyMessage]) -> Answer:
    """Merge as every kubelet does: of one name the first value wins."""
    environment: dict[str, str] = {}
    mounts: dict[str, tuple[str, bool]] = {}
    nodes: dict[str, tuple[str, str]] = {}
    for part in parts:
        for name, value in part.envs.items():
            environment.setdefault(name, value)
        for mount in part.mounts:
            mounts.setdefault(mount.container_path, (mount.host_path, mount.read_only))
        for node in part.devices:
            nodes.setdefault(node.container_path, (node.host_path, node.permissions))
    return Answer(environment=environment, mounts=mounts, device_nodes=nodes)


def _answer_1_8(data: bytes) -> Answer:
    return _merge(wire18.AllocateResponse.FromString(data).spec)


def _answer_1_9(data: bytes) -> Answer:
    return _merge([wire19.AllocateResponse.FromString(data)])


def _answer_v1beta1(data: bytes) -> Answer | None:
    containers = wire.AllocateResponse.FromString(data).container_responses
    if not containers:
        return None
    merged = _merge(containers[:1])
    return Answer(
        environment=merged.environment,
        mounts=merged.mounts,
        device_nodes=merged.device_nodes,
        annotations=dict(containers[0].annotations),
        cdi_devices=tuple(device.name for device in containers[0].cdi_devices),
    )


def _request_alpha(ids: Sequence[str]) -> bytes:
    return wire19.AllocateRequest(devicesIDs=ids).SerializeToString()


def _request_v1beta1(ids: Sequence[str]) -> bytes:
    container = wire.ContainerAllocateRequest(devices_ids=ids)
    return wire.AllocateRequest(container_requests=[container]).SerializeToString()


WIRES: Mapping[str, Wire] = {
    "0.1": Wire(_request_alpha, _answer_1_8),
    "v1alpha2": Wire(_request_alpha, _answer_1_9),
    "v1beta1": Wire(_request_v1beta1, _answer_v1beta1),
}
"""By version string."""


def preference_request(available: Sequence[str], size: int) -> bytes:
    """Ask which of the available devices one container should rather get."""
    container = wire.ContainerPreferredAllocationRequest(available_deviceIDs=available, allocation_size=size)
    return wire.PreferredAllocationRequest(container_requests=[container]).SerializeToString()


def preference_answer(data: bytes) -> tuple[str, ...]:
    """Read the preferred ids."""
    containers = wire.PreferredAllocationResponse.FromString(data).container_responses
    return tuple(containers[0].deviceIDs) if containers else ()


def pre_start_request(ids: Sequence[str]) -> bytes:
    """Announce the start of a container."""
    return wire.PreStartContainerRequest(devices_ids=ids).SerializeToString()
