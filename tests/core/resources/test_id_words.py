"""Ids as people read them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from plugin_gateway.core.devices import device_of, offered_id, parse_device_id
from plugin_gateway.core.resources.id_words import group_of, grouped_ids, id_order


@pytest.mark.parametrize(
    ("ids", "words"),
    [
        ("", ""),
        ("GPU-1 GPU-0", "GPU-1 | GPU-0"),
        ("GPU-0::2", "GPU-0::2"),
        ("GPU-0::1 GPU-0::0", "GPU-0::0 to ::1 (2)"),
        ("GPU-1::0 GPU-0::0 GPU-1::1 GPU-0::1", "GPU-1::0 to ::1 (2) | GPU-0::0 to ::1 (2)"),
        ("GPU-0::10 GPU-0::9 GPU-0::2 GPU-0::11", "GPU-0::2, ::9 to ::11 (4)"),
        ("a::0 a::2 a::4 a::6 a::8 a::10", "a::0, ::2, ::4, ::6 and 2 more ranges (6)"),
        ("a::0 a::0", "a::0"),
        ("a::x a:: ::1 a::01 a::-1 a::² a", "a::x | a:: | ::1 | a::01 | a::-1 | a::² | a"),
        (f"a::{'9' * 5000}", f"a::{'9' * 5000}"),
        ("0 1 2 11 10", "0 to 2, 10 to 11 (5)"),
        ("7", "7"),
        ("a 3 a::1 4 01", "a | 3 to 4 (2) | a::1 | 01"),
    ],
)
def test_replicas_of_a_device_are_one_text(ids: str, words: str) -> None:
    assert grouped_ids(ids.split()) == tuple(words.split(" | ") if words else ())


@given(st.lists(st.tuples(st.sampled_from(("GPU-0", "GPU-1", "MIG-a")), st.none() | st.integers(0, 6))))
def test_each_device_occurs_and_nothing_is_counted_twice(offers: list[tuple[str, int | None]]) -> None:
    ids = {offered_id(parse_device_id(device), number) for device, number in offers}
    texts = grouped_ids(sorted(ids))
    whole = [each for each in texts if each in ids]
    counted = sum(int(each.rpartition("(")[2].rstrip(")")) for each in texts if each not in ids)
    assert len(whole) + counted == len(ids)
    assert {device_of(each) for each in texts} == {device_of(each) for each in ids}


def test_numbers_are_ordered_by_their_value_before_devices_and_belong_together() -> None:
    assert sorted(["b::2", "10", "9", "b::10", "a"], key=id_order) == ["9", "10", "a", "b::2", "b::10"]
    assert [group_of(each) for each in ("9", "10", "a::1", "01", "a::x")] == ["", "", "a", "01", "a"]
