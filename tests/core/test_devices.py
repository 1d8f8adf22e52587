from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from plugin_gateway.core.devices import MAX_ID_LENGTH, Device, Inventory, parse_device_id
from plugin_gateway.core.errors import InvalidValueError

from .strategies import VARIABLE, device, inventory


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
