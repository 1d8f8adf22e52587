"""What to do about each kind of evidence against a Solarflare network card. For people: nothing is decided by it."""

from collections.abc import Mapping

from plugin_gateway.core.health.faults import Evidence
from plugin_gateway.core.health.policy import DRIVER_GONE, NOT_ANSWERING, EvidenceKind
from plugin_gateway.core.health.remedies import Remedy
from plugin_gateway.solarflare.evidence import (
    ACCELERATION_OFF,
    LINK_DOWN,
    NO_DRIVER,
    ONLOAD_MISMATCH,
    ONLOAD_MISSING,
    PCIE_DEGRADED,
    SWITCHED_OFF,
)

_TODO: Mapping[EvidenceKind, str] = {
    LINK_DOWN: "check the cable, the transceiver and the port of the switch; `ethtool` says what the card sees",
    SWITCHED_OFF: "switch the interface on with `ip link set INTERFACE up`",
    NO_DRIVER: "load the driver of the card from Onload's packages with `modprobe sfc`, or `modprobe xilinx_efct` for "
    "an X3522; `dmesg` says why it does not load",
    ONLOAD_MISSING: "install Onload on the node, kernel modules and libraries of one version, and load the modules "
    "with `modprobe onload sfc_char`; `dmesg` says why one does not load",
    ONLOAD_MISMATCH: "install the libraries and the kernel modules of one version of Onload, and load the modules anew",
    ACCELERATION_OFF: "write 1 to the file sfc_resource/enable of the card; the parameter enable_accel_by_default of "
    "the module sfc_resource decides about it when the module is loaded",
    PCIE_DEGRADED: "check the card's seat and which slot it is in; compare LnkCap and LnkSta in `lspci -vv`",
    NOT_ANSWERING: "see what the kernel's log says of the card; reload its driver, and if that fails reboot the node",
    DRIVER_GONE: "see the kernel's log on the node, and whether /sys of the host can be read",
}


def remedy_for(evidence: Evidence) -> Remedy:
    """Return what to do about this evidence. Nothing where its kind is unknown."""
    return Remedy(todo=_TODO.get(evidence.kind, ""))
