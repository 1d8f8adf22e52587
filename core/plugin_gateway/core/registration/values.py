"""What goes into the machine of a registration, and what comes out of it.

Times are seconds on one clock that only goes forward. A kubelet's life is a number: each start of a kubelet has a new
one. An attempt is a number too: each Register has a new one, and an endpoint of its own.
"""

from collections.abc import Sequence
from typing import NamedTuple

from plugin_gateway.core.registration.failures import Reason, Refusal
from plugin_gateway.core.registration.precedence import OtherGateway


class Manners(NamedTuple):
    """How kubelets of one dialect behave during a registration."""

    version: str
    stream_timeout: float
    """Seconds from an accepted Register to the stream."""
    dials_before_answer: bool
    """Whether such a kubelet can dial back, and ask for the options, before it answers Register."""
    one_resource_at_a_time: bool
    """Whether a kubelet can crash if two resources register at the same instant."""


class Surroundings(NamedTuple):
    """What a transition needs to know beside the event."""

    now: float
    ladder: Sequence[Manners]
    """The dialects in the order in which they are tried. Not empty."""
    chance: float = 0.5
    """A random number between 0 and 1."""


class Kubelet(NamedTuple):
    """One run of a kubelet process."""

    life: int
    since: float
    """When it was first seen."""
    just_started: bool
    """Whether its start was seen. Otherwise it may know the resource from an earlier gateway."""


# Events.


class Added(NamedTuple):
    """The resource is to be registered."""


class Withdrawn(NamedTuple):
    """The resource is not offered any more."""


class KubeletSeen(NamedTuple):
    """There is a kubelet.sock that was not there before."""

    kubelet: Kubelet
    reason: Reason
    touched: int | None = None
    """The life whose file this can be, with another time of change. None if it is certainly another file."""


class KubeletGone(NamedTuple):
    """There is no kubelet.sock any more."""


class OthersSeen(NamedTuple):
    """The other gateways of the resource that run at the moment."""

    others: Sequence[OtherGateway]


class OtherLeft(NamedTuple):
    """Another gateway gave up the resource: its streams have ended, and it registers no more. Or its process ended."""

    instance: str


class MayShare(NamedTuple):
    """The kubelet certainly holds several endpoints of the resource, and this older gateway agrees to be replaced.

    It offers the same devices, and sends no list for `pauses.KEPT_BACK`.
    """

    instance: str


class Agreed(NamedTuple):
    """The gateway agreed to be replaced by a younger one: the kubelet holds several endpoints of the resource."""


class Replaced(NamedTuple):
    """A gateway with which this one shares the resource has a stream of it now."""

    instance: str


class TurnGiven(NamedTuple):
    """No other resource keeps the kubelet busy. See `turns`."""


class AskedForOptions(NamedTuple):
    """The kubelet called GetDevicePluginOptions on the endpoint of this attempt."""

    attempt: int


class Answered(NamedTuple):
    """The Register of this attempt was answered, or could not be sent."""

    attempt: int
    refusal: Refusal | None
    """None if the kubelet accepted it."""


class StreamOpened(NamedTuple):
    """The kubelet opened the stream on the endpoint of this attempt."""

    attempt: int


class StreamEnded(NamedTuple):
    """The stream of this attempt ended."""

    attempt: int


class SocketDeleted(NamedTuple):
    """The socket of this attempt is not in the kubelet's directory any more."""

    attempt: int


class Renewed(NamedTuple):
    """The kubelet holds a stream, but has to be registered with again."""

    reason: Reason


class Tick(NamedTuple):
    """A time has come that `Registration.deadline` named, or the settings have changed."""


Event = (
    Added
    | Withdrawn
    | KubeletSeen
    | KubeletGone
    | OthersSeen
    | OtherLeft
    | MayShare
    | Agreed
    | Replaced
    | TurnGiven
    | AskedForOptions
    | Answered
    | StreamOpened
    | StreamEnded
    | SocketDeleted
    | Renewed
    | Tick
)
OnNode = OthersSeen | OtherLeft | MayShare | Agreed | Replaced | SocketDeleted | Renewed
"""The events that neither the kubelet nor the time causes, but somebody else on the node."""

# Actions.


class LookForOthers(NamedTuple):
    """Report the other gateways of the resource with `OthersSeen`."""


class Register(NamedTuple):
    """Bind a new endpoint, and send its name."""

    attempt: int
    dialect: Manners
    may_be_known: bool
    """Whether the kubelet may already know the resource."""
    is_first: bool
    """Whether it is the first dialect that is tried."""


class Abandon(NamedTuple):
    """Do not wait for the answer to this attempt any more."""

    attempt: int


class Close(NamedTuple):
    """Close the endpoint of this attempt. Its stream ends."""

    attempt: int


class Reuse(NamedTuple):
    """No kubelet received the name of the endpoint of this attempt, so that it can be used again."""

    attempt: int


class CloseAll(NamedTuple):
    """Close all endpoints of the resource."""


class ListAgain(NamedTuple):
    """Send the list again, because the last one that the kubelet got can be that of another gateway."""


class ReportRegistered(NamedTuple):
    """The kubelet opened the stream."""

    attempt: int
    dialect: str
    reason: Reason
    took: float
    """Seconds from the beginning of the registration to the stream."""


class ReportFailed(NamedTuple):
    """The registration failed. It is tried again."""

    attempt: int
    refusal: Refusal


class ReportStreamEnded(NamedTuple):
    """The kubelet ended the stream of the registration."""

    attempt: int
    lasted: float


class ReportOther(NamedTuple):
    """Another gateway was found, or its precedence changed."""

    other: OtherGateway
    goes_first: bool


Action = (
    LookForOthers
    | Register
    | Abandon
    | Close
    | Reuse
    | CloseAll
    | ListAgain
    | ReportRegistered
    | ReportFailed
    | ReportStreamEnded
    | ReportOther
)
