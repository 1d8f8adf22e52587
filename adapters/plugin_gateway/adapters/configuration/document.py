"""A YAML file as nodes, each of which knows its place: whatever can be wrong before the keys are looked at."""

import stat
from dataclasses import dataclass
from pathlib import Path

import yaml

from plugin_gateway.core.errors import InvalidValueError

MAX_BYTES = 1024 * 1024
"""The most that a ConfigMap can hold."""
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
