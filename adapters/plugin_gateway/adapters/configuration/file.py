"""The configuration file: NVIDIA's keys, read strictly, every complaint with line and column."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path

import yaml

from plugin_gateway.adapters.configuration.options import Option
from plugin_gateway.core.errors import InvalidValueError
from plugin_gateway.core.resources import ResourceRule, parse_resource_name

MAX_BYTES = 1024 * 1024
VERSION = "v1"
RESOURCES = "resources.gpus"
_NVIDIA_DOMAIN = "nvidia.com/"

NOT_SUPPORTED: Mapping[str, str | None] = {
    "flags.migStrategy": "none",
    "flags.gdrcopyEnabled": "false",
    "flags.gdsEnabled": "false",
    "flags.mofedEnabled": "false",
    "flags.mpsRoot": None,
    "flags.useNodeFeatureAPI": None,
    "flags.deviceDiscoveryStrategy": "nvml",
    "flags.gfd": None,
    "flags.plugin.deviceListStrategy": "envvar",
    "flags.plugin.cdiAnnotationPrefix": None,
    "flags.plugin.nvidiaCTKPath": None,
    "flags.plugin.sharedDevicesAllocationPolicy": None,
    "resources.mig": None,
    "sharing": None,
    "imex": None,
}
"""Keys of NVIDIA's plugin for what this one does not do, and the one value that asks for nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where something stands."""

    file: Path
    mark: yaml.Mark

    def __str__(self) -> str:
        return f"{self.file}:{self.mark.line + 1}:{self.mark.column + 1}"


@dataclass(frozen=True, slots=True, kw_only=True)
class FileValue:
    """One value as it was written."""

    text: str
    is_switch: bool
    place: Place


@dataclass(frozen=True, slots=True, kw_only=True)
class FileContent:
    """What a file decides."""

    values: Mapping[str, FileValue]
    """By the path of the key."""
    resources: tuple[ResourceRule, ...] | None
    resources_place: Place | None


def read_file(path: Path, options: Sequence[Option]) -> FileContent:
    """Read a configuration file.

    Raises:
        InvalidValueError: it cannot be read, or says anything that is not known here; with file, line and column.
    """
    return _Reader(path, [option.file_key for option in options if option.file_key]).read()


