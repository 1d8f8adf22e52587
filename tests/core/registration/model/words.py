"""What the gateways of a node say to each other over their control sockets, as the adapter does."""

from collections.abc import Callable, Collection, Mapping
from functools import partial
from typing import TYPE_CHECKING

from core.registration.model.virtual_time import Process, Time
from plugin_gateway.core.registration import pauses
from plugin_gateway.core.registration.states import Absent, StandingBy, Streaming
from plugin_gateway.core.registration.values import Agreed, MayShare, OtherLeft, Replaced

if TYPE_CHECKING:
    from core.registration.model.checks import Resource
    from core.registration.model.gateways import Gateway

FIRST_ANSWER = 5.0
AGAIN = 0.01
MIN_RETRY, MAX_RETRY = 0.1, 10.0
SAY_AGAIN = 1.0

Names = frozenset[str]
"""Resources."""
Others = Mapping[str, Names]
"""Instances of gateways, each with resources."""


class ControlSockets:
    """The control sockets of a node."""

    def __init__(self, time: Time) -> None:
        self.time = time
        self.words: dict[str, Words] = {}
        """The gateways that listen, by instance."""
        self.delay = 0.0
        """Seconds by which each word comes late."""

    def break_all(self) -> None:
        """Break every connection."""
        for words in self.words.values():
            words.break_connections()


class Conversation:
    """A connection to the control socket of another gateway. What arrives, arrives in order."""

    def __init__(self, asker: "Words", asked: "Words", names: Names, take: Callable[[Names | None], None]) -> None:
        """``take`` is called with each answer. None: the connection broke, or there was none in time."""
        self.asker = asker
        self.asked = asked
        self.names = names
        """The resources that it is about."""
        self.is_open = True
        self._take = take
        self._arrived = 0.0
        self._is_answered = False
        asked.connections[self] = None
        asker.gateway.later(FIRST_ANSWER, self._time_out)

    def send(self, to: Process, work: Callable[..., None], *arguments: object) -> None:
        """Let something arrive at one of both sides."""
        time, sockets = self.asker.gateway.time, self.asker.sockets
        self._arrived = max(self._arrived, time.now + sockets.delay + time.delay())
        time.after(self._arrived - time.now, to.deliver, work, *arguments)

    def answer(self, names: Names) -> None:
        self.send(self.asker.gateway, self._arrive, names)

    def fail(self) -> None:
        """Break the connection."""
        self.asked.connections.pop(self, None)
        self.send(self.asker.gateway, self._arrive, None)

    def close(self) -> None:
        """Close the connection from the side of who asked."""
        if self.is_open:
            self.is_open = False
            self.send(self.asked.gateway, self.asked.forget, self)

    def _arrive(self, names: Names | None) -> None:
        if self.is_open:
            self._is_answered = True
            if names is None:
                self.close()
            self._take(names)

    def _time_out(self) -> None:
        if not self._is_answered:
            self._arrive(None)


class Words:
    """What one gateway says, asks and answers."""

    def __init__(self, gateway: "Gateway", sockets: ControlSockets) -> None:
        self.gateway = gateway
        self.sockets = sockets
        self.answering: set[str] = set()
        """The instances that can be asked."""
        self.connections: dict[Conversation, None] = {}
        """Those that others have made."""
        self._waiting: dict[Conversation, None] = {}
        """Those over which others wait for a word."""
        self._asked: dict[tuple[str, Names], Question] = {}
        self._held: Names = frozenset()
        self._sharing: Others = {}
        self._told: Others = {}
        self._is_telling = False
        sockets.words[gateway.instance] = self

    # As one that is asked.

    def publish(self) -> None:
        """Say and ask what has changed in the registrations."""
        awaited = set(_by_instance(self.gateway.offered(), _awaited).items())
        for key in self._asked.keys() - awaited:
            self._asked.pop(key).cancel()
        for key in sorted(awaited - self._asked.keys(), key=lambda each: each[0]):
            self._asked[key] = Question(self, *key)
        before, self._sharing = self._sharing, _by_instance(self.gateway.offered(), _sharing)
        if self._sharing != before:
            self._tell_replaced()
        held, self._held = self._held, frozenset(each.name for each in self.gateway.resources.values() if _holds(each))
        if held - self._held:
            self._tell_left()

    def end(self, *, in_order: bool) -> None:
        """End with the process. Only one that ends in order says so."""
        del self.sockets.words[self.gateway.instance]
        for each in self._waiting if in_order else ():
            each.answer(each.names)
        self.break_connections()
        for question in self._asked.values():
            question.cancel()

    def break_connections(self) -> None:
        for each in list(self.connections):
            each.fail()

    def forget(self, conversation: Conversation) -> None:
        """Go on if a gateway has gone away that might have replaced this one."""
        self.connections.pop(conversation, None)
        if conversation in self._waiting:
            del self._waiting[conversation]
            for resource in self.gateway.resources.values():
                if resource.name in conversation.names:
                    resource.lists.go_on()

    def await_leave(self, conversation: Conversation) -> None:
        conversation.answer(frozenset())
        self._waiting[conversation] = None
        self._tell_left()

    def share(self, conversation: Conversation) -> None:
        """Answer for which resources this gateway can be replaced."""
        agreed = [
            each
            for each in self.gateway.offered()
            if isinstance(each.registration.state, Streaming) and each.name in conversation.names
        ]
        for each in agreed:
            self.gateway.hear(each.name, Agreed())
            each.lists.keep_back()
        conversation.answer(frozenset(each.name for each in agreed))

    def take_over(self, conversation: Conversation) -> None:
        """End the streams that another gateway replaces."""
        for name in sorted(conversation.names & self.gateway.resources.keys()):
            self.gateway.look_for_others(name)
            self.gateway.hear(name, Replaced(conversation.asker.gateway.instance))
        conversation.answer(frozenset())

    def _tell_left(self) -> None:
        for each in list(self._waiting):
            if left := each.names - self._held:
                del self._waiting[each]
                self.connections.pop(each, None)
                each.answer(left)

    # As one that asks.

    def open(
        self,
        instance: str,
        names: Names,
        work: Callable[["Words", Conversation], None],
        take: Callable[[Names | None], None],
    ) -> Conversation | None:
        """Ask another gateway. None if nobody listens."""
        asked = self.sockets.words.get(instance)
        if asked is None:
            return None
        conversation = Conversation(self, asked, names, take)
        conversation.send(asked.gateway, work, asked, conversation)
        return conversation

    def _tell_replaced(self) -> None:
        """Tell each older gateway when this one has had a stream beside it for a while, until it ends its own."""
        if not self._is_telling:
            self._is_telling, sharing = True, self._sharing
            self.gateway.later(0.0 if sharing == self._told else pauses.BOTH_HOLD.seconds, self._say, sharing)

    def _say(self, sharing: Others) -> None:
        self._is_telling = False
        if self._sharing != sharing:
            self._tell_replaced()  # a stream has ended meanwhile
            return
        was_told, self._told = sharing == self._told, sharing
        for instance, names in sharing.items():
            replace = partial(self._replace, instance, names)
            if not was_told:
                replace(None)
            else:  # it may have forgotten that it agreed, because it saw a kubelet.sock meanwhile
                self.open(instance, names, Words.share, replace)
        if sharing:
            self.gateway.later(SAY_AGAIN, self._tell_replaced)

    def _replace(self, instance: str, names: Names, _agreed: Names | None) -> None:
        self.open(instance, names, Words.take_over, lambda _: None)


