"""Each dialect as bytes in and bytes out."""

from collections.abc import Sequence

import pytest

import plugin_gateway.__main__ as root
from adapters.builders import VARIABLE, EveryNode, advertisement, served
from plugin_gateway.adapters.configuration.options import DEFAULT_RESOURCE
from plugin_gateway.adapters.dialects.dialect import Dialect, MalformedRequestError
from plugin_gateway.adapters.dialects.v1alpha import V0_1, V1ALPHA2
from plugin_gateway.adapters.dialects.v1beta1 import V1BETA1
from plugin_gateway.adapters.serving.resource import ServedResource
from plugin_gateway.api.v1alpha import api_pb2 as wire19
from plugin_gateway.api.v1alpha1 import api_pb2 as wire18
from plugin_gateway.api.v1beta1 import api_pb2 as wire
from plugin_gateway.core.errors import RepeatedDeviceError, UnhealthyDeviceError, UnknownDeviceError
from plugin_gateway.core.resources.allocation import ContainerEdits, DeviceNode, Mount
from plugin_gateway.core.resources.policy import AllocationPolicy

ALL = (V1BETA1, V1ALPHA2, V0_1)


def allocate(dialect: Dialect, ids: Sequence[str], of: ServedResource) -> bytes:
    request: wire.AllocateRequest | wire19.AllocateRequest = wire19.AllocateRequest(devicesIDs=ids)
    if dialect is V1BETA1:
        request = wire.AllocateRequest(container_requests=[wire.ContainerAllocateRequest(devices_ids=ids)])
    return dialect.calls["Allocate"](request.SerializeToString(), of)


class EverythingOffer(ServedResource):
    """Answers with one of each that a container can get."""

    def __init__(self) -> None:
        super().__init__(DEFAULT_RESOURCE, advertisement(), AllocationPolicy(), EveryNode())

    def allocate(self, ids: Sequence[str]) -> ContainerEdits:
        return ContainerEdits(
            environment={"A": ",".join(ids)},
            mounts=(Mount("/in", "/out"),),
            device_nodes=(DeviceNode("/dev/in", "/dev/out"),),
            annotations={"note": "x"},
            cdi_devices=("example.com/thing=1",),
        )


@pytest.mark.parametrize("dialect", ALL)
def test_every_method_of_the_service_is_answered(dialect: Dialect) -> None:
    described = dialect.file.services_by_name["DevicePlugin"].methods_by_name
    assert set(described) == {*dialect.calls, "ListAndWatch"}


def test_the_command_line_knows_every_dialect_and_family() -> None:
    packages = {dialect.version: dialect.package for dialect in root.dialects()}
    assert root.API_VERSIONS["auto"] == tuple(packages)
    for version, package in packages.items():
        family = tuple(each for each in packages if packages[each] == package)
        assert (version,) in root.API_VERSIONS.values()
        assert family in root.API_VERSIONS.values()


@pytest.mark.parametrize("dialect", ALL)
def test_register_names_version_endpoint_and_resource(dialect: Dialect) -> None:
    request = wire.RegisterRequest.FromString(dialect.registration("a.sock", DEFAULT_RESOURCE))
    assert (request.version, request.endpoint, request.resource_name) == (dialect.version, "a.sock", "nvidia.com/gpu")


def test_options_are_the_same_in_register_and_when_asked_for() -> None:
    registered = wire.RegisterRequest.FromString(V1BETA1.registration("a.sock", DEFAULT_RESOURCE)).options
    asked = wire.DevicePluginOptions.FromString(V1BETA1.calls["GetDevicePluginOptions"](b"", served()))
    assert registered == asked
    assert asked.get_preferred_allocation_available
    assert not asked.pre_start_required


@pytest.mark.parametrize("dialect", ALL)
def test_a_device_list_has_ids_and_the_two_words_for_health(dialect: Dialect) -> None:
    devices = wire.ListAndWatchResponse.FromString(dialect.device_list(advertisement(2, (1,)))).devices
    assert [(device.ID, device.health) for device in devices] == [("GPU-0", "Healthy"), ("GPU-1", "Unhealthy")]


def test_a_numa_node_0_is_there_and_no_node_is_no_topology() -> None:
    first = wire.ListAndWatchResponse.FromString(V1BETA1.device_list(advertisement(1, numa_node=0))).devices[0]
    assert [node.ID for node in first.topology.nodes] == [0]
    without = wire.ListAndWatchResponse.FromString(V1BETA1.device_list(advertisement(1))).devices[0]
    assert not without.HasField("topology")


