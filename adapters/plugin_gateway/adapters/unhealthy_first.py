"""The bug of kubelets 1.9.7 and 1.10.0 to 1.10.2, and whether a stream begins with a list that gets round it.

When a plugin registers again, these kubelets have marked its devices unhealthy, and overlook that a new list says
"Healthy" as the last one before did (Kubernetes issue 62773). A list of unhealthy devices makes it a change again.
"""

from enum import Enum


class UnhealthyFirst(Enum):
    """On which streams every device is unhealthy for a moment."""

    AUTO = "auto"
    """Where the kubelet may be one of these releases and may know the resource."""
    ALWAYS = "always"
    """On every one of a dialect that these releases speak."""
    NEVER = "never"

    def applies(self, *, forgetful_agent: str | None, user_agent: str, may_be_known: bool) -> bool:
        """Tell for a stream that the kubelet with this user agent has just opened."""
        if self is UnhealthyFirst.NEVER or forgetful_agent is None:
            return False
        return self is UnhealthyFirst.ALWAYS or (may_be_known and user_agent.startswith(forgetful_agent))
