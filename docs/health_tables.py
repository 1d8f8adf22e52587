"""The tables of health.md that are lists: kinds of evidence, cures, XIDs."""

from collections.abc import Sequence

import health_xids
from health_xids import HAS_RECOVERY_ACTION
from plugin_gateway.core.health.policy import number_of
from plugin_gateway.nvidia.evidence import FABRIC, FABRIC_DEGRADED, HARDWARE_SLOWDOWN, HEALTH_POLICY, NVLINK_DOWN, XID
from plugin_gateway.nvidia.history import SLOWDOWN_MEMORY
from plugin_gateway.nvidia.pace import USUAL_PACE


def evidence_table() -> list[str]:
    """Return the table of the default action for each kind of evidence that is no XID of the catalog."""
    rows = [("any other XID", HEALTH_POLICY.families[XID])]
    rows += [(f"`{kind}`", HEALTH_POLICY.about(kind)) for kind in HEALTH_POLICY.kinds if number_of(kind, XID) is None]
    lines = [row(("evidence", "action", "decided by")), row(["---"] * 3)]
    return lines + [row((what, f"`{decision.action.value}`", decision.origin)) for what, decision in rows]


_FABRIC_IS_BROKEN = (
    f"The registration of the GPU failed. It, or a recovery, is not completed after {USUAL_PACE.training:g} s. "
    "A route is unhealthy. The configuration is wrong."
)
CURES = {
    FABRIC: (
        _FABRIC_IS_BROKEN,
        "Look at the log of NVIDIA's fabric manager, and restart it. If that does not help, reset the GPUs or reboot.",
        "a check finds the fabric well",
    ),
    FABRIC_DEGRADED: (
        "The driver reports degraded bandwidth or limited capacity.",
        "Reset the GPU when its jobs have ended. If it comes back, ask the vendor.",
        "a check finds neither",
    ),
    NVLINK_DOWN: (
        f"A link that this process saw up is down for {USUAL_PACE.training:g} s.",
        "Reset the GPU, and the GPU at the other end. If it comes back, check bridges and seating, and ask the vendor.",
        "a check finds every link up that was up",
    ),
    HARDWARE_SLOWDOWN: (
        "The GPU is too hot, or the power supply uses its power brake.",
        "Check fans, air flow and power supplies.",
        f"no check has seen it for {SLOWDOWN_MEMORY:g} s",
    ),
}
"""For each of these kinds: when it is found, its cure, and when it is over."""


def cure_table() -> list[str]:
    """Return the table of what to do about the fabric, NVLinks and slowdowns."""
    lines = [row(("evidence", "found if", "cure", "over when")), row(["---"] * 4)]
    return lines + [row((f"`{kind}`", *cells)) for kind, cells in CURES.items()]


def xid_table() -> list[str]:
    """Return the table of what follows from each XID of the catalog."""
    head = ("XID", f"driver {HAS_RECOVERY_ACTION} and later", "older driver", "decided by")
    return [row(head), row(["---"] * 4), *(row(each) for each in health_xids.rows())]


def row(cells: Sequence[str]) -> str:
    """Return a row of a Markdown table."""
    return f"| {' | '.join(cells)} |"
