from collections.abc import Container, Sequence
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from core.strategies import IDS, device_lists
from harness.devices import ALONE, GPU, VARIABLE, device
from harness.devices import advertised as devices_in_one_resource
from harness.hosts import EveryNode, Host
from plugin_gateway.core.devices import Device, Recipe
from plugin_gateway.core.errors import (
    AllocationError,
    GatewayError,
    RepeatedDeviceError,
    UnhealthyDeviceError,
    UnknownDeviceError,
)
from plugin_gateway.core.resources.allocation import NO_EDITS, ContainerEdits, DeviceNode, Edit, allocate
from plugin_gateway.core.resources.assignment import Advertisement
from plugin_gateway.core.resources.cdi_names import carried
from plugin_gateway.core.resources.policy import AllocationPolicy, DeviceIdStrategy, ListStrategy
from plugin_gateway.core.resources.sharing import Sharing

SHARED = ("/dev/nvidiactl", "/dev/nvidia-uvm")
RECIPE = Recipe(visibility_variable=VARIABLE, shared_nodes=SHARED)
POLICY = AllocationPolicy()


def advertised(devices: Sequence[Device], *unhealthy: str, **others: Any) -> Advertisement:
    return devices_in_one_resource(devices, *unhealthy, recipe=RECIPE, **others)


EIGHT = advertised([device(number) for number in range(8)], "GPU-3", "GPU-5")


everything = EveryNode()


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
    assert edits.absent_nodes == ("/dev/nvidia2", "/dev/nvidia-uvm")


def test_a_node_that_every_container_needs_and_the_host_lacks_is_told() -> None:
    edits = allocate(EIGHT, ["GPU-1"], POLICY, Host("/dev/nvidia1", "/dev/nvidiactl"))
    assert edits.device_nodes == (node("/dev/nvidia1"), node("/dev/nvidiactl"))
    assert edits.absent_nodes == ("/dev/nvidia-uvm",)


def test_an_optional_node_is_given_where_it_is_and_not_missed_elsewhere() -> None:
    optional = replace(EIGHT, recipes={GPU: replace(RECIPE, optional_nodes=("/dev/nvidia-modeset",))})
    needed = ("/dev/nvidia1", *SHARED)
    there = allocate(optional, ["GPU-1"], POLICY, Host(*needed, "/dev/nvidia-modeset"))
    assert there.device_nodes == tuple(node(path) for path in (*needed, "/dev/nvidia-modeset"))
    elsewhere = allocate(optional, ["GPU-1"], POLICY, Host(*needed))
    assert elsewhere.device_nodes == tuple(node(path) for path in needed)
    assert there.absent_nodes == elsewhere.absent_nodes == ()


def test_where_the_nodes_are_not_visible_a_container_gets_those_it_needs_and_no_others() -> None:
    """A node that the host lacks keeps the container from starting, so the optional ones are not guessed."""
    optional = replace(EIGHT, recipes={GPU: replace(RECIPE, optional_nodes=("/dev/nvidia-modeset",))})
    edits = allocate(optional, ["GPU-2"], AllocationPolicy(dev_root="/run/nvidia"), Host("/dev/x", visible=False))
    assert edits.device_nodes == tuple(node(path, "/run/nvidia") for path in ("/dev/nvidia2", *SHARED))
    assert edits.absent_nodes == ()


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


KIND = "k8s.example.com/card"
BOTH = frozenset({ListStrategy.CDI_ANNOTATIONS, ListStrategy.CDI_CRI})
ONE_NAME = (f"{KIND}=GPU-1",)


def in_specs(*, sharing: Sharing = ALONE, **policy: Any) -> ContainerEdits:
    """What a container gets for device 1 where devices are in CDI specs."""
    recipe = replace(RECIPE, cdi_kind=KIND)
    offer = devices_in_one_resource([device(number) for number in range(8)], recipe=recipe, sharing=sharing)
    ids = [each for each in offer.by_id if each.partition("::")[0] == "GPU-1"]
    return allocate(offer, ids, AllocationPolicy(**policy), everything)


def test_with_cdi_alone_a_container_gets_names_and_nothing_else() -> None:
    assert in_specs(list_strategies=frozenset({ListStrategy.CDI_CRI})) == ContainerEdits(cdi_devices=ONE_NAME)
    both = in_specs(list_strategies=BOTH, annotation_prefix="a.b/")
    ((key, value),) = both.annotations.items()
    assert key.startswith("a.b/plugin-gateway_")
    assert (value, both) == (ONE_NAME[0], ContainerEdits(annotations={key: value}, cdi_devices=ONE_NAME))


def test_several_strategies_give_what_each_of_them_gives() -> None:
    edits = in_specs(list_strategies=frozenset({ListStrategy.ENVVAR, ListStrategy.CDI_CRI}))
    assert (edits.environment, edits.cdi_devices, edits.annotations) == ({VARIABLE: "GPU-1"}, ONE_NAME, {})
    assert node("/dev/nvidia1") in edits.device_nodes


def test_replicas_of_a_device_are_one_name_and_an_index_can_be_it() -> None:
    edits = in_specs(
        sharing=Sharing(replicas=3),
        list_strategies=frozenset({ListStrategy.CDI_CRI}),
        device_id_strategy=DeviceIdStrategy.INDEX,
    )
    assert edits.cdi_devices == (f"{KIND}=1",)


@pytest.mark.parametrize(
    ("asked", "carries", "left"),
    [
        ({ListStrategy.CDI_CRI}, Edit, {ListStrategy.CDI_CRI}),
        ({ListStrategy.CDI_CRI}, {Edit.ANNOTATIONS}, {ListStrategy.ENVVAR}),
        (BOTH, {Edit.ANNOTATIONS}, {ListStrategy.CDI_ANNOTATIONS}),
        (BOTH, {Edit.ENVIRONMENT, Edit.DEVICE_NODES}, {ListStrategy.ENVVAR}),
        ({ListStrategy.ENVVAR}, {Edit.ENVIRONMENT}, {ListStrategy.ENVVAR}),
        ({ListStrategy.VOLUME_MOUNTS, *BOTH}, {Edit.MOUNTS}, {ListStrategy.VOLUME_MOUNTS, ListStrategy.ENVVAR}),
    ],
)
def test_where_no_answer_carries_cdi_names_a_container_gets_nodes_and_the_variable(
    asked: set[ListStrategy], carries: Container[Edit], left: set[ListStrategy]
) -> None:
    policy = carried(AllocationPolicy(pass_device_specs=False, list_strategies=frozenset(asked)), carries)
    assert policy.list_strategies == left
    assert policy.lists_nodes == (ListStrategy.ENVVAR in left and ListStrategy.ENVVAR not in asked)


def test_devices_that_are_in_no_spec_are_given_by_nodes_and_variable() -> None:
    edits = allocate(EIGHT, ["GPU-1"], AllocationPolicy(list_strategies=BOTH), everything)
    assert edits == allocate(EIGHT, ["GPU-1"], POLICY, everything)
