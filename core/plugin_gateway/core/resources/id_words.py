"""Ids as people read them: the replicas of a device together, because there can be a thousand of them."""

from collections.abc import Iterable, Sequence

from plugin_gateway.core.devices import REPLICA_MARK, device_of

MAX_RANGES = 4
"""Ranges of numbers that are named for one device."""
_MAX_DIGITS = 9
"""Of the number of a replica. What another device plugin writes can have more, and is no number then."""


def id_order(offered: str) -> tuple[str, int, str]:
    """Return the key by which ids are ordered for people: replica 10 of a device comes after its replica 9.

    Numbers, which stand for all devices of a resource, come before.
    """
    device, mark, replica = offered.partition(REPLICA_MARK) if not is_number(offered) else ("", "", offered)
    counts = (bool(mark) or not device) and replica.isascii() and replica.isdigit() and len(replica) <= _MAX_DIGITS
    return device, int(replica) if counts else -1, replica


def group_of(offered: str) -> str:
    """Return what an id has in common with those beside which people read it: its device, or that it is a number."""
    return "" if is_number(offered) else device_of(offered)


def grouped_ids(ids: Iterable[str]) -> tuple[str, ...]:
    """Return the ids, with one text for all replicas of a device, such as ``ID::0 to ::3, ::7 (5)``.

    It stands where the first of them does. So do numbers, which stand for all devices of a resource. Any other id is
    one text.
    """
    found: dict[tuple[str, bool], set[int]] = {}
    for each in ids:
        device, mark, replica = each.rpartition(REPLICA_MARK)
        if is_number(each):
            found.setdefault(("", False), set()).add(int(each))
        elif mark and is_number(replica):
            found.setdefault((device, True), set()).add(int(replica))
        else:
            found.setdefault((each, False), set())
    return tuple(
        _words(device, REPLICA_MARK if has_mark else "", sorted(numbers))
        for (device, has_mark), numbers in found.items()
    )


def is_number(text: str) -> bool:
    """Whether it is a number as `offered_id` writes it, and as the ids of a pool are."""
    return text.isascii() and text.isdigit() and len(text) < 10 and text == str(int(text))  # noqa: PLR2004 - no id has more


def _words(device: str, mark: str, numbers: Sequence[int]) -> str:
    if not numbers:
        return device
    ranges = _ranges(numbers, mark)
    named = ", ".join(ranges[:MAX_RANGES])
    more = f" and {len(ranges) - MAX_RANGES} more ranges" if len(ranges) > MAX_RANGES else ""
    return f"{device}{named}{more}" + (f" ({len(numbers)})" if len(numbers) > 1 else "")


def _ranges(numbers: Sequence[int], mark: str) -> Sequence[str]:
    """Return ascending numbers, with those that follow each other as one text."""
    ends: list[tuple[int, int]] = []
    for number in numbers:
        if ends and number == ends[-1][1] + 1:
            ends[-1] = ends[-1][0], number
        else:
            ends.append((number, number))
    return [f"{mark}{first}" + (f" to {mark}{last}" if last > first else "") for first, last in ends]
