"""The dialect of Kubernetes 1.10 and later."""

from plugin_gateway.adapters.dialects.dialect import Allocator, Dialect, parse
from plugin_gateway.api.v1beta1 import api_pb2 as wire
from plugin_gateway.core.resources.allocation import ContainerEdits
from plugin_gateway.core.resources.assignment import Advertisement
from plugin_gateway.core.resources.names import ResourceName

VERSION = "v1beta1"

OPTIONS = wire.DevicePluginOptions(pre_start_required=False, get_preferred_allocation_available=True)
"""The options of every resource. 1.10 to 1.24 read them from Register, 1.25 and later call GetDevicePluginOptions."""


def _registration(endpoint: str, resource: ResourceName) -> bytes:
    return wire.RegisterRequest(
        version=VERSION, endpoint=endpoint, resource_name=resource, options=OPTIONS
    ).SerializeToString()


def _device_list(advertisement: Advertisement) -> bytes:
    """Return the encoded list. The topology is omitted for a device without a NUMA node (it must not be empty)."""
    answer = wire.ListAndWatchResponse()
    for device in advertisement.devices:
        entry = answer.devices.add(ID=device.id, health=advertisement.health_of(device.id).value)
        if advertisement.numa_hints and device.numa_node is not None:
            entry.topology.nodes.add(ID=device.numa_node)  # node 0 is an empty message, but has to be present
    return answer.SerializeToString()


def _get_options(request: bytes, _allocator: Allocator) -> bytes:
    parse(wire.Empty, request)
    return OPTIONS.SerializeToString()


def _prefer(request: bytes, allocator: Allocator) -> bytes:
    """Answer each container request with the preferred ids."""
    answer = wire.PreferredAllocationResponse()
    for container in parse(wire.PreferredAllocationRequest, request).container_requests:
        answer.container_responses.add(
            deviceIDs=allocator.prefer(
                container.available_deviceIDs, container.must_include_deviceIDs, container.allocation_size
            )
        )
    return answer.SerializeToString()


def _allocate(request: bytes, allocator: Allocator) -> bytes:
    """Answer each container request with one response.

    A request without containers gets one response too, because kubelets of 1.10 and 1.11 crash on an answer without
    any.
    """
    answer = wire.AllocateResponse()
    for container in parse(wire.AllocateRequest, request).container_requests:
        _write(allocator.allocate(tuple(container.devices_ids)), answer.container_responses.add())
    if not answer.container_responses:
        answer.container_responses.add()
    return answer.SerializeToString()


def _write(edits: ContainerEdits, response: wire.ContainerAllocateResponse) -> None:
    for name, value in edits.environment.items():
        response.envs[name] = value
    response.annotations.update(edits.annotations)
    for mount in edits.mounts:
        response.mounts.add(container_path=mount.container_path, host_path=mount.host_path, read_only=mount.read_only)
    for node in edits.device_nodes:
        response.devices.add(container_path=node.container_path, host_path=node.host_path, permissions=node.permissions)
    for name in edits.cdi_devices:
        response.cdi_devices.add(name=name)


def _pre_start(request: bytes, _allocator: Allocator) -> bytes:
    """Answer PreStartContainer. Kubelets do not call it, because the options do not ask for it."""
    parse(wire.PreStartContainerRequest, request)
    return wire.PreStartContainerResponse().SerializeToString()


V1BETA1 = Dialect(
    version=VERSION,
    kubernetes="1.10 and later",
    file=wire.DESCRIPTOR,
    registration=_registration,
    device_list=_device_list,
    max_list_size=4 * 1024 * 1024,
    forgetful_agent="grpc-go/1.7.",  # the grpc-go release of 1.10 to 1.12
    options_method="GetDevicePluginOptions",
    calls={
        "GetDevicePluginOptions": _get_options,
        "GetPreferredAllocation": _prefer,
        "Allocate": _allocate,
        "PreStartContainer": _pre_start,
    },
)
