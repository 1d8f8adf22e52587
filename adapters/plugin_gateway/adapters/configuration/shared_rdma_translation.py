"""Translates configurations of Mellanox' device plugins: the shared one (`configList`) and the one before (`mode`).

An id of the shared plugin is a number, and every container gets all device nodes of what its resource selects. That is
a pool here.
"""

from collections.abc import Mapping
from typing import Any

import yaml

from plugin_gateway.adapters.configuration.document import described
from plugin_gateway.adapters.configuration.foreign_document import Entries, ForeignDocument, literal, without_empty
from plugin_gateway.core.errors import InvalidValueError
from plugin_gateway.core.resources.sharing import MAX_REPLICAS

PLUGIN = "the RDMA shared device plugin"
LIST = "configList"
OLD_PLUGIN = "the RDMA SR-IOV device plugin"
MODE = "mode"
DEFAULT_PREFIX = "rdma"
_KEYS = ("resourceName", "resourcePrefix", "rdmaHcaMax", "devices", "selectors")
_SELECTORS = ("vendors", "deviceIDs", "drivers", "ifNames", "linkTypes")
_OLD_REPLICAS = 1000
"""How many ids the old plugin has for all devices of a node."""


def translate_shared(document: ForeignDocument, root: yaml.Node) -> list[Mapping[str, Any]]:
    """Return the entries of `resources.rdma`. The document collects what is wrong.

    Raises:
        InvalidValueError: the list is none, or empty.
    """
    top = document.known(root, "", ("periodicUpdateInterval", LIST))
    if "periodicUpdateInterval" in top:
        document.leave_out(top["periodicUpdateInterval"], "changes are seen at once")
    items = document.some_items(root, top, LIST)
    rules: list[Mapping[str, Any]] = []
    names: dict[str, str] = {}
    for item in items:
        with document.collecting():
            rules += _pool(document, item, names)
    if len(rules) > 1:
        document.left_out.append(
            f"{document.place(top[LIST].key)}: {LIST}: a card that several entries select is offered by each of them "
            "there, and by the first of them here"
        )
    document.left_out.append(
        f"{document.place(top[LIST].key)}: {LIST}: containers get umad and issm there, too, and here where nodes says "
        "umad: true and subnetManager: true"
    )
    return rules


def _pool(document: ForeignDocument, item: yaml.Node, names: dict[str, str]) -> list[Mapping[str, Any]]:
    """Return the resource of an entry. There is none where it offers nothing."""
    entries = document.known(item, LIST, _KEYS)
    name = _name(document, item, entries, names)
    select = _select(document, item, entries)
    count = document.number(entries, "rdmaHcaMax", 0)
    if not count:
        document.left_out.append(
            f"{document.place(item)}: {name} is left out: without rdmaHcaMax the plugin offers nothing"
        )
        return []
    if count > MAX_REPLICAS:
        document.lose(entries["rdmaHcaMax"], f"{name} has {MAX_REPLICAS}, which is the most")
    return [{"name": name, "sharing": "pool", "replicas": min(count, MAX_REPLICAS), "select": select}]


def _name(document: ForeignDocument, item: yaml.Node, entries: Entries, names: dict[str, str]) -> str:
    """Return the whole name. The part behind the domain is unique there."""
    if "resourceName" not in entries:
        raise InvalidValueError(f"{document.place(item)}: resourceName missing in an entry of {LIST}")
    entry, word = entries["resourceName"], document.text(entries, "resourceName")
    if word in names:
        raise InvalidValueError(f"{document.place(entry.key)}: {word[:80]} occurs twice, first at {names[word]}")
    names[word] = str(document.place(entry.key))
    return document.resource_name(entry, document.text(entries, "resourcePrefix") or DEFAULT_PREFIX, word)


def _select(document: ForeignDocument, item: yaml.Node, entries: Entries) -> Mapping[str, Any]:
    """Return what an entry selects.

    Raises:
        InvalidValueError: it has selectors and devices, or neither.
    """
    interfaces = document.names(entries, "devices")
    given = entries.get("selectors")
    found = document.known(given.value, given.full, _SELECTORS) if given is not None else {}
    chosen = without_empty(
        (
            ("vendors", document.pci_ids(found, "vendors")),
            ("devices", document.pci_ids(found, "deviceIDs")),
            ("drivers", document.names(found, "drivers")),
            ("interfaces", document.names(found, "ifNames")),
            ("linkTypes", document.link_types(found)),
        )
    )
    if bool(chosen) == bool(interfaces):
        one = "both selectors and devices" if chosen else "neither selectors nor devices"
        raise InvalidValueError(f"{document.place(item)}: an entry of {LIST} has {one}; expected one of the two")
    return chosen or {"interfaces": list(interfaces)}


def translate_old(document: ForeignDocument, root: yaml.Node) -> list[Mapping[str, Any]]:
    """Return the entry of `resources.rdma` for a configuration of the old plugin.

    Raises:
        InvalidValueError: it has another mode, or the mode needs interfaces.
    """
    top = document.known(root, "", (MODE, "pfNetdevices"))
    mode = document.text(top, MODE)
    if mode == "hca":
        if "pfNetdevices" in top:
            document.leave_out(top["pfNetdevices"], "the plugin does not look at it with hca")
        return [{"name": "rdma/hca", "sharing": "pool", "replicas": _OLD_REPLICAS, "select": {}}]
    if mode != "sriov":
        node = top[MODE].value if MODE in top else root
        raise InvalidValueError(f"{document.place(node)}: {MODE}: {described(node)}; expected sriov or hca")
    parents = [literal(each) for each in document.texts(top, "pfNetdevices")]
    if not parents:
        raise InvalidValueError(f"{document.place(root)}: pfNetdevices missing, of which sriov makes virtual functions")
    document.lose(top["pfNetdevices"], "the gateway makes no virtual functions; make them before, by sriov_numvfs")
    return [{"name": "rdma/vhca", "sharing": "exclusive", "select": {"parents": parents}}]
