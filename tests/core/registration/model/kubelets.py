"""A kubelet of each family as a gateway meets it: when it dials back, and how it confuses its connections."""

from enum import Enum, auto
from typing import NamedTuple, Protocol

from core.registration.model.files import Folder, Socket
from core.registration.model.virtual_time import Process, Time
from plugin_gateway.core.registration import pauses
from plugin_gateway.core.registration.failures import Failure, Refusal

DIAL_TIME = 10.0
"""Seconds for which kubelets of 1.10 and later dial."""
MAX_DELAY = 0.015
"""Seconds by which what a gateway measures can differ from what the kubelet sees."""
NOTICED = 0.05
"""Seconds until a kubelet of 1.25 and later has removed an ended connection, at most."""

LONG_AGO = 1.0
"""Seconds after which the kubelet has certainly removed an ended connection."""


class DialBack(Enum):
    """When a kubelet dials an endpoint."""

    ONCE = auto()
    """After the answer, a single try."""
    PATIENT = auto()
    """After the answer, for 10 s."""
    INSIDE = auto()
    """Before the answer, for 10 s."""


class Second(Enum):
    """What becomes of the connections if a resource has two."""

    CLOSED = auto()
    """The older one is closed."""
    KEPT = auto()
    """Both stay."""
    CONFUSED = auto()
    """The end of the older one closes the newer one."""
    BY_PATH = auto()
    """Both stay. The same path again wedges the kubelet."""


class Family(NamedTuple):
    """Releases that behave alike during a registration."""

    name: str
    version: str
    dial_back: DialBack
    second: Second
    outlives_caller: bool = False
    """Whether the kubelet goes on to dial when the Register call was given up."""
    one_at_a_time: bool = False


FAMILIES = (
    Family("1.8", "0.1", DialBack.ONCE, Second.CLOSED, one_at_a_time=True),
    Family("1.9", "v1alpha2", DialBack.ONCE, Second.CLOSED),
    Family("1.10", "v1beta1", DialBack.PATIENT, Second.CLOSED),
    Family("1.12", "v1beta1", DialBack.PATIENT, Second.KEPT),
    Family("1.25", "v1beta1", DialBack.INSIDE, Second.CONFUSED, outlives_caller=True),
    Family("1.35", "v1beta1", DialBack.INSIDE, Second.CONFUSED),
    Family("1.37", "v1beta1", DialBack.INSIDE, Second.BY_PATH),
)


class Plugin(Protocol):
    """The side of a gateway that a kubelet meets."""

    is_alive: bool
    saw_kubelet: float
    """When it saw a kubelet.sock last that it did not know."""

    def answered(self, call: "Call", refusal: Refusal | None) -> None: ...
    def was_asked_for_options(self, socket: Socket, connection: "Connection") -> None: ...
    def stream_opened(self, socket: Socket, connection: "Connection") -> None: ...
    def stream_ended(self, socket: Socket, connection: "Connection") -> None: ...


class End(NamedTuple):
    """The end of a connection."""

    at: float
    plugin: Plugin
    by_plugin: bool


class Call:
    """One Register call."""

    __slots__ = ("attempt", "endpoint", "is_given_up", "plugin", "resource", "version")

    def __init__(self, plugin: Plugin, attempt: int, endpoint: Socket, version: str) -> None:
        self.plugin = plugin
        self.attempt = attempt
        self.endpoint = endpoint
        self.resource = endpoint.resource
        self.version = version
        self.is_given_up = False


