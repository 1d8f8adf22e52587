"""How many devices there are and should be: what is missing is named, and said when it is certain, and once."""

from collections.abc import Sequence
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.devices import device
from harness.devices import inventory as inventory_of
from plugin_gateway.core.device_count import (
    MAX_SETTLE_TIME,
    SETTLE_TIME,
    DeviceCount,
    Known,
    KnownDevice,
    accept,
    expect,
    known_of,
    say,
    see,
)
from plugin_gateway.core.devices import MAX_NAMES, Inventory, PhysicalId, RejectedDevice, whole


def inventory(numbers: Sequence[int], *rejected: RejectedDevice) -> Inventory:
    return inventory_of(*(device(number) for number in numbers), rejected=rejected)


def of(count: int) -> Known:
    return known_of([device(number).physical for number in range(count)])


def test_before_the_first_inventory_nothing_is_compared() -> None:
    count = DeviceCount("GPU", given=8, known=of(8))
    assert (count.comparison, count.problem, count.due) == (None, None, None)


def test_a_device_whose_id_is_its_address_is_named_once() -> None:
    assert str(KnownDevice(PhysicalId("0000:3b:00.2"), "0000:3b:00.2")) == "0000:3b:00.2"


@pytest.mark.parametrize(
    ("given", "known", "problem"),
    [
        (2, None, "0 of 2 GPUs can be offered; their ids are not known"),
        (None, of(1), "0 of 1 GPU can be offered; GPU-0 at 0000:01:00.0 is missing"),
    ],
)
def test_without_an_inventory_all_are_missing_when_it_is_overdue(
    given: int | None, known: Known | None, problem: str
) -> None:
    count = DeviceCount("GPU", given=given, known=known, awaited_until=30.0)
    assert (count.present, count.due) == (None, 30.0)
    assert say(count, 29.9) == count
    said = say(count, 30.0)
    assert (said.told, said.present, said.due) == (problem, 0, None)
    assert say(said, 99.0) == said
    found = see(said, inventory(range(2)), 100.0)
    assert found.due == 100.0 + SETTLE_TIME
    assert say(found, 110.0).told is None


def test_where_no_device_is_expected_none_is_missing() -> None:
    count = DeviceCount("GPU", awaited_until=30.0)
    assert (count.due, say(count, 30.0).told) == (None, None)


def test_what_an_earlier_start_said_of_a_node_without_a_driver_is_not_said_again() -> None:
    first = say(DeviceCount("GPU", given=2, awaited_until=30.0), 30.0)
    again = say(DeviceCount("GPU", given=2, awaited_until=30.0, told=first.told), 30.0)
    assert (again.told, again.due, again.present) == (first.told, None, 0)


def test_one_that_is_missing_is_named_with_its_address_after_ten_seconds() -> None:
    count = see(DeviceCount("GPU", known=of(8)), inventory(range(7)), 100.0)
    assert count.due == 100.0 + SETTLE_TIME
    assert say(count, 109.9) == count
    said = say(count, 110.0)
    assert said.told == "7 of 8 GPUs can be offered; GPU-7 at 0000:08:00.0 is missing"
    assert said.due is None


def test_it_is_said_again_only_when_it_changes_and_once_when_it_is_over() -> None:
    count = say(see(DeviceCount("GPU", known=of(8)), inventory(range(7)), 0.0), 10.0)
    assert see(count, inventory(range(7)), 20.0).due is None
    fewer = see(count, inventory(range(6)), 20.0)
    assert fewer.due == 30.0
    assert see(fewer, inventory(range(7)), 25.0).due is None
    over = see(count, inventory(range(8)), 40.0)
    assert over.due == 50.0
    assert (say(over, 50.0).told, say(over, 50.0).due) == (None, None)


def test_a_driver_that_shows_its_devices_one_after_the_other_is_no_alarm() -> None:
    count = DeviceCount("GPU", known=of(8))
    for seen in range(1, 9):
        count = say(see(count, inventory(range(seen)), seen * 2.0), seen * 2.0)
        assert count.told is None
    assert count.due is None


def test_devices_that_keep_appearing_delay_it_for_twenty_seconds_at_most() -> None:
    count = see(DeviceCount("GPU", known=of(8)), inventory(range(1)), 0.0)
    count = see(see(count, inventory(range(2)), 9.0), inventory(range(3)), 18.0)
    assert count.due == MAX_SETTLE_TIME


def test_without_a_number_the_memory_grows_and_does_not_shrink() -> None:
    count = DeviceCount("GPU")
    for numbers, expected in (([0, 1], 2), ([0], 2), ([0, 1, 2], 3), ([], 3)):
        count = see(count, inventory(numbers), 0.0)
        assert count.expected == expected


def test_a_device_that_was_replaced_by_another_is_not_missed() -> None:
    count = see(DeviceCount("GPU", known=of(2)), inventory([0, 5]), 0.0)
    assert count.problem is None
    assert [each.id for each in count.known.devices if count.known] == ["GPU-0", "GPU-5"]  # type: ignore[union-attr]


def test_an_operator_accepts_the_devices_that_are_here() -> None:
    count = say(see(DeviceCount("GPU", known=of(8)), inventory(range(7)), 0.0), 10.0)
    accepted = accept(count, 20.0)
    assert (accepted.expected, accepted.problem) == (7, None)
    assert accepted.known == of(7)
    assert (count.told is not None, say(accepted, 20.0).told) == (True, None)


