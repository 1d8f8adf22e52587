"""The dialect of Kubernetes 1.10 and later."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from plugin_gateway.adapters.dialects.dialect import (
    OPTIONS,
    Dialect,
    Ids,
    ListedDevice,
    Method,
    PluginOptions,
    RegisterRequest,
    parse,
    read_edits,
    write_edits,
)
from plugin_gateway.adapters.dialects.wire_format import flag, message, text
from plugin_gateway.adapters.support.lean_imports import Later
from plugin_gateway.core.resources.allocation import NO_EDITS, ContainerEdits, Edit
from plugin_gateway.core.resources.assignment import Advertisement
from plugin_gateway.core.resources.names import ResourceName
from plugin_gateway.core.resources.preference import PreferenceRequest

if TYPE_CHECKING:
    from plugin_gateway.api.v1beta1 import api_pb2 as wire
else:  # Register is sent without it
    wire = Later("plugin_gateway.api.v1beta1.api_pb2")

VERSION = "v1beta1"


def _registration(endpoint: str, resource: ResourceName) -> bytes:
    """Return the request, with the options for 1.10 to 1.24. 1.25 and later call GetDevicePluginOptions instead."""
    options = flag(1, value=OPTIONS.pre_start_required) + flag(2, value=OPTIONS.get_preferred_allocation_available)
    return text(1, VERSION) + text(2, endpoint) + text(3, resource) + message(4, options)


def _read_registration(data: bytes) -> RegisterRequest:
    request = parse(wire.RegisterRequest, data)
    options = _read_options(request.options) if request.HasField("options") else None
    return RegisterRequest(request.version, request.endpoint, request.resource_name, options)


def _device_list(advertisement: Advertisement) -> bytes:
    """Return the encoded list. The topology is omitted for a device without a NUMA node (it must not be empty)."""
    answer = wire.ListAndWatchResponse()
    for each in advertisement.offered:
        entry = answer.devices.add(ID=each.id, health=advertisement.health_of(each.id).value)
        node = each.device.physical.numa_node
        if advertisement.numa_hints and node is not None:
            entry.topology.nodes.add(ID=node)  # node 0 is an empty message, but has to be present
    return answer.SerializeToString()


def _read_list(data: bytes) -> tuple[ListedDevice, ...]:
    return tuple(
        ListedDevice(device.ID, device.health, tuple(node.ID for node in device.topology.nodes))
        for device in parse(wire.ListAndWatchResponse, data).devices
    )


def _options(options: PluginOptions) -> "wire.DevicePluginOptions":
    return wire.DevicePluginOptions(**options._asdict())


def _read_options(options: "wire.DevicePluginOptions") -> PluginOptions:
    return PluginOptions(options.pre_start_required, options.get_preferred_allocation_available)


def _read_nothing(data: bytes) -> None:
    parse(wire.Empty, data)


def _read_preference_request(data: bytes) -> tuple[PreferenceRequest, ...]:
    return tuple(
        PreferenceRequest(tuple(each.available_deviceIDs), tuple(each.must_include_deviceIDs), each.allocation_size)
        for each in parse(wire.PreferredAllocationRequest, data).container_requests
    )


def _write_preference_request(containers: Sequence[PreferenceRequest]) -> bytes:
    request = wire.PreferredAllocationRequest()
    for available, must_include, size in containers:
        request.container_requests.add(
            available_deviceIDs=available, must_include_deviceIDs=must_include, allocation_size=size
        )
    return request.SerializeToString()


def _write_preference(containers: Sequence[Sequence[str]]) -> bytes:
    answer = wire.PreferredAllocationResponse()
    for ids in containers:
        answer.container_responses.add(deviceIDs=ids)
    return answer.SerializeToString()


def _read_preference(data: bytes) -> tuple[Ids, ...]:
    return tuple(tuple(each.deviceIDs) for each in parse(wire.PreferredAllocationResponse, data).container_responses)


def _read_request(data: bytes) -> tuple[Ids, ...]:
    return tuple([tuple(each.devices_ids) for each in parse(wire.AllocateRequest, data).container_requests])


def _write_request(containers: Sequence[Ids]) -> bytes:
    request = wire.AllocateRequest()
    for ids in containers:
        request.container_requests.add(devices_ids=ids)
    return request.SerializeToString()


def _write_answer(containers: Sequence[ContainerEdits]) -> bytes:
    """Write one response for each container.

    An answer without containers gets one response too, because kubelets of 1.10 and 1.11 crash on an answer without
    any.
    """
    answer = wire.AllocateResponse()
    for edits in containers or (NO_EDITS,):
        response = answer.container_responses.add()
        write_edits(edits, response)
        if edits.annotations:
            response.annotations.update(edits.annotations)
        for name in edits.cdi_devices:
            response.cdi_devices.add(name=name)
    return answer.SerializeToString(deterministic=True)  # so that a replay writes variables in the same order


def _read_answer(data: bytes) -> tuple[ContainerEdits, ...]:
    return tuple(
        read_edits(each)._replace(
            annotations=dict(each.annotations), cdi_devices=tuple(device.name for device in each.cdi_devices)
        )
        for each in parse(wire.AllocateResponse, data).container_responses
    )


def _read_pre_start_request(data: bytes) -> Ids:
    return tuple(parse(wire.PreStartContainerRequest, data).devices_ids)


def _read_pre_start(data: bytes) -> None:
    parse(wire.PreStartContainerResponse, data)


V1BETA1 = Dialect(
    version=VERSION,
    kubernetes="1.10 and later",
    package="v1beta1",
    describe=lambda: wire.DESCRIPTOR,
    carries=frozenset(Edit),
    registration=_registration,
    read_registration=_read_registration,
    device_list=_device_list,
    read_list=_read_list,
    allocation=Method("Allocate", _read_request, _write_answer, _write_request, _read_answer),
    preference=Method(
        "GetPreferredAllocation",
        _read_preference_request,
        _write_preference,
        _write_preference_request,
        _read_preference,
    ),
    options=Method(
        "GetDevicePluginOptions",
        _read_nothing,
        lambda options: _options(options).SerializeToString(),
        lambda _: b"",
        lambda data: _read_options(parse(wire.DevicePluginOptions, data)),
    ),
    pre_start=Method(
        "PreStartContainer",
        _read_pre_start_request,
        lambda _: b"",
        lambda ids: wire.PreStartContainerRequest(devices_ids=ids).SerializeToString(),
        _read_pre_start,
    ),
    max_list_size=4 * 1024 * 1024,
    carried_since={Edit.CDI_DEVICES: (1, 58)},  # the grpc-go release of 1.29; 1.28 knows the field behind a gate
    forgetful_agent="grpc-go/1.7.",  # the grpc-go release of 1.10 to 1.12
)

DIALECTS = (V1BETA1,)
