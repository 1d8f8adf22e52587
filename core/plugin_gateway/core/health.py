"""What makes a device unhealthy."""

from enum import Enum
from typing import NamedTuple


class Health(Enum):
    """The two words that every kubelet knows; it takes any other for the second."""

    HEALTHY = "Healthy"
    UNHEALTHY = "Unhealthy"


class Condition(NamedTuple):
    """Why a device is unhealthy."""

    reason: str
    since: float
    """Seconds since the epoch."""


def _numbers(*ranges: int | tuple[int, int]) -> frozenset[int]:
    return frozenset(
        number for item in ranges for number in (range(item[0], item[1] + 1) if isinstance(item, tuple) else (item,))
    )


APPLICATION_XIDS = _numbers(
    8, 11, 13, 14, 25, 31, 32, (37, 41), (43, 45), 60, 63, (66, 72), (75, 77), 80, (82, 86), 88, 89,
    (92, 94), (96, 107), 121, (126, 135), 137, 139, 141, (152, 154), 157, 159, 161,
)  # fmt: skip
"""XIDs for which NVIDIA's catalog asks nothing of the GPU: restart the application, ignore, or look at a linked XID."""


def is_application_error(xid: int) -> bool:
    """Whether this XID says nothing against the GPU."""
    return xid in APPLICATION_XIDS