class Connection:
    """A connection of the kubelet to an endpoint, from the beginning of the dial."""

    __slots__ = ("call", "ended", "is_made", "is_open", "kubelet", "listed", "socket")

    def __init__(self, kubelet: "Kubelet", call: Call) -> None:
        self.kubelet = kubelet
        self.call = call
        self.socket = call.endpoint
        self.is_made = False
        self.is_open = False
        """Whether the stream is open."""
        self.ended: float | None = None
        self.listed = 0.0
        """When the last list arrives."""

    def send_list(self, devices: int) -> None:
        """Send a list of the devices in this state. It arrives in order, also if the gateway then ends the stream."""
        time = self.kubelet.time
        self.listed = max(self.listed, time.now + time.list_delay())
        time.after(self.listed - time.now, self.kubelet.deliver, self.kubelet.take_list, self, devices)

    def end_by_plugin(self) -> None:
        """End the connection, because the gateway has closed it or was killed."""
        if self.ended is None:
            self.end(by_plugin=True)
            self.kubelet.soon(self.kubelet.note_end, self)

    def end(self, *, by_plugin: bool) -> None:
        self.ended = self.kubelet.time.now
        if self.is_open and not self.kubelet.streams(self.call.resource):
            self.kubelet.gaps += 1
        self.kubelet.last_end[self.call.resource] = End(self.ended, self.call.plugin, by_plugin=by_plugin)


