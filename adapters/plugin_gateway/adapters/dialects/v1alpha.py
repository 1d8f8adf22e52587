"""The dialects of Kubernetes 1.8 and 1.9.

They have the same package, services and methods, and differ in the response to Allocate.
"""

from functools import partial

from plugin_gateway.adapters.dialects.dialect import Allocator, Dialect, parse
from plugin_gateway.api.v1alpha import api_pb2 as wire19
from plugin_gateway.api.v1alpha1 import api_pb2 as wire18
from plugin_gateway.core.resources.allocation import ContainerEdits
from plugin_gateway.core.resources.assignment import Advertisement
from plugin_gateway.core.resources.names import ResourceName

VERSION_1_9 = "v1alpha2"
VERSION_1_8 = "0.1"


_STREAM_DEADLINE = 3.0
"""Seconds from an accepted Register to the stream.

These kubelets dial at once and only once. If it fails, they do not report it.
"""


def _registration(version: str, endpoint: str, resource: ResourceName) -> bytes:
    return wire19.RegisterRequest(version=version, endpoint=endpoint, resource_name=resource).SerializeToString()


def _device_list(advertisement: Advertisement) -> bytes:
    answer = wire19.ListAndWatchResponse()
    for device in advertisement.devices:
        answer.devices.add(ID=device.id, health=advertisement.health_of(device.id).value)
    return answer.SerializeToString()


def _allocate_1_9(request: bytes, allocator: Allocator) -> bytes:
    answer = wire19.AllocateResponse()
    _write(allocator.allocate(tuple(parse(wire19.AllocateRequest, request).devicesIDs)), answer)
    return answer.SerializeToString()


def _allocate_1_8(request: bytes, allocator: Allocator) -> bytes:
    """Answer Allocate with one spec for all devices.

    If an environment variable occurs in two specs, the kubelet keeps the first value.
    """
    answer = wire18.AllocateResponse()
    ids = tuple(parse(wire18.AllocateRequest, request).devicesIDs)
    edits = allocator.allocate(ids)
    if ids:
        _write(edits, answer.spec.add(ID=ids[0]))
    return answer.SerializeToString()


def _write(edits: ContainerEdits, response: wire19.AllocateResponse | wire18.DeviceRuntimeSpec) -> None:
    """Write the parts of the answer that 1.8 and 1.9 support. They have no annotations and no CDI devices."""
    for name, value in edits.environment.items():
        response.envs[name] = value
    for mount in edits.mounts:
        response.mounts.add(container_path=mount.container_path, host_path=mount.host_path, read_only=mount.read_only)
    for node in edits.device_nodes:
        response.devices.add(container_path=node.container_path, host_path=node.host_path, permissions=node.permissions)


V1ALPHA2 = Dialect(
    version=VERSION_1_9,
    kubernetes="1.9",
    file=wire19.DESCRIPTOR,
    registration=partial(_registration, VERSION_1_9),
    device_list=_device_list,
    calls={"Allocate": _allocate_1_9},
    stream_deadline=_STREAM_DEADLINE,
    forgetful_agent="grpc-go/",  # all releases of 1.9 use the same grpc-go
)

V0_1 = Dialect(
    version=VERSION_1_8,
    kubernetes="1.8",
    file=wire18.DESCRIPTOR,
    registration=partial(_registration, VERSION_1_8),
    device_list=_device_list,
    calls={"Allocate": _allocate_1_8},
    stream_deadline=_STREAM_DEADLINE,
    one_resource_at_a_time=True,
)
