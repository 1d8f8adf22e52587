"""Translates the values of NVIDIA's chart into those of the gateway's chart, and a ConfigMap with configurations.

A configuration can also be that of a plugin for network cards (`other_plugins`).
"""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import yaml

from plugin_gateway.adapters.configuration.document import Document, compose, described
from plugin_gateway.adapters.configuration.nvidia_names import CHART_VALUES, ONLY_IF_ENABLED, ChartValue
from plugin_gateway.adapters.configuration.option import options_of
from plugin_gateway.adapters.configuration.options import Options
from plugin_gateway.adapters.configuration.other_plugins import by_content, of_manifest, one_manifest, without_tabs
from plugin_gateway.adapters.configuration.translation import Translate, Translation, put
from plugin_gateway.core.errors import InvalidValueError

CONFIGURATIONS = "config.map"
MPS_ROOT = "/run/nvidia/mps"
"""The folder that NVIDIA's chart has for MPS where nobody gave another one."""
_TAKEN_LATER = {CONFIGURATIONS, "mps.root"}
"""Values that say nothing by themselves."""
_VALUES = {each.path: each for each in CHART_VALUES}
_OPTIONS = {each.word: each for each in options_of(Options)} | {
    "compatWithCPUManager": Options.pass_device_specs,
    "cdi.nvidiaHookPath": Options.nvidia_cdi_hook_path,
}
"""The settings that values are, by their path. NVIDIA's chart hands over a value of the right type, and no other."""
_SECTIONS = {each.path.partition(".")[0] for each in CHART_VALUES if "." in each.path}
_TOP = {each.path.partition(".")[0] for each in CHART_VALUES} - {"resources"}
_OF_LIMITS = {"limits", "requests", "claims"}
"""Keys of `resources` in the chart. In a configuration file it has others."""
_OF_FILES = {"version", "flags", "sharing", "imex"}
"""Keys that only a configuration file has, and no values of the chart."""


def translate_any(name: str, data: bytes, translate: Translate) -> Translation:
    """Translate values, a ConfigMap or a configuration file, of NVIDIA's plugin or of one for network cards.

    ``name`` is what complaints call it.

    Raises:
        InvalidValueError: it is none of them, or something in it is wrong.
    """
    data, others = one_manifest(data)
    done = _translate_one(name, data, by_content(translate))
    said = (f"{name}: left out, because they configure no device plugin: {', '.join(others)}",) if others else ()
    return done._replace(left_out=(*said, *done.left_out))


def _translate_one(name: str, data: bytes, translate: Translate) -> Translation:
    root = compose(Path(name), without_tabs(data))
    keys = _keys_of(root)
    if {"apiVersion", "kind"} <= keys.keys():
        return of_manifest(name, root, keys["kind"]) or _config_map(name, _constructed(name, root), translate)
    is_limits = "resources" in keys and bool(_keys_of(keys["resources"]).keys() & _OF_LIMITS)
    if not keys.keys() & _OF_FILES and (is_limits or keys.keys() & _TOP):
        return _Values(name, root, translate).translate()
    return translate(name, data)


def _keys_of(node: yaml.Node) -> Mapping[str, yaml.Node]:
    """Return the values of a mapping. Empty for anything else."""
    pairs = node.value if isinstance(node, yaml.MappingNode) else ()
    return {key.value: value for key, value in pairs if isinstance(key, yaml.ScalarNode)}


def _constructed(name: str, node: yaml.Node) -> Any:
    """Return a node as dicts, lists and words.

    Raises:
        InvalidValueError: it contains itself, or has a type of its own.
    """
    try:
        return yaml.SafeLoader("").construct_object(node, deep=True)
    except (yaml.YAMLError, ValueError, OverflowError) as error:
        problem = error.problem if isinstance(error, yaml.MarkedYAMLError) else str(error)
        raise InvalidValueError(f"{name}:{node.start_mark.line + 1}: {problem}") from error
    except RecursionError as error:
        raise InvalidValueError(f"{name}: nested too deeply") from error
    except (LookupError, AttributeError) as error:  # the parser's own, for !!bool x, !!int "" and !!timestamp x
        raise InvalidValueError(
            f"{name}:{node.start_mark.line + 1}: a value does not have the type it names"
        ) from error


def _encoded(text: str) -> bytes:
    """Return a text as bytes. Half a surrogate pair makes bytes that are no YAML."""
    return text.encode(errors="surrogatepass")


def _config_map(name: str, manifest: Mapping[str, Any], translate: Translate) -> Translation:
    kind, data = manifest["kind"], manifest.get("data")
    if kind != "ConfigMap" or not isinstance(data, dict) or not all(isinstance(each, str) for each in data.values()):
        word = kind[:80] if isinstance(kind, str) else type(kind).__name__  # a list can be written in too many words
        raise InvalidValueError(
            f"{name}: this is a {word}; expected a ConfigMap whose data are texts, values of NVIDIA's "
            "chart, a configuration file, and manifests of the kinds Onload and NicClusterPolicy"
        )
    done = {key: translate(f"{name}, data.{key}", _encoded(text)) for key, text in data.items()}
    texts = {key: text_of(each.document) for key, each in done.items()}
    return Translation({**manifest, "data": texts}, _all(each.lost for each in done.values()),
                       _all(each.left_out for each in done.values()))  # fmt: skip


