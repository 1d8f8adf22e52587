"""What NVIDIA says to do about each kind of evidence. For people: nothing is decided by it.

For an XID these are two columns of NVIDIA's catalog: the immediate action, and the investigatory action for afterwards.
"""

from collections.abc import Mapping
from enum import Enum

from plugin_gateway.core.health.faults import Evidence
from plugin_gateway.core.health.policy import (
    DRIVER_GONE,
    NOT_ANSWERING,
    RECOVERY_ACTION,
    EvidenceKind,
    number_of,
    recovery_asked_for,
)
from plugin_gateway.core.health.remedies import Remedy
from plugin_gateway.nvidia.evidence import (
    DOUBLE_BIT_ECC,
    FABRIC,
    FABRIC_DEGRADED,
    GPU_UNAVAILABLE,
    HARDWARE_SLOWDOWN,
    NVLINK_DOWN,
    PENDING_RETIREMENT,
    ROW_REMAP_FAILURE,
    XID,
)
from plugin_gateway.nvidia.xid_catalog import CATALOG_DATE, XID_CATALOG, XIDS_WITHOUT_ADVICE, Advice


class Investigation(Enum):
    """The investigatory action of an XID, in the catalog's own words."""

    CONTACT_SUPPORT = "CONTACT_SUPPORT"
    CHECK_APPLICATION = "CHECK_APP/CUDA"
    XID_13 = "WORKFLOW_XID_13"
    XID_31 = "WORKFLOW_XID_31"
    XID_45 = "Solo: RESTART_FM Not Solo: IGNORE (follow other Xid)"
    XID_48 = "WORKFLOW_XID_48"
    SOFTWARE = "INVESTIGATE_SW"
    USERS_SOFTWARE = "INVESTIGATE_SW_USER"
    IGNORE = "IGNORE"
    UPDATE_SOFTWARE = "UPDATE_SWFW"
    SYMPATHETIC = "IGNORE (sympathetic)"
    XID_137 = "XID_137_FLOW"
    LINK_SIGNAL = "INVESTIGATE_LINK_SI"
    NVLINK5 = "WORKFLOW_NVLINK5_ERR"
    INFORMATION = "N/A Informational only regarding another Xid"
    SOLO = "SYMPATHETIC_REPORT_SOLO"


_ROWS: Mapping[Investigation, tuple[int | tuple[int, int], ...]] = {
    Investigation.CONTACT_SUPPORT: (
        8, 14, 16, (38, 41), (43, 44), 46, 54, 62, 64, (67, 68), (70, 72), (74, 77), 79, (82, 86), (88, 89), (92, 93),
        (96, 105), 109, 121, (126, 135), (139, 141), 143, (151, 153), (157, 158),
    ),
    Investigation.CHECK_APPLICATION: (11, 25, 32, 37, 69, 80),
    Investigation.XID_13: (13,),
    Investigation.XID_31: (31,),
    Investigation.XID_45: (45,),
    Investigation.XID_48: (48,),
    Investigation.SOFTWARE: (60, 66, 110, (119, 120), (160, 161)),
    Investigation.USERS_SOFTWARE: (155,),
    Investigation.IGNORE: (63, (106, 107), 156),
    Investigation.UPDATE_SOFTWARE: (78,),
    Investigation.SYMPATHETIC: ((94, 95),),
    Investigation.XID_137: (108, 137),
    Investigation.LINK_SIGNAL: (136,),
    Investigation.NVLINK5: ((144, 150),),
    Investigation.INFORMATION: (154,),
    Investigation.SOLO: (159,),
}  # fmt: skip
"""XIDs by investigatory action; the other rows of the catalog have none. A pair is a range, including both ends."""

_SUPPORT = "collect nvidia-bug-report.sh and contact NVIDIA or the vendor of the machine"
_NOTHING = "nothing needs to be done"
_UPDATE = "update the driver and the firmware"
_MEMORY = "let the GPU's work end and reset it; without an XID 63 or 64 beside it, run NVIDIA's field diagnostic too"
_SUB_CODE = "the sub-code in the kernel's log and the driver's recovery action say whether a reset is needed"

