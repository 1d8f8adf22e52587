"""Reads a YAML file into nodes that know their line and column, and checks everything that does not depend on the keys.

The file is composed into nodes, and not loaded into dicts and lists, for two reasons: an error can name line and
column, and a key that occurs twice is found. A dict would keep only the last one.
"""

import os
import re
import stat
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import yaml

from plugin_gateway.adapters.configuration.file_version import FileVersion, version_of
from plugin_gateway.adapters.configuration.yaml_mistakes import explain
from plugin_gateway.core.errors import CannotCheckError, InvalidValueError, InvalidValuesError

if TYPE_CHECKING:
    from plugin_gateway.adapters.configuration.ignored_keys import IgnoredKeys

MAX_BYTES = 1024 * 1024
"""The largest file that is read. A ConfigMap cannot be larger either."""
MAX_NODES = 50_000
"""Keys and values that are read of a file. Each takes half a kilobyte, and the gateway may have little memory."""
MAX_WORD = 4096
"""Characters of a key or a value; the same limit as for a path on Linux."""
_SHOWN = 80
"""Characters of a value that an error message shows at most."""

MAX_COMPLAINTS = 20
"""Mistakes that are told one by one."""
MERGE, MAPPING = "tag:yaml.org,2002:merge", "tag:yaml.org,2002:map"
_OCTAL = re.compile(r"[-+]?0[0-7_]+")
"""Whole numbers to which YAML 1.1 gives another value than people do."""

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


def load(path: Path) -> tuple[yaml.Node, FileVersion]:
    """Read a file with one document, and return its root node, and which version of the file that was.

    Raises:
        InvalidValueError: the file cannot be read, is too large, or is not YAML. The message has line and column where
        there are any.
    """
    data, version = read_bytes(path)
    return compose(path, data), version


def read_bytes(path: Path) -> tuple[bytes, FileVersion]:
    """Return the content of a file, and which version of it that was.

    Raises:
        InvalidValueError: the file cannot be read, or is too large.
    """
    try:
        # Reading a pipe or a device could block for ever, but that of no content never does.
        status = path.stat()
        if not stat.S_ISREG(status.st_mode) and not os.path.samestat(status, Path(os.devnull).stat()):
            raise InvalidValueError(f"configuration file {path}: it is no regular file")
        with path.open("rb") as file:
            version = version_of(os.fstat(file.fileno()))
            data = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise CannotCheckError(f"configuration file {path}: {error.strerror}") from error
    if len(data) > MAX_BYTES:
        raise InvalidValueError(f"configuration file {path}: larger than the {MAX_BYTES} bytes allowed")
    return data, version


class _TooManyError(Exception):
    """The text has too many keys and values. They are counted, so that the rest is not read."""


class _Loader(yaml.SafeLoader):
    def __init__(self, data: bytes) -> None:
        super().__init__(data)
        self._left = MAX_NODES

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        self._left -= 1
        if self._left < 0:
            raise _TooManyError
        return super().compose_node(parent, index)


def compose(path: Path, data: bytes) -> yaml.Node:
    """Parse the bytes into nodes, and return the root node. A text that says nothing is a mapping without keys.

    ``path`` is what complaints call it.

    Raises:
        InvalidValueError: the bytes are not YAML, or have too many keys and values.
    """
    try:
        root = yaml.compose(data, Loader=_Loader)
    except yaml.MarkedYAMLError as error:
        mark, problem = explain(data, error)
        raise InvalidValueError(f"{Place(file=path, mark=mark) if mark else path}: not YAML: {problem}") from error
    except yaml.reader.ReaderError as error:
        before = data[: error.position].split(b"\n")
        raise InvalidValueError(f"{path}:{len(before)}:{len(before[-1]) + 1}: not YAML: {error.reason}") from error
    except RecursionError as error:
        raise InvalidValueError(f"{path}: nested too deeply") from error
    except _TooManyError as error:
        raise InvalidValueError(f"{path}: more than the {MAX_NODES} keys and values allowed") from error
    except (ValueError, OverflowError) as error:
        raise InvalidValueError(f"{path}: not YAML: an escape stands for no character") from error
    if root is None or root.tag == NULL:
        begin = yaml.Mark(str(path), 0, 0, 0, None, 0)
        return yaml.MappingNode(MAPPING, [], begin, begin)
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


def allowed_by(parse: Callable[[str], object], otherwise: str = "a word") -> str:
    """Return what a parser allows, as its own complaint says it, for a value that is no text to parse."""
    try:
        parse("\0")
    except InvalidValueError as error:
        return str(error).partition("; expected ")[2] or otherwise
    return otherwise


def shown(text: str) -> str:
    """Return the text in quotes, cut after 80 characters."""
    return repr(text) if len(text) <= _SHOWN else f"{text[:_SHOWN]!r}..."


