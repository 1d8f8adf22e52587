"""The kinds of evidence against an NVIDIA GPU, and the default action for each."""

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
from plugin_gateway.nvidia.generation import GENERATIONS
from plugin_gateway.nvidia.xid_catalog import (
    ONLY_FOR,
    SUB_CODES_AGREE,
    XID_CATALOG,
    XIDS_WITHOUT_ADVICE,
    Advice,
    Meaning,
)

XID = "xid"
"""The family of the XIDs. An XID is a number with which the driver reports an error of a GPU."""
SXID = "sxid"
"""The family of the SXids. An SXid is a number with which the driver reports an error of an NVSwitch."""
DOUBLE_BIT_ECC = EvidenceKind("double-bit-ecc")
"""NVML's event of this name: an error in memory that ECC could not correct."""
GPU_UNAVAILABLE = EvidenceKind("gpu-unavailable")
"""NVML's event of this name: the GPU is unavailable."""
ROW_REMAP_FAILURE = EvidenceKind("row-remap-failure")
"""A defective row of memory could not be replaced by a spare one (Ampere and later)."""
PENDING_RETIREMENT = EvidenceKind("pending-retirement")
"""A defective page or row of memory is in use until the next reset."""
FABRIC = EvidenceKind("fabric")
"""The GPU cannot use the NVLink fabric of the machine. CUDA then fails to start, or cannot reach the other GPUs."""
FABRIC_DEGRADED = EvidenceKind("fabric-degraded")
"""The GPU can use the NVLink fabric, but with less bandwidth."""
NVLINK_DOWN = EvidenceKind("nvlink-down")
"""A link of the GPU was up and is down."""
HARDWARE_SLOWDOWN = EvidenceKind("hardware-slowdown")
"""The hardware has lowered the clocks of the GPU, because of its temperature or of the power supply."""

_ADVISED: Mapping[Advice, Action] = {
    Advice.IGNORE: Action.IGNORE,
    Advice.RESTART_APP: Action.REPORT,
    Advice.XID_45: Action.REPORT,
    Advice.XID_154: Action.REPORT,
    Advice.CHECK_UVM: Action.REPORT,
    Advice.RESET_GPU: Action.UNTIL_RESET,
    Advice.XID_48: Action.UNTIL_RESET,
    Advice.NVLINK: Action.UNTIL_DRIVER_DECIDES,
    Advice.NVLINK5: Action.UNTIL_DRIVER_DECIDES,
    Advice.UPDATE_SOFTWARE: Action.UNTIL_RESET,
    Advice.CONTACT_SUPPORT: Action.UNTIL_RESET,
    Advice.CHECK_MECHANICALS: Action.UNTIL_REBOOT,
    Advice.REBOOT_NODE: Action.UNTIL_REBOOT_OR_RECOVERY,
    Advice.RESTART_VM: Action.UNTIL_REBOOT,
}
"""The action for each immediate action of NVIDIA's catalog.

An NVLink error can be harmless or fatal. The event does not tell which, but the driver's recovery action does. It also
tells when a GPU that had fallen off the bus is well again.
"""
_MEANT: Mapping[Meaning, Action] = {
    Meaning.POWER_SMOOTHING: Action.IGNORE,
    Meaning.LINK_SECURITY: Action.UNTIL_DRIVER_DECIDES,
    Meaning.PCIE_TIMEOUT: Action.UNTIL_RESET,
    Meaning.SEC2_HALT: Action.UNTIL_RESET,
    Meaning.REDUCED_MEMORY: Action.REPORT,
    Meaning.UNCORRECTABLE_MEMORY: Action.UNTIL_RESET,
}
"""The action for each XID that the catalog has no immediate action for."""
_BY_DEFAULT = "default"


def xid_kind(xid: int) -> EvidenceKind:
    """Return the kind of evidence for an XID."""
    return numbered(XID, xid)


_XIDS: Mapping[int, Decision] = {
    **{
        xid: Decision(_ADVISED[advice], f"NVIDIA's catalog: {advice.value}", is_refinable=advice is Advice.NVLINK5)
        for xid, advice in XID_CATALOG.items()
    },
    **{
        xid: Decision(
            Action.REPORT if advice is Advice.IGNORE else _ADVISED[advice],
            f"NVIDIA's table of sub-codes: {advice.value} in each case",
        )
        for xid, advice in SUB_CODES_AGREE.items()
    },
    **{
        xid: Decision(_MEANT[meaning], f"NVIDIA's catalog has no action: {meaning.value}")
        for xid, meaning in XIDS_WITHOUT_ADVICE.items()
    },
}
"""The decision about each XID of the catalog, for the generations that its row applies to."""


def _for_others(xid: int) -> Decision:
    """Return the decision for a generation that the row does not apply to, or that is not known: it is not ignored."""
    only = f"only for {', '.join(ONLY_FOR[xid])}" if ONLY_FOR[xid] else "for no generation"
    return Decision(Action.REPORT, f"{_XIDS[xid].origin}, but {only}")


HEALTH_POLICY = HealthPolicy(
    kinds={
        **{xid_kind(xid): decision for xid, decision in _XIDS.items()},
        **{xid_kind(xid): _for_others(xid) for xid in ONLY_FOR},
        DOUBLE_BIT_ECC: Decision(Action.UNTIL_RESET, _BY_DEFAULT),
        GPU_UNAVAILABLE: Decision(Action.UNTIL_RESET, _BY_DEFAULT),
        RECOVERY_ACTION: Decision(Action.UNHEALTHY, _BY_DEFAULT),
        NOT_ANSWERING: Decision(Action.UNHEALTHY, _BY_DEFAULT),
        ROW_REMAP_FAILURE: Decision(Action.UNHEALTHY, _BY_DEFAULT),
        PENDING_RETIREMENT: Decision(Action.UNHEALTHY, _BY_DEFAULT),
        FABRIC: Decision(Action.UNHEALTHY, _BY_DEFAULT),
        FABRIC_DEGRADED: Decision(Action.REPORT, _BY_DEFAULT),
        NVLINK_DOWN: Decision(Action.UNHEALTHY, _BY_DEFAULT),
        HARDWARE_SLOWDOWN: Decision(Action.REPORT, _BY_DEFAULT),
        DRIVER_GONE: Decision(Action.UNHEALTHY, _BY_DEFAULT),
    },
    events=(DOUBLE_BIT_ECC, GPU_UNAVAILABLE),
    families={XID: Decision(Action.UNHEALTHY, _BY_DEFAULT), SXID: Decision(Action.REPORT, _BY_DEFAULT)},
    by_generation={
        generation: {xid_kind(xid): _XIDS[xid] for xid, applies_to in ONLY_FOR.items() if generation in applies_to}
        for generation in GENERATIONS
    },
)
"""The default policy: NVIDIA's catalog for the XIDs, and one action for each other kind of evidence."""
