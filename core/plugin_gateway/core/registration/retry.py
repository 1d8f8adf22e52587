"""When a resource is registered next, and why."""

from typing import NamedTuple

from plugin_gateway.core.registration import pauses
from plugin_gateway.core.registration.failures import Failure, Reason

ABANDONED = 5
"""Failures that are counted at once if nobody listens on a kubelet.sock that is not new.

Its kubelet has ended. A new kubelet creates a new socket, which is noticed at once, so retries can be rare.
"""
JITTER = 0.2
"""Part of each wait that is random.

Without it, all nodes of a cluster that was rebooted would register at the same time.
"""
OF_AN_ENDED_KUBELET = {
    Failure.NO_KUBELET_SOCKET,
    Failure.NOBODY_LISTENS,
    Failure.CONNECTION_LOST,
    Failure.SOCKET_DELETED,
}
"""How a registration fails if its kubelet ends."""
LONG_AGO = -1e9


class Retry(NamedTuple):
    """When one resource is registered next. Times are seconds on one clock that only goes forward."""

    reason: Reason = Reason.RESOURCE_ADDED
    not_before: float = 0.0
    """No Register is sent before this time."""
    failures: int = 0
    """Number of failed attempts in a row."""
    streams_ended: int = 0
    """Number of ended streams since the last stable one, which is included. The first one causes no wait."""
    refused_connections: int = 0
    fresh_since: float = LONG_AGO
    """When a new kubelet appeared that may not listen yet. Long ago once it accepted a Register."""
    may_be_replaced: bool = False
    """Whether kubelet.sock has changed since Register was sent, so that its kubelet may have been replaced."""

    def stream_ended(self, *, opened: float, ended: float) -> "Retry":
        """Register again with the same kubelet after a pause. The pause grows if streams end soon."""
        is_settled = ended - opened >= pauses.SETTLED.seconds
        wait = 0.0 if is_settled else _doubled(self.streams_ended, pauses.MAX_STREAM_RETRY.seconds)
        return self._replace(
            reason=Reason.STREAM_ENDED,
            streams_ended=1 if is_settled else self.streams_ended + 1,
            not_before=ended + max(pauses.SAME_KUBELET.seconds, wait),
        )

    def failed(self, failure: Failure, now: float, chance: float) -> "Retry":
        """Try again later. ``chance`` is a random number between 0 and 1.

        The wait doubles with each failure, from 0.1 s to 10 s. If the kubelet was replaced, there is none.
        """
        if self.may_be_replaced:
            if failure in OF_AN_ENDED_KUBELET:
                return at_once(Reason.KUBELET_REPLACED, now)
            return self._replace(may_be_replaced=False).failed(failure, now, chance)
        if failure is Failure.NOBODY_LISTENS and now - self.fresh_since < pauses.FRESH_SOCKET.seconds:
            refused = self.refused_connections + 1
            wait = min(pauses.MIN_CONNECT_RETRY.seconds * 2**refused, pauses.MIN_RETRY.seconds)
            return self._replace(refused_connections=refused, not_before=now + wait)
        if failure is Failure.CANNOT_SERVE:
            return self._replace(not_before=now + pauses.BIND_RETRY.seconds)
        failures = self.failures + 1
        if failure is Failure.NOBODY_LISTENS:
            failures = max(failures, ABANDONED)
        wait = _doubled(failures, pauses.MAX_RETRY.seconds) * (1 + JITTER * (2 * chance - 1))
        return self._replace(failures=failures, not_before=now + wait)

    def succeeded(self) -> "Retry":
        """Reset the counters after a successful registration, but not the count of ended streams."""
        return self._replace(failures=0, refused_connections=0, fresh_since=LONG_AGO, may_be_replaced=False)


def at_once(reason: Reason, now: float) -> Retry:
    """Register at once, because the kubelet or the settings are new."""
    return Retry(reason=reason, not_before=now, fresh_since=now)


def _doubled(times: int, limit: float) -> float:
    """Return the wait in seconds after this many failures, at most ``limit``."""
    return float(min(pauses.MIN_RETRY.seconds * 2 ** min(times - 1, 30), limit)) if times else 0.0