@dataclass(frozen=True, slots=True, kw_only=True)
class FileValue:
    """The text of one value, and its place in the file."""

    text: str
    place: Place


class Document:
    """One file. Its methods read nodes strictly: whatever is not allowed is a complaint that names the place.

    Complaints are collected, so that one run tells all of them.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._complaints: list[str] = []

    @contextmanager
    def collecting(self) -> Iterator[None]:
        """Collect the complaint that the block raises as an InvalidValueError, and go on behind the block."""
        try:
            yield
        except InvalidValueError as error:
            self._complaints += error.problems

    def check(self) -> None:
        """Check that there was no complaint.

        Raises:
            InvalidValueError: with all complaints.
        """
        left = len(self._complaints) - MAX_COMPLAINTS
        told = self._complaints[:MAX_COMPLAINTS] + ([f"and {left} more"] if left > 0 else [])
        if len(told) == 1:
            raise InvalidValueError(told[0])
        if told:
            raise InvalidValuesError(told)

    def place(self, node: yaml.Node) -> Place:
        """Return the place at which a node begins."""
        return Place(file=self.path, mark=node.start_mark)

    def entries(
        self, node: yaml.Node, path: str, repeated: "IgnoredKeys | None" = None
    ) -> Iterator[tuple[str, yaml.Node, yaml.Node]]:
        """Yield the full path, the key node and the value node of each entry of a mapping.

        ``path`` is the path of the mapping itself, and empty for the root. A complaint about a key is collected. With
        ``repeated``, of a key that occurs twice the last one counts, as to a decoder in Go, and the others are noted.

        Raises:
            InvalidValueError: the node is no mapping.
        """
        if not isinstance(node, yaml.MappingNode):
            what = path or "the file"
            raise InvalidValueError(f"{self.place(node)}: {what} is {described(node)}; expected keys with values")
        seen: dict[str, Place] = {}
        last = {key.value: key for key, _ in node.value if isinstance(key, yaml.ScalarNode)}
        for key, value in node.value:
            full = None
            is_ignored = repeated is not None and isinstance(key, yaml.ScalarNode) and last[key.value] is not key
            with self.collecting():
                full = self._full(key, path, {} if is_ignored else seen)
            if full is None:
                continue
            if is_ignored and repeated is not None:
                repeated.note(f"{full}, which is given again,", self.place(key))
            else:
                yield full, key, value

    def _full(self, key: yaml.Node, path: str, seen: dict[str, Place]) -> str:
        """Return the full path of a key, and note it in ``seen``.

        Raises:
            InvalidValueError: the key is no word, is too long, or occurs twice.
        """
        if not isinstance(key, yaml.ScalarNode):
            raise InvalidValueError(f"{self.place(key)}: a key is {described(key)}; expected a word")
        if len(key.value) > MAX_WORD:
            raise InvalidValueError(
                f"{self.place(key)}: a key has {len(key.value)} characters; expected at most {MAX_WORD}"
            )
        # A key that contains dots is quoted. Otherwise {"a.b": 1} would be read as {a: {b: 1}}.
        full = ".".join(filter(None, (path, repr(key.value) if "." in key.value else key.value)))
        if key.tag == MERGE:
            raise InvalidValueError(f"{self.place(key)}: {full}: keys cannot be merged in this file; write them out")
        if full in seen:
            raise InvalidValueError(f"{self.place(key)}: {full} occurs twice, first at {seen[full]}")
        seen[full] = self.place(key)
        return full

    def word(self, node: yaml.Node, full: str, tags: Sequence[str], allowed: str = "a word") -> FileValue:
        """Return the value of a scalar node, where ``tags`` are the YAML types allowed.

        ``allowed`` says in the error message what may stand there.

        Raises:
            InvalidValueError: the node has another type, its text is too long, or it is a number with another value to
                YAML than to people.
        """
        if not isinstance(node, yaml.ScalarNode) or node.tag not in tags:
            raise InvalidValueError(f"{self.place(node)}: {full} is {described(node)}; expected {allowed}")
        if len(node.value) > MAX_WORD:
            raise InvalidValueError(
                f"{self.place(node)}: {full} has {len(node.value)} characters; expected at most {MAX_WORD}"
            )
        if node.tag == NUMBER and not node.style and _OCTAL.fullmatch(node.value):
            value, digits = int(node.value.replace("_", ""), 8), node.value.replace("_", "").lstrip("+")
            raise InvalidValueError(
                f"{self.place(node)}: {full}: {node.value!r} is {value} to YAML, because it begins with 0; "
                f"write {' or '.join(dict.fromkeys((str(value), str(int(digits)))))}"
            )
        return FileValue(text=node.value, place=self.place(node))
