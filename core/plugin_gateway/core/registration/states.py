"""The states of the registration of one resource with the kubelet of the node."""

import math
from collections.abc import Mapping
from typing import NamedTuple

from plugin_gateway.core.registration import pauses
from plugin_gateway.core.registration.failures import Refusal
from plugin_gateway.core.registration.precedence import Precedence
from plugin_gateway.core.registration.retry import Retry
from plugin_gateway.core.registration.values import Kubelet, Manners


class Absent(NamedTuple):
    """The resource is not to be registered."""


class Waiting(NamedTuple):
    """Nothing is registered. The next Register is sent when the pauses are over and there is a kubelet."""


class StandingBy(NamedTuple):
    """Another gateway has precedence."""

    until: float
    """When to look for it again."""


class Queued(NamedTuple):
    """The next Register waits until the kubelet is not busy with another resource."""

    began: float
    dialect: Manners
    refused: tuple[tuple[str, Refusal], ...]


class Registering(NamedTuple):
    """A Register was sent and is not answered."""

    attempt: int
    began: float
    dialect: Manners
    refused: tuple[tuple[str, Refusal], ...]
    """The dialects that this kubelet refused in this registration."""


class Accepted(NamedTuple):
    """The kubelet accepted a Register and has not opened the stream."""

    attempt: int
    began: float
    dialect: Manners
    deadline: float
    timeout: float


class Streaming(NamedTuple):
    """The kubelet holds the stream."""

    attempt: int
    dialect: Manners


class Leaving(NamedTuple):
    """The resource was withdrawn while a Register was not answered."""

    attempt: int
    dialect: Manners
    deadline: float
    is_added_again: bool = False


State = Absent | Waiting | StandingBy | Queued | Registering | Accepted | Streaming | Leaving


class Dial(NamedTuple):
    """What a kubelet did with the endpoint of an attempt."""

    life: int
    """The kubelet that received the name of the endpoint."""
    asked_for_options: bool = False
    opened: float | None = None
    """When its stream was opened. None if it was not."""
    is_closed_by_us: bool = False


class Ended(NamedTuple):
    """The stream that ended last."""

    life: int
    opened: float
    at: float
    was_closed_after_dial: bool
    """Whether the gateway ended it, and the kubelet had dialed back during Register."""


class PendingDial(NamedTuple):
    """A registration that was given up before its stream was open. The kubelet may still dial its endpoint."""

    life: int
    until: float


class Registration(NamedTuple):
    """How far one resource is with the kubelet, and what is known from before."""

    precedence: Precedence
    state: State = Absent()
    retry: Retry = Retry()
    kubelet: Kubelet | None = None
    """The kubelet that was seen last."""
    is_kubelet_present: bool = False
    attempts: int = 0
    """The number of the last attempt."""
    dials: Mapping[int, Dial] = {}
    """The attempts whose stream is open, and the present one."""
    ended: Ended | None = None
    pending: PendingDial | None = None

    @property
    def attempt(self) -> int | None:
        """The attempt that is in progress or holds the stream. None if there is none."""
        return getattr(self.state, "attempt", None)

    @property
    def deadline(self) -> float:
        """When a `Tick` is due at the latest. Infinite if only another event can change anything."""
        match self.state:
            case Waiting():
                return self.due
            case StandingBy(until):
                return max(until, self.due)
            case Accepted() | Leaving():
                return self.state.deadline
            case _:
                return math.inf

    @property
    def due(self) -> float:
        """The time from which the resource can be registered with the kubelet that is there.

        It is infinite while the kubelet may hold a stream of this resource. Kubelets of 1.25 to 1.36 lose track of a
        resource that is registered twice, or very soon after the end of its stream.
        """
        kubelet = self.kubelet
        if kubelet is None or not self.is_kubelet_present:
            return math.inf
        lives = {dial.life for dial in self.dials.values() if dial.opened is not None}
        if kubelet.life in lives:
            return math.inf
        old_stream_ends = kubelet.since + pauses.OLD_STREAM.seconds if lives else 0.0
        return max(self.retry.not_before, old_stream_ends, self._pause_ends(kubelet), self._pending_dial_ends(kubelet))

    def _pause_ends(self, kubelet: Kubelet) -> float:
        """Return the end of the pause after the last stream. 0 if that stream belonged to an earlier kubelet."""
        ended = self.ended
        if ended is None or (ended.at < kubelet.since and ended.life != kubelet.life):
            return 0.0
        pause = pauses.CLOSED_STREAM if ended.was_closed_after_dial else pauses.SAME_KUBELET
        return ended.at + pause.seconds

    def _pending_dial_ends(self, kubelet: Kubelet) -> float:
        """Return until when this kubelet may still dial an endpoint that was given up."""
        return self.pending.until if self.pending is not None and self.pending.life == kubelet.life else 0.0
