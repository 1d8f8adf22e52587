"""How recordings of versions 1 to 4 name devices, and those of versions 1 and 2 evidence and decisions.

Up to version 4, the rules selected devices by one pattern for the product.

Up to version 4, each device was a whole physical one, and all devices of an inventory were given out in the same way.
Evidence had a device where it has a scope now.

Versions 1 and 2 had one family of evidence with numbers, with a class and fields of its own. All other evidence had a
closed list of kinds. Here their values become those of version 5.
"""

from collections.abc import Mapping
from typing import Any

from plugin_gateway.adapters.support.strict_json import MisfitError, list_of, names, whole, within, written_whole
from plugin_gateway.core.health.observations import EvidenceReported
from plugin_gateway.core.health.policy import numbered

_FAMILY = "xid"
_ONLY_KIND = "device"
"""The kind of all devices up to version 4, which had no kinds."""


def observation(value: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return evidence and inventories as version 5 writes them, and every other observation as it is."""
    match value:
        case {"kind": "XidReported", "xid": number, **others}:
            return _evidence(numbered(_FAMILY, within(_FAMILY, whole, number)), others)
        case {"kind": "FaultReported", "source": kind, **others}:
            return _evidence(kind, others)
        case {"kind": "InventorySeen", "inventory": inventory}:
            return {**value, "inventory": within("inventory", _inventory, inventory)}
        case {"kind": "EvidenceReported" | "EvidenceRefined", "device": device}:
            return {"scope": device, **value}
    return value


def _evidence(kind: object, others: Mapping[str, Any]) -> Mapping[str, Any]:
    scope = {"scope": others["device"]} if "device" in others else {}
    return {**others, **scope, "kind": EvidenceReported.__name__, "evidence": kind}


def _inventory(value: object) -> Mapping[str, Any]:
    """Return an inventory in which each device was a whole physical one."""
    found = dict(names(value))
    if "recipes" in found:
        return found
    given = ("visibility_variable", "shared_nodes", "optional_nodes")
    recipe = {name: found.pop(name) for name in given if name in found}
    devices = list(within("devices", list_of(names), found.get("devices")))
    return {
        **found,
        "physical": devices,
        "devices": [_whole(each) for each in devices],
        "recipes": {_ONLY_KIND: recipe},
    }


def _whole(device: Mapping[str, Any]) -> Mapping[str, Any]:
    same = {name: device[name] for name in ("id", "nodes", "memory_bytes") if name in device}
    return {**same, "physical": device, "kind": _ONLY_KIND, "place": [device.get("index")]}


def rule(value: object) -> Mapping[str, Any]:
    """Return a rule with a selector. Before, it had one pattern for the product."""
    found = dict(names(value))
    if "pattern" in found:
        found["selector"] = {"products": [found.pop("pattern")]}
    if "selector" not in found:
        raise MisfitError("no 'selector'")
    return found


def policy(value: object) -> Mapping[str, Any]:
    """Return a policy as version 3 and later ones write it; what it lacks stays away."""
    found = dict(names(value))
    numbers, unknown, others = (found.pop(name, None) for name in (f"{_FAMILY}s", f"unknown_{_FAMILY}", "sources"))
    if numbers is None or unknown is None or others is None:
        return found
    return {
        **found,
        "kinds": {
            **{numbered(_FAMILY, written_whole(each)): decision for each, decision in names(numbers).items()},
            **names(others),
        },
        "families": {_FAMILY: unknown},
        "others": {"kind": "Decision", "action": "unhealthy", "origin": "default"},
    }
