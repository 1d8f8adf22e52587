"""Ids as people read them: the replicas of a device together, because there can be a thousand of them."""

from collections.abc import Iterable, Sequence

from plugin_gateway.core.devices import REPLICA_MARK

MAX_RANGES = 4
"""Ranges of numbers that are named for one device."""
_MAX_DIGITS = 9
"""Of the number of a replica. What another device plugin writes can have more, and is no number then."""


def id_order(offered: str) -> tuple[str, int, str]:
    """Return the key by which ids are ordered for people: replica 10 of a device comes after its replica 9."""
    device, _, replica = offered.partition(REPLICA_MARK)
    is_number = replica.isascii() and replica.isdigit() and len(replica) <= _MAX_DIGITS
    return device, int(replica) if is_number else -1, replica


def grouped_ids(ids: Iterable[str]) -> tuple[str, ...]:
    """Return the ids, with one text for all replicas of a device, such as ``ID::0 to ::3, ::7 (5)``.

    It stands where the first of them does. An id that stands for itself is one text.
    """
    found: dict[tuple[str, bool], set[int]] = {}
    for each in ids:
        device, mark, replica = each.rpartition(REPLICA_MARK)
        if mark and _is_number(replica):
            found.setdefault((device, True), set()).add(int(replica))
        else:
            found.setdefault((each, False), set())
    return tuple(_words(device, sorted(numbers)) for (device, _), numbers in found.items())


def _is_number(text: str) -> bool:
    """Whether it is a number as `offered_id` writes it."""
    return text.isascii() and text.isdigit() and len(text) < 10 and text == str(int(text))  # noqa: PLR2004 - no id has more


def _words(device: str, numbers: Sequence[int]) -> str:
    if not numbers:
        return device
    ranges = _ranges(numbers)
    named = ", ".join(ranges[:MAX_RANGES])
    more = f" and {len(ranges) - MAX_RANGES} more ranges" if len(ranges) > MAX_RANGES else ""
    return f"{device}{named}{more}" + (f" ({len(numbers)})" if len(numbers) > 1 else "")


def _ranges(numbers: Sequence[int]) -> Sequence[str]:
    """Return ascending numbers, with those that follow each other as one text."""
    ends: list[tuple[int, int]] = []
    for number in numbers:
        if ends and number == ends[-1][1] + 1:
            ends[-1] = ends[-1][0], number
        else:
            ends.append((number, number))
    return [f"{REPLICA_MARK}{first}" + (f" to {REPLICA_MARK}{last}" if last > first else "") for first, last in ends]