_TODO: Mapping[Advice, str] = {
    Advice.IGNORE: _NOTHING,
    Advice.RESTART_APP: "restart the application that used the GPU",
    Advice.XID_45: "follow another XID of the same time; alone it only says that an application was ended",
    Advice.XID_154: "do what the driver's recovery action says",
    Advice.CHECK_UVM: "see what nvidia-uvm, the driver of unified memory, says in the kernel's log",
    Advice.RESET_GPU: "end what uses the GPU, and reset it with nvidia-smi --gpu-reset",
    Advice.XID_48: _MEMORY,
    Advice.NVLINK: "check the NVLink to the other GPU or the switch, and reset both ends if it stays down",
    Advice.NVLINK5: _SUB_CODE,
    Advice.UPDATE_SOFTWARE: _UPDATE,
    Advice.CONTACT_SUPPORT: _SUPPORT,
    Advice.CHECK_MECHANICALS: "check the GPU's seat, its power cables and its cooling",
    Advice.REBOOT_NODE: "reboot the node",
    Advice.RESTART_VM: "restart the virtual machine; without one, reboot the node",
}
_TO_INVESTIGATE: Mapping[Investigation, str] = {
    Investigation.CONTACT_SUPPORT: _SUPPORT,
    Investigation.CHECK_APPLICATION: "check the application and its CUDA libraries",
    Investigation.XID_13: "debug the application with compute-sanitizer; test the GPU if other applications fail too",
    Investigation.XID_31: "debug the application with compute-sanitizer: it used an address that is not its own",
    Investigation.XID_45: "if no other XID came with it, restart the fabric manager; otherwise follow that XID",
    Investigation.XID_48: _MEMORY,
    Investigation.SOFTWARE: "look for the cause in the driver and other software of the node",
    Investigation.USERS_SOFTWARE: "look for the cause in the software that uses the GPU",
    Investigation.IGNORE: "nothing needs to be looked into",
    Investigation.UPDATE_SOFTWARE: _UPDATE,
    Investigation.SYMPATHETIC: "it follows from another error: look for the XID before it",
    Investigation.XID_137: "debug the applications that use memory of other GPUs over NVLink",
    Investigation.LINK_SIGNAL: "check the signal of the NVLink: its cable and connectors",
    Investigation.NVLINK5: _SUB_CODE,
    Investigation.INFORMATION: "it tells the recovery action of another XID: follow that one",
    Investigation.SOLO: "if another XID came with it, follow that one; otherwise report it to NVIDIA",
}
_OTHERS: Mapping[EvidenceKind, str] = {
    DOUBLE_BIT_ECC: _MEMORY,
    GPU_UNAVAILABLE: "look for an XID in the kernel's log; reset the GPU or reboot the node",
    RECOVERY_ACTION: "see the recovery action in nvidia-smi -q",
    NOT_ANSWERING: "look for an XID in the kernel's log; reset the GPU, and if that fails reboot the node",
    ROW_REMAP_FAILURE: "run NVIDIA's field diagnostic; the GPU probably has to be replaced",
    PENDING_RETIREMENT: "reset the GPU when its work has ended; the defective memory is not used afterwards",
    FABRIC: "see the log of the fabric manager, and restart it; if that does not help, reset the GPUs or reboot",
    FABRIC_DEGRADED: "reset the GPU when its work has ended; if it comes back, see the log of the fabric manager",
    NVLINK_DOWN: "see nvidia-smi nvlink --status; reset the GPUs at both ends; if it comes back, check the cables",
    HARDWARE_SLOWDOWN: "see nvidia-smi -q -d PERFORMANCE; check fans, air flow and power supplies of the machine",
    DRIVER_GONE: "see the kernel's log and nvidia-smi on the node; load the driver again, or reboot the node",
}
"""What to do about evidence that is no XID."""
_RECOVERIES: Mapping[str, str] = {
    "GPU reset": "end what uses the GPU, and reset it with nvidia-smi --gpu-reset",
    "node reboot": "reboot the node",
    "drain P2P": "end what uses this GPU together with others, and reset it",
    "drain and reset": "let the GPU's work end, start none, and reset it",
    "recover IMEX domain": "restart the IMEX domain on all of its nodes",
    "bus reset": "reset the GPU's PCI bus, or reboot the node",
    "system reboot": "reboot the whole system, with the other nodes of its NVLink domain",
}
"""What each recovery action of the driver means."""


def investigation_of(xid: int) -> Investigation | None:
    """Return the investigatory action of an XID. None if the catalog has none."""
    for investigation, rows in _ROWS.items():
        for row in rows:
            first, last = (row, row) if isinstance(row, int) else row
            if first <= xid <= last:
                return investigation
    return None


def remedy_for(evidence: Evidence) -> Remedy:
    """Return what NVIDIA says to do about this evidence. Nothing where its kind is unknown."""
    if evidence.kind == RECOVERY_ACTION:
        name = recovery_asked_for(evidence.what)
        return (
            Remedy(action=name, todo=_RECOVERIES[name]) if name in _RECOVERIES else Remedy(todo=_OTHERS[evidence.kind])
        )
    xid = number_of(evidence.kind, XID)
    return Remedy(todo=_OTHERS.get(evidence.kind, "")) if xid is None else _about_xid(xid)


def _about_xid(xid: int) -> Remedy:
    advice, investigation = XID_CATALOG.get(xid), investigation_of(xid)
    if advice is None:
        meaning = XIDS_WITHOUT_ADVICE.get(xid)
        known = f"has no action for it: {meaning.value}" if meaning is not None else "does not have it"
        return Remedy(todo=f"NVIDIA's catalog of {CATALOG_DATE} {known}; see whether a newer one has an action")
    looked_into = (investigation.value, _TO_INVESTIGATE[investigation]) if investigation is not None else ()
    return Remedy(advice.value, _TODO[advice], *looked_into)
