"""A YAML file as nodes, each of which knows its place: whatever can be wrong before the keys are looked at."""

import stat
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import yaml

from plugin_gateway.core.errors import InvalidValueError

MAX_BYTES = 1024 * 1024
"""The most that a ConfigMap can hold."""
MAX_WORD = 4096
"""Characters; as many as a path may have."""
_SHOWN = 80

STRING, SWITCH, NUMBER, FRACTION, NULL = (
    f"tag:yaml.org,2002:{name}" for name in ("str", "bool", "int", "float", "null")
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where something stands; the first line and column is 1."""

    file: Path
    mark: yaml.Mark

    @property
    def line(self) -> str:
        """File and line, for the log."""
        return f"{self.file}:{self.mark.line + 1}"

    def __str__(self) -> str:
        return f"{self.line}:{self.mark.column + 1}"


def load(path: Path) -> yaml.Node:
    """Read a file of one document.

    Raises:
        InvalidValueError: it cannot be read, is too large, or is not YAML; with line and column where there is one.
    """
    return _compose(path, _read(path))


def _read(path: Path) -> bytes:
    try:
        # A pipe or a device could keep the process waiting for ever.
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
    """Parse it into nodes, each of which knows its place."""
    try:
        root = yaml.compose(data, Loader=yaml.SafeLoader)
    except yaml.MarkedYAMLError as error:
        place = Place(file=path, mark=error.problem_mark) if error.problem_mark else path
        # A pattern that begins with * is an alias to YAML, which is the mistake that people make here.
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
    """Tell what stands there, in words of the person who wrote it."""
    if isinstance(node, yaml.SequenceNode):
        return "a list" if node.value else "an empty list"
    if isinstance(node, yaml.MappingNode):
        return "a mapping"
    if node.tag == NULL:
        return "empty"
    quoted = "the text " if node.tag == STRING and isinstance(node, yaml.ScalarNode) and node.style else ""
    return f"{quoted}{shown(node.value)}"


def shown(text: str) -> str:
    """Quote it, cut where it has no end."""
    return repr(text) if len(text) <= _SHOWN else f"{text[:_SHOWN]!r}..."


@dataclass(frozen=True, slots=True, kw_only=True)
class FileValue:
    """One value as it was written."""

    text: str
    place: Place


class Document:
    """A file whose nodes are read strictly."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def place(self, node: yaml.Node) -> Place:
        """Tell where it stands."""
        return Place(file=self.path, mark=node.start_mark)

    def entries(self, node: yaml.Node, path: str) -> Iterator[tuple[str, yaml.Node, yaml.Node]]:
        """Go through a mapping, with the full path of each key."""
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
            # A key that has dots itself must not pass for the path of nested ones.
            full = ".".join(filter(None, (path, repr(key.value) if "." in key.value else key.value)))
            if full in seen:
                raise InvalidValueError(f"{self.place(key)}: {full} occurs twice, first at {seen[full]}")
            seen[full] = self.place(key)
            yield full, key, value

    def word(self, node: yaml.Node, full: str, tags: Sequence[str], allowed: str = "a word") -> FileValue:
        """Read one value.

        Raises:
            InvalidValueError: it is of another kind, or too long.
        """
        if not isinstance(node, yaml.ScalarNode) or node.tag not in tags:
            verb = "is" if allowed == "a word" else "are"
            raise InvalidValueError(f"{self.place(node)}: {full} is {described(node)}, allowed {verb} {allowed}")
        if len(node.value) > MAX_WORD:
            raise InvalidValueError(
                f"{self.place(node)}: {full} has {len(node.value)} characters, allowed are {MAX_WORD}"
            )
        return FileValue(text=node.value, place=self.place(node))
