from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.strategies import device_lists
from harness.devices import GPU, PART, RECIPE, altered, device, inventory, part
from plugin_gateway.core.devices import (
    MAX_ID_LENGTH,
    Device,
    DeviceId,
    Inventory,
    Kind,
    Links,
    Pair,
    PhysicalDevice,
    PhysicalId,
    Recipe,
    device_of,
    is_replica,
    offered_id,
    parse_device_id,
)
from plugin_gateway.core.errors import InvalidValueError
from plugin_gateway.core.health.difference import Difference, diff
from plugin_gateway.core.resources.id_words import id_order


@pytest.mark.parametrize(
    "text", ["GPU-8a6bd9a5-4a4c-3e1a-3a5f-2d3a0f8d6a11", "x", "x" * MAX_ID_LENGTH, "MIG-1/2/3", "é"]
)
def test_an_id_that_every_kubelet_takes(text: str) -> None:
    assert parse_device_id(text) == text


@pytest.mark.parametrize("text", ["", "x" * (MAX_ID_LENGTH + 1)])
def test_an_id_has_1_to_63_characters(text: str) -> None:
    with pytest.raises(InvalidValueError, match=f"has {len(text)} characters; expected 1 to 63"):
        parse_device_id(text)


@pytest.mark.parametrize("text", ["a b", "a,b", "a\n", "\0", "a\x7f", "\udcff", "a\u00a0b", "\u200b"])
def test_an_id_has_no_blank_comma_control_character_or_bad_utf8(text: str) -> None:
    with pytest.raises(InvalidValueError, match="printable ones without blank and comma") as caught:
        parse_device_id(text)
    assert repr(text) in str(caught.value)


@given(st.text(st.characters(codec=None), max_size=80))
def test_an_accepted_id_survives_the_wire_and_a_comma_list(text: str) -> None:
    try:
        accepted = parse_device_id(text)
    except InvalidValueError as error:
        assert str(error).isprintable()  # noqa: PT017 - most texts are refused
        return
    assert accepted.encode().decode() == accepted
    assert f"{accepted},{accepted}".split(",") == [accepted, accepted]
    assert accepted.split() == [accepted]


@pytest.mark.parametrize(
    "change", [lambda whole: altered(whole, index=-1), lambda whole: altered(whole, minor=-1)], ids=["index", "minor"]
)
def test_a_number_of_a_device_is_not_negative(change: Callable[[Device], Device]) -> None:
    with pytest.raises(InvalidValueError, match=r"device GPU-0: index -?[01], minor -?[01]; neither may be negative"):
        change(device(0))


def test_no_number_is_none_and_not_minus_1() -> None:
    unknown = altered(device(0), numa_node=None, minor=None).physical
    assert (unknown.numa_node, unknown.minor) == (None, None)
    with pytest.raises(InvalidValueError, match="device GPU-0: NUMA node -1; no node is None"):
        altered(device(0), numa_node=-1)


def test_an_inventory_names_each_device_once() -> None:
    twice = device(0), device(1, name="GPU-0")
    with pytest.raises(InvalidValueError, match="a device id occurs twice: GPU-0, GPU-0"):
        Inventory(physical=tuple(each.physical for each in twice), devices=(), recipes={})
    with pytest.raises(InvalidValueError, match="a device id occurs twice: GPU-0; MIG-0-1, MIG-0-1"):
        inventory(part(device(0), 1), replace(part(device(0), 1), place=(0, 2)))


@pytest.mark.parametrize("indexes", [(1, 0), (0, 0), (0, 2, 1)])
def test_an_inventory_is_in_the_order_of_the_index_and_has_none_twice(indexes: tuple[int, ...]) -> None:
    devices = tuple(device(index, name=f"GPU-{number}") for number, index in enumerate(indexes))
    with pytest.raises(InvalidValueError, match="devices out of order, or one index twice"):
        Inventory(physical=tuple(each.physical for each in devices), devices=(), recipes={})
    with pytest.raises(InvalidValueError, match="devices out of order, or one place twice"):
        inventory(*(part(device(0), index) for index in indexes))


@pytest.mark.parametrize(
    "wrong",
    [
        {"id": "a,b"},
        {"id": ""},
        {"memory_bytes": -1},
        {"nodes": ("dev/nvidia0",)},
        {"place": ()},
        {"place": (1,)},
        {"place": (0, -1)},
    ],
)
def test_a_device_that_makes_no_sense_cannot_be_made(wrong: dict[str, Any]) -> None:
    with pytest.raises(InvalidValueError):
        replace(device(0), **wrong)


def apply(before: Sequence[Device], difference: Difference) -> list[Device]:
    kept = {item.id: item for item in before}
    for gone in difference.removed:
        del kept[gone.id]
    kept |= {item.id: item for item in (*difference.altered, *difference.added)}
    return sorted(kept.values(), key=lambda item: item.place)


@given(device_lists(), device_lists())
def test_the_difference_applied_to_before_gives_after(before: Sequence[Device], after: Sequence[Device]) -> None:
    assert apply(before, diff(before, after)) == list(after)


@given(device_lists(), device_lists())
def test_the_way_back_is_the_same_with_added_and_removed_exchanged(
    before: Sequence[Device], after: Sequence[Device]
) -> None:
    there, back = diff(before, after), diff(after, before)
    assert (there.added, there.removed) == (back.removed, back.added)
    assert {item.id for item in there.altered} == {item.id for item in back.altered}


