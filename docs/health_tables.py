"""The tables of health.md that are lists: kinds of evidence, cures, XIDs."""

import health_xids
from generated import table
from health_xids import HAS_RECOVERY_ACTION
from plugin_gateway.core.health.faults import Evidence
from plugin_gateway.core.health.policy import number_of
from plugin_gateway.nvidia.evidence import FABRIC, FABRIC_DEGRADED, HARDWARE_SLOWDOWN, HEALTH_POLICY, NVLINK_DOWN, XID
from plugin_gateway.nvidia.history import SLOWDOWN_MEMORY
from plugin_gateway.nvidia.pace import USUAL_PACE
from plugin_gateway.nvidia.remedies import remedy_for


def evidence_table() -> list[str]:
    """Return the table of the default action for each kind of evidence that is no XID of the catalog."""
    rows = [("any other XID", HEALTH_POLICY.families[XID])]
    rows += [(f"`{kind}`", HEALTH_POLICY.about(kind)) for kind in HEALTH_POLICY.kinds if number_of(kind, XID) is None]
    head = ("evidence", "action", "decided by")
    return table(head, [(what, f"`{decision.action.value}`", decision.origin) for what, decision in rows])


_FABRIC_IS_BROKEN = (
    f"The registration of the GPU failed. It, or a recovery, is not completed after {USUAL_PACE.training:g} s. "
    "A route is unhealthy. The configuration is wrong."
)
FOUND = {
    FABRIC: (
        _FABRIC_IS_BROKEN,
        "a check finds the fabric well",
    ),
    FABRIC_DEGRADED: (
        "The driver reports degraded bandwidth or limited capacity.",
        "a check finds neither",
    ),
    NVLINK_DOWN: (
        f"A link that this process saw up is down for {USUAL_PACE.training:g} s.",
        "a check finds every link up that was up",
    ),
    HARDWARE_SLOWDOWN: (
        "The GPU is too hot, or the power supply uses its power brake.",
        f"no check has seen it for {SLOWDOWN_MEMORY:g} s",
    ),
}
"""For each of these kinds: when it is found, and when it is over."""


def cure_table() -> list[str]:
    """Return the table of what to do about the fabric, NVLinks and slowdowns."""
    cures = {kind: remedy_for(Evidence("", 0.0, kind)).todo for kind in FOUND}
    rows = [(f"`{kind}`", found, cures[kind], over) for kind, (found, over) in FOUND.items()]
    return table(("evidence", "found if", "cure", "over when"), rows)


def xid_table() -> list[str]:
    """Return the table of what follows from each XID of the catalog."""
    head = ("XID", f"driver {HAS_RECOVERY_ACTION} and later", "older driver", "decided by")
    return table(head, health_xids.rows())
