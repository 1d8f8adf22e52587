"""The health that a kubelet is told."""

from enum import Enum


class Health(Enum):
    """The two words that every kubelet knows; it takes any other for the second."""

    HEALTHY = "Healthy"
    UNHEALTHY = "Unhealthy"