@given(device_lists(), device_lists())
def test_no_device_is_in_two_parts_and_each_part_keeps_the_order(
    before: Sequence[Device], after: Sequence[Device]
) -> None:
    parts = diff(before, after)
    ids = [item.id for each in (parts.added, parts.removed, parts.altered) for item in each]
    assert len(ids) == len(set(ids))
    for each in (parts.added, parts.removed, parts.altered):
        assert [item.place for item in each] == sorted(item.place for item in each)


@given(device_lists())
def test_a_list_does_not_differ_from_itself(devices: Sequence[Device]) -> None:
    assert diff(devices, devices) == Difference(added=(), removed=(), altered=())


def test_a_device_whose_index_moved_is_altered() -> None:
    moved = device(4, name="GPU-1")
    assert diff([device(1)], [moved]) == Difference(added=(), removed=(), altered=(moved,))


def test_the_id_of_a_replica_is_no_id_of_a_device() -> None:
    with pytest.raises(InvalidValueError, match="device id 'GPU-1::0' has ::, which only ids of replicas have"):
        parse_device_id("GPU-1::0")


@given(st.sampled_from(("GPU-1", "0000:3b:00.0", "MIG-GPU-1/1/0")), st.none() | st.integers(0, 2000))
def test_an_offered_id_leads_back_to_its_device(name: str, replica: int | None) -> None:
    offered = offered_id(DeviceId(name), replica)
    assert offered == (name if replica is None else f"{name}::{replica}")
    assert (device_of(offered), is_replica(offered)) == (name, replica is not None)


def test_a_whole_device_has_the_id_of_its_physical_device_and_a_part_another() -> None:
    assert (device(3).is_whole, device(3).place_words) == (True, "3")
    assert (part(device(3), 1).is_whole, part(device(3), 1).place_words) == (False, "3:1")


def test_every_id_of_an_inventory_leads_to_its_physical_device() -> None:
    first, second, third = device(0), device(1), device(2)
    seen = inventory(first, part(second, 0), part(second, 2), physical=[third.physical])
    assert seen.physical == (first.physical, second.physical, third.physical)
    assert list(seen.ids) == ["GPU-0", "GPU-1", "GPU-2", "MIG-1-0", "MIG-1-2"]
    assert [each.id for each in seen.physical_by_id.values()] == ["GPU-0", "GPU-1", "GPU-2", "GPU-1", "GPU-1"]
    assert seen.nodes == (
        "/dev/nvidia0",
        "/dev/nvidia1",
        "/dev/nvidia-caps/nvidia-cap100",
        "/dev/nvidia-caps/nvidia-cap102",
    )


@pytest.mark.parametrize(
    ("physical", "devices", "recipes", "problem"),
    [
        ((), (device(0),), {GPU: RECIPE}, "device GPU-0 is a part of GPU-0, which is not listed"),
        (
            (altered(device(0), product="T4").physical,),
            (part(device(0), 1),),
            {PART: RECIPE},
            "device MIG-0-1 is a part of GPU-0, which is not listed",
        ),
        (
            (device(0).physical, device(1).physical),
            (replace(part(device(0), 1), id=DeviceId("GPU-1")),),
            {PART: RECIPE},
            "device GPU-1 is no part of the physical device with this id",
        ),
        ((device(0).physical,), (device(0),), {PART: RECIPE}, "device GPU-0: there is no recipe for its kind 'gpu'"),
    ],
)
def test_an_inventory_explains_each_of_its_devices(
    physical: tuple[PhysicalDevice, ...], devices: tuple[Device, ...], recipes: dict[Kind, Recipe], problem: str
) -> None:
    with pytest.raises(InvalidValueError) as caught:
        Inventory(physical=physical, devices=devices, recipes=recipes)
    assert str(caught.value) == problem


def test_ids_are_ordered_by_device_and_by_the_number_of_the_replica() -> None:
    assert sorted(["b::0", "a::10", "a::2", "a::x", "a"], key=id_order) == ["a", "a::x", "a::2", "a::10", "b::0"]


def test_an_id_of_another_plugin_is_ordered_whatever_it_ends_with() -> None:
    longest = f"a::{'9' * 5000}"
    assert sorted(["a::2", longest, "a::²"], key=id_order) == [longest, "a::²", "a::2"]


FAR = Pair(10, 0)


@pytest.mark.parametrize(
    ("ids", "pairs", "problem"),
    [
        (("GPU-0", "GPU-0"), ((FAR, FAR), (FAR, FAR)), "listed twice: GPU-0, GPU-0"),
        (("GPU-0", "GPU-1"), ((FAR, FAR),), "links of 2 devices"),
        (("GPU-0", "GPU-1"), ((FAR, FAR), (FAR,)), "links of 2 devices"),
        (("GPU-0", "GPU-1"), ((FAR, FAR), (Pair(10, 1), FAR)), "differ in the two directions"),
    ],
)
def test_links_are_a_table_of_all_pairs(
    ids: tuple[PhysicalId, ...], pairs: tuple[tuple[Pair, ...], ...], problem: str
) -> None:
    with pytest.raises(InvalidValueError, match=problem):
        Links(ids, pairs)