class Question:
    """Asks one gateway for the word that it leaves, again and again, and whether it can be replaced."""

    def __init__(self, words: Words, instance: str, names: Names) -> None:
        self._words = words
        self._instance = instance
        self._names = names
        self._open: list[Conversation] = []
        self._is_over = False
        self._pause = MIN_RETRY
        self._began = 0.0
        self._answered_before = False
        self._left: list[Names | None] = []
        """What came while the answer to another question was awaited."""
        words.gateway.soon(self._begin)

    def cancel(self) -> None:
        self._is_over = True
        self._words.answering.discard(self._instance)
        self._close()

    def _close(self) -> None:
        for each in self._open:
            each.close()
        self._open = []

    def _begin(self) -> None:
        if self._is_over:
            return
        self._answered_before = self._instance in self._words.answering
        self._began = self._words.gateway.time.now
        self._left = []
        if not self._ask(Words.await_leave, self._take_first):
            if self._answered_before:
                self._note_left(self._names)
            else:
                self._fail()

    def _ask(
        self, work: Callable[[Words, Conversation], None], take: Callable[[Names | None], None]
    ) -> Conversation | None:
        conversation = self._words.open(self._instance, self._names, work, take)
        if conversation is not None:
            self._open.append(conversation)
        return conversation

    def _take_first(self, answer: Names | None) -> None:
        """Take what comes over the first connection: that the other one waits, then what it has given up."""
        if len(self._open) > 1:
            self._left.append(answer)
        elif answer is None:
            self._fail()
        elif answer:
            self._note_left(answer)
        else:
            self._words.answering.add(self._instance)
            is_older = self._instance < self._words.gateway.instance
            if is_older and not self._ask(Words.share, self._take_agreed):
                self._fail()

    def _take_agreed(self, agreed: Names | None) -> None:
        if agreed is None:
            self._fail()
            return
        self._open.pop().close()
        self._words.gateway.time.tell(self._words.gateway.name, "may replace", self._instance, *sorted(agreed))
        for name in sorted(agreed & self._names):
            self._words.gateway.hear(name, MayShare(self._instance))
        for left in self._left:
            self._take_first(left)

    def _note_left(self, names: Names) -> None:
        self.cancel()
        for name in sorted(names & self._names):
            self._words.gateway.hear(name, OtherLeft(self._instance))

    def _fail(self) -> None:
        """Ask again."""
        words, pause = self._words, self._pause
        self._close()
        if words.gateway.time.now - self._began > MAX_RETRY:
            self._pause = pause = MIN_RETRY
        if not self._answered_before and self._instance in words.answering:
            pause = AGAIN
        else:
            words.answering.discard(self._instance)
            self._pause = min(2 * pause, MAX_RETRY)
        words.gateway.later(pause, self._begin)


def _by_instance(resources: "Collection[Resource]", instances: "Callable[[Resource], Collection[str]]") -> Others:
    found: dict[str, Names] = {}
    for resource in resources:
        for instance in instances(resource):
            found[instance] = found.get(instance, frozenset()) | {resource.name}
    return found


def _awaited(resource: "Resource") -> Collection[str]:
    precedence = resource.registration.precedence
    return sorted(precedence.awaited if isinstance(resource.registration.state, StandingBy) else precedence.shared)


def _sharing(resource: "Resource") -> Collection[str]:
    registration = resource.registration
    return sorted(registration.precedence.sharing) if isinstance(registration.state, Streaming) else ()


def _holds(resource: "Resource") -> bool:
    registration = resource.registration
    return (
        resource.endpoints is not None
        or not isinstance(registration.state, Absent)
        or any(dial.opened is not None for dial in registration.dials.values())
    )
