"""Reads a YAML file into nodes that know their line and column, and checks everything that does not depend on the keys.

The file is composed into nodes, and not loaded into dicts and lists, for two reasons: an error can name line and
column, and a key that occurs twice is found. A dict would keep only the last one.
"""

import stat
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import yaml

from plugin_gateway.core.errors import InvalidValueError

MAX_BYTES = 1024 * 1024
"""The largest file that is read. A ConfigMap cannot be larger either."""
MAX_WORD = 4096
"""Characters of a key or a value; the same limit as for a path on Linux."""
_SHOWN = 80
"""Characters of a value that an error message shows at most."""

STRING, SWITCH, NUMBER, FRACTION, NULL = (
    f"tag:yaml.org,2002:{name}" for name in ("str", "bool", "int", "float", "null")
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """A place in a file. `mark` counts lines and columns from 0; the texts below count from 1."""

    file: Path
    mark: yaml.Mark

    @property
    def line(self) -> str:
        """Return file and line, as the log shows them: ``FILE:LINE``."""
        return f"{self.file}:{self.mark.line + 1}"

    def __str__(self) -> str:
        """Return ``FILE:LINE:COLUMN``, as error messages show it."""
        return f"{self.line}:{self.mark.column + 1}"


def load(path: Path) -> yaml.Node:
    """Read a file with one document, and return its root node.

    Raises:
        InvalidValueError: the file cannot be read, is too large, is empty, or is not YAML. The message has line and
        column where there are any.
    """
    return _compose(path, _read(path))


def _read(path: Path) -> bytes:
    try:
        # Reading a pipe or a device could block for ever.
        if not stat.S_ISREG(path.stat().st_mode):
            raise InvalidValueError(f"configuration file {path}: it is no regular file")
        with path.open("rb") as file:
            data = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise InvalidValueError(f"configuration file {path}: {error.strerror}") from error
    if len(data) > MAX_BYTES:
        raise InvalidValueError(f"configuration file {path}: larger than the {MAX_BYTES} bytes allowed")
    return data


def _compose(path: Path, data: bytes) -> yaml.Node:
    """Parse the bytes into nodes, and return the root node.

    Raises:
        InvalidValueError: the bytes are not YAML, or there is no document.
    """
    try:
        root = yaml.compose(data, Loader=yaml.SafeLoader)
    except yaml.MarkedYAMLError as error:
        place = Place(file=path, mark=error.problem_mark) if error.problem_mark else path
        # The usual mistake is a pattern that begins with * and has no quotes: to YAML it is an alias.
        problem = ": ".join(filter(None, (error.context, error.problem)))
        hint = "; a value that begins with * needs quotes" if "alias" in problem else ""
        raise InvalidValueError(f"{place}: not YAML: {problem}{hint}") from error
    except yaml.reader.ReaderError as error:
        before = data[: error.position].split(b"\n")
        raise InvalidValueError(f"{path}:{len(before)}:{len(before[-1]) + 1}: not YAML: {error.reason}") from error
    except RecursionError as error:
        raise InvalidValueError(f"{path}: nested too deeply") from error
    except (ValueError, OverflowError) as error:
        raise InvalidValueError(f"{path}: not YAML: an escape stands for no character") from error
    if root is None:
        raise InvalidValueError(f"{path}: empty")
    return root


def described(node: yaml.Node) -> str:
    """Return what a node is, in words for an error message: "a list", "a mapping", "empty" or the value in quotes."""
    if isinstance(node, yaml.SequenceNode):
        return "a list" if node.value else "an empty list"
    if isinstance(node, yaml.MappingNode):
        return "a mapping"
    if node.tag == NULL:
        return "empty"
    quoted = "the text " if node.tag == STRING and isinstance(node, yaml.ScalarNode) and node.style else ""
    return f"{quoted}{shown(node.value)}"


def shown(text: str) -> str:
    """Return the text in quotes, cut after 80 characters."""
    return repr(text) if len(text) <= _SHOWN else f"{text[:_SHOWN]!r}..."


@dataclass(frozen=True, slots=True, kw_only=True)
class FileValue:
    """The text of one value, and its place in the file."""

    text: str
    place: Place


class Document:
    """One file. Its methods read nodes strictly: whatever is not allowed is an error that names the place."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def place(self, node: yaml.Node) -> Place:
        """Return the place at which a node begins."""
        return Place(file=self.path, mark=node.start_mark)

    def entries(self, node: yaml.Node, path: str) -> Iterator[tuple[str, yaml.Node, yaml.Node]]:
        """Yield the full path, the key node and the value node of each entry of a mapping.

        ``path`` is the path of the mapping itself, and empty for the root.

        Raises:
            InvalidValueError: the node is no mapping, or a key is no word, is too long, or occurs twice.
        """
        if not isinstance(node, yaml.MappingNode):
            what = path or "the file"
            raise InvalidValueError(f"{self.place(node)}: {what} is {described(node)}, allowed are keys with values")
        seen: dict[str, Place] = {}
        for key, value in node.value:
            if not isinstance(key, yaml.ScalarNode):
                raise InvalidValueError(f"{self.place(key)}: a key is {described(key)}, allowed are words")
            if len(key.value) > MAX_WORD:
                raise InvalidValueError(
                    f"{self.place(key)}: a key has {len(key.value)} characters, allowed are {MAX_WORD}"
                )
            # A key that contains dots is quoted. Otherwise {"a.b": 1} would be read as {a: {b: 1}}.
            full = ".".join(filter(None, (path, repr(key.value) if "." in key.value else key.value)))
            if full in seen:
                raise InvalidValueError(f"{self.place(key)}: {full} occurs twice, first at {seen[full]}")
            seen[full] = self.place(key)
            yield full, key, value

    def word(self, node: yaml.Node, full: str, tags: Sequence[str], allowed: str = "a word") -> FileValue:
        """Return the value of a scalar node, where ``tags`` are the YAML types allowed.

        ``allowed`` says in the error message what may stand there.

        Raises:
            InvalidValueError: the node has another type, or its text is too long.
        """
        if not isinstance(node, yaml.ScalarNode) or node.tag not in tags:
            verb = "is" if allowed == "a word" else "are"
            raise InvalidValueError(f"{self.place(node)}: {full} is {described(node)}, allowed {verb} {allowed}")
        if len(node.value) > MAX_WORD:
            raise InvalidValueError(
                f"{self.place(node)}: {full} has {len(node.value)} characters, allowed are {MAX_WORD}"
            )
        return FileValue(text=node.value, place=self.place(node))
