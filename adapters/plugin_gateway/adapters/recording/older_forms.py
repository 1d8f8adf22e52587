"""How recordings of versions 1 and 2 name evidence and decisions.

They had one family of evidence with numbers, with a class and fields of its own. All other evidence had a closed list
of kinds. Here their values become those of version 3.
"""

from collections.abc import Mapping
from typing import Any

from plugin_gateway.adapters.support.strict_json import names, whole, within, written_whole
from plugin_gateway.core.health.observations import EvidenceReported
from plugin_gateway.core.health.policy import numbered

_FAMILY = "xid"


def observation(value: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return evidence as version 3 writes it, and every other observation as it is."""
    match value:
        case {"kind": "XidReported", "xid": number, **others}:
            kind: object = numbered(_FAMILY, within(_FAMILY, whole, number))
        case {"kind": "FaultReported", "source": kind, **others}:
            pass
        case _:
            return value
    return {**others, "kind": EvidenceReported.__name__, "evidence": kind}


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
