"""Recognises configurations of other device plugins for network cards by their content, and translates them."""

import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from plugin_gateway.adapters.configuration import onload_translation as onload
from plugin_gateway.adapters.configuration import shared_rdma_translation as shared
from plugin_gateway.adapters.configuration import sriov_translation as sriov
from plugin_gateway.adapters.configuration.document import STRING, compose
from plugin_gateway.adapters.configuration.file import VERSION
from plugin_gateway.adapters.configuration.foreign_document import ForeignDocument
from plugin_gateway.adapters.configuration.translation import Translate, Translation
from plugin_gateway.core.errors import InvalidValueError

POLICY = "NicClusterPolicy"
"""The kind of NVIDIA's network operator, which has the configurations of two plugins as texts."""
_POLICY_PARTS = ("rdmaSharedDevicePlugin", "sriovDevicePlugin")
RDMA, ONLOAD = "rdma", "onload"


class _Plugin(NamedTuple):
    words: str
    translate: Callable[[ForeignDocument, yaml.Node], list[Mapping[str, Any]]]
    section: str = RDMA
    """The key below `resources`."""


_BY_KEY = {
    sriov.LIST: _Plugin(sriov.PLUGIN, sriov.translate_sriov),
    shared.LIST: _Plugin(shared.PLUGIN, shared.translate_shared),
    shared.MODE: _Plugin(shared.OLD_PLUGIN, shared.translate_old),
}
"""By the key that only its configuration has."""
_NEXT_DOCUMENT = re.compile(rb"^---[^\S\n]*(?:#[^\n]*)?\n", re.MULTILINE)
_KIND_OF = re.compile(rb"^kind:[ \"']*(\w+)", re.MULTILINE | re.ASCII)
_TRANSLATED_KINDS = (onload.KIND, POLICY, "ConfigMap")
_BY_KIND = {onload.KIND: _Plugin(onload.PLUGIN, onload.translate_onload, ONLOAD)}


def without_tabs(data: bytes) -> bytes:
    """Return JSON as YAML takes it: a tab, which is no part of a text in JSON, as a space."""
    return data.replace(b"\t", b" ") if data.lstrip().startswith(b"{") else data


def one_manifest(data: bytes) -> tuple[bytes, Sequence[str]]:
    """Return the only manifest of several that can configure a plugin, in its lines, and the kinds of the others.

    Returns everything if there is none or more than one.
    """
    parts = _NEXT_DOCUMENT.split(data)
    kinds = [found[1].decode() if (found := _KIND_OF.search(part)) else "" for part in parts]
    (at, *more) = [number for number, kind in enumerate(kinds) if kind in _TRANSLATED_KINDS] or [0, 0]
    if more:
        return data, ()
    lines_before = b"".join(parts[:at]).count(b"\n") + at
    return b"\n" * lines_before + parts[at], [kind for kind in kinds if kind and kind != kinds[at]]


def by_content(translate: Translate) -> Translate:
    """Return a function that translates a configuration of another plugin too, and otherwise does as ``translate``."""

    def either(name: str, data: bytes) -> Translation:
        data = without_tabs(data)
        root = compose(Path(name), data)
        in_lower_case = {word.lower() for word in _words(root)}
        for key, plugin in _BY_KEY.items():
            if key.lower() in in_lower_case:
                return _translated(name, root, plugin)
        return translate(name, data)

    return either


def of_manifest(name: str, root: yaml.Node, kind: yaml.Node) -> Translation | None:
    """Translate a manifest that configures another plugin. None if it is of another kind.

    Raises:
        InvalidValueError: something in it is wrong.
    """
    word = kind.value if isinstance(kind, yaml.ScalarNode) else ""
    if word in _BY_KIND:
        return _translated(name, root, _BY_KIND[word])
    return _of_policy(name, root) if word == POLICY else None


def _words(root: yaml.Node) -> Sequence[str]:
    pairs = root.value if isinstance(root, yaml.MappingNode) else ()
    return [key.value for key, _ in pairs if isinstance(key, yaml.ScalarNode)]


def _translated(name: str, root: yaml.Node, plugin: _Plugin) -> Translation:
    document = ForeignDocument(Path(name), plugin.words)
    rules: list[Mapping[str, Any]] = []
    with document.collecting():
        rules = plugin.translate(document, root)
    document.check()
    return Translation(_file(plugin.section, rules), tuple(document.lost), tuple(document.left_out))


def _file(section: str, rules: Sequence[Mapping[str, Any]]) -> Mapping[str, Any]:
    """Return a configuration file. One that offers nothing says nothing of it."""
    return {"version": VERSION, **({"resources": {section: list(rules)}} if rules else {})}


def _of_policy(name: str, root: yaml.Node) -> Translation:
    """Translate the configurations in a policy of the network operator, into one file."""
    document = ForeignDocument(Path(name), "the network operator")
    top = document.known(root, "", ("apiVersion", "kind", "metadata", "spec", "status"))
    spec = {full: value for full, _, value in document.entries(top["spec"].value, "spec")} if "spec" in top else {}
    parts: list[Translation] = []
    for part in _POLICY_PARTS:
        section = spec.get(f"spec.{part}")
        keys = {full: value for full, _, value in document.entries(section, part)} if section is not None else {}
        if f"{part}.config" in keys:
            text = document.word(keys[f"{part}.config"], f"{part}.config", (STRING,), "a text with JSON").text
            parts.append(by_content(_refused)(f"{name}, spec.{part}.config", text.encode(errors="surrogatepass")))
    document.check()
    if not parts:
        raise InvalidValueError(f"{name}: this {POLICY} has no config below {' or '.join(_POLICY_PARTS)}")
    rules = [rule for part in parts for rule in part.document.get("resources", {}).get(RDMA, ())]
    lost, left_out = ([line for part in parts for line in part[index]] for index in (1, 2))
    return Translation(_file(RDMA, rules), tuple(lost), tuple(left_out))


def _refused(name: str, _: bytes) -> Translation:
    raise InvalidValueError(f"{name}: no configuration of a device plugin: {sriov.LIST} or {shared.LIST} is missing")
