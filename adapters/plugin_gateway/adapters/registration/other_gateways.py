"""Two gateways for one resource: one registers, the other says so and stands by.

Whoever holds a kubelet's stream goes on. Where nobody does, the elder goes first. Where both do, having begun at the
same instant, the younger yields, and the elder registers again: a kubelet of 1.12 and later takes the end of the
younger's stream for the end of the resource.
"""

from collections.abc import Sequence

from plugin_gateway.adapters.kubelet.plugin_sockets import OtherGateway, OwnSockets
from plugin_gateway.adapters.registration.retry import Reason
from plugin_gateway.adapters.support.logs import log
from plugin_gateway.core.resources.names import ResourceName

TAKE_OVER_DELAY = 1.5
"""Seconds for which the other must be gone: when a kubelet empties its directory, everybody is gone for a moment."""
ELDER_TIMEOUT = 15.0
"""Seconds for which an elder that holds no stream goes first: it may be one that the kubelet refuses."""
YIELD_DELAY = 1.5
"""Seconds for which both hold a stream before the younger yields: time enough for the elder to see that, too."""


class OtherGateways:
    """What is known of other gateways for one resource."""

    def __init__(self, own_sockets: OwnSockets, resource: ResourceName) -> None:
        self._own_sockets = own_sockets
        self._resource = resource
        self._known: dict[str, bool] = {}
        """For each instance that lives, whether it was said to go first."""
        self._gone_since: float | None = None
        self._both_hold_since: float | None = None
        self._standing_by = False
        """Whether another gateway has the resource, or had it a moment ago."""
        self._took_over = False
        self._idle_since: dict[str, float] = {}
        """Since when each living gateway holds no stream although it was let go first."""

    @property
    def is_known(self) -> bool:
        """Whether another gateway of this resource lived at the last look."""
        return bool(self._known)

    def look(self, now: float) -> float:
        """Tell how many seconds the next registration has to wait for another gateway; 0 where there is none."""
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
        """Let whoever is the elder go first again: the kubelet is new."""
        self._idle_since.clear()

    def takes_over(self) -> bool:
        """Tell once whether the registration that begins now follows that of another gateway."""
        took_over, self._took_over = self._took_over, False
        return took_over

    def reason_to_end(self, now: float) -> Reason | None:
        """Tell, while we hold a stream, why it has to end: an elder holds one too, or another held one until now."""
        before = self._both_hold_since
        both_hold = any(other.has_stream for other in self._find(now, holding=True))
        self._both_hold_since = (now if before is None else before) if both_hold else None
        if self._both_hold_since is None:
            return None if before is None else Reason.OTHER_GATEWAY_LEFT
        must_yield = any(self._known.values()) and now - self._both_hold_since >= YIELD_DELAY
        return Reason.OTHER_GATEWAY_CAME if must_yield else None

    def has_lost_one(self, now: float) -> bool:
        """Whether another gateway left since the last look: what it registered can have cost us the kubelet's dial."""
        before = set(self._known)
        self._find(now, holding=True)
        return bool(before - set(self._known))

    def _find(self, now: float, *, holding: bool) -> list[OtherGateway]:
        """List the living gateways, note of each whether it goes first, and log what is new of that."""
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
