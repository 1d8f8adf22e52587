"""The kubelet's half of each dialect: requests out of plain values, plain values out of answers."""

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
    """None where the answer has no container."""


def read_list(data: bytes) -> tuple[tuple[str, str], ...]:
    """Read id and health of each device; the newest form reads those of every dialect.

    Raises:
        DecodeError: it is none.
    """
    return tuple((device.ID, device.health) for device in wire.ListAndWatchResponse.FromString(data).devices)


def _cdi_names(container: AnyMessage) -> tuple[str, ...]:
    """Name each once."""
    return tuple(dict.fromkeys(device.name for device in container.cdi_devices))


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
    """Ask which of the available devices one container should rather get."""
    container = wire.ContainerPreferredAllocationRequest(available_deviceIDs=available, allocation_size=size)
    return wire.PreferredAllocationRequest(container_requests=[container]).SerializeToString()


def preferred_of(answer: wire.PreferredAllocationResponse) -> tuple[str, ...]:
    """Read the preferred ids."""
    containers = answer.container_responses
    return tuple(containers[0].deviceIDs) if containers else ()


def pre_start_request(ids: Sequence[str]) -> bytes:
    """Announce the start of a container."""
    return wire.PreStartContainerRequest(devices_ids=ids).SerializeToString()
