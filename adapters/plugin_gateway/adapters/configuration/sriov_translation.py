"""Translates a configuration of the SR-IOV network device plugin (k8snetworkplumbingwg): `resourceList`.

A function that a selector takes is offered under its PCI address there, as here. What the gateway cannot select by
would select more without it, so the whole selector is lost then.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import yaml

from plugin_gateway.adapters.configuration.foreign_document import (
    Entries,
    Entry,
    ForeignDocument,
    literal,
    without_empty,
)
from plugin_gateway.adapters.configuration.resource_words import parse_address
from plugin_gateway.core.errors import InvalidValueError

PLUGIN = "the SR-IOV network device plugin"
LIST = "resourceList"
DEFAULT_PREFIX = "intel.com"
_DEVICE_TYPES = ("netDevice", "accelerator", "auxNetDevice")
_KEYS = ("resourceName", "resourcePrefix", "deviceType", "excludeTopology", "selectors", "additionalInfo")
_SELECTORS = ("vendors", "devices", "drivers", "pciAddresses", "acpiIndexes", "pfNames", "rootDevices", "linkTypes",
              "ddpProfiles", "pKeys", "isRdma", "needVhostNet", "vdpaType", "auxTypes")  # fmt: skip
_CANNOT_SELECT = {
    "acpiIndexes": "the gateway does not select by ACPI index",
    "ddpProfiles": "the gateway does not select by DDP profile",
    "pKeys": "the gateway does not select by partition key",
    "vdpaType": "the gateway offers no vDPA devices",
}
_USER_SPACE_DRIVERS = ("vfio-pci", "uio_pci_generic", "igb_uio")
"""Drivers of functions that containers drive themselves. Such a function has no RDMA device."""
_VIRTUAL = {"1004", "1014", "1016", "1018", "101a", "101c", "101e"}
"""Device ids that only virtual functions have."""
_PARENT = re.compile(r"([^#]+)(#\d+(?:-\d+)?(?:,\d+(?:-\d+)?)*)?", re.ASCII)
_STAYS = "such devices stay with that plugin"


class _Resource(NamedTuple):
    name: str
    entries: Entries


def translate_sriov(document: ForeignDocument, root: yaml.Node) -> list[Mapping[str, Any]]:
    """Return the entries of `resources.rdma`. The document collects what is wrong.

    Raises:
        InvalidValueError: the list is none, or empty.
    """
    top = document.known(root, "", (LIST,))
    items = document.some_items(root, top, LIST)
    rules: list[Mapping[str, Any]] = []
    names: dict[str, str] = {}
    for item in items:
        with document.collecting():
            entries = document.known(item, LIST, _KEYS, {key.lower(): f"selectors.{key}" for key in _SELECTORS})
            resource = _Resource(_name(document, item, entries), entries)
            _check_twice(document, resource, names)
            rules += _rules(document, resource)
    _say_prefix(document, items)
    return rules


def _name(document: ForeignDocument, item: yaml.Node, entries: Entries) -> str:
    if "resourceName" not in entries:
        raise InvalidValueError(f"{document.place(item)}: resourceName missing in an entry of {LIST}")
    prefix = document.text(entries, "resourcePrefix") or DEFAULT_PREFIX
    return document.resource_name(entries["resourceName"], prefix, document.text(entries, "resourceName"))


def _check_twice(document: ForeignDocument, resource: _Resource, names: dict[str, str]) -> None:
    place = str(document.place(resource.entries["resourceName"].key))
    if resource.name in names:
        raise InvalidValueError(f"{place}: {resource.name} occurs twice, first at {names[resource.name]}")
    names[resource.name] = place


def _say_prefix(document: ForeignDocument, items: Sequence[yaml.Node]) -> None:
    """Say once where a prefix comes from that no entry gives."""
    for item in items:
        words = {str(key.value).lower() for key, _ in item.value} if isinstance(item, yaml.MappingNode) else set()
        if words and "resourceprefix" not in words:
            document.left_out.append(
                f"{document.place(item)}: without resourcePrefix the domain is {DEFAULT_PREFIX}; write another one "
                "where the plugin runs with --resource-prefix"
            )
            return


def _rules(document: ForeignDocument, resource: _Resource) -> Iterator[Mapping[str, Any]]:
    """Yield an entry for each selector of a resource. The first selector that matches a function takes it."""
    entries = resource.entries
    kind = document.text(entries, "deviceType", _DEVICE_TYPES[0])
    if kind not in _DEVICE_TYPES:
        where = document.place(entries["deviceType"].value)
        raise InvalidValueError(
            f"{where}: {LIST}.deviceType: invalid value {kind[:80]!r}; expected {', '.join(_DEVICE_TYPES)}"
        )
    if kind != _DEVICE_TYPES[0]:
        document.lose(entries["deviceType"], f"{resource.name} is not offered; {_STAYS}")
        return
    if document.switch(entries, "excludeTopology"):
        document.lose(entries["excludeTopology"], "--numa-hints=false leaves the NUMA nodes out for all resources")
    if "additionalInfo" in entries:
        document.lose(entries["additionalInfo"], "containers get no extraInfo")
    for selector in _selectors(document, entries):
        chosen = _select(document, resource, selector)
        if chosen is not None:
            yield {"name": resource.name, "sharing": "exclusive", "select": chosen}


def _selectors(document: ForeignDocument, entries: Entries) -> Iterator[Entry]:
    """Yield each selector of a resource. One that is missing selects everything."""
    if "selectors" not in entries:
        name = entries["resourceName"]
        yield Entry(f"{LIST}.selectors", name.key, yaml.MappingNode("", [], name.key.start_mark, name.key.end_mark))
        return
    given = entries["selectors"]
    for node in document.items(given) if isinstance(given.value, yaml.SequenceNode) else (given.value,):
        yield Entry(given.full, given.key, node)


def _select(document: ForeignDocument, resource: _Resource, selector: Entry) -> Mapping[str, Any] | None:
    """Return what a selector selects. None if it is lost."""
    found = document.known(selector.value, selector.full, _SELECTORS)
    is_rdma = document.switch(found, "isRdma")
    if is_rdma and document.text(found, "vdpaType"):
        raise InvalidValueError(
            f"{document.place(found['vdpaType'].key)}: vdpaType together with isRdma, one of the two"
        )
    if not _can_be_selected(document, resource, found):
        return None
    drivers = _drivers(document, resource, found)
    if drivers is None:
        return None
    if document.switch(found, "needVhostNet"):
        document.lose(found["needVhostNet"], "containers get no /dev/vhost-net and no /dev/net/tun")
    if not is_rdma:
        document.lost.append(
            f"{document.place(selector.value)}: {selector.full} of {resource.name} has no isRdma: containers get no "
            "RDMA device nodes there, and do here; functions without an RDMA device are not offered here"
        )
    parents = _parents(document, found)
    chosen = without_empty(
        (
            ("vendors", document.pci_ids(found, "vendors")),
            ("devices", document.pci_ids(found, "devices")),
            ("drivers", drivers),
            ("pciAddresses", _addresses(document, found)),
            ("parents", parents),
            ("linkTypes", document.link_types(found)),
        )
    )
    _say_what_differs(document, resource, selector, chosen)
    return chosen


def _can_be_selected(document: ForeignDocument, resource: _Resource, found: Entries) -> bool:
    """Whether the gateway can select by all that is asked for. What it cannot is noted."""
    asked = [key for key in _CANNOT_SELECT if key in found and _says_something(found[key].value)]
    for key in asked:
        document.lose(found[key], f"{_CANNOT_SELECT[key]}; this selector of {resource.name} is left out")
    if {"pfNames", "rootDevices"} <= found.keys() and all(found[key].value.value for key in ("pfNames", "rootDevices")):
        document.lose(found["rootDevices"], f"both are parents here, and one of them is enough; this selector of "
                                            f"{resource.name} is left out, write it by hand")  # fmt: skip
        return False
    return not asked


def _says_something(node: yaml.Node) -> bool:
    return bool(node.value)


def _drivers(document: ForeignDocument, resource: _Resource, found: Entries) -> tuple[str, ...] | None:
    """Return the drivers. None if only such are selected with which a function has no RDMA device."""
    drivers = document.texts(found, "drivers")
    kept = tuple(each for each in drivers if each not in _USER_SPACE_DRIVERS)
    if len(kept) < len(drivers):
        what = "" if kept else f"; this selector of {resource.name} is left out"
        gone = " or ".join(sorted({*drivers} - {*kept}))
        document.lose(found["drivers"], f"a function with {gone} has no RDMA device, {_STAYS}{what}")
    return None if drivers and not kept else tuple(map(literal, kept))


def _addresses(document: ForeignDocument, found: Entries) -> tuple[str, ...]:
    addresses = document.texts(found, "pciAddresses")
    for text in addresses:
        try:
            parse_address(text)
        except InvalidValueError as error:
            entry = found["pciAddresses"]
            raise InvalidValueError(f"{document.place(entry.value)}: {entry.full}{error}") from error
    return addresses


def _parents(document: ForeignDocument, found: Entries) -> tuple[str, ...]:
    """Return the physical functions whose virtual functions are selected, with their numbers, such as ``pf#0,2-7``."""
    parents: list[str] = []
    for key in ("pfNames", "rootDevices"):
        for text in document.texts(found, key):
            parsed = _PARENT.fullmatch(text)
            if parsed is None:
                entry = found[key]
                raise InvalidValueError(
                    f"{document.place(entry.value)}: {entry.full}: {text[:80]!r} selects nothing there; expected "
                    "names, and names with numbers such as ens1f0#0,2-7"
                )
            parents.append(literal(parsed[1]) + (parsed[2] or ""))
    return tuple(parents)


def _say_what_differs(
    document: ForeignDocument, resource: _Resource, selector: Entry, chosen: Mapping[str, Any]
) -> None:
    """Say which functions are offered only there, or only here."""
    where = f"{document.place(selector.value)}: {resource.name}"
    if any("#" not in each for each in chosen.get("parents", ())):
        document.left_out.append(
            f"{where}: a physical function without virtual ones is offered there itself, and not by parents here; "
            "select it by interfaces or pciAddresses"
        )
    elif "parents" not in chosen and not (chosen.get("devices") and set(chosen["devices"]) <= _VIRTUAL):
        document.left_out.append(
            f"{where}: a physical function with virtual ones, or with the default route, is not offered there, and is "
            f"here; add functions: vf where only virtual ones are meant"
        )
