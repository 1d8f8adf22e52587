"""Two gateways on one node with the same resource: only one of them registers.

This happens, for example, when a DaemonSet is updated, or when a gateway runs twice by mistake. If both registered, the
kubelet would mix up their streams. In kubelets of 1.25 to 1.36, for example, the end of the older stream closes the
newer connection.

The gateways see each other by their sockets in the kubelet's directory. A socket name contains the instance, which
sorts by start time. The sticky bit of a socket shows that a kubelet holds a stream on it. Precedence is as follows:

- A gateway with a stream continues.
- If no gateway has a stream, the older one registers first. It loses this precedence after 15 s without a stream,
  because the kubelet may refuse it.
- If both have a stream, they started at the same time. The younger one ends its stream after 1.5 s. The older one then
  registers again, because the kubelet may have lost its stream when the other one ended.

A gateway that does not register stands by. It takes over when the other gateway has been gone for 1.5 s.
"""

from collections.abc import Sequence

from plugin_gateway.adapters.kubelet.plugin_sockets import OtherGateway, OwnSockets
from plugin_gateway.adapters.registration.retry import Reason
from plugin_gateway.adapters.support.logs import log
from plugin_gateway.core.resources.names import ResourceName

TAKE_OVER_DELAY = 1.5
"""Seconds for which the other gateway has to be gone before this one takes over.

A kubelet that starts empties its directory, so the sockets of all gateways are gone for a moment.
"""
ELDER_TIMEOUT = 15.0
"""Seconds for which an older gateway without a stream has precedence. The kubelet may refuse it."""
YIELD_DELAY = 1.5
"""Seconds for which both gateways have to hold a stream before the younger one ends its own.

In this time the older gateway notices the other stream too.
"""


class OtherGateways:
    """The other gateways on this node that offer one resource."""

    def __init__(self, own_sockets: OwnSockets, resource: ResourceName) -> None:
        self._own_sockets = own_sockets
        self._resource = resource
        self._known: dict[str, bool] = {}
        """For each running instance, whether it has precedence."""
        self._gone_since: float | None = None
        self._both_hold_since: float | None = None
        self._standing_by = False
        """Whether another gateway serves the resource, or did so a moment ago."""
        self._took_over = False
        self._idle_since: dict[str, float] = {}
        """Since when each running gateway holds no stream, on the monotonic clock."""

    @property
    def is_known(self) -> bool:
        """Whether another gateway of this resource was running at the last look."""
        return bool(self._known)

    def look(self, now: float) -> float:
        """Look for other gateways. Returns how many seconds the next registration has to wait.

        Returns 0 if no other gateway has precedence.
        """
        self._both_hold_since = None
        self._find(now, holding=False)
        if any(self._known.values()):
            self._standing_by, self._took_over, self._gone_since = True, False, None
            return TAKE_OVER_DELAY
        if not self._standing_by:
            return 0.0
        self._gone_since = now if self._gone_since is None else self._gone_since
        wait = max(self._gone_since + TAKE_OVER_DELAY - now, 0.0)
        if not wait:
            self._standing_by, self._took_over, self._gone_since = False, True, None
        return wait

    def start_over(self) -> None:
        """Give the older gateway precedence again, because the kubelet is new."""
        self._idle_since.clear()

    def takes_over(self) -> bool:
        """Return whether this registration follows that of another gateway. True only once."""
        took_over, self._took_over = self._took_over, False
        return took_over

    def reason_to_end(self, now: float) -> Reason | None:
        """Return why this gateway has to end its stream. None if it does not have to.

        There are two reasons. An older gateway also holds a stream. Or another gateway held one until now, so that the
        kubelet may have lost the stream of this gateway.
        """
        before = self._both_hold_since
        both_hold = any(other.has_stream for other in self._find(now, holding=True))
        self._both_hold_since = (now if before is None else before) if both_hold else None
        if self._both_hold_since is None:
            return None if before is None else Reason.OTHER_GATEWAY_LEFT
        must_yield = any(self._known.values()) and now - self._both_hold_since >= YIELD_DELAY
        return Reason.OTHER_GATEWAY_CAME if must_yield else None

    def has_lost_one(self, now: float) -> bool:
        """Return whether another gateway has left since the last look.

        Its registration may have replaced the one of this gateway while the kubelet was dialing.
        """
        before = set(self._known)
        self._find(now, holding=True)
        return bool(before - set(self._known))

    def _find(self, now: float, *, holding: bool) -> list[OtherGateway]:
        """Return the other running gateways. Logs each one that is new or whose precedence changed."""
        goes_first: dict[str, bool] = {}
        others = self._own_sockets.find_others(self._resource)
        self._note_idle(others, now)
        for other in others:
            already = goes_first.get(other.instance, False)
            goes_first[other.instance] = already or self._goes_first(other, now, holding=holding)
        for other in others:
            if self._known.get(other.instance) is not goes_first[other.instance]:
                self._known[other.instance] = goes_first[other.instance]
                self._log(other, goes_first=goes_first[other.instance])
        self._known = goes_first
        return others

    def _note_idle(self, others: Sequence[OtherGateway], now: float) -> None:
        holding = {other.instance for other in others if other.has_stream}
        idle = {other.instance for other in others} - holding
        self._idle_since = {instance: self._idle_since.get(instance, now) for instance in idle}

    def _goes_first(self, other: OtherGateway, now: float, *, holding: bool) -> bool:
        idle_for = now - self._idle_since.get(other.instance, now)
        is_older = other.instance < self._own_sockets.instance and idle_for < ELDER_TIMEOUT
        return other.has_stream and is_older if holding else other.has_stream or is_older

    def _log(self, other: OtherGateway, *, goes_first: bool) -> None:
        log.warning(
            "another gateway offers this resource, standing by"
            if goes_first
            else "another gateway offers this resource and has to stand by",
            resource=self._resource,
            socket=other.socket,
            pid=other.pid or None,
        )
