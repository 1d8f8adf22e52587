"""The kinds of evidence against a Solarflare network card, and the default action for each."""

from plugin_gateway.core.health.policy import (
    DRIVER_GONE,
    NOT_ANSWERING,
    Action,
    Decision,
    EvidenceKind,
    HealthPolicy,
)

DEVICE_WORD = "Onload interface"
"""The common word for a device."""

LINK_DOWN = EvidenceKind("link-down")
"""The interface is switched on and has no link."""
SWITCHED_OFF = EvidenceKind("switched-off")
"""The interface of a physical function is switched off."""
NO_DRIVER = EvidenceKind("no-driver")
"""No kernel driver has the card."""
ONLOAD_MISSING = EvidenceKind("onload-missing")
"""Something of Onload is not on the node: a kernel module, a device node or the library."""
ONLOAD_MISMATCH = EvidenceKind("onload-mismatch")
"""The library belongs to another version of Onload than the kernel module, which then refuses it."""
ACCELERATION_OFF = EvidenceKind("acceleration-off")
"""An administrator has told Onload not to use the card."""
PCIE_DEGRADED = EvidenceKind("pcie-degraded")
"""The card has a slower PCIe link than it could have, or a narrower one."""
_BY_DEFAULT = "default"

HEALTH_POLICY = HealthPolicy(
    kinds={
        LINK_DOWN: Decision(Action.UNHEALTHY, _BY_DEFAULT),
        SWITCHED_OFF: Decision(Action.UNHEALTHY, _BY_DEFAULT),
        NO_DRIVER: Decision(Action.UNHEALTHY, _BY_DEFAULT),
        ONLOAD_MISSING: Decision(Action.UNHEALTHY, _BY_DEFAULT),
        ONLOAD_MISMATCH: Decision(Action.REPORT, _BY_DEFAULT),
        ACCELERATION_OFF: Decision(Action.UNHEALTHY, _BY_DEFAULT),
        PCIE_DEGRADED: Decision(Action.REPORT, _BY_DEFAULT),
        NOT_ANSWERING: Decision(Action.UNHEALTHY, _BY_DEFAULT),
        DRIVER_GONE: Decision(Action.UNHEALTHY, _BY_DEFAULT),
    },
    quiet_time=10.0,
    longest_quiet_time=300.0,
)
"""The default policy. A cable that is plugged in and out needs no reset, only a longer quiet time each time."""
