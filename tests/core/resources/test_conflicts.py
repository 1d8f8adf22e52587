"""Conflicts with other device plugins, and with pods that hold devices in another form."""

from collections.abc import Mapping
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.devices import advertised, device, part
from plugin_gateway.core.devices import PhysicalId
from plugin_gateway.core.resources.assignment import Advertisement
from plugin_gateway.core.resources.conflicts import (
    MAX_FORMS,
    Cause,
    Conflict,
    FormerPart,
    Held,
    Sockets,
    find_conflicts,
    find_withheld,
    holding_of,
)
from plugin_gateway.core.resources.names import ResourceName
from plugin_gateway.core.resources.sharing import Sharing

GPU, THING = ResourceName("nvidia.com/gpu"), ResourceName("example.com/thing")


def ours(*ids: str) -> Mapping[str, PhysicalId]:
    """Ids that were offered, each for a physical device of the same name."""
    return {each: PhysicalId(each.partition("::")[0]) for each in ids}


OFFERED = {GPU: ours("GPU-1", "GPU-2")}
RIVAL = Sockets(["rdma.sock", "nvidia-gpu.sock"])
ANY = Sockets(["rdma.sock", "thing.sock"], ["plugin-gateway-x.sock"])


def test_devices_that_were_never_offered_are_those_of_another_plugin() -> None:
    registered = {str(GPU): {"b", "GPU-1", "a"}}
    assert find_conflicts(OFFERED, {GPU}, registered, ANY) == (
        Conflict(GPU, Cause.FOREIGN_DEVICES, ("a", "b"), None, ("rdma.sock", "thing.sock")),
    )
    assert find_conflicts(OFFERED, {GPU}, registered, RIVAL)[0].sockets == ("nvidia-gpu.sock",)
    assert not find_conflicts(OFFERED, (), registered, ANY), "the kubelet has no list of ours yet"


def test_parts_of_an_offered_device_under_the_same_name_are_not_offered_by_this_gateway() -> None:
    (found,) = find_conflicts(OFFERED, {GPU}, {GPU: {"GPU-1::0", "GPU-1::1"}}, ANY)
    assert (found.cause, found.devices) == (Cause.FOREIGN_DEVICES, ("GPU-1::0", "GPU-1::1"))


@pytest.mark.parametrize("device", ["GPU-1", "GPU-1::3"])
def test_an_offered_device_under_another_name_is_offered_twice(device: str) -> None:
    sockets = ("rdma.sock", "thing.sock", "plugin-gateway-x.sock")
    for serving in ((), {GPU}):
        assert find_conflicts(OFFERED, serving, {"example.com/other": {device, "x"}}, ANY) == (
            Conflict(GPU, Cause.SAME_DEVICES, (device,), "example.com/other", sockets),
        )
    (found,) = find_conflicts(OFFERED, (), {THING: {device}}, Sockets(["example.com_thing.sock", "rdma.sock"]))
    assert found.sockets == ("example.com_thing.sock",)


@pytest.mark.parametrize(
    ("socket", "resource", "is_named_for"),
    [
        ("nvidia-gpu.sock", "nvidia.com/gpu", True),
        ("nvidia.sock", "nvidia.com/gpu", True),
        ("nvidiaGPU-1700000000.sock", "nvidia.com/gpu", True),
        ("nvidia-gpu.shared.sock", "nvidia.com/gpu", True),
        ("amd.com_gpu", "amd.com/gpu", True),
        ("gpu.intel.com-i915.sock", "gpu.intel.com/i915", True),
        ("nvidia.com_hostdev.sock", "nvidia.com/gpu", False),
        ("rdma.sock", "nvidia.com/gpu", False),
        ("gpu.sock", "nvidia.com/gpu", False),
        ("nvidia-gpu.sock", "example.com/gpu", False),
    ],
)
def test_a_socket_with_the_name_of_the_resource_is_a_hint(socket: str, resource: str, is_named_for: bool) -> None:
    name = ResourceName(resource)
    found = find_conflicts({name: ours("a")}, {name}, {name: {"a"}}, Sockets([socket]))
    assert found == ((Conflict(name, Cause.SOCKET_NAME, sockets=(socket,)),) if is_named_for else ())


