"""The kubelet's side of each dialect: it makes requests from plain values, and plain values from answers."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from plugin_gateway.adapters.fake_kubelet.events import Answer
from plugin_gateway.api.v1alpha import api_pb2 as wire19
from plugin_gateway.api.v1alpha1 import api_pb2 as wire18
from plugin_gateway.api.v1beta1 import api_pb2 as wire

AnyMessage = Any


@dataclass(frozen=True, slots=True)
class Wire:
    """One dialect from the kubelet's side."""

    allocate_request: Callable[[Sequence[str]], bytes]
    answer_message: AnyMessage
    allocate_answer: Callable[[AnyMessage], Answer | None]
    """Returns None if the answer has no container in it."""


def read_list(data: bytes) -> tuple[tuple[str, str], ...]:
    """Return the id and the health of each device. The newest message type can read the lists of every dialect.

    Raises:
        DecodeError: the bytes are not a list.
    """
    return tuple((device.ID, device.health) for device in wire.ListAndWatchResponse.FromString(data).devices)


def _cdi_names(container: AnyMessage) -> tuple[str, ...]:
    """Return the name of each CDI device, without repetitions."""
    return tuple(dict.fromkeys(device.name for device in container.cdi_devices))


def _merge(parts: Sequence[AnyMessage]) -> Answer:
    """Merge as every kubelet does: if a name occurs twice, its first value counts."""
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


def _answer_1_8(answer: AnyMessage) -> Answer:
    return _merge(answer.spec)


def _answer_1_9(answer: AnyMessage) -> Answer:
    return _merge([answer])


def _answer_v1beta1(answer: AnyMessage) -> Answer | None:
    containers = answer.container_responses
    if not containers:
        return None
    merged = _merge(containers[:1])
    return Answer(
        environment=merged.environment,
        mounts=merged.mounts,
        device_nodes=merged.device_nodes,
        annotations=dict(containers[0].annotations),
        cdi_devices=_cdi_names(containers[0]),
    )


def _request_alpha(ids: Sequence[str]) -> bytes:
    return wire19.AllocateRequest(devicesIDs=ids).SerializeToString()


def _request_v1beta1(ids: Sequence[str]) -> bytes:
    container = wire.ContainerAllocateRequest(devices_ids=ids)
    return wire.AllocateRequest(container_requests=[container]).SerializeToString()


WIRES: Mapping[str, Wire] = {
    "0.1": Wire(_request_alpha, wire18.AllocateResponse, _answer_1_8),
    "v1alpha2": Wire(_request_alpha, wire19.AllocateResponse, _answer_1_9),
    "v1beta1": Wire(_request_v1beta1, wire.AllocateResponse, _answer_v1beta1),
}
"""By version string."""


def preference_request(available: Sequence[str], size: int) -> bytes:
    """Return the request that asks which of the available devices a container should preferably get."""
    container = wire.ContainerPreferredAllocationRequest(available_deviceIDs=available, allocation_size=size)
    return wire.PreferredAllocationRequest(container_requests=[container]).SerializeToString()


def preferred_of(answer: wire.PreferredAllocationResponse) -> tuple[str, ...]:
    """Return the preferred ids."""
    containers = answer.container_responses
    return tuple(containers[0].deviceIDs) if containers else ()


def pre_start_request(ids: Sequence[str]) -> bytes:
    """Return the request that announces the start of a container."""
    return wire.PreStartContainerRequest(devices_ids=ids).SerializeToString()
