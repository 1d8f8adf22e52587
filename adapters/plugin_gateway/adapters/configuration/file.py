"""The configuration file: NVIDIA's keys, read strictly, every complaint with line and column."""

import stat
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import yaml

from plugin_gateway.adapters.configuration.options import Option
from plugin_gateway.core.errors import InvalidValueError
from plugin_gateway.core.resources import ResourceRule, parse_resource_name

MAX_BYTES = 1024 * 1024
"""The most that a ConfigMap can hold."""
MAX_WORD = 4096
"""Characters; as many as a path may have."""
VERSION = "v1"
RESOURCES = "resources.gpus"
_RULE_KEYS = ("pattern", "name")
_NVIDIA_DOMAIN = "nvidia.com/"
_SHOWN = 80

NOT_SUPPORTED: Mapping[str, tuple[str, ...]] = {
    "flags.migStrategy": ("none",),
    "flags.gdrcopyEnabled": ("false",),
    "flags.gdsEnabled": ("false",),
    "flags.mofedEnabled": ("false",),
    "flags.mpsRoot": (),
    "flags.useNodeFeatureAPI": ("false",),
    "flags.deviceDiscoveryStrategy": ("auto", "nvml"),
    "flags.gfd": (),
    "flags.plugin.deviceListStrategy": ("envvar",),
    "flags.plugin.cdiAnnotationPrefix": (),
    "flags.plugin.nvidiaCTKPath": (),
    "flags.plugin.sharedDevicesAllocationPolicy": (),
    "resources.mig": (),
    "sharing": (),
    "imex": (),
}
"""Keys of NVIDIA's plugin for what this one does not do, and the values that ask for nothing else than what it does."""

_STRING, _SWITCH, _NULL = (f"tag:yaml.org,2002:{name}" for name in ("str", "bool", "null"))
_WORDS = (_STRING, *(f"tag:yaml.org,2002:{name}" for name in ("int", "float")))
"""A version such as 0.1 is a number to YAML."""


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


@dataclass(frozen=True, slots=True, kw_only=True)
class FileValue:
    """One value as it was written."""

    text: str
    place: Place


@dataclass(frozen=True, slots=True, kw_only=True)
class FileRules:
    """The rules as they were written, and where they begin."""

    rules: tuple[ResourceRule, ...]
    place: Place


@dataclass(frozen=True, slots=True, kw_only=True)
class FileContent:
    """What a file decides."""

    values: Mapping[str, FileValue]
    """By the path of the key."""
    resources: FileRules | None


def read_file(path: Path, options: Sequence[Option]) -> FileContent:
    """Read a configuration file.

    Raises:
        InvalidValueError: it cannot be read, or says anything that is not known here; with file, line and column.
    """
    return _Reader(path, {option.file_key: option for option in options if option.file_key}).read()


def _load(path: Path) -> bytes:
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
        raise InvalidValueError(f"{path}: empty, expected at least 'version: {VERSION}'")
    return root