class Kubelet(Process):
    """One run of a kubelet process."""

    def __init__(self, time: Time, folder: Folder, family: Family, number: int) -> None:
        super().__init__(time, f"kubelet {family.name}")
        self.folder = folder
        self.family = family
        self.number = number
        self.answer_delay = 0.0
        self.stream_delay = 0.0
        """Seconds from the answer to the stream, if the kubelet dials before it answers."""
        self.lost_answers = 0
        self.refusals: list[Failure] = []
        """How the next Register calls are refused."""
        self.dial_not_before = 0.0
        """Until when no dial succeeds."""
        self.connections: dict[str, list[Connection]] = {}
        """Those that were made and have not ended, by resource."""
        self.newest: dict[str, Connection] = {}
        """What the kubelet knows: one connection for each resource, or for each path (1.37)."""
        self.last_end: dict[str, End] = {}
        """The last end of a connection, by resource."""
        self.was_touched = False
        """Whether its socket was touched. It then looks like another kubelet, which needs no short pause."""
        self.may_be_lost: set[str] = set()
        """The resources of which it may have lost a connection, without a fault of one gateway.

        Two gateways registered or had it at a time, or its socket was touched in the short pause after a stream.
        """
        self.dialing: set[Connection] = set()
        self.was_stopped_long = False
        """Whether it was stopped for so long that no pause could be long enough."""
        self.paths: set[str] = set()
        self.lists: dict[str, tuple[Connection, int]] = {}
        """The last list of each resource: whose it was, and the state of the devices."""
        self.gaps = 0
        """How often a resource lost its last stream."""
        self.calls: dict[Call, None] = {}
        """Those that are not answered."""
        self.busy: dict[str, Call] = {}
        """The resources that are being registered, by name (1.8)."""

    def reach(self, call: Call) -> None:
        """Take a Register now, or when the process goes on."""
        if not self.is_alive:
            self.time.soon(call.plugin.answered, call, Refusal(Failure.CONNECTION_LOST))
            return
        self.calls[call] = None
        if call.version == self.family.version:
            self._check_pause(call)
        self.deliver(self._receive, call)

    def _check_pause(self, call: Call) -> None:
        """No gateway registers too soon after its connection ended, or while its earlier dial may go on.

        Of two gateways, one does not know when the connection of the other ends, if it ends before its stream.
        """
        if self.family.second is not Second.CONFUSED:
            return
        ended = self.last_end.get(call.resource)
        if ended is not None and ended.plugin is call.plugin:
            looks_new = self.was_touched and call.plugin.saw_kubelet >= ended.at and not ended.by_plugin
            pause = (pauses.CLOSED_STREAM if ended.by_plugin else pauses.SAME_KUBELET).seconds - MAX_DELAY
            passed = self.time.now - ended.at
            text = f"{call.endpoint.name} is registered {passed:.3f} s after the end"
            self.time.must(looks_new or passed >= pause, text)
            if passed < pause:
                self.may_be_lost.add(call.resource)
        if not self.was_stopped_long:
            late = [each for each in self.dialing if each.call.resource == call.resource]
            late = [each for each in late if each.call.plugin is call.plugin]
            self.time.must(not late, f"{call.endpoint.name} is registered while another one may still be dialed")

    def _receive(self, call: Call) -> None:
        """Take a Register."""
        self.time.tell(self.name, "receives", call.version, call.endpoint.name)
        family = self.family
        if call.version != family.version:
            same_package = family.dial_back is DialBack.ONCE and call.version != "v1beta1"
            refusal = Failure.VERSION_REFUSED if same_package else Failure.PACKAGE_UNKNOWN
            self._answer(call, Refusal(refusal))
            return
        self.time.must(call.endpoint.name not in self.paths, f"{call.endpoint.name} was registered twice")
        self.paths.add(call.endpoint.name)
        if self.refusals:
            self._answer(call, Refusal(self.refusals.pop()))
            return
        self._check_turn(call)
        connection = Connection(self, call)
        if family.dial_back is DialBack.INSIDE:
            self.newest[self._key(connection)] = connection
        else:
            self.newest[call.resource] = connection
            self._answer(call, None)
        if self._is_taken(call):
            self.may_be_lost.add(call.resource)
        self.dialing.add(connection)
        self.soon(self._dial, connection, self.time.now + DIAL_TIME)

    def _is_taken(self, call: Call) -> bool:
        """Whether the resource has another dial or connection, or had one of another gateway a moment ago."""
        ended = self.last_end.get(call.resource)
        just_ended = ended is not None and ended.plugin is not call.plugin and self.time.now - ended.at < LONG_AGO
        is_dialed = any(each.call.resource == call.resource for each in self.dialing)
        return just_ended or is_dialed or bool(self.connections.get(call.resource))

    def _check_turn(self, call: Call) -> None:
        """Two resources of one gateway that register at the same instant can crash 1.8."""
        if not self.family.one_at_a_time:
            return
        for name, other in self.busy.items():
            is_other = name != call.resource and other.plugin is call.plugin
            can_list = self.folder.has(other.endpoint) and not other.endpoint.is_given_up
            self.time.must(not (is_other and can_list), f"1.8 is asked for {call.resource} while it registers {name}")
        self.busy[call.resource] = call

    def _answer(self, call: Call, refusal: Refusal | None) -> None:
        self.calls.pop(call, None)
        if self.lost_answers:
            self.lost_answers -= 1
            self.time.tell(self.name, "loses its answer to", call.endpoint.name)
        else:
            self.time.after(self.time.delay() + self.answer_delay, call.plugin.answered, call, refusal)

    # Dialing back.

    def _dial(self, connection: Connection, until: float) -> None:
        """Try to connect, and go on trying as this family does."""
        socket, family = connection.socket, self.family
        is_given_up = connection.call.is_given_up and family.dial_back is DialBack.INSIDE and not family.outlives_caller
        can_connect = socket.is_listening and self.folder.has(socket) and not socket.owner.is_stopped
        if can_connect and not is_given_up and self.time.now >= self.dial_not_before:
            self._connect(connection)
        elif is_given_up or family.dial_back is DialBack.ONCE or self.time.now >= until:
            self._fail(connection, Failure.DIAL_BACK_FAILED)
        else:
            self.later(0.02 + 0.5 * self.time.random.random(), self._dial, connection, until)

    def _connect(self, connection: Connection) -> None:
        if self.family.second is Second.CLOSED and self.newest.get(connection.call.resource) is not connection:
            self._fail(connection, Failure.DIAL_BACK_FAILED)  # another one came meanwhile
            return
        connection.is_made = True
        connection.socket.made.append(connection)
        self.dialing.discard(connection)
        made = self.connections.setdefault(connection.call.resource, [])
        made.append(connection)
        if self.family.dial_back is DialBack.INSIDE:
            self._check_overlap(connection, made)
            connection.call.plugin.was_asked_for_options(connection.socket, connection)
        else:
            self._close_older(connection, made)
            self._open(connection)

    def _check_overlap(self, connection: Connection, made: list[Connection]) -> None:
        """No gateway lets a kubelet of 1.25 to 1.36 have two connections of one resource."""
        if self.family.second is Second.CONFUSED:
            others = [each for each in made if each is not connection and each.call.plugin is connection.call.plugin]
            self.time.must(not others, f"{connection.call.resource} has two connections with kubelet {self.number}")

    def _close_older(self, connection: Connection, made: list[Connection]) -> None:
        if self.family.second is Second.CLOSED:
            for older in [each for each in made if each is not connection]:
                self.close(older)

    def options_answered(self, connection: Connection) -> None:
        """Answer Register and open the stream, because the gateway has told its options."""
        if connection.ended is not None or connection.call not in self.calls:
            return
        self._answer(connection.call, None)
        self.later(self.time.delay() + self.stream_delay, self._open, connection)

    def _open(self, connection: Connection) -> None:
        """Open the stream."""
        if connection.ended is not None:
            return
        connection.is_open = True
        self.time.tell(self.name, "opens the stream of", connection.socket.name)
        self._free(connection)
        connection.call.plugin.stream_opened(connection.socket, connection)

    def _free(self, connection: Connection) -> None:
        if self.busy.get(connection.call.resource) is connection.call:
            del self.busy[connection.call.resource]

    def _fail(self, connection: Connection, failure: Failure) -> None:
        """Give up a dial. Kubelets of 1.25 and later then remove whatever they know under this key."""
        self.time.tell(self.name, "fails to dial", connection.socket.name)
        self._free(connection)
        self.dialing.discard(connection)
        if self.family.dial_back is DialBack.INSIDE:
            self.newest.pop(self._key(connection), None)
            if connection.call in self.calls:
                self._answer(connection.call, Refusal(failure))

    # Streams.

    def streams(self, resource: str) -> list[Connection]:
        """Return the open streams of a resource."""
        return [each for each in self.connections.get(resource, []) if each.is_open and each.ended is None]

    def take_list(self, connection: Connection, devices: int) -> None:
        """Take a list. The last one counts, from whichever stream it comes."""
        self.lists[connection.call.resource] = (connection, devices)

    # The end of a connection.

    def close(self, connection: Connection) -> None:
        """End a connection from the kubelet's side."""
        if connection.ended is None:
            self.time.tell(self.name, "closes", connection.socket.name)
            connection.end(by_plugin=False)
            if connection.is_open:
                connection.call.plugin.stream_ended(connection.socket, connection)
            self.note_end(connection)

    def note_end(self, connection: Connection) -> None:
        """Notice that a connection has ended."""
        self._free(connection)
        made = self.connections.get(connection.call.resource, [])
        if connection in made:
            made.remove(connection)
        if connection.call in self.calls:
            self._fail(connection, Failure.DIAL_BACK_FAILED)  # the call for the options broke
        elif self.family.dial_back is DialBack.INSIDE:
            self.later(NOTICED * self.time.random.random(), self._disconnect, connection)
        elif self.newest.get(connection.call.resource) is connection:
            del self.newest[connection.call.resource]

    def _disconnect(self, connection: Connection) -> None:
        """Close the connection that the kubelet takes for the one that has ended."""
        known = self.newest.pop(self._key(connection), None)
        if known is not None and known is not connection and known.is_made:
            self.close(known)

    def _key(self, connection: Connection) -> str:
        return connection.socket.name if self.family.second is Second.BY_PATH else connection.call.resource

    def end(self, lingering: float = 0.0) -> None:
        """End the process. Its calls break, and its connections after a moment."""
        if not self.is_alive:
            return
        self.time.tell(self.name, "ends")
        self.is_alive = False
        for made in self.connections.values():
            for connection in [each for each in made if each.ended is None]:
                connection.end(by_plugin=False)
                if connection.is_open:
                    plugin, socket = connection.call.plugin, connection.socket
                    self.time.after(lingering, plugin.stream_ended, socket, connection)
        for call in self.calls:
            self.time.soon(call.plugin.answered, call, Refusal(Failure.CONNECTION_LOST))
