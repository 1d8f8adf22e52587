"""When a resource is registered next, and why. The time is an argument of each function."""

from dataclasses import dataclass
from enum import Enum

from plugin_gateway.adapters.registration.client import Failure

SAME_KUBELET_PAUSE = 0.07
"""Seconds from the end of a stream to the next Register, if the kubelet still runs.

Without a pause, kubelets of 1.25 to 1.36 refuse some Register calls, or lose track of the new connection. They keep the
connection under the name of the resource, and the old one may not have been removed yet. With a pause of 60 ms this did
not happen in 60 attempts each with genuine kubelets of 1.25.16 and 1.36.3.
"""
MIN_RETRY, MAX_RETRY = 0.1, 10.0
"""Seconds before a failed registration is tried again: at first, and at most."""
MAX_STREAM_RETRY = 1.0
"""Seconds before the next Register, at most, if the kubelet ends every stream soon.

It is short because the kubelet accepts the registrations.
"""
MIN_CONNECT_RETRY = 0.002
"""Seconds before the first retry if nobody listens on a new kubelet.sock.

A kubelet binds its socket a moment before it listens. On 1.8, a container that starts before the registration gets no
devices, so every millisecond counts.
"""
BIND_RETRY = 1.0
"""Seconds before the gateway tries again to create its own socket. The kubelet is not involved."""
FRESH_SOCKET = 1.0
"""Seconds for which a new kubelet.sock is expected to start listening."""
ABANDONED = 5
"""Failures that are counted at once if nobody listens on a kubelet.sock that is not new.

Its kubelet has ended. A new kubelet creates a new socket, which is noticed at once, so retries can be rare.
"""
SETTLED = 1.0
"""Seconds after which a stream counts as stable. Its end is then no reason to wait longer."""
JITTER = 0.2
"""Part of each wait that is random.

Without it, all nodes of a cluster that was rebooted would register at the same time.
"""


class Reason(Enum):
    """Why a resource is registered. The value says it in words."""

    KUBELET_APPEARED = "kubelet.sock appeared"
    KUBELET_REPLACED = "kubelet.sock is another one"
    STREAM_ENDED = "the kubelet ended the stream"
    RESOURCE_ADDED = "a resource was added"
    SETTINGS_CHANGED = "the settings changed"
    OTHER_GATEWAY_CAME = "the elder of two gateways has the resource"
    OTHER_GATEWAY_LEFT = "the other gateway left"
    OTHER_PLUGIN_LEFT = "the other device plugin left"
    DEVICES_LOST = "the kubelet had none of the devices any more"

    @property
    def token(self) -> str:
        """The reason as programs read it, in metrics and in the log."""
        return self.name.lower()


@dataclass(slots=True)
class Schedule:
    """When one resource is registered next. Times are seconds on the monotonic clock."""

    reason: Reason = Reason.RESOURCE_ADDED
    not_before: float = 0.0
    """No Register is sent before this time."""
    failures: int = 0
    """Number of failed attempts in a row."""
    _streams_ended: int = 0
    """Number of ended streams since the last stable one, which is included. The first one causes no wait."""
    _refused_connections: int = 0
    _fresh_since: float = -FRESH_SOCKET
    """When a new kubelet appeared that may not listen yet. Long ago once it accepted a Register."""

    def start_over(self, reason: Reason, now: float) -> None:
        """Register at once, because the kubelet or the settings are new."""
        self.reason, self.not_before = reason, now
        self.failures = self._refused_connections = self._streams_ended = 0
        self._fresh_since = now

    def stream_ended(self, *, opened: float, ended: float) -> None:
        """Register again with the same kubelet after a pause. The pause grows if streams end soon."""
        self.reason = Reason.STREAM_ENDED
        wait = _doubled(self._streams_ended, MAX_STREAM_RETRY) if ended - opened < SETTLED else 0.0
        self._streams_ended = self._streams_ended + 1 if ended - opened < SETTLED else 1
        self.not_before = ended + max(SAME_KUBELET_PAUSE, wait)

    def failed(self, failure: Failure, now: float, chance: float) -> None:
        """Try again later. ``chance`` is a random number between 0 and 1.

        The wait doubles with each failure, from 0.1 s to 10 s.
        """
        if failure is Failure.NOBODY_LISTENS and now - self._fresh_since < FRESH_SOCKET:
            self._refused_connections += 1
            self.not_before = now + min(MIN_CONNECT_RETRY * 2**self._refused_connections, MIN_RETRY)
            return
        if failure is Failure.CANNOT_SERVE:
            self.not_before = now + BIND_RETRY
            return
        self.failures += 1
        if failure is Failure.NOBODY_LISTENS:
            self.failures = max(self.failures, ABANDONED)
        self.not_before = now + _doubled(self.failures, MAX_RETRY) * (1 + JITTER * (2 * chance - 1))

    def succeeded(self) -> None:
        """Reset the counters after a successful registration, but not the count of ended streams."""
        self.failures = self._refused_connections = 0
        self._fresh_since = -FRESH_SOCKET


def _doubled(times: int, limit: float) -> float:
    """Return the wait in seconds after this many failures, at most ``limit``."""
    return float(min(MIN_RETRY * 2 ** min(times - 1, 30), limit)) if times else 0.0
