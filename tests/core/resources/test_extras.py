"""Mounts that name the devices, and what a container gets besides them."""

from collections.abc import Sequence
from dataclasses import replace
from itertools import combinations
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.devices import GPU, VARIABLE, device
from harness.devices import advertised as devices_in_one_resource
from harness.hosts import Host
from plugin_gateway.core.devices import Device, DeviceId, Extra, Kind, Recipe
from plugin_gateway.core.errors import MissingExtraError
from plugin_gateway.core.ports import matching
from plugin_gateway.core.resources.allocation import ContainerEdits, DeviceNode, Mount, allocate
from plugin_gateway.core.resources.assignment import Advertisement
from plugin_gateway.core.resources.extras import missing
from plugin_gateway.core.resources.policy import AllocationPolicy, DeviceIdStrategy, ListStrategy
from plugin_gateway.core.resources.sharing import Sharing

FOLDER = "/var/run/devices"
CHANNEL = "/dev/channels/channel0"
EXTRAS = {
    "copy": Extra(environment={"COPY": "enabled"}, nodes=("/dev/copy",)),
    "store": Extra(environment={"STORE": "enabled"}, nodes=("/dev/store*", "/dev/manager")),
    "channel": Extra(names={"CHANNELS": "0"}, mount="channel/0", nodes=(CHANNEL,), needs_nodes=True),
}
RECIPE = Recipe(
    visibility_variable=VARIABLE, shared_nodes=("/dev/ctl",), mounts_folder=FOLDER, extras=EXTRAS, permissions="rwm"
)
ENVVAR, MOUNTS, CRI = ListStrategy.ENVVAR, ListStrategy.VOLUME_MOUNTS, ListStrategy.CDI_CRI
NODES = ("/dev/nvidia0", "/dev/nvidia1", "/dev/ctl")
EVERY = (*NODES, "/dev/copy", "/dev/store0", "/dev/store1", "/dev/manager", CHANNEL)


def policy(*strategies: ListStrategy, extras: Sequence[str] = (), **others: Any) -> AllocationPolicy:
    return AllocationPolicy(list_strategies=frozenset(strategies), extras=tuple(extras), **others)


def offer(devices: Sequence[Device], recipe: Recipe = RECIPE) -> Advertisement:
    return devices_in_one_resource(devices, recipe=recipe)


TWO = offer([device(0), device(1)])


def got(asked: AllocationPolicy, *ids: str, of: Advertisement = TWO, host: Host | None = None) -> ContainerEdits:
    return allocate(of, ids or ("GPU-1",), asked, host or Host(*EVERY))


def mount(name: str) -> Mount:
    return Mount(f"{FOLDER}/{name}", "/dev/null", read_only=False)


def paths(edits: ContainerEdits) -> list[str]:
    return [each.container_path for each in edits.device_nodes]


def test_each_device_has_a_mount_and_the_variable_names_their_folder() -> None:
    edits = got(policy(MOUNTS), "GPU-1", "GPU-0")
    assert edits.environment == {VARIABLE: FOLDER}
    assert edits.mounts == (mount("GPU-0"), mount("GPU-1"))
    assert paths(edits) == ["/dev/nvidia0", "/dev/nvidia1", "/dev/ctl"]


def test_mounts_decide_where_the_variable_is_asked_for_too() -> None:
    assert got(policy(ENVVAR, MOUNTS)) == got(policy(MOUNTS))


def test_a_mount_can_have_the_index_as_its_name() -> None:
    assert got(policy(MOUNTS, device_id_strategy=DeviceIdStrategy.INDEX)).mounts == (mount("1"),)


def test_an_id_that_is_no_name_of_a_file_is_replaced_by_the_place() -> None:
    """Drivers before R470 have slashes in the ids of parts."""
    part = replace(device(1), id=DeviceId("MIG-GPU-1/1/0"), place=(1, 2))
    assert got(policy(MOUNTS), part.id, of=offer([part])).mounts == (mount("1:2"),)


def test_a_device_of_which_a_container_has_two_replicas_has_one_mount() -> None:
    shared = devices_in_one_resource([device(0)], recipe=RECIPE, sharing=Sharing(replicas=2))
    assert got(policy(MOUNTS), "GPU-0::0", "GPU-0::1", of=shared).mounts == (mount("GPU-0"),)


def test_a_runtime_that_looks_for_no_mounts_gets_none() -> None:
    plain = offer([device(1)], Recipe(visibility_variable=VARIABLE))
    assert got(policy(ENVVAR, MOUNTS), of=plain) == got(policy(ENVVAR), of=plain)
    nameless = offer([device(1)], Recipe(mounts_folder=FOLDER))
    edits = got(policy(ENVVAR, MOUNTS), of=nameless)
    assert (edits.environment, edits.mounts) == ({}, ())