def _all(parts: Iterable[tuple[str, ...]]) -> tuple[str, ...]:
    return tuple(each for part in parts for each in part)


class _Values:
    """The values of NVIDIA's chart, taken one by one."""

    def __init__(self, name: str, root: yaml.Node, translate: Translate) -> None:
        self._name = name
        self._root = root
        self._translate = translate
        self._document = Document(Path(name))
        self._out: dict[str, Any] = {}
        self._lost: list[str] = []
        self._left_out: list[str] = []
        self._given: dict[str, Any] = {}
        """The values that were taken for later, by their path."""

    def translate(self) -> Translation:
        self._walk(self._root, "")
        self._document.check()
        self._take_configurations()
        self._take_mps_root()
        return Translation(self._out, tuple(self._lost), tuple(self._left_out))

    def _walk(self, node: yaml.Node, path: str) -> None:
        for full, key, value in self._document.entries(node, path):
            found = _constructed(self._name, value)
            if found is None:
                continue
            if full in _VALUES:
                self._take(_VALUES[full], found, key, value)
            elif full in _SECTIONS:
                self._walk(value, full)
            elif path not in ONLY_IF_ENABLED:
                self._left_out.append(f"{self._document.place(key)}: {full} is no value of NVIDIA's chart")

    def _take(self, value: ChartValue, found: object, key: yaml.Node, node: yaml.Node) -> None:
        """Take one value. A neutral one is left out: what is the default there is no wish."""
        self._given[value.path] = found
        if _is_neutral(found, value) or not self._is_handed_over(value.path, found, key, node):
            return
        if value.becomes and value.path not in _TAKEN_LATER:
            put(self._out, value.becomes, found)
        if value.why and value.path not in _TAKEN_LATER:
            verb = "needs more" if value.becomes else "is lost"
            self._lost.append(f"{self._document.place(key)}: {value.path}: {described(node)} {verb}: {value.why}")

    def _is_handed_over(self, path: str, found: object, key: yaml.Node, node: yaml.Node) -> bool:
        """Return whether NVIDIA's chart hands a value over to the plugin, and collect what the plugin would refuse."""
        option = _OPTIONS.get(path)
        if option is not None and not isinstance(found, bool if option.is_switch else str):
            what = "true or false" if option.is_switch else "a text"
            self._left_out.append(
                f"{self._document.place(key)}: {path} is {described(node)} and ignored, as by NVIDIA's chart, which "
                f"takes {what}"
            )
            return False
        if option is not None and isinstance(found, str) and found:
            with self._document.collecting():
                try:
                    option.kind.parse(found)
                except InvalidValueError as error:
                    raise InvalidValueError(f"{self._document.place(node)}: {path}: {error}") from error
        return True

    def _take_configurations(self) -> None:
        """Translate each of the configurations, of which the label of a node chooses one, as there."""
        texts = self._given.get(CONFIGURATIONS) or {}
        if not isinstance(texts, dict) or not all(isinstance(each, str | None) for each in texts.values()):
            raise InvalidValueError(f"{self._name}: {CONFIGURATIONS} is no mapping of texts")
        for key, text in texts.items():
            if text is None:
                continue
            done = self._translate(f"{self._name}, {CONFIGURATIONS}.{key}", _encoded(text))
            self._left_out += done.left_out
            self._lost += done.lost
            self._out.setdefault("config", {}).setdefault("map", {})[key] = done.document

    def _take_mps_root(self) -> None:
        """Name the folder of MPS where it is used, or where somebody named another one than the chart."""
        root = self._given.get("mps.root", MPS_ROOT)
        value = _VALUES["mps.root"]
        files = self._out.get("config", {}).get("map", {}).items()
        shared = [name for name, each in files if "mps" in each.get("sharing", {})]
        if root != MPS_ROOT or shared:
            put(self._out, value.becomes, root)
        self._lost += [f"{self._name}, {CONFIGURATIONS}.{name}: sharing.mps needs more: {value.why}" for name in shared]


def _is_neutral(found: object, value: ChartValue) -> bool:
    """Return whether a value asks for nothing. A text with commas does not if none of its words does."""
    words = [word.strip() for word in found.split(",")] if isinstance(found, str) else [found]
    return all(any(word == each and type(word) is type(each) for each in value.neutral) for word in words)


class _Dumper(yaml.SafeDumper):
    """Writes texts of several lines as such."""


def _text(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style="|" if "\n" in text else None)


_Dumper.add_representer(str, _text)


def text_of(document: Mapping[str, Any]) -> str:
    """Return a document as YAML, in its own order, in ASCII.

    Raises:
        InvalidValueError: it has a number with more digits than Python writes.
    """
    try:
        text: str = yaml.dump(dict(document), Dumper=_Dumper, sort_keys=False, width=118)
    except ValueError as error:
        raise InvalidValueError("a number is too long to be written") from error
    return text