IDS = st.frozensets(st.sampled_from(("GPU-1", "GPU-2", "GPU-1::0", "x", "y")))
OURS = IDS.map(lambda ids: ours(*ids))
NAMES = st.sampled_from((GPU, THING, ResourceName("example.com/other")))
SOCKETS = st.builds(
    Sockets,
    st.lists(st.sampled_from(("rdma.sock", "thing.sock")), unique=True),
    st.lists(st.just("plugin-gateway-x.sock"), unique=True),
)


@given(offered=st.dictionaries(NAMES, OURS), registered=st.dictionaries(NAMES.map(str), IDS), sockets=SOCKETS)
def test_there_is_a_conflict_if_and_only_if_the_kubelet_has_what_it_should_not(
    offered: Mapping[ResourceName, Mapping[str, PhysicalId]], registered: Mapping[str, frozenset[str]], sockets: Sockets
) -> None:
    found = find_conflicts(offered, offered.keys(), registered, sockets)
    foreign = {name for name, ids in offered.items() if registered.get(name, frozenset()) - ids.keys()}
    elsewhere = {
        name
        for name, ids in offered.items()
        for other in registered.keys() - offered.keys()
        if {each.partition("::")[0] for each in registered[other]} & {each.partition("::")[0] for each in ids}
    }
    assert {each.resource for each in found if each.cause is Cause.FOREIGN_DEVICES} == foreign
    assert {each.resource for each in found if each.cause is Cause.SAME_DEVICES} == elsewhere
    assert len({(each.resource, each.cause, each.other_resource) for each in found}) == len(found)
    assert all(set(each.sockets) <= {*sockets.plugins, *sockets.gateways} for each in found)


def holding(offered: str, resource: str = GPU) -> Held:
    return {holding_of(offered, resource): "ns/pod main"}


def as_shared(replicas: int, name: ResourceName = GPU) -> Mapping[ResourceName, Advertisement]:
    return {name: advertised([device(1), device(2)], sharing=Sharing(replicas=replicas))}


ALONE, SHARED, RENAMED = as_shared(1), as_shared(3), as_shared(1, THING)
PARTS = {GPU: advertised([part(device(1), 0), part(device(1), 1), device(2)])}


@pytest.mark.parametrize(
    ("wanted", "held", "withheld"),
    [
        (ALONE, holding("GPU-1"), {}),
        (SHARED, holding("GPU-1::2"), {}),
        (as_shared(2), holding("GPU-1::2"), {}),
        (as_shared(9), holding("GPU-1::2"), {}),
        (ALONE, holding("GPU-9"), {}),
        (PARTS, holding("MIG-1-0"), {}),
        (PARTS, holding("MIG-1-7"), {}),
        (SHARED, holding("GPU-1"), {"GPU-1": "held as nvidia.com/gpu (not shared) by ns/pod main"}),
        (ALONE, holding("GPU-1::0"), {"GPU-1": "held as nvidia.com/gpu (shared) by ns/pod main"}),
        (RENAMED, holding("GPU-2"), {"GPU-2": "held as nvidia.com/gpu by ns/pod main"}),
        (as_shared(3, THING), holding("GPU-2::1"), {"GPU-2": "held as nvidia.com/gpu by ns/pod main"}),
        (RENAMED, holding("GPU-2::1"), {"GPU-2": "held as nvidia.com/gpu by ns/pod main"}),
        (
            PARTS,
            holding("GPU-1"),
            {
                "MIG-1-0": "held as nvidia.com/gpu (GPU-1) by ns/pod main",
                "MIG-1-1": "held as nvidia.com/gpu (GPU-1) by ns/pod main",
            },
        ),
        (
            {THING: PARTS[GPU]},
            holding("MIG-1-1", "nvidia.com/mig-1g.10gb"),
            {"MIG-1-1": "held as nvidia.com/mig-1g.10gb by ns/pod main"},
        ),
    ],
    ids=[
        "the same", "a replica", "fewer replicas", "more replicas", "another device", "a part", "a part that is gone",
        "alone, now shared", "shared, now alone", "another name", "shared, another name",
        "shared, now alone under another name", "whole, now in parts", "a part, another name",
    ],
)  # fmt: skip
def test_a_device_that_somebody_holds_in_another_form_is_withheld(
    wanted: Mapping[ResourceName, Advertisement], held: Held, withheld: Mapping[str, str]
) -> None:
    assert find_withheld(wanted, held) == withheld


