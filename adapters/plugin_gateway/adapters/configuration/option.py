"""One option of the table of options, and a flag as it was given."""

from collections.abc import Iterator
from typing import NamedTuple

from plugin_gateway.adapters.configuration.parsers import Parse


class GivenFlag(NamedTuple):
    """A flag as the user wrote it, and its value. The name is kept because an option can have several flags."""

    flag: str
    text: str
    earlier: "GivenFlag | None" = None
    """The same option, where it was given before. The last one counts, but none may be wrong."""

    def all(self) -> "Iterator[GivenFlag]":
        """Yield the flag each time that it was given, the last one first."""
        given: GivenFlag | None = self
        while given is not None:
            yield given
            given = given.earlier


class Option(NamedTuple):
    """One setting: where it can be given, what is allowed, and its default."""

    name: str
    """The name of the field in `Settings`."""
    flags: tuple[str, ...]
    variables: tuple[str, ...]
    """If several of them are set, the first one counts."""
    parse: Parse
    """Turns the text into the value. Raises InvalidValueError, whose message says what is allowed."""
    default: str | None
    """As a text, like a value that was given. None where the value then follows from another option."""
    group: str
    """The heading below which the help shows it."""
    help: str
    file_key: str | None = None
    """The full path of the key in the file. None for a setting that the file cannot change."""
    is_switch: bool = False
    """Whether it is true or false. A switch needs no value as a flag, and a boolean in the file."""
    metavar: str = "VALUE"
    """The name of the value in the help."""
    example: str | None = None
    """A value that shows what the option can do. None where the default shows it."""