def test_devices_of_a_runtime_that_looks_for_no_mounts_are_named_by_the_variable_alone() -> None:
    """Otherwise a container would have devices that nothing names."""
    plain = offer([device(0), device(1)], recipe=Recipe(visibility_variable=VARIABLE))
    for asked in (policy(MOUNTS), policy(MOUNTS, CRI), policy(MOUNTS, ENVVAR)):
        edits = got(asked, "GPU-0", "GPU-1", of=plain)
        assert (edits.environment, edits.mounts) == ({VARIABLE: "GPU-0,GPU-1"}, ())


def test_an_extra_comes_with_its_variable_and_the_nodes_that_are_there() -> None:
    edits = got(policy(ENVVAR, extras=["copy", "store"]))
    assert edits.environment == {VARIABLE: "GPU-1", "COPY": "enabled", "STORE": "enabled"}
    assert paths(edits) == ["/dev/nvidia1", "/dev/ctl", "/dev/copy", "/dev/store0", "/dev/store1", "/dev/manager"]
    bare = got(policy(ENVVAR, extras=["copy", "store"]), host=Host(*NODES, "/dev/manager"))
    assert (bare.environment, paths(bare)) == (edits.environment, ["/dev/nvidia1", "/dev/ctl", "/dev/manager"])
    assert bare.absent_nodes == ()


def test_an_extra_has_the_permissions_and_the_root_of_all_device_nodes() -> None:
    edits = got(policy(ENVVAR, extras=["copy"], dev_root="/run/driver/"))
    assert edits.device_nodes[-1] == DeviceNode("/dev/copy", "/run/driver/dev/copy", "rwm")


def test_without_device_nodes_an_extra_is_its_variable() -> None:
    edits = got(policy(ENVVAR, extras=["copy"], pass_device_specs=False))
    assert (edits.environment, paths(edits)) == ({VARIABLE: "GPU-1", "COPY": "enabled"}, [])


def test_a_channel_is_named_as_the_devices_are() -> None:
    by_variable, by_mount = (got(policy(each, extras=["channel"])) for each in (ENVVAR, MOUNTS))
    assert (by_variable.environment, by_variable.mounts) == ({VARIABLE: "GPU-1", "CHANNELS": "0"}, ())
    assert (by_mount.environment, by_mount.mounts) == ({VARIABLE: FOLDER}, (mount("GPU-1"), mount("channel/0")))
    assert paths(by_variable) == paths(by_mount) == ["/dev/nvidia1", "/dev/ctl", CHANNEL]
    both = got(policy(ENVVAR, MOUNTS, extras=["channel"]))
    assert (both.environment, both.mounts) == ({VARIABLE: FOLDER, "CHANNELS": "0"}, by_mount.mounts)


@pytest.mark.parametrize("strategy", [ListStrategy.CDI_ANNOTATIONS, CRI])
def test_what_is_in_a_cdi_spec_is_named_and_only_that(strategy: ListStrategy) -> None:
    vendor = "k8s.example.com"
    named = {
        "copy": replace(EXTRAS["copy"], cdi_kind=f"{vendor}/copy"),
        "store": replace(EXTRAS["store"], cdi_kind=f"{vendor}/store"),
        "channel": replace(EXTRAS["channel"], cdi_kind=f"{vendor}/channel", cdi_name="0"),
    }
    recipe = replace(RECIPE, cdi_kind=f"{vendor}/card", extras=named)
    asked = policy(
        strategy,
        extras=["copy", "store", "channel"],
        described_extras={
            "copy": f"{vendor}/copy=all",
            "channel": f"{vendor}/channel=0",
            "not asked for": f"{vendor}/odd=all",
        },
    )
    edits = got(asked, "GPU-0", "GPU-1", of=offer([device(0), device(1)], recipe))
    names = [name for value in edits.annotations.values() for name in value.split(",")] or list(edits.cdi_devices)
    assert names == [f"{vendor}/{each}" for each in ("card=GPU-0", "card=GPU-1", "copy=all", "channel=0")]
    assert (edits.environment, edits.device_nodes) == ({"COPY": "enabled", "STORE": "enabled"}, ())


@pytest.mark.parametrize("strategies", [(ENVVAR,), (MOUNTS,), (ENVVAR, MOUNTS)])
def test_a_channel_that_is_not_there_changes_nothing(strategies: tuple[ListStrategy, ...]) -> None:
    host = Host(*NODES)
    assert got(policy(*strategies, extras=["channel"]), host=host) == got(policy(*strategies), host=host)


