"""Two gateways on one node with the same resource: only one of them registers.

This happens, for example, when a DaemonSet is updated, or when a gateway runs twice by mistake. If both registered, the
kubelet would mix up their streams. In kubelets of 1.25 to 1.36, for example, the end of the older stream closes the
newer connection. Precedence is as follows:

- A gateway with a stream continues.
- If no gateway has a stream, the older one registers first. It loses this precedence after 15 s without a stream,
  because the kubelet may refuse it.
- If both have a stream, they started at the same time. The younger one ends its stream after 1.5 s. The older one then
  registers again, because the kubelet may have lost its stream when the other one ended.

A gateway that does not register stands by. It takes over when the other gateway has been gone for 1.5 s, or at once if
it is known that the other gateway has left: it said so, or its process ended.

With kubelets from 1.37 on, which hold several endpoints of one resource, it can also replace the other gateway without
a gap, if that one agrees: it registers, and then the other one ends its stream.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from plugin_gateway.core.registration import pauses
from plugin_gateway.core.registration.failures import Reason


class OtherGateway(NamedTuple):
    """Another running gateway of this node that offers the same resource."""

    instance: str
    """Its name. Of two names, the smaller one belongs to the gateway that started first."""
    socket: str
    """The name of its socket."""
    pid: int
    """Its process id. 0 if it is in a PID namespace that is not visible here."""
    has_stream: bool
    """Whether a kubelet holds a stream on it."""


class Precedence(NamedTuple):
    """What one gateway knows of the others. Times are seconds on one clock that only goes forward."""

    instance: str
    """The name of this gateway."""
    known: Mapping[str, bool] = {}
    """For each running instance, whether it has precedence."""
    gone_since: float | None = None
    both_hold_since: float | None = None
    is_standing_by: bool = False
    """Whether another gateway serves the resource, or did so a moment ago."""
    takes_over: bool = False
    """Whether the next registration follows that of another gateway."""
    idle_since: Mapping[str, float] = {}
    """Since when each running gateway holds no stream."""
    awaited: frozenset[str] = frozenset()
    """The instances that this gateway stands by for, and that are not known to have left."""
    left: Mapping[str, float] = {}
    """For each instance that left while this gateway stood by for it, when that became known."""
    shared: Mapping[str, float] = {}
    """The older instances that agree to be replaced by this one, each with the time until which it may register."""
    holds_several: bool = False
    """Whether this gateway agreed to be replaced, so that the kubelet does not lose its stream to another gateway."""

    @property
    def sharing(self) -> frozenset[str]:
        """The instances that hold a stream beside this one, and agree to be replaced by it."""
        return frozenset(filter(self.sees_stream_of, self.shared))

    def start_over(self) -> "Precedence":
        """Give the older gateway precedence again, because the kubelet is new."""
        return self._replace(idle_since={}, shared={}, holds_several=False)

    def before_register(self, others: Sequence[OtherGateway], now: float) -> tuple["Precedence", float]:
        """Return how many seconds the next registration has to wait. 0 if no other gateway has precedence."""
        seen = self.see(others, now, is_holding=False)._replace(both_hold_since=None)
        first = frozenset(instance for instance, goes_first in seen.known.items() if goes_first)
        agreed = self.agreed(now)
        first -= agreed
        if first:
            return seen.stand_by(first, now)
        if not seen.is_standing_by:
            return seen, 0.0
        gone_since = now if seen.gone_since is None else seen.gone_since
        wait = max(gone_since + pauses.TAKE_OVER.seconds - now, 0.0) if seen.awaited - agreed else 0.0
        if wait:
            return seen._replace(gone_since=gone_since), wait
        return (
            seen._replace(is_standing_by=False, takes_over=True, gone_since=None, awaited=frozenset(), left={}),
            0.0,
        )

    def stand_by(self, first: frozenset[str], now: float) -> tuple["Precedence", float]:
        """Return how long to stand by for these instances. One that left is only looked for again, for a while."""
        ending = {
            instance: since
            for instance, since in self.left.items()
            if instance not in first or now - since < pauses.LAST_SOCKETS.seconds
        }
        seen = self._replace(
            is_standing_by=True,
            takes_over=False,
            gone_since=None,
            left=ending,
            awaited=self.awaited | (first - ending.keys()),
        )
        return seen, (pauses.TAKE_OVER if first - ending.keys() else pauses.LAST_SOCKETS_LOOK).seconds

    def hear_left(self, instance: str, now: float) -> "Precedence":
        """Return what is known when an instance has left. It is not awaited any more."""
        if instance not in self.awaited:
            return self
        return self._replace(awaited=self.awaited - {instance}, left={**self.left, instance: now})

    def while_open(self, others: Sequence[OtherGateway], now: float) -> tuple["Precedence", Reason | None]:
        """Return why this gateway has to end its stream. None if it does not have to.

        There are two reasons. An older gateway also holds a stream. Or another gateway held one until now, so that a
        kubelet that does not hold several may have lost the stream of this gateway.
        """
        before, seen = self.both_hold_since, self.see(others, now, is_holding=True)
        if not any(other.has_stream and other.instance not in self.shared for other in others):
            reason = None if before is None or self.holds_several else Reason.OTHER_GATEWAY_LEFT
            return seen._replace(both_hold_since=None), reason
        since = now if before is None else before
        must_yield = any(seen.known.values()) and now - since >= pauses.YIELD.seconds
        return seen._replace(both_hold_since=since), Reason.OTHER_GATEWAY_CAME if must_yield else None

    def while_expected(self, others: Sequence[OtherGateway], now: float) -> tuple["Precedence", Reason | None]:
        """Return why this gateway has to register again before its stream is open. None if it does not have to.

        The registration of another gateway that has left since may have replaced the one of this gateway.
        """
        seen = self.see(others, now, is_holding=True)
        return seen, Reason.OTHER_GATEWAY_LEFT if set(self.known) - set(seen.known) - set(self.shared) else None

    def share(self, instance: str, now: float) -> "Precedence":
        """Return what is known when an instance that is awaited agrees to be replaced."""
        if instance not in self.awaited:
            return self
        return self._replace(shared={**self.shared, instance: now + pauses.SHARE.seconds})

    def agreed(self, now: float) -> frozenset[str]:
        """Return the instances beside which this gateway may register."""
        return frozenset(instance for instance, until in self.shared.items() if now < until)

    def sees_stream_of(self, instance: str) -> bool:
        """Whether another gateway runs and held a stream when this one looked last."""
        return instance in self.known and instance not in self.idle_since

    def see(self, others: Sequence[OtherGateway], now: float, *, is_holding: bool) -> "Precedence":
        """Return what is known with these gateways running. ``is_holding``: whether this gateway has a stream."""
        idle = {other.instance for other in others} - {other.instance for other in others if other.has_stream}
        idle_since = {instance: self.idle_since.get(instance, now) for instance in idle}
        known: dict[str, bool] = {}
        for other in others:
            is_older = other.instance < self.instance and (
                now - idle_since.get(other.instance, now) < pauses.ELDER.seconds
            )
            goes_first = other.has_stream and is_older if is_holding else other.has_stream or is_older
            known[other.instance] = known.get(other.instance, False) or goes_first
        return self._replace(known=known, idle_since=idle_since)
