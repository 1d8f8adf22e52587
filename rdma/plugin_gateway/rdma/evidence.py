"""The kinds of evidence against an RDMA device, and the default action for each."""

from plugin_gateway.core.health.policy import (
    DRIVER_GONE,
    NOT_ANSWERING,
    Action,
    Decision,
    EvidenceKind,
    HealthPolicy,
)

PORT_DOWN = EvidenceKind("port-down")
"""None of its ports is active."""
LINK_DOWN = EvidenceKind("link-down")
"""Its interface has no link."""
SWITCHED_OFF = EvidenceKind("switched-off")
"""Its interface is switched off."""
PARENT_DOWN = EvidenceKind("parent-down")
"""The physical function of a virtual one has no link. The virtual functions of a node can still reach each other."""
NO_DRIVER = EvidenceKind("no-driver")
"""No kernel driver has it."""
NO_RDMA_DEVICE = EvidenceKind("no-rdma-device")
"""It can do RDMA, but its RDMA device is nowhere: mostly a kernel module is not loaded."""
NO_NODE = EvidenceKind("no-node")
"""A device node is missing without which no program can use it."""
LINK_ERRORS = EvidenceKind("link-errors")
"""Its link was lost again and again, or has many errors."""
PCIE_DEGRADED = EvidenceKind("pcie-degraded")
"""Its own link to the machine is slower or narrower than it could be."""

_UNHEALTHY = (
    SWITCHED_OFF,
    LINK_DOWN,
    PORT_DOWN,
    NO_DRIVER,
    NO_RDMA_DEVICE,
    NO_NODE,
    NOT_ANSWERING,
    DRIVER_GONE,
)
_BY_DEFAULT = "default"

HEALTH_POLICY = HealthPolicy(
    kinds={
        **{kind: Decision(Action.UNHEALTHY, _BY_DEFAULT) for kind in _UNHEALTHY},
        **{kind: Decision(Action.REPORT, _BY_DEFAULT) for kind in (PARENT_DOWN, LINK_ERRORS, PCIE_DEGRADED)},
    },
    quiet_time=10.0,
    longest_quiet_time=300.0,
)
"""The default policy. A cable that is plugged in again mends a device, so nothing here asks for a reset."""
