from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.strategies import VARIABLE, device, device_lists, inventory
from plugin_gateway.core.devices import MAX_ID_LENGTH, Device, Difference, Inventory, diff, parse_device_id
from plugin_gateway.core.errors import InvalidValueError


@pytest.mark.parametrize(
    "text", ["GPU-8a6bd9a5-4a4c-3e1a-3a5f-2d3a0f8d6a11", "x", "x" * MAX_ID_LENGTH, "MIG-1/2/3", "é"]
)
def test_an_id_that_every_kubelet_takes(text: str) -> None:
    assert parse_device_id(text) == text


@pytest.mark.parametrize("text", ["", "x" * (MAX_ID_LENGTH + 1)])
def test_an_id_has_1_to_63_characters(text: str) -> None:
    with pytest.raises(InvalidValueError, match=f"has {len(text)} characters, allowed are 1 to 63"):
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
    "change", [lambda whole: replace(whole, index=-1), lambda whole: replace(whole, minor=-1)], ids=["index", "minor"]
)
def test_a_number_of_a_device_is_not_negative(change: Callable[[Device], Device]) -> None:
    with pytest.raises(InvalidValueError, match=r"device GPU-0: index -?[01], minor -?[01]; neither may be negative"):
        change(device(0))


def test_no_number_is_none_and_not_minus_1() -> None:
    whole = replace(device(0), numa_node=None, minor=None)
    assert (whole.numa_node, whole.minor) == (None, None)
    with pytest.raises(InvalidValueError, match="device GPU-0: NUMA node -1; no node is None"):
        replace(device(0), numa_node=-1)


def test_an_inventory_names_each_device_once() -> None:
    with pytest.raises(InvalidValueError, match="a device id occurs twice: GPU-0, GPU-0"):
        Inventory(devices=(device(0), device(1, name="GPU-0")), visibility_variable=VARIABLE)


@pytest.mark.parametrize("indexes", [(1, 0), (0, 0), (0, 2, 1)])
def test_an_inventory_is_in_the_order_of_the_index_and_has_none_twice(indexes: tuple[int, ...]) -> None:
    devices = [device(index, name=f"GPU-{number}") for number, index in enumerate(indexes)]
    with pytest.raises(InvalidValueError, match="devices out of order, or one index twice"):
        inventory(*devices)


@pytest.mark.parametrize(
    "wrong", [{"id": "a,b"}, {"id": ""}, {"memory_bytes": -1}, {"nodes": ("dev/nvidia0",)}, {"index": -1}]
)
def test_a_device_that_makes_no_sense_cannot_be_made(wrong: dict[str, Any]) -> None:
    with pytest.raises(InvalidValueError):
        replace(device(0), **wrong)


def apply(before: Sequence[Device], difference: Difference) -> list[Device]:
    kept = {item.id: item for item in before}
    for gone in difference.removed:
        del kept[gone.id]
    kept |= {item.id: item for item in (*difference.altered, *difference.added)}
    return sorted(kept.values(), key=lambda item: item.index)


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
    ids = [item.id for part in (parts.added, parts.removed, parts.altered) for item in part]
    assert len(ids) == len(set(ids))
    for part in (parts.added, parts.removed, parts.altered):
        assert [item.index for item in part] == sorted(item.index for item in part)


@given(device_lists())
def test_a_list_does_not_differ_from_itself(devices: Sequence[Device]) -> None:
    assert diff(devices, devices) == Difference(added=(), removed=(), altered=())


def test_a_device_whose_index_moved_is_altered() -> None:
    moved = device(4, name="GPU-1")
    assert diff([device(1)], [moved]) == Difference(added=(), removed=(), altered=(moved,))
