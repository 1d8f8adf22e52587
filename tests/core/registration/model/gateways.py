"""A gateway in virtual time: it carries out what the machine decides, as the adapter does with sockets and tasks."""

import math
from collections.abc import Sequence

from core.registration.model.checks import Counts, Resource, check_handover, check_step, check_ways_out
from core.registration.model.endpoints import Endpoints
from core.registration.model.files import Folder, Identity, Socket
from core.registration.model.kubelets import Call, Connection
from core.registration.model.neighbours import Neighbours
from core.registration.model.virtual_time import Process, Time
from core.registration.model.words import ControlSockets, Words
from core.registration.story import DIALECTS
from plugin_gateway.core.registration import pauses
from plugin_gateway.core.registration.failures import Failure, Reason, Refusal
from plugin_gateway.core.registration.machine import step
from plugin_gateway.core.registration.order import ladder, next_turn
from plugin_gateway.core.registration.precedence import Precedence
from plugin_gateway.core.registration.states import Accepted, Leaving, Registration, Streaming, Waiting
from plugin_gateway.core.registration.values import (
    Abandon,
    Action,
    Added,
    Answered,
    AskedForOptions,
    Close,
    CloseAll,
    Event,
    Kubelet,
    KubeletGone,
    KubeletSeen,
    ListAgain,
    LookForOthers,
    Manners,
    OtherLeft,
    OthersSeen,
    Register,
    Renewed,
    ReportRegistered,
    ReportStreamEnded,
    Reuse,
    SocketDeleted,
    StreamEnded,
    StreamOpened,
    Surroundings,
    Tick,
    TurnGiven,
    Withdrawn,
)

LOOK_INTERVAL = 1.0
MAX_ROUNDS = 100
"""How often a gateway can follow in one moment before it counts as a loop."""