def test_a_given_number_counts_before_the_memory() -> None:
    count = see(DeviceCount("GPU", given=4, known=of(8)), inventory(range(3)), 0.0)
    assert count.comparison is not None
    assert (count.comparison.expected, count.comparison.lacking) == (4, 1)
    assert expect(count, 3, 1.0).problem is None
    assert expect(count, None, 1.0).comparison.expected == 8  # type: ignore[union-attr]


def test_devices_beyond_a_given_number_are_counted() -> None:
    count = see(DeviceCount("GPU", given=4), inventory(range(6)), 0.0)
    assert count.comparison is not None
    assert (count.comparison.surplus, count.problem) == (2, None)
    assert count.known == of(6)


def test_with_a_given_number_the_memory_follows_what_is_enough() -> None:
    count = see(DeviceCount("GPU", given=7, known=of(8)), inventory(range(7)), 0.0)
    assert count.known == of(7)
    assert see(count, inventory(range(6)), 1.0).problem == (
        "6 of 7 GPUs can be offered; GPU-6 at 0000:07:00.0 is missing"
    )


def test_a_device_that_cannot_be_offered_is_said_as_such() -> None:
    bad = RejectedDevice(place="GPU 1 at 0000:02:00.0", problem="its UUID cannot be read")
    count = see(DeviceCount("GPU", known=of(3)), inventory([0], bad), 0.0)
    assert count.problem == (
        "1 of 3 GPUs can be offered; GPU-2 at 0000:03:00.0 is missing; "
        "GPU 1 at 0000:02:00.0 cannot be offered: its UUID cannot be read"
    )


@pytest.mark.parametrize(
    ("known", "problem"),
    [
        (None, "1 of 2 GPUs can be offered; their ids are not known"),
        (Known(2, ()), "1 of 2 GPUs can be offered; their ids are not known"),
    ],
)
def test_what_was_never_seen_is_not_named(known: Known | None, problem: str) -> None:
    assert see(DeviceCount("GPU", given=2, known=known), inventory([0]), 0.0).problem == problem


def test_some_have_names_and_the_rest_is_counted() -> None:
    count = see(DeviceCount("GPU", given=4, known=of(2)), inventory([0]), 0.0)
    assert count.problem == "1 of 4 GPUs can be offered; GPU-1 at 0000:02:00.0 is missing; 2 more"
    many = see(DeviceCount("GPU", known=of(100)), inventory([]), 0.0).problem
    assert many is not None
    assert many.count(" is missing") == MAX_NAMES
    assert many.endswith("; 68 more")


@given(seen=st.lists(st.sets(st.integers(0, 9)), min_size=1, max_size=8), number=st.none() | st.integers(1, 9))
def test_whatever_comes_and_goes_it_is_said_in_the_end_and_only_once(seen: list[set[int]], number: int | None) -> None:
    count, now = DeviceCount("GPU", given=number), 0.0
    for numbers in seen:
        count, now = see(count, inventory(sorted(numbers)), now), now + 3.0
        assert count.due is None or count.due <= now + MAX_SETTLE_TIME
    most = number if number is not None else max(len(numbers) for numbers in seen)
    said = say(count, now + MAX_SETTLE_TIME)
    assert (said.told is None) is (len(seen[-1]) >= most)
    assert said.due is None
    missing = {PhysicalId(f"GPU-{each}") for each in range(10)} - {PhysicalId(f"GPU-{each}") for each in seen[-1]}
    assert said.comparison is not None
    assert {each.id for each in said.comparison.missing} <= missing


def test_a_part_that_is_left_out_is_no_device_that_is_missing() -> None:
    here, lost = device(0).physical, RejectedDevice("GPU 1 at 0000:02:00.0", "lost")
    left_out = RejectedDevice("part 1 of GPU 0", "another size", physical=here.id)
    count = see(DeviceCount("GPU", known=of(2)), inventory(range(1), left_out, lost), 0.0)
    assert count.comparison is not None
    assert count.comparison.rejected == (lost,)
    assert say(count, 10.0).told == "1 of 2 GPUs can be offered; GPU 1 at 0000:02:00.0 cannot be offered: lost"


def test_a_device_of_which_nothing_can_be_offered_is_said_and_not_counted() -> None:
    """It is here, and no container can use it as it is."""
    devices = [device(number) for number in range(3)]
    reason = RejectedDevice("device 0 at 0000:01:00.0", "it is divided", physical=devices[0].physical.id)
    divided = inventory_of(*devices[1:], physical=[devices[0].physical], rejected=(reason,))
    count = see(DeviceCount("GPU", known=of(3)), divided, 0.0)
    assert (count.present, count.expected) == (2, 3)
    assert count.problem == "2 of 3 GPUs can be offered; device 0 at 0000:01:00.0 cannot be offered: it is divided"
    assert accept(count, 1.0).problem is None
    assert see(DeviceCount("GPU"), divided, 0.0).expected == 2


def test_virtual_functions_are_not_counted_since_they_are_made_and_removed_on_purpose() -> None:
    port = device(0)
    physical = replace(device(1).physical, attributes={"function": ("vf",), "parent": ("0000:01:00.0",)})
    virtual = whole(physical, port.kind)
    with_virtual = see(DeviceCount("RDMA device"), inventory_of(port, virtual), now=0.0)
    assert with_virtual.present == 1
    assert see(with_virtual, inventory_of(port), now=1.0).problem is None
