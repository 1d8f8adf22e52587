"""Reads values from the files of one folder, and remembers what could not be read."""

import errno
import re
from typing import overload

from plugin_gateway.linux.card_model import Tree, Unread

_NUMBER = re.compile(r"-?[0-9]{1,20}|0x[0-9a-fA-F]{1,16}", re.ASCII)
MAX_WORD = 255
"""Characters of a value. A longer one is no value."""


def printable(text: str) -> str:
    """Return a name or a value as everybody can write it down. What is not UTF-8 becomes U+FFFD, so it is unlike."""
    return text.encode("utf-8", "surrogateescape").decode("utf-8", "replace") if not text.isascii() else text


class Folder:
    """The values in the files of a folder, and in those below it."""

    def __init__(self, tree: Tree, path: str) -> None:
        self.tree = tree
        self.path = path
        self.unread: dict[str, str] = {}
        """Why something could not be read, by its path below the folder."""

    def text(self, name: str, *, is_optional: bool = False) -> str | None:
        """Return the value in a file, without blanks around it. None if it cannot be read."""
        content = self.tree.text(f"{self.path}/{name}")
        if isinstance(content, Unread):
            if not is_optional or content.errno not in {errno.ENOENT, errno.EINVAL}:
                self.unread[printable(name)] = content.words
            return None
        value = content.strip()
        if len(value) > MAX_WORD or not value.isprintable():
            self.unread[printable(name)] = not_understood(value)
            return None
        return value

    def match(self, name: str, pattern: re.Pattern[str]) -> str | None:
        """Return the first group of a value. None if it cannot be read or has another form."""
        value = self.text(name)
        found = pattern.fullmatch(value) if value is not None else None
        if value is not None and found is None:
            self.unread[name] = not_understood(value)
        return found[1] if found is not None else None

    @overload
    def number(self, name: str, least: int, most: int) -> int | None: ...
    @overload
    def number(self, name: str, least: int, most: int, *, otherwise: int) -> int: ...
    def number(self, name: str, least: int, most: int, *, otherwise: int | None = None) -> int | None:
        """Return the number in a file, decimal or hexadecimal. ``otherwise`` if there is none in these limits."""
        value = self.text(name)
        if value is None:
            return otherwise
        found = number_in(value, least, most)
        if found is None:
            self.unread[printable(name)] = not_understood(value)
            return otherwise
        return found

    def names(self, name: str) -> tuple[str, ...]:
        """Return the names in a folder below this one. None of them if it cannot be read."""
        names = self.tree.names(f"{self.path}/{name}".rstrip("/"))
        if isinstance(names, Unread):
            self.unread[printable(name)] = names.words
            return ()
        return names

    def target(self, name: str) -> str | None:
        """Return the last part of where a link leads. None if it cannot be read."""
        target = self.tree.link(f"{self.path}/{name}")
        if isinstance(target, Unread):
            self.unread[name] = target.words
            return None
        return printable(target.rpartition("/")[2]) or None

    def checked(self, name: str, value: str | None, pattern: re.Pattern[str]) -> str | None:
        """Return a value that was read from a link. None if it has another form."""
        if value is None or pattern.fullmatch(value):
            return value
        self.unread[name] = not_understood(value)
        return None


def not_understood(value: str) -> str:
    """Return why a value is none, with its beginning."""
    return f"it cannot be {value[:40]!a}"


def number_in(value: str, least: int, most: int) -> int | None:
    """Return the number in a text, decimal or hexadecimal. None if there is none in these limits."""
    if not _NUMBER.fullmatch(value):
        return None
    number = int(value, 16 if value.startswith("0x") else 10)
    return number if least <= number <= most else None
