"""The dialects of Kubernetes 1.8 and 1.9.

They have the same package, services and methods, and differ in the response to Allocate.
"""

from collections.abc import Sequence
from functools import partial
from itertools import chain
from typing import TYPE_CHECKING

from plugin_gateway.adapters.dialects.dialect import (
    Dialect,
    Ids,
    ListedDevice,
    Method,
    RegisterRequest,
    parse,
    read_edits,
    write_edits,
)
from plugin_gateway.adapters.dialects.wire_format import text
from plugin_gateway.adapters.support.lean_imports import Later
from plugin_gateway.core.resources.allocation import NO_EDITS, ContainerEdits, Edit
from plugin_gateway.core.resources.assignment import Advertisement
from plugin_gateway.core.resources.names import ResourceName

if TYPE_CHECKING:
    from plugin_gateway.api.v1alpha import api_pb2 as wire19
    from plugin_gateway.api.v1alpha1 import api_pb2 as wire18
else:  # Register is sent without them
    wire19 = Later("plugin_gateway.api.v1alpha.api_pb2")
    wire18 = Later("plugin_gateway.api.v1alpha1.api_pb2")

_PACKAGE = "deviceplugin"
VERSION_1_9 = "v1alpha2"
VERSION_1_8 = "0.1"

_CARRIES = frozenset({Edit.ENVIRONMENT, Edit.MOUNTS, Edit.DEVICE_NODES})

_STREAM_TIMEOUT = 3.0
"""Seconds from an accepted Register to the stream.

These kubelets dial at once and only once. If it fails, they do not report it.
"""


def _registration(version: str, endpoint: str, resource: ResourceName) -> bytes:
    return text(1, version) + text(2, endpoint) + text(3, resource)


def _read_registration(data: bytes) -> RegisterRequest:
    request = parse(wire19.RegisterRequest, data)
    return RegisterRequest(request.version, request.endpoint, request.resource_name)


def _device_list(advertisement: Advertisement) -> bytes:
    answer = wire19.ListAndWatchResponse()
    for each in advertisement.offered:
        answer.devices.add(ID=each.id, health=advertisement.health_of(each.id).value)
    return answer.SerializeToString()


def _read_list(data: bytes) -> tuple[ListedDevice, ...]:
    return tuple(ListedDevice(device.ID, device.health) for device in parse(wire19.ListAndWatchResponse, data).devices)


def _read_request(data: bytes) -> tuple[Ids, ...]:
    """Return the ids of the one container. These kubelets ask for each container separately."""
    return (tuple(parse(wire19.AllocateRequest, data).devicesIDs),)


def _write_request(containers: Sequence[Ids]) -> bytes:
    return wire19.AllocateRequest(devicesIDs=chain.from_iterable(containers)).SerializeToString()


def _write_answer_1_9(containers: Sequence[ContainerEdits]) -> bytes:
    answer = wire19.AllocateResponse()
    for edits in containers:
        write_edits(edits, answer)
    return answer.SerializeToString(deterministic=True)


def _read_answer_1_9(data: bytes) -> tuple[ContainerEdits, ...]:
    return (read_edits(parse(wire19.AllocateResponse, data)),)


def _write_answer_1_8(containers: Sequence[ContainerEdits]) -> bytes:
    """Write one spec for all devices, without its id, which the kubelet does not use.

    If an environment variable occurs in two specs, the kubelet keeps the first value.
    """
    answer = wire18.AllocateResponse()
    for edits in containers:
        if edits != NO_EDITS:
            write_edits(edits, answer.spec.add())
    return answer.SerializeToString(deterministic=True)


def _read_answer_1_8(data: bytes) -> tuple[ContainerEdits, ...]:
    """Return the specs as what one container gets."""
    specs = [read_edits(spec) for spec in parse(wire18.AllocateResponse, data).spec]
    return (
        ContainerEdits(
            environment={name: value for spec in reversed(specs) for name, value in spec.environment.items()},
            mounts=tuple(mount for spec in specs for mount in spec.mounts),
            device_nodes=tuple(node for spec in specs for node in spec.device_nodes),
        ),
    )


V1ALPHA2 = Dialect(
    version=VERSION_1_9,
    kubernetes="1.9",
    package=_PACKAGE,
    describe=lambda: wire19.DESCRIPTOR,
    carries=_CARRIES,
    registration=partial(_registration, VERSION_1_9),
    read_registration=_read_registration,
    device_list=_device_list,
    read_list=_read_list,
    allocation=Method("Allocate", _read_request, _write_answer_1_9, _write_request, _read_answer_1_9),
    stream_timeout=_STREAM_TIMEOUT,
    forgetful_agent="grpc-go/",  # all releases of 1.9 use the same grpc-go
)

V0_1 = Dialect(
    version=VERSION_1_8,
    kubernetes="1.8",
    package=_PACKAGE,
    describe=lambda: wire18.DESCRIPTOR,
    carries=_CARRIES,
    registration=partial(_registration, VERSION_1_8),
    read_registration=_read_registration,
    device_list=_device_list,
    read_list=_read_list,
    allocation=Method("Allocate", _read_request, _write_answer_1_8, _write_request, _read_answer_1_8),
    stream_timeout=_STREAM_TIMEOUT,
    one_resource_at_a_time=True,
)

DIALECTS = (V1ALPHA2, V0_1)
