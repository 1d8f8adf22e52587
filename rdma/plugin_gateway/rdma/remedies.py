"""What to do about each kind of evidence. For people: nothing is decided by it."""

from collections.abc import Mapping

from plugin_gateway.core.health.faults import Evidence
from plugin_gateway.core.health.policy import DRIVER_GONE, NOT_ANSWERING, EvidenceKind
from plugin_gateway.core.health.remedies import Remedy
from plugin_gateway.rdma.evidence import (
    LINK_DOWN,
    LINK_ERRORS,
    NO_DRIVER,
    NO_NODE,
    NO_RDMA_DEVICE,
    PARENT_DOWN,
    PCIE_DEGRADED,
    PORT_DOWN,
    SWITCHED_OFF,
)

_TODO: Mapping[EvidenceKind, str] = {
    PORT_DOWN: "check the cable, the transceiver and the port of the switch; where the fabric has no subnet manager, "
    "start one",
    LINK_DOWN: "check the cable, the transceiver and the port of the switch",
    SWITCHED_OFF: "switch the interface on with ip link set NAME up, and see what switched it off",
    PARENT_DOWN: "check the cable and the interface of the physical function",
    NO_DRIVER: "bind the function to its driver, or see in the kernel's log why the driver refused it",
    NO_RDMA_DEVICE: "load the module that is named with modprobe, or start the container that brings the driver; if it "
    "is loaded, see in the kernel's log why it refused the function",
    NO_NODE: "load the module that is named with modprobe; if it is loaded, see that the gateway's container has the "
    "host's /dev",
    NOT_ANSWERING: "see what the driver says in the kernel's log; the firmware may need a reset with mlxfwreset, or "
    "the node a reboot",
    LINK_ERRORS: "clean or replace the cable and the transceiver",
    PCIE_DEGRADED: "check the card's seat and the slot; a slot with fewer lanes than the card has is slower for good",
    DRIVER_GONE: "see what the driver says in the kernel's log, and reboot the node if it stays silent",
}


def remedy_for(evidence: Evidence) -> Remedy:
    """Return what to do about this evidence. Nothing where its kind is unknown."""
    return Remedy(todo=_TODO.get(evidence.kind, ""))
