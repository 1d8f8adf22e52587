"""Protobuf's encoding of a few fields, for the one message that is sent before protobuf is imported.

Source: https://protobuf.dev/programming-guides/encoding. Fields have numbers up to 15, and are left out where protobuf
leaves them out: an empty text, a flag that is not set.
"""

_LENGTH_DELIMITED = 2
_SEVEN_BITS = 0x7F
_MORE_FOLLOWS = 0x80


def text(number: int, value: str) -> bytes:
    """Return a field with a text."""
    return message(number, value.encode()) if value else b""


def flag(number: int, *, value: bool) -> bytes:
    """Return a field with a bool."""
    return bytes((number << 3, 1)) if value else b""


def message(number: int, content: bytes) -> bytes:
    """Return a field with an encoded message, which is there although it may be empty."""
    return bytes((number << 3 | _LENGTH_DELIMITED, *_varint(len(content)))) + content


def _varint(value: int) -> list[int]:
    digits = []
    while value > _SEVEN_BITS:
        digits.append(value & _SEVEN_BITS | _MORE_FOLLOWS)
        value >>= 7
    return [*digits, value]
