from collections.abc import Container, Sequence

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from core.strategies import IDS, VARIABLE, device, device_lists
from plugin_gateway.core.devices import Device
from plugin_gateway.core.errors import (
    AllocationError,
    GatewayError,
    RepeatedDeviceError,
    UnhealthyDeviceError,
    UnknownDeviceError,
)
from plugin_gateway.core.resources.allocation import NO_EDITS, ContainerEdits, DeviceNode, allocate
from plugin_gateway.core.resources.assignment import Advertisement
from plugin_gateway.core.resources.policy import AllocationPolicy, DeviceIdStrategy

SHARED = ("/dev/nvidiactl", "/dev/nvidia-uvm")
POLICY = AllocationPolicy()


def advertised(devices: Sequence[Device], *unhealthy: str) -> Advertisement:
    return Advertisement(
        devices=tuple(devices),
        unhealthy=frozenset(known.id for known in devices if known.id in unhealthy),
        shared_nodes=SHARED,
        visibility_variable=VARIABLE,
    )


EIGHT = advertised([device(number) for number in range(8)], "GPU-3", "GPU-5")


class Host:
    """A host with these device nodes; with all that anybody asks for, where none are given."""

    def __init__(self, *paths: str) -> None:
        self._paths = paths

    def present(self, paths: Sequence[str]) -> Container[str]:
        return self._paths or paths


everything = Host()


def node(path: str, root: str = "") -> DeviceNode:
    return DeviceNode(container_path=path, host_path=root + path, permissions="rw")


def test_a_container_gets_the_variable_and_the_nodes() -> None:
    assert allocate(EIGHT, ["GPU-2", "GPU-0"], POLICY, everything) == ContainerEdits(
        environment={VARIABLE: "GPU-0,GPU-2"},
        device_nodes=tuple(node(path) for path in ("/dev/nvidia0", "/dev/nvidia2", *SHARED)),
    )


def test_the_variable_can_name_the_index() -> None:
    policy = AllocationPolicy(device_id_strategy=DeviceIdStrategy.INDEX)
    assert allocate(EIGHT, ["GPU-7", "GPU-1"], policy, everything).environment == {VARIABLE: "1,7"}


def test_nodes_can_be_left_to_the_container_runtime() -> None:
    edits = allocate(EIGHT, ["GPU-1"], AllocationPolicy(pass_device_specs=False), everything)
    assert (edits.environment, edits.device_nodes) == ({VARIABLE: "GPU-1"}, ())


def test_only_nodes_that_exist_are_given() -> None:
    edits = allocate(EIGHT, ["GPU-1", "GPU-2"], POLICY, Host("/dev/nvidia1", "/dev/nvidiactl"))
    assert edits.device_nodes == (node("/dev/nvidia1"), node("/dev/nvidiactl"))
    assert edits.absent_nodes == ("/dev/nvidia2",)


@pytest.mark.parametrize(("dev_root", "prefix"), [("/", ""), ("/run/nvidia", "/run/nvidia"), ("/run/x/", "/run/x")])
def test_nodes_come_from_below_the_dev_root_and_are_named_as_ever_in_the_container(dev_root: str, prefix: str) -> None:
    edits = allocate(EIGHT, ["GPU-0"], AllocationPolicy(dev_root=dev_root), everything)
    assert edits.device_nodes == tuple(node(path, prefix) for path in ("/dev/nvidia0", *SHARED))


def test_no_ids_change_nothing() -> None:
    assert allocate(EIGHT, [], POLICY, everything) is NO_EDITS
    assert NO_EDITS.environment == {}
    assert (NO_EDITS.mounts, NO_EDITS.device_nodes, NO_EDITS.cdi_devices) == ((), (), ())


@pytest.mark.parametrize(
    ("ids", "error", "refused"),
    [
        (["GPU-9", "GPU-1", "x"], UnknownDeviceError, ("GPU-9", "x")),
        (["GPU-1", "GPU-2", "GPU-1"], RepeatedDeviceError, ("GPU-1",)),
        (["GPU-5", "GPU-1", "GPU-3"], UnhealthyDeviceError, ("GPU-5", "GPU-3")),
        (["GPU-9", "GPU-3", "GPU-3"], UnknownDeviceError, ("GPU-9",)),
        (["GPU-3", "GPU-3"], RepeatedDeviceError, ("GPU-3",)),
        ([""], UnknownDeviceError, ("",)),
    ],
)
def test_what_cannot_be_granted_names_the_ids(
    ids: Sequence[str], error: type[AllocationError], refused: tuple[str, ...]
) -> None:
    with pytest.raises(error) as caught:
        allocate(EIGHT, ids, POLICY, everything)
    assert caught.value.ids == refused
    assert str(caught.value) == f"{error.problem}: {', '.join(refused)}"
    assert isinstance(caught.value, GatewayError)


def test_the_three_refusals_read_differently() -> None:
    problems = {error.problem for error in (UnknownDeviceError, RepeatedDeviceError, UnhealthyDeviceError)}
    assert problems == {
        "no such device in this resource",
        "device asked for more than once",
        "device is unhealthy",
    }


def test_a_refusal_looks_at_no_node() -> None:
    class Untouched(Host):
        def present(self, paths: Sequence[str]) -> Container[str]:
            raise AssertionError(paths)

    with pytest.raises(UnhealthyDeviceError):
        allocate(EIGHT, ["GPU-0", "GPU-3"], POLICY, Untouched())


@given(device_lists(), st.data())
def test_the_order_of_the_request_makes_no_difference(devices: Sequence[Device], data: st.DataObject) -> None:
    assume(devices)
    ids = data.draw(st.lists(st.sampled_from([known.id for known in devices]), unique=True, min_size=1))
    edits = allocate(advertised(devices), ids, POLICY, everything)
    assert edits == allocate(advertised(devices), data.draw(st.permutations(ids)), POLICY, everything)
    granted = [known for known in devices if known.id in ids]
    assert edits.environment == {VARIABLE: ",".join(known.id for known in granted)}
    paths = [path for known in granted for path in known.nodes]
    assert [node.container_path for node in edits.device_nodes] == [*paths, *SHARED]


@given(device_lists(), st.sets(st.sampled_from(IDS)), st.lists(st.sampled_from((*IDS, "GPU-x", ""))))
def test_devices_are_granted_if_and_only_if_each_is_known_healthy_and_asked_for_once(
    devices: Sequence[Device], unhealthy: set[str], ids: Sequence[str]
) -> None:
    try:
        allocate(advertised(devices, *unhealthy), ids, POLICY, everything)
        granted = True
    except AllocationError:
        granted = False
    known = {item.id for item in devices} - unhealthy
    assert granted == (set(ids) <= known and len(set(ids)) == len(ids))
