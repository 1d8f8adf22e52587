"""What can speak against an NVIDIA GPU, and what follows from each by default."""

from collections.abc import Mapping

from plugin_gateway.core.health.policy import (
    DRIVER_GONE,
    NOT_ANSWERING,
    RECOVERY_ACTION,
    Action,
    Decision,
    EvidenceKind,
    HealthPolicy,
    numbered,
)
from plugin_gateway.nvidia.xid_catalog import XID_CATALOG, Advice

XID = "xid"
"""The family of the XIDs."""
DOUBLE_BIT_ECC = EvidenceKind("double-bit-ecc")
"""NVML's event of that name: an error that ECC could not correct."""
GPU_UNAVAILABLE = EvidenceKind("gpu-unavailable")
"""NVML's event of that name."""
ROW_REMAP_FAILURE = EvidenceKind("row-remap-failure")
"""A broken row of memory could not be replaced (Ampere and later)."""
PENDING_RETIREMENT = EvidenceKind("pending-retirement")
"""A broken page or row of memory is in use until the next reset."""

_ADVISED: Mapping[Advice, Action] = {
    Advice.IGNORE: Action.IGNORE,
    Advice.RESTART_APP: Action.REPORT,
    Advice.WORKFLOW: Action.REPORT,
    Advice.SEE_LINKED_XID: Action.REPORT,
    Advice.CHECK_UVM: Action.REPORT,
    Advice.RESET_GPU: Action.UNTIL_RESET,
    Advice.DOUBLE_BIT_ECC_WORKFLOW: Action.UNTIL_RESET,
    Advice.NVLINK_WORKFLOW: Action.UNTIL_RESET,
    Advice.NVLINK5_WORKFLOW: Action.UNTIL_RESET,
    Advice.UPDATE_SOFTWARE: Action.UNTIL_RESET,
    Advice.CONTACT_SUPPORT: Action.UNTIL_RESET,
    Advice.CHECK_MECHANICALS: Action.UNTIL_REBOOT,
    Advice.REBOOT_NODE: Action.UNTIL_REBOOT,
    Advice.RESTART_VM: Action.UNTIL_REBOOT,
}
_BY_DEFAULT = "default"


def xid_kind(xid: int) -> EvidenceKind:
    """Return the kind of evidence that an XID is."""
    return numbered(XID, xid)


HEALTH_POLICY = HealthPolicy(
    kinds={
        **{
            xid_kind(xid): Decision(_ADVISED[advice], f"NVIDIA's catalog: {advice.value}")
            for xid, advice in XID_CATALOG.items()
        },
        DOUBLE_BIT_ECC: Decision(Action.UNTIL_RESET, _BY_DEFAULT),
        GPU_UNAVAILABLE: Decision(Action.UNTIL_RESET, _BY_DEFAULT),
        RECOVERY_ACTION: Decision(Action.UNHEALTHY, _BY_DEFAULT),
        NOT_ANSWERING: Decision(Action.UNHEALTHY, _BY_DEFAULT),
        ROW_REMAP_FAILURE: Decision(Action.UNHEALTHY, _BY_DEFAULT),
        PENDING_RETIREMENT: Decision(Action.UNHEALTHY, _BY_DEFAULT),
        DRIVER_GONE: Decision(Action.UNHEALTHY, _BY_DEFAULT),
    },
    families={XID: Decision(Action.UNHEALTHY, _BY_DEFAULT)},
)
"""NVIDIA's catalog, and what other evidence means by default."""
