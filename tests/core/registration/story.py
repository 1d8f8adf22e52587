"""One registration on its way through virtual time: events go in, and what is to be done is kept."""

from collections.abc import Sequence
from typing import TypeVar

from plugin_gateway.core.registration.failures import Failure, Reason, Refusal
from plugin_gateway.core.registration.machine import step
from plugin_gateway.core.registration.precedence import OtherGateway, Precedence
from plugin_gateway.core.registration.states import Registration, State
from plugin_gateway.core.registration.values import (
    Action,
    Added,
    Answered,
    AskedForOptions,
    Event,
    Kubelet,
    KubeletSeen,
    LookForOthers,
    Manners,
    OthersSeen,
    Register,
    StreamEnded,
    StreamOpened,
    Surroundings,
    Tick,
)

NEWEST = Manners("v1beta1", 15.0, dials_before_answer=True, one_resource_at_a_time=False)
MIDDLE = Manners("v1alpha2", 3.0, dials_before_answer=False, one_resource_at_a_time=False)
OLDEST = Manners("0.1", 3.0, dials_before_answer=False, one_resource_at_a_time=True)
DIALECTS = (NEWEST, MIDDLE, OLDEST)
"""Those of the gateway, as the state machine knows them."""
YOUNGER = OtherGateway("z", "z.sock", 1, has_stream=False)
ELDER = OtherGateway("a", "a.sock", 1, has_stream=False)
REFUSED = Refusal(Failure.REFUSED)
UNKNOWN = Refusal(Failure.PACKAGE_UNKNOWN)

_A = TypeVar("_A")


class Story:
    """The gateway "m" with one resource."""

    def __init__(self, ladder: Sequence[Manners] = DIALECTS) -> None:
        self.now = 1024.0
        self.ladder = ladder
        self.others: Sequence[OtherGateway] = ()
        self.registration = Registration(Precedence("m"))
        self.actions: list[Action] = []
        """What the last events led to."""
        self._lives = 0

    @property
    def state(self) -> State:
        return self.registration.state

    @property
    def attempt(self) -> int:
        return self.registration.attempts

    def take(self, *events: Event) -> "Story":
        """Take events one after the other. The other gateways are looked for when that is asked for."""
        self.actions = []
        for event in events:
            self._take(event)
        return self

    def _take(self, event: Event) -> None:
        around = Surroundings(self.now, self.ladder)
        self.registration, actions = step(self.registration, event, around)
        self.actions += actions
        if LookForOthers() in actions:
            self._take(OthersSeen(self.others))

    def sleep(self, seconds: float) -> "Story":
        """Let time pass. Whatever is due meanwhile is done then."""
        end, done = self.now + seconds, list[Action]()
        while self.registration.deadline <= end:
            self.now = max(self.now, self.registration.deadline)
            before = self.registration
            done += self.take(Tick()).actions
            assert self.registration != before, "what is due changes something"
        self.now, self.actions = end, done
        return self

    def did(self, kind: type[_A]) -> list[_A]:
        """Return what is to be done of one kind."""
        return [each for each in self.actions if isinstance(each, kind)]

    # What often happens.

    def kubelet(self, *, touched: bool = False) -> "Story":
        """See another kubelet.sock, with the inode of the last one perhaps."""
        self._lives += 1
        seen = Kubelet(self._lives, self.now, just_started=False)
        return self.take(KubeletSeen(seen, Reason.KUBELET_REPLACED, self._lives - 1 if touched else None), Tick())

    def register(self) -> "Story":
        """Offer the resource to a kubelet."""
        self.take(Added()).kubelet()
        assert self.did(Register)
        return self

    def accept(self) -> "Story":
        return self.take(Answered(self.attempt, None))

    def refuse(self, refusal: Refusal = REFUSED) -> "Story":
        return self.take(Answered(self.attempt, refusal))

    def ask(self) -> "Story":
        return self.take(AskedForOptions(self.attempt))

    def open(self, attempt: int | None = None) -> "Story":
        return self.take(StreamOpened(attempt or self.attempt))

    def end(self, attempt: int | None = None) -> "Story":
        return self.take(StreamEnded(attempt or self.attempt))

    def stream(self) -> "Story":
        """Reach the open stream, with a kubelet of 1.25 or later."""
        return self.register().ask().accept().open()

    def until_register(self) -> float:
        """Let time pass until the next Register, and return how long that took."""
        began = self.now
        while not self.did(Register):
            wait = self.registration.deadline - self.now
            assert wait < 100, f"nothing is due in {self.state}"
            self.sleep(max(wait, 0.0))
        return self.now - began
