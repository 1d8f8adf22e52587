"""How long a registration waits, for what, and which releases of the kubelet need it. Times are in seconds."""

from typing import NamedTuple


class Pause(NamedTuple):
    """A time to wait, and the fact that it rests on."""

    seconds: float
    releases: str
    """The releases of the kubelet that need it. Empty if it does not depend on the kubelet."""
    meaning: str
    """From what to what it lasts."""
    fact: str


ANSWER = Pause(
    25.0,
    "1.25 and later",
    "for the answer to a Register",
    "These kubelets dial back for up to 10 s before they answer.",
)
BETWEEN_RESOURCES = Pause(
    0.05,
    "1.8",
    "between two messages about different resources: Register calls and lists",
    "The kubelet updates its map of devices without a lock. It can crash if two resources register or change at the "
    "same instant. Seen with a genuine kubelet of 1.8.15.",
)
SAME_KUBELET = Pause(
    0.07,
    "1.25 to 1.36",
    "from the end of a stream to the next Register, if the kubelet still runs",
    "The kubelet keeps one connection under the name of the resource. If the old one has not been removed yet, it "
    "refuses some Register calls or loses the new connection. With 60 ms this did not happen in 60 attempts each with "
    "genuine kubelets of 1.25.16 and 1.36.3.",
)
CLOSED_STREAM = Pause(
    1.0,
    "1.25 to 1.36",
    "from the end of a stream that the gateway ended to the next Register, if the kubelet dialed back during Register",
    "The kubelet needs time to notice the end of the old stream. If it finds the end and the new connection at the "
    "same time, it takes the new stream for the old one.",
)
LATE_DIAL = Pause(
    10.5,
    "1.25 to 1.34",
    "from a Register whose answer is not awaited any more to the next Register",
    "The kubelet dials for up to 10 s, independently of the Register call. When the late connection ends, it closes "
    "the newest connection of the resource. From 1.35 on, dialing ends together with the Register call.",
)
OLD_STREAM = Pause(
    1.0,
    "all",
    "for the stream of an ended kubelet to end before the gateway registers with the new one",
    "The process can be gone a moment before its connections are closed.",
)
STREAM_AFTER_DIAL = Pause(
    3.0,
    "1.25 and later",
    "from an accepted Register to the stream, if the kubelet has already dialed back",
    "These kubelets dial back before they answer, and open the stream at once after that.",
)
REMOVED_ANSWER = Pause(
    1.0,
    "all",
    "for the answer to a Register whose resource was removed meanwhile",
    "The kubelet may take a moment to answer. Without the answer, it is not known whether it will dial.",
)
JUST_STARTED = Pause(
    0.2,
    "1.9 and 1.10",
    "after the start of a kubelet, in which it cannot have learned of the resource from another gateway",
    "Only a kubelet that knows the resource already may ignore a list of healthy devices.",
)
TAKE_OVER = Pause(
    1.5,
    "all",
    "for which the other gateway has to be gone before this one takes over",
    "A kubelet that starts empties its directory, so the sockets of all gateways are gone for a moment.",
)
LAST_SOCKETS = Pause(
    0.5,
    "",
    "for which sockets of a gateway that has left may still be there",
    "The kernel closes the sockets of a process that ended one after the other.",
)
LAST_SOCKETS_LOOK = Pause(0.02, "", "between two looks at the sockets of a gateway that has left", LAST_SOCKETS.fact)
SHARE = Pause(
    1.5,
    "1.37 and later",
    "for which a gateway may register while the stream of an older one is open that agreed to it",
    "These kubelets know an endpoint by its path, and hold several of one resource. In this time the older gateway "
    "sends no list, so the list of the younger one is the last.",
)
BOTH_HOLD = Pause(
    1.0,
    "1.37 and later",
    "for which the streams of both gateways are open when the younger one replaces the older one",
    "If the younger one ends in this time, the kubelet goes on with the stream of the older one.",
)
KEPT_BACK = Pause(
    3.0,
    "1.37 and later",
    "for which a gateway sends no list after it agreed to be replaced",
    "It is longer than the time in which the younger one registers and both hold a stream, and bounded, because the "
    "younger one may hang.",
)
ELDER = Pause(
    15.0,
    "all",
    "for which an older gateway without a stream has precedence",
    "The kubelet may refuse the older gateway for ever, but it can take 10 s to dial back.",
)
YIELD = Pause(
    1.5,
    "1.8 to 1.36",
    "for which both gateways have to hold a stream before the younger one ends its own",
    "In this time the older gateway notices the other stream too.",
)
MIN_RETRY = Pause(0.1, "", "before a failed registration is tried again, at first", "It doubles with each failure.")
MAX_RETRY = Pause(
    10.0,
    "",
    "before a failed registration is tried again, at most",
    "A tenth of this or less is needed by a person who mends the cause, and one attempt costs the kubelet nothing.",
)
MAX_STREAM_RETRY = Pause(
    1.0,
    "",
    "before the next Register, at most, if the kubelet ends every stream soon",
    "It is short because the kubelet accepts the registrations.",
)
MIN_CONNECT_RETRY = Pause(
    0.002,
    "1.8",
    "before the first retry if nobody listens on a new kubelet.sock",
    "A kubelet binds its socket a moment before it listens. A container that starts before the registration gets no "
    "devices, so every millisecond counts.",
)
BIND_RETRY = Pause(1.0, "", "before the gateway tries again to create its own socket", "The kubelet is not involved.")
FRESH_SOCKET = Pause(
    1.0,
    "all",
    "for which a new kubelet.sock is expected to start listening",
    "A socket that is older and on which nobody listens belongs to a kubelet that has ended.",
)
SETTLED = Pause(
    1.0,
    "all",
    "after which a stream counts as stable",
    "A kubelet that does not like what it reads ends the stream within milliseconds.",
)

PAUSES = {name: each for name, each in list(globals().items()) if isinstance(each, Pause)}
"""All pauses by name."""