class _Reader:
    def __init__(self, path: Path, options: Mapping[str, Option]) -> None:
        self._path = path
        self._options = options
        self._groups = {"flags"} | {key.rpartition(".")[0] for key in (*options, RESOURCES)}
        self._values: dict[str, FileValue] = {}
        self._resources: FileRules | None = None

    def read(self) -> FileContent:
        root = _compose(self._path, _load(self._path))
        self._check_version(root)
        self._mapping(root, "")
        return FileContent(values=self._values, resources=self._resources)

    def _check_version(self, root: yaml.Node) -> None:
        """Look at it before all other keys: what they mean depends on it."""
        for full, _, value in self._entries(root, ""):
            if full == "version":
                written = self._word(value, full, (_STRING,)).text
                if written != VERSION:
                    raise InvalidValueError(f"{self._place(value)}: version: {written!r}, allowed is {VERSION}")
                return
        raise InvalidValueError(f"{self._place(root)}: version is missing, allowed is {VERSION}")

    def _place(self, node: yaml.Node) -> Place:
        return Place(file=self._path, mark=node.start_mark)

    def _entries(self, node: yaml.Node, path: str) -> Iterator[tuple[str, yaml.Node, yaml.Node]]:
        """Go through a mapping, with the full path of each key."""
        if not isinstance(node, yaml.MappingNode):
            what = path or "the file"
            raise InvalidValueError(f"{self._place(node)}: {what} is {_described(node)}, allowed are keys with values")
        seen: dict[str, Place] = {}
        for key, value in node.value:
            if not isinstance(key, yaml.ScalarNode):
                raise InvalidValueError(f"{self._place(key)}: a key is {_described(key)}, allowed are words")
            if len(key.value) > MAX_WORD:
                raise InvalidValueError(
                    f"{self._place(key)}: a key has {len(key.value)} characters, allowed are {MAX_WORD}"
                )
            # A key that has dots itself must not pass for the path of nested ones.
            full = ".".join(filter(None, (path, repr(key.value) if "." in key.value else key.value)))
            if full in seen:
                raise InvalidValueError(f"{self._place(key)}: {full} occurs twice, first at {seen[full]}")
            seen[full] = self._place(key)
            yield full, key, value

    def _mapping(self, node: yaml.Node, path: str) -> None:
        for full, key, value in self._entries(node, path):
            if full in self._options:
                self._values[full] = self._value(value, full)
            elif full == RESOURCES:
                self._resources = FileRules(rules=self._rules(value), place=self._place(key))
            elif full in self._groups:
                if value.tag != _NULL:
                    self._mapping(value, full)
            elif full in NOT_SUPPORTED:
                self._check_not_asked_for(full, key, value)
            elif full != "version":
                raise InvalidValueError(f"{self._place(key)}: unknown key {full}, {self._known(full)}")

    def _known(self, full: str) -> str:
        """Tell the key that was probably meant, or all that there are."""
        from difflib import get_close_matches  # noqa: PLC0415 - only where somebody made a mistake

        keys = (*self._options, RESOURCES, "version")
        known = [*keys, *NOT_SUPPORTED, *self._groups]
        same_word = [key for key in known if key.rpartition(".")[2] == full.rpartition(".")[2].strip("'")]
        near = same_word or get_close_matches(full, known, n=1)
        return f"did you mean {near[0]}?" if near else f"known are {', '.join(sorted(keys))}"

    def _check_not_asked_for(self, full: str, key: yaml.Node, value: yaml.Node) -> None:
        allowed = NOT_SUPPORTED[full]
        items = value.value if isinstance(value, yaml.SequenceNode) and value.value else [value]
        if all(isinstance(item, yaml.ScalarNode) and item.value.lower() in allowed for item in items):
            return
        written = f"{full}: {_shown(value.value)}" if isinstance(value, yaml.ScalarNode) else full
        only = f", allowed is {' or '.join(allowed)}" if allowed else "; take it out"
        raise InvalidValueError(f"{self._place(key)}: {written} is not supported by plugin-gateway{only}")

    def _value(self, node: yaml.Node, full: str) -> FileValue:
        if self._options[full].is_switch:
            return self._word(node, full, (_SWITCH,), "true and false, without quotes")
        return self._word(node, full, _WORDS)

    def _word(self, node: yaml.Node, full: str, tags: Sequence[str], allowed: str = "a word") -> FileValue:
        if not isinstance(node, yaml.ScalarNode) or node.tag not in tags:
            verb = "is" if allowed == "a word" else "are"
            raise InvalidValueError(f"{self._place(node)}: {full} is {_described(node)}, allowed {verb} {allowed}")
        if len(node.value) > MAX_WORD:
            raise InvalidValueError(
                f"{self._place(node)}: {full} has {len(node.value)} characters, allowed are {MAX_WORD}"
            )
        return FileValue(text=node.value, place=self._place(node))

    def _rules(self, node: yaml.Node) -> tuple[ResourceRule, ...]:
        if not isinstance(node, yaml.SequenceNode) or not node.value:
            raise InvalidValueError(
                f"{self._place(node)}: {RESOURCES} is {_described(node)}, allowed is a list with pattern and name each"
            )
        return tuple(self._rule(item) for item in node.value)

    def _rule(self, node: yaml.Node) -> ResourceRule:
        words: dict[str, FileValue] = {}
        for full, key, value in self._entries(node, RESOURCES):
            word = full.rpartition(".")[2]
            if word not in _RULE_KEYS:
                raise InvalidValueError(f"{self._place(key)}: unknown key {full}, known are {' and '.join(_RULE_KEYS)}")
            words[word] = self._word(value, full, (_STRING,))
        missing = [word for word in _RULE_KEYS if word not in words]
        if missing:
            raise InvalidValueError(f"{self._place(node)}: {' and '.join(missing)} missing in an entry of {RESOURCES}")
        pattern, name = (words[word] for word in _RULE_KEYS)
        if not pattern.text:
            raise InvalidValueError(f"{pattern.place}: {RESOURCES}.pattern is empty; '*' matches every product")
        full_name = name.text if "/" in name.text else _NVIDIA_DOMAIN + name.text
        try:
            return ResourceRule(pattern=pattern.text, name=parse_resource_name(full_name))
        except InvalidValueError as error:
            raise InvalidValueError(f"{name.place}: {error}") from error


def _described(node: yaml.Node) -> str:
    """Tell what stands there, in words of the person who wrote it."""
    if isinstance(node, yaml.SequenceNode):
        return "a list" if node.value else "an empty list"
    if isinstance(node, yaml.MappingNode):
        return "a mapping"
    if node.tag == _NULL:
        return "empty"
    quoted = "the text " if node.tag == _STRING and isinstance(node, yaml.ScalarNode) and node.style else ""
    return f"{quoted}{_shown(node.value)}"


def _shown(text: str) -> str:
    return repr(text) if len(text) <= _SHOWN else f"{text[:_SHOWN]!r}..."
