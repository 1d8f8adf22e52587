"""How recordings of versions 1 and 2 name evidence and decisions.

They had one family of evidence with numbers, with a class and fields of its own. All other evidence had a closed list
of kinds. Here their values become those of version 3.
"""

from collections.abc import Callable, Mapping
from typing import Any

from plugin_gateway.adapters.support.strict_json import Read, fields, names, null_or, one_of, text, whole, written_whole
from plugin_gateway.core.devices import DeviceId
from plugin_gateway.core.health.observations import EvidenceReported
from plugin_gateway.core.health.policy import EvidenceKind, numbered

_FAMILY = "xid"
_NUMBERED, _OTHER = "XidReported", "FaultReported"


def observations(device_id: Callable[[object], DeviceId]) -> Mapping[str, Read[EvidenceReported]]:
    """Return a reader for each of the two classes of evidence."""

    def reader(named: str, field: str, kind: Read[EvidenceKind]) -> Read[EvidenceReported]:
        read = fields({"kind": one_of((named,)), field: kind, "device": null_or(device_id), "place": text})

        def make(value: object) -> EvidenceReported:
            found = read(value)
            return EvidenceReported(found[field], found["device"], found["place"])

        return make

    return {
        _NUMBERED: reader(_NUMBERED, _FAMILY, lambda value: numbered(_FAMILY, whole(value))),
        _OTHER: reader(_OTHER, "source", lambda value: EvidenceKind(text(value))),
    }


def policy(value: object) -> Mapping[str, Any]:
    """Return a policy as version 3 writes it; what it lacks stays away."""
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
