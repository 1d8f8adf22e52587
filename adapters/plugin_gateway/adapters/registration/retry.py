"""When a resource is registered next, and why: arithmetic on a clock that is handed in."""

from dataclasses import dataclass
from enum import Enum

from plugin_gateway.adapters.registration.client import Failure

SAME_KUBELET_PAUSE = 0.07
"""Seconds between the end of a stream and the next Register to a kubelet that lives on: with less than 60 ms those of
1.25 to 1.36 lose track of the new connection."""
MIN_RETRY, MAX_RETRY = 0.1, 10.0
MAX_STREAM_RETRY = 1.0
"""Seconds at most to the next Register where a kubelet ends every stream soon: it accepts us, so it may well listen."""
MIN_CONNECT_RETRY = 0.002
"""Seconds: a kubelet binds its socket a moment before it listens, and on 1.8 every millisecond counts."""
BIND_RETRY = 1.0
"""Seconds after which a socket of ours that could not be made is tried again: it costs the kubelet nothing."""
FRESH_SOCKET = 1.0
"""Seconds for which a kubelet.sock that nobody listens on is taken for one that is just being made."""
ABANDONED = 5
"""Failures for which an older kubelet.sock counts that nobody listens on: its kubelet is gone, and the next one will
make another socket, which is seen at once."""
SETTLED = 1.0
"""Seconds after which the end of a stream says nothing against the registration."""
JITTER = 0.2
"""The part of a wait that is left to chance, so that the nodes of a rebooted cluster do not march in step."""


class Reason(Enum):
    """Why a resource is registered."""

    KUBELET_APPEARED = "kubelet.sock appeared"
    KUBELET_REPLACED = "kubelet.sock is another one"
    STREAM_ENDED = "the kubelet ended the stream"
    RESOURCE_ADDED = "a resource was added"
    SETTINGS_CHANGED = "the settings changed"
    OTHER_GATEWAY_CAME = "the elder of two gateways has the resource"
    OTHER_GATEWAY_LEFT = "the other gateway left"


@dataclass(slots=True)
class Schedule:
    """The next registration of one resource. Times are seconds on the monotonic clock."""

    reason: Reason = Reason.RESOURCE_ADDED
    not_before: float = 0.0
    failures: int = 0
    """Attempts in a row that led to nothing."""
    _streams_ended: int = 0
    """Streams that ended since one lasted, that one included: the first of them is made again without a wait."""
    _refused_connections: int = 0
    _fresh_since: float = -FRESH_SOCKET
    """When a kubelet came that may not listen yet; long ago once it accepted us."""

    def start_over(self, reason: Reason, now: float) -> None:
        """Register at once: the kubelet, or what it is to be told, is new."""
        self.reason, self.not_before = reason, now
        self.failures = self._refused_connections = self._streams_ended = 0
        self._fresh_since = now

    def stream_ended(self, *, opened: float, ended: float) -> None:
        """Register again with the same kubelet: after the pause it needs, later where streams never last."""
        self.reason = Reason.STREAM_ENDED
        wait = _doubled(self._streams_ended, MAX_STREAM_RETRY) if ended - opened < SETTLED else 0.0
        self._streams_ended = self._streams_ended + 1 if ended - opened < SETTLED else 1
        self.not_before = ended + max(SAME_KUBELET_PAUSE, wait)

    def failed(self, failure: Failure, now: float, chance: float) -> None:
        """Try again later; ``chance`` is between 0 and 1."""
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
        """Expect no more refused connections from this kubelet; whether the stream lasts is yet to be seen."""
        self.failures = self._refused_connections = 0
        self._fresh_since = -FRESH_SOCKET


def _doubled(times: int, limit: float) -> float:
    """Tell how long to wait after so many failures."""
    return float(min(MIN_RETRY * 2 ** min(times - 1, 30), limit)) if times else 0.0