class Gateway(Process):
    """One process."""

    def __init__(
        self,
        time: Time,
        folder: Folder,
        instance: str,
        counts: Counts,
        *,
        devices: int,
        control: ControlSockets | None,
        has_inotify: bool,
    ) -> None:
        """``devices`` is the state of the devices, ``control`` where gateways of a kubelet of 1.37 talk."""
        super().__init__(time, f"gateway {instance}")
        self.folder = folder
        self.instance = instance
        self.allowed: Sequence[Manners] = DIALECTS
        self.can_bind = True
        self.resources: dict[str, Resource] = {}
        self._devices = devices
        self._words = Words(self, control) if control is not None else None
        self._counts = counts
        self._last: str | None = None
        self._happened: list[tuple[Resource, Event, float]] = []
        self.saw_kubelet = 0.0
        self._lives = 0
        self._kubelet: Kubelet | None = None
        self._identity: Identity | None = None
        self._is_present: bool | None = None
        self._newcomers = False
        self._neighbours = Neighbours(folder, instance)
        self._changes = -1
        self._is_woken = False
        self._alarm = math.inf
        self._rounds = (0.0, 0)
        self._numbers = 0
        self._sockets: dict[Socket, None] = {}
        """Those that are not closed."""
        if has_inotify:
            folder.watchers.append(self._on_change)
        self._look()

    # What others do to it.

    def add(self, name: str) -> None:
        """Offer a resource."""
        self.time.tell(self.name, "offers", name)
        resource = self.resources.get(name)
        if resource is None:
            known = Registration(
                Precedence(self.instance), kubelet=self._kubelet, is_kubelet_present=bool(self._is_present)
            )
            resource = self.resources[name] = Resource(name, known, self, self._devices)
        resource.endpoints = Endpoints(self.folder, lambda: self._new_socket(name), self._close_socket)
        self._note(resource, Added())

    def withdraw(self, name: str) -> None:
        """Stop offering a resource. Its streams end after the last list."""
        self.time.tell(self.name, "withdraws", name)
        resource = self.resources[name]
        assert resource.endpoints is not None
        for socket in resource.endpoints.all():
            socket.ends_lists = True
            self.soon(self._end_stream, socket)
        resource.withdrawn.append(resource.endpoints)
        resource.endpoints = None
        self._note(resource, Withdrawn())

    def renew(self, name: str) -> None:
        """Let a resource be registered again."""
        self._note(self.resources[name], Renewed(Reason.DEVICES_LOST))

    def hear(self, name: str, event: Event) -> None:
        """Learn from a control socket what another gateway does with a resource."""
        if name in self.resources:
            self._note(self.resources[name], event)

    def hear_left(self, instance: str) -> None:
        """Learn from a control socket that another gateway has left."""
        for resource in self.offered():
            self._note(resource, OtherLeft(instance))

    def look_for_others(self, name: str) -> None:
        self._note_others(self.resources[name])

    def see_devices(self, devices: int) -> None:
        """See another state of the devices."""
        self._devices = max(devices, self._devices)
        for resource in self.resources.values():
            resource.lists.publish(self._devices)

    def allow(self, dialects: Sequence[Manners]) -> None:
        """Use only these dialects from now on."""
        self.time.tell(self.name, "may use", *(each.version for each in dialects))
        self.allowed = dialects
        self.wake()

    def end(self, *, in_order: bool) -> None:
        """End the process. Its streams end. Its sockets are removed only if it ends in order."""
        self.time.tell(self.name, "leaves" if in_order else "is killed")
        for socket in self._sockets:
            socket.is_listening = False
            for connection in socket.made:
                connection.end_by_plugin()
            if in_order:
                self.folder.unlink(socket)
        for resource in self.resources.values():
            for call in resource.calls.values():
                call.is_given_up = True
        if self._on_change in self.folder.watchers:
            self.folder.watchers.remove(self._on_change)
        if self._words is not None:
            self._words.end(in_order=in_order)
        self.is_alive = False

    # What a kubelet does.

    def answered(self, call: Call, refusal: Refusal | None) -> None:
        self.deliver(self._take_answer, call, refusal)

    def was_asked_for_options(self, socket: Socket, connection: Connection) -> None:
        self._arrive(socket, self._take_question, socket, connection)

    def stream_opened(self, socket: Socket, connection: Connection) -> None:
        self._arrive(socket, self._take_stream, socket, connection)

    def stream_ended(self, socket: Socket, connection: Connection) -> None:
        self._arrive(socket, self._lose_stream, socket, connection)

    def _arrive(self, socket: Socket, *work_with_arguments: object) -> None:
        """Let a message arrive after the one before it on this socket."""
        socket.arrived = max(socket.arrived, self.time.now + self.time.delay())
        self.time.after(socket.arrived - self.time.now, self.deliver, *work_with_arguments)

    def _take_answer(self, call: Call, refusal: Refusal | None) -> None:
        resource = self.resources[call.resource]
        if not call.is_given_up and resource.calls.pop(call.attempt, None) is call:
            self._note(resource, Answered(call.attempt, refusal))

    def _take_question(self, socket: Socket, connection: Connection) -> None:
        if connection.ended is None and socket.attempt is not None:
            self._note(self.resources[socket.resource], AskedForOptions(socket.attempt))
        connection.kubelet.soon(connection.kubelet.options_answered, connection)

    def _take_stream(self, socket: Socket, connection: Connection) -> None:
        if socket.is_closing or socket.attempt is None or socket.was_claimed:
            return
        socket.was_claimed, socket.connection = True, connection
        self._note(self.resources[socket.resource], StreamOpened(socket.attempt))
        self.resources[socket.resource].lists.begin(connection)
        if socket.ends_lists:
            self.soon(self._end_stream, socket)

    def _lose_stream(self, socket: Socket, connection: Connection) -> None:
        if socket.connection is connection:
            socket.connection = None
            assert socket.attempt is not None
            self._note(self.resources[socket.resource], StreamEnded(socket.attempt))

    def _end_stream(self, socket: Socket) -> None:
        """End the stream from this side."""
        if (connection := socket.connection) is not None:
            connection.end_by_plugin()
            self.soon(self._lose_stream, socket, connection)

    # The task that follows.

    def wake(self) -> None:
        """Follow soon."""
        if not self._is_woken:
            self._is_woken = True
            self.soon(self._follow)

    def _on_change(self) -> None:
        if self.is_alive:
            self.deliver(self.wake)

    def _look(self) -> None:
        """Look for changes that inotify did not report."""
        self.later(LOOK_INTERVAL, self._look)
        changed, self._changes = self.folder.changes != self._changes, self.folder.changes
        self._newcomers |= changed and self._neighbours.has_newcomers(self.resources)
        if changed or self._newcomers or any(each.registration.precedence.known for each in self.offered()):
            self.wake()

    def offered(self) -> list[Resource]:
        return [each for each in self.resources.values() if each.endpoints is not None]

    def _note(self, resource: Resource, event: Event) -> None:
        self._happened.append((resource, event, self.time.now))
        self.wake()

    def _note_now(self, resource: Resource, event: Event) -> None:
        """Note what is taken in this round, so that nothing has to wake the gateway."""
        self._happened.append((resource, event, self.time.now))

    def _note_others(self, resource: Resource) -> None:
        self._note_now(resource, OthersSeen(self._neighbours.find(resource.name, self.time.now)))

    def _follow(self) -> None:
        self._is_woken = False
        self._check_pace()
        self._take_all(Added, Withdrawn)
        self._follow_kubelet(self.folder.identity if self.folder.exists else None)
        self._take_all()
        self._look_for_others()
        for resource in self.offered():
            state, socket = resource.registration.state, resource.socket
            if isinstance(state, Accepted) and socket is not None and not self.folder.has(socket):
                self._note_now(resource, SocketDeleted(state.attempt))
        for resource in self.resources.values():
            self._take(resource, Tick(), self.time.now)
        self._take_all()
        self._give_turns()
        if self._words is not None:
            self._words.publish()
        again = math.inf
        in_place = [self._keep_in_place(each) for each in self.offered()] if self.folder.exists else []
        if not all(in_place):
            again = self.time.now + pauses.BIND_RETRY.seconds
        check_ways_out(self.time, self.name, self.resources.values(), self._happened)
        self._set_alarm(min([again, *(each.registration.deadline for each in self.resources.values())]))

    def _set_alarm(self, at: float) -> None:
        """Follow again at this time at the latest."""
        self._alarm = at
        if at < math.inf:
            self.later(max(at - self.time.now, 0.0), self._ring, at)

    def _ring(self, at: float) -> None:
        if at == self._alarm:
            self.wake()

    def _take_all(self, *kinds: type[Event]) -> None:
        while taken := [each for each in self._happened if not kinds or isinstance(each[1], kinds)]:
            self._happened = [each for each in self._happened if kinds and not isinstance(each[1], kinds)]
            for resource, event, at in taken:
                self._take(resource, event, at if isinstance(event, StreamOpened | StreamEnded) else self.time.now)

    def _take(self, resource: Resource, event: Event, at: float) -> None:
        around = Surroundings(at, ladder(self.allowed, self._last), self.time.random.random())
        before = resource.registration
        resource.registration, actions = step(before, event, around)
        check_step(self.time, self._counts, before, event, resource.registration)
        check_handover(self.time, resource, before, event, resource.registration)
        is_news = type(before.state) is not type(resource.registration.state)
        if is_news or not isinstance(event, Tick | OthersSeen):
            self.time.tell(self.name, resource.name, event, "->", resource.registration.state, *actions)
        for action in actions:
            self._perform(resource, action)
        if isinstance(resource.registration.state, Waiting):
            resource.lists.go_on()
        self._forget_closed(resource)
        state = resource.registration.state
        if isinstance(state, Accepted | Streaming):
            self._last = state.dialect.version

    def _check_pace(self) -> None:
        at, rounds = self._rounds
        self._rounds = (self.time.now, rounds + 1) if self.time.now - at < 0.01 else (self.time.now, 0)
        self.time.must(rounds < MAX_ROUNDS, f"{self.name} follows without an end")

    # What the machine wants done.

    def _perform(self, resource: Resource, action: Action) -> None:
        match action:
            case Register():
                self._register(resource, action)
            case Abandon(attempt):
                if (call := resource.calls.pop(attempt, None)) is not None:
                    call.is_given_up = True
            case Close(attempt) if attempt in resource.named:
                socket, endpoints = resource.named[attempt]
                endpoints.close_one(socket)
            case Reuse(attempt) if attempt in resource.named:
                resource.named.pop(attempt)[0].attempt = None
            case CloseAll():
                self._close_withdrawn(resource)
            case LookForOthers():
                self._note_others(resource)
            case ListAgain():
                resource.lists.repeat()
            case ReportRegistered(attempt) | ReportStreamEnded(attempt):
                resource.named[attempt][1].mark()
            case _:
                pass

    def _register(self, resource: Resource, action: Register) -> None:
        socket = resource.endpoints.fresh() if resource.endpoints is not None else None
        if socket is None or resource.endpoints is None:
            self._note(resource, Answered(action.attempt, Refusal(Failure.CANNOT_SERVE)))
            return
        socket.attempt = action.attempt
        resource.named[action.attempt] = (socket, resource.endpoints)
        call = resource.calls[action.attempt] = Call(self, action.attempt, socket, action.dialect.version)
        kubelet = self.folder.kubelet
        if self.folder.identity is None or kubelet is None or not kubelet.is_alive:
            failure = Failure.NO_KUBELET_SOCKET if self.folder.identity is None else Failure.NOBODY_LISTENS
            self.soon(self._take_answer, call, Refusal(failure))
            return
        self.time.soon(kubelet.reach, call)
        self.later(pauses.ANSWER.seconds, self._time_out, call)

    def _time_out(self, call: Call) -> None:
        self._take_answer(call, Refusal(Failure.NO_ANSWER))
        call.is_given_up = True

    def _forget_closed(self, resource: Resource) -> None:
        known = resource.registration.dials
        resource.named = {
            attempt: named for attempt, named in resource.named.items() if attempt in known or not named[0].is_closing
        }

    def _close_withdrawn(self, resource: Resource) -> None:
        for endpoints in resource.withdrawn:
            resource.named = {each: named for each, named in resource.named.items() if named[1] is not endpoints}
            for socket in endpoints.all():
                self._close_socket(socket)
        resource.withdrawn = []

    # Sockets.

    def _new_socket(self, resource: str) -> Socket | None:
        """Bind a socket. None if that is not possible."""
        if not (self.can_bind and self.folder.exists):
            return None
        self._numbers += 1
        socket = Socket(self, self.instance, resource, f"{resource}-{self.instance}-{self._numbers}")
        self._sockets[socket] = None
        self.folder.bind(socket)
        return socket

    def _close_socket(self, socket: Socket) -> None:
        socket.is_given_up = True
        self.soon(self._finish, socket)

    def _finish(self, socket: Socket) -> None:
        """End the streams of a socket and remove it."""
        if not socket.is_closing:
            socket.is_closing = True
            socket.is_listening = False
            self._sockets.pop(socket, None)
            self._end_stream(socket)
            for connection in socket.made:
                connection.end_by_plugin()
            self.folder.unlink(socket)

    def _keep_in_place(self, resource: Resource) -> bool:
        return resource.endpoints is None or resource.endpoints.keep_in_place(resource.socket)

    # The kubelet and other gateways.

    def _follow_kubelet(self, found: Identity | None) -> None:
        was_present, self._is_present = self._is_present, found is not None
        if found is None:
            if was_present:
                self._tell_all(KubeletGone())
            return
        before, self._identity = self._identity, found
        if self._kubelet is not None and before == found and was_present:
            return
        touched = self._kubelet.life if self._kubelet is not None and before and before.shares_inode(found) else None
        if self._kubelet is None or before != found:
            self._lives += 1
            self._kubelet = Kubelet(self._lives, self.time.now, just_started=was_present is False)
        self.saw_kubelet = self.time.now
        reason = Reason.KUBELET_REPLACED if was_present else Reason.KUBELET_APPEARED
        self._tell_all(KubeletSeen(self._kubelet, reason, touched))

    def _tell_all(self, event: KubeletSeen | KubeletGone) -> None:
        ended = [(resource, each.attempt) for resource, each, _ in self._happened if isinstance(each, StreamEnded)]
        for resource in self.resources.values():
            is_withdrawn = isinstance(resource.registration.state, Leaving)
            is_over = not is_withdrawn and (resource, resource.registration.attempt) in ended
            own = event._replace(touched=None) if isinstance(event, KubeletSeen) and is_over else event
            self._take(resource, own, self.time.now)

    def _look_for_others(self) -> None:
        came = self._newcomers
        for resource in self.offered():
            if resource.endpoints is not None and (came or resource.registration.precedence.known):
                resource.endpoints.mark()
                self._note_others(resource)
        self._newcomers = came and self._neighbours.has_newcomers(self.resources)

    def _give_turns(self) -> None:
        chosen = next_turn(each.registration for each in self.resources.values())
        for resource in self.resources.values():
            if resource.registration is chosen:
                self._take(resource, TurnGiven(), self.time.now)
                return
