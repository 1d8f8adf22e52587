from collections.abc import Sequence

from hypothesis import given

from plugin_gateway.core.devices import Device, Difference, diff

from .strategies import device, device_lists


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