class _Reader:
    def __init__(self, path: Path, keys: Iterable[str]) -> None:
        self._path = path
        self._keys = {*keys, "version"}
        self._groups = {key.rpartition(".")[0] for key in (*self._keys, RESOURCES)} | {"flags"}
        self._values: dict[str, FileValue] = {}
        self._resources: tuple[ResourceRule, ...] | None = None
        self._resources_place: Place | None = None

    def read(self) -> FileContent:
        root = self._compose()
        self._mapping(root, "")
        version = self._values.pop("version", None)
        if version is None or version.text != VERSION:
            place = version.place if version else self._place(root)
            raise InvalidValueError(f"{place}: version {version.text if version else ''!r}, allowed is {VERSION}")
        return FileContent(values=self._values, resources=self._resources, resources_place=self._resources_place)

    def _compose(self) -> yaml.Node:
        try:
            with self._path.open("rb") as file:
                data = file.read(MAX_BYTES + 1)
        except OSError as error:
            raise InvalidValueError(f"configuration file {self._path}: {error.strerror}") from error
        if len(data) > MAX_BYTES:
            raise InvalidValueError(f"configuration file {self._path}: larger than {MAX_BYTES} bytes")
        try:
            root = yaml.compose(data, Loader=yaml.SafeLoader)
        except yaml.MarkedYAMLError as error:
            place = f"{self._path}:{error.problem_mark.line + 1}" if error.problem_mark else str(self._path)
            raise InvalidValueError(f"{place}: no YAML: {error.problem}") from error
        except (yaml.YAMLError, ValueError, RecursionError) as error:
            raise InvalidValueError(f"{self._path}: no YAML: {str(error).splitlines()[0]}") from error
        if root is None:
            raise InvalidValueError(f"{self._path}: empty, expected at least 'version: {VERSION}'")
        return root

    def _place(self, node: yaml.Node) -> Place:
        return Place(file=self._path, mark=node.start_mark)

    def _entries(self, node: yaml.Node, path: str) -> Iterable[tuple[str, yaml.Node, yaml.Node]]:
        """Go through a mapping, with the full path of each key."""
        if not isinstance(node, yaml.MappingNode):
            raise InvalidValueError(f"{self._place(node)}: {path or 'the file'} must be a mapping of keys and values")
        seen = set[str]()
        for key, value in node.value:
            full = f"{path}.{key.value}".lstrip(".") if isinstance(key, yaml.ScalarNode) else ""
            if not full or full in seen:
                raise InvalidValueError(
                    f"{self._place(key)}: {full or 'a key'} {'occurs twice' if full else 'must be a word'}"
                )
            seen.add(full)
            yield full, key, value

    def _mapping(self, node: yaml.Node, path: str) -> None:
        for full, key, value in self._entries(node, path):
            if full in self._keys:
                self._values[full] = self._scalar(value, full)
            elif full == RESOURCES:
                self._resources, self._resources_place = self._rules(value), self._place(key)
            elif full in self._groups:
                self._mapping(value, full)
            elif full in NOT_SUPPORTED:
                self._check_not_asked_for(full, key, value)
            else:
                raise InvalidValueError(f"{self._place(key)}: unknown key {full}{self._suggestion(full)}")

    def _suggestion(self, full: str) -> str:
        known = [*self._keys, RESOURCES, *NOT_SUPPORTED]
        same_word = [key for key in known if key.rpartition(".")[2] == full.rpartition(".")[2]]
        near = same_word or get_close_matches(full, known, n=1)
        return f", did you mean {near[0]}?" if near else f"; known are {', '.join(sorted({*self._keys, RESOURCES}))}"

    def _check_not_asked_for(self, full: str, key: yaml.Node, value: yaml.Node) -> None:
        allowed = NOT_SUPPORTED[full]
        if allowed is None or not isinstance(value, yaml.ScalarNode) or value.value != allowed:
            only = f"; the only value taken is {allowed}" if allowed else ""
            raise InvalidValueError(f"{self._place(key)}: {full} is not supported by plugin-gateway{only}")

    def _scalar(self, node: yaml.Node, full: str) -> FileValue:
        if not isinstance(node, yaml.ScalarNode) or node.tag.endswith(":null"):
            raise InvalidValueError(f"{self._place(node)}: {full} must be a single value")
        return FileValue(text=node.value, is_switch=node.tag.endswith(":bool"), place=self._place(node))

    def _rules(self, node: yaml.Node) -> tuple[ResourceRule, ...]:
        if not isinstance(node, yaml.SequenceNode) or not node.value:
            raise InvalidValueError(f"{self._place(node)}: {RESOURCES} must be a list of pattern and name")
        return tuple(self._rule(item) for item in node.value)

    def _rule(self, node: yaml.Node) -> ResourceRule:
        texts: dict[str, str] = {}
        for full, key, value in self._entries(node, RESOURCES):
            word = full.rpartition(".")[2]
            if word not in {"pattern", "name"}:
                raise InvalidValueError(f"{self._place(key)}: unknown key {full}; known are pattern and name")
            texts[word] = self._scalar(value, full).text
        if len(texts) != len(("pattern", "name")):
            raise InvalidValueError(f"{self._place(node)}: an entry of {RESOURCES} needs both pattern and name")
        name = texts["name"] if "/" in texts["name"] else _NVIDIA_DOMAIN + texts["name"]
        try:
            return ResourceRule(pattern=texts["pattern"], name=parse_resource_name(name))
        except InvalidValueError as error:
            raise InvalidValueError(f"{self._place(node)}: {error}") from error