def test_a_whole_device_that_is_offered_beside_its_parts_stands_in_the_way_of_none() -> None:
    both = {GPU: advertised([device(1), part(device(1), 0)])}
    assert find_withheld(both, holding("GPU-1")) == {}
    assert list(find_withheld(both, holding("GPU-1", "x/old"))) == ["GPU-1"]


FORMS = st.sampled_from(("GPU-1", "GPU-2", "GPU-1::0", "GPU-2::1", "GPU-2::7", "GPU-3"))


@given(st.lists(st.tuples(FORMS, st.sampled_from((GPU, THING)))), st.sampled_from((1, 2, 8)))
def test_a_device_is_withheld_if_and_only_if_it_is_held_under_another_name_or_shared_otherwise(
    holdings: list[tuple[str, ResourceName]], replicas: int
) -> None:
    held = {holding_of(offered, name): "pod" for offered, name in holdings}
    expected = {
        offered.partition("::")[0]
        for offered, name in holdings
        if offered != "GPU-3" and (name != GPU or ("::" in offered) != (replicas > 1))
    }
    assert set(find_withheld(as_shared(replicas), held)) == expected


def test_a_shared_device_under_another_name_is_offered_twice() -> None:
    offered = {GPU: ours("GPU-1::0", "GPU-1::1")}
    for other in ("GPU-1", "GPU-1::0", "GPU-1::9"):
        (found,) = find_conflicts(offered, {GPU}, {"example.com/other": {other}}, ANY)
        assert (found.cause, found.devices) == (Cause.SAME_DEVICES, (other,))


def test_a_whole_device_of_which_parts_are_offered_is_offered_twice() -> None:
    offered = {GPU: {"MIG-1-0::0": PhysicalId("GPU-1"), "MIG-1-1::0": PhysicalId("GPU-1")}}
    for other in ("GPU-1", "MIG-1-1", "MIG-1-0::7"):
        (found,) = find_conflicts(offered, {GPU}, {"example.com/other": {other, "GPU-2"}}, ANY)
        assert (found.cause, found.devices) == (Cause.SAME_DEVICES, (other,))


def test_what_gives_the_same_as_a_part_that_is_held_and_gone_is_withheld() -> None:
    gone = part(device(1), 7)
    held, parts = holding(gone.id, "x/part"), {str(gone.id): FormerPart(gone.physical.id, gone.nodes)}
    whole = {GPU: advertised([device(1), device(2)])}
    assert find_withheld(whole, held, parts) == {"GPU-1": "held as x/part by ns/pod main"}
    again = replace(part(device(1), 0), nodes=gone.nodes)
    assert find_withheld({THING: advertised([again, part(device(1), 1)])}, held, parts) == {
        "MIG-1-0": "held as x/part by ns/pod main"
    }
    elsewhere = replace(part(device(2), 0), nodes=gone.nodes)
    assert find_withheld({THING: advertised([elsewhere, part(device(1), 1)])}, held, parts) == {}
    without = {str(gone.id): FormerPart(gone.physical.id, ())}
    assert find_withheld({THING: advertised([replace(again, nodes=())])}, held, without) == {}
    assert find_withheld({THING: advertised([gone, again])}, holding(gone.id, THING), parts) == {}


def test_a_limited_number_of_forms_is_named_for_a_device() -> None:
    held = {form: "ns/pod main" for number in range(1000) for form in holding("GPU-1", f"x/old-{number}")}
    (words,) = find_withheld({THING: advertised([device(1)])}, held).values()
    assert words.startswith("held as x/old-0 by ns/pod main, x/old-1 by ns/pod main, ")
    assert words.endswith(f", and in {1000 - MAX_FORMS} more forms")