def test_each_container_request_gets_one_response() -> None:
    containers = [wire.ContainerAllocateRequest(devices_ids=ids) for ids in (["GPU-1", "GPU-0"], ["GPU-2"], [])]
    request = wire.AllocateRequest(container_requests=containers).SerializeToString()
    answer = wire.AllocateResponse.FromString(V1BETA1.calls["Allocate"](request, served()))
    assert [container.envs.get(VARIABLE) for container in answer.container_responses] == ["GPU-0,GPU-1", "GPU-2", None]


def test_no_container_gets_one_empty_response_because_1_10_would_crash() -> None:
    answer = wire.AllocateResponse.FromString(V1BETA1.calls["Allocate"](b"", served()))
    assert list(answer.container_responses) == [wire.ContainerAllocateResponse()]


def test_1_8_gets_everything_in_one_spec() -> None:
    answer = wire18.AllocateResponse.FromString(allocate(V0_1, ["GPU-2", "GPU-0"], served()))
    (spec,) = answer.spec
    assert dict(spec.envs) == {VARIABLE: "GPU-0,GPU-2"}
    assert [node.container_path for node in spec.devices] == ["/dev/nvidia0", "/dev/nvidia2", "/dev/nvidiactl"]


def test_1_9_gets_the_same_at_the_top_level() -> None:
    answer = wire19.AllocateResponse.FromString(allocate(V1ALPHA2, ["GPU-2", "GPU-0"], served()))
    assert dict(answer.envs) == {VARIABLE: "GPU-0,GPU-2"}
    assert len(answer.devices) == 3


def test_no_ids_are_answered_with_nothing() -> None:
    assert allocate(V0_1, [], served()) == allocate(V1ALPHA2, [], served()) == b""


def test_whatever_a_dialect_knows_is_written() -> None:
    new = wire.AllocateResponse.FromString(allocate(V1BETA1, ["a"], EverythingOffer())).container_responses[0]
    assert (dict(new.annotations), [each.name for each in new.cdi_devices]) == ({"note": "x"}, ["example.com/thing=1"])
    old = wire19.AllocateResponse.FromString(allocate(V1ALPHA2, ["a"], EverythingOffer()))
    oldest = wire18.AllocateResponse.FromString(allocate(V0_1, ["a"], EverythingOffer())).spec[0]
    for answer in (new, old, oldest):
        assert (answer.mounts[0].container_path, answer.mounts[0].host_path) == ("/in", "/out")
        assert answer.mounts[0].read_only
        assert (answer.devices[0].host_path, answer.devices[0].permissions) == ("/dev/out", "rw")


@pytest.mark.parametrize("dialect", ALL)
def test_ids_that_cannot_be_granted_are_named(dialect: Dialect) -> None:
    with pytest.raises(UnknownDeviceError, match="GPU-9"):
        allocate(dialect, ["GPU-0", "GPU-9"], served())
    with pytest.raises(RepeatedDeviceError, match="GPU-1"):
        allocate(dialect, ["GPU-1", "GPU-1"], served())
    with pytest.raises(UnhealthyDeviceError, match="GPU-3"):
        allocate(dialect, ["GPU-3"], served(unhealthy=(3,)))


def test_a_preference_is_answered_for_each_container() -> None:
    container = wire.ContainerPreferredAllocationRequest(
        available_deviceIDs=["GPU-3", "GPU-1"], must_include_deviceIDs=["GPU-3"], allocation_size=2
    )
    request = wire.PreferredAllocationRequest(container_requests=[container, container]).SerializeToString()
    answer = wire.PreferredAllocationResponse.FromString(V1BETA1.calls["GetPreferredAllocation"](request, served()))
    assert [list(each.deviceIDs) for each in answer.container_responses] == [["GPU-3", "GPU-1"]] * 2


@pytest.mark.parametrize(("dialect", "method"), [(dialect, name) for dialect in ALL for name in dialect.calls])
def test_bytes_that_are_no_message_are_refused(dialect: Dialect, method: str) -> None:
    with pytest.raises(MalformedRequestError, match="not a "):
        dialect.calls[method](b"\xff\xff", served())