def test_a_node_that_is_only_taken_for_present_is_none_of_an_extra() -> None:
    """Where the device nodes are not seen, those that every container needs are given; one more could be absent."""
    edits = got(policy(ENVVAR, extras=["channel", "copy"]), host=Host(visible=False))
    assert (edits.environment, paths(edits)) == (
        {VARIABLE: "GPU-1", "COPY": "enabled"}, ["/dev/nvidia1", "/dev/ctl"],
    )  # fmt: skip


def test_a_channel_that_is_required_and_not_there_refuses_the_container() -> None:
    asked = policy(ENVVAR, extras=["channel"], required_extras=("channel",))
    assert got(asked).environment["CHANNELS"] == "0"
    with pytest.raises(MissingExtraError) as caught:
        got(asked, "GPU-1", host=Host(*NODES))
    assert str(caught.value) == f"{CHANNEL} is not there, which every container needs; not given out: GPU-1"


def test_what_is_required_and_missing_is_known_before_anybody_asks() -> None:
    assert missing([RECIPE, RECIPE], ("channel",), Host(*NODES)) == {"channel": EXTRAS["channel"]}
    assert missing([RECIPE], ("channel",), Host(CHANNEL)) == {}
    assert missing([RECIPE], ("copy", "other"), Host()) == {}, "a container can be without"
    assert missing([Recipe()], ("channel",), Host()) == {}


def test_an_extra_that_the_devices_do_not_know_is_left_out() -> None:
    assert got(policy(ENVVAR, extras=["other"])) == got(policy(ENVVAR))


def test_through_cdi_alone_a_container_gets_no_nodes_of_extras() -> None:
    """The container runtime has them from the CDI spec."""
    offered = offer([device(0)], replace(RECIPE, cdi_kind="example.com/card"))
    edits = got(policy(CRI, extras=["copy"]), "GPU-0", of=offered)
    assert ("/dev/copy" in paths(edits), edits.environment.get("COPY")) == (False, "enabled")


def test_two_kinds_of_devices_share_folder_and_extras() -> None:
    part = replace(device(1), id=DeviceId("MIG-1"), kind=Kind("mig"), place=(1, 0), nodes=("/dev/nvidia1",))
    both = replace(offer([device(0), part]), recipes={GPU: RECIPE, Kind("mig"): RECIPE})
    edits = got(policy(MOUNTS, extras=["copy", "channel"]), "GPU-0", "MIG-1", of=both)
    assert edits.mounts == (mount("GPU-0"), mount("MIG-1"), mount("channel/0"))
    assert paths(edits) == ["/dev/nvidia0", "/dev/ctl", "/dev/nvidia1", "/dev/copy", CHANNEL]


STRATEGIES = [each for size in (1, 2) for each in combinations((ENVVAR, MOUNTS), size)]


@given(
    st.sampled_from(STRATEGIES),
    st.lists(st.sampled_from(sorted(EXTRAS)), unique=True),
    st.lists(st.sampled_from(EVERY), unique=True),
    st.sets(st.sampled_from(["GPU-0", "GPU-1"]), min_size=1),
    st.booleans(),
)
def test_no_container_gets_a_node_that_is_not_there_or_one_twice(
    strategies: tuple[ListStrategy, ...], extras: list[str], there: list[str], ids: set[str], passed: bool
) -> None:
    asked = policy(*strategies, extras=extras, pass_device_specs=passed)
    edits = got(asked, *ids, host=Host(*there))
    assert len(set(paths(edits))) == len(paths(edits))
    assert set(paths(edits)) <= set(there)
    assert passed or not edits.device_nodes
    named = [each.container_path for each in edits.mounts]
    assert len(set(named)) == len(named)
    assert sum(each in {f"{FOLDER}/{name}" for name in ids} for each in named) == (
        len(ids) if MOUNTS in strategies else 0
    )
    is_told = "CHANNELS" in edits.environment or f"{FOLDER}/channel/0" in named
    assert is_told == ("channel" in extras and CHANNEL in there)


@pytest.mark.parametrize(
    ("pattern", "found"),
    [
        ("/dev/fs*", ["/dev/fs0", "/dev/fs10"]),
        ("/dev/fs0", ["/dev/fs0"]),
        ("/dev/f", []),
        ("/dev/store*", []),
    ],
)
def test_a_star_at_the_end_stands_for_any_name_in_the_same_folder(pattern: str, found: list[str]) -> None:
    assert matching(pattern, ("/dev/fs10", "/dev/fs0", "/dev/fs/below", "/dev/store/0")) == found
