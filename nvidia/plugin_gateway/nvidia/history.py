"""What earlier checks have seen of a GPU. Some problems show only over time.

All times are in seconds, on a clock of the caller. Links that train, and a GPU that joins the fabric, are no fault for
the time that they usually take. During that time the question has no answer: an earlier problem goes on, and there is
no new one.
"""

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from plugin_gateway.core.devices import PhysicalId
from plugin_gateway.core.health.policy import EvidenceKind
from plugin_gateway.nvidia.evidence import FABRIC, FABRIC_DEGRADED, HARDWARE_SLOWDOWN, NVLINK_DOWN
from plugin_gateway.nvidia.fabric import FabricView
from plugin_gateway.nvidia.later_calls import Slowdown
from plugin_gateway.nvidia.pace import Pace

SLOWDOWN_MEMORY = 600.0
"""Seconds for which a slowdown counts after it was seen. One that comes and goes is therefore reported once."""
MAX_LINKS_NAMED = 4
"""Links that are listed in words. Of the others only the number is told."""
_SLOWDOWN_WORDS: Mapping[Slowdown, str] = {
    Slowdown.TEMPERATURE: "it is too hot",
    Slowdown.POWER_BRAKE: "the power supply asks for it",
    Slowdown.OTHER: "the driver does not tell why",
}


class Finding(NamedTuple):
    """The problems that a question showed, and the kinds of problems that are not known."""

    problems: Mapping[EvidenceKind, str]
    unanswered: frozenset[EvidenceKind] = frozenset()


class FabricHistory:
    """The state of one GPU in the NVLink fabric."""

    def __init__(self, training: float) -> None:
        self._training = training
        self._unfinished_since: float | None = None

    def restart(self) -> None:
        """Start again, because the GPU was not watched for a time."""
        self._unfinished_since = None

    def find(self, view: FabricView | None, now: float) -> Finding:
        """Return what is wrong. ``view`` is None if the report of the driver was not understood."""
        if view is None:
            return Finding({}, frozenset({FABRIC, FABRIC_DEGRADED}))
        if not view.unfinished:
            self._unfinished_since = None
        elif self._unfinished_since is None:
            self._unfinished_since = now
        is_late = self._unfinished_since is not None and now - self._unfinished_since >= self._training
        reasons = (*view.broken, *(view.unfinished if is_late else ()))
        problems: dict[EvidenceKind, str] = {}
        if reasons:
            problems[FABRIC] = f"NVLink fabric: {'; '.join(reasons)}"
        if view.degraded:
            problems[FABRIC_DEGRADED] = f"NVLink fabric: {'; '.join(view.degraded)}"
        return Finding(problems, frozenset({FABRIC}) if view.unfinished and not reasons else frozenset())


class LinkHistory:
    """The NVLinks of one GPU. Only a link that this process has seen up can be down."""

    def __init__(self, training: float, interval: float) -> None:
        self._training = training
        self._interval = interval
        self._due = -math.inf
        self._were_up: set[int] = set()
        self._down_since: dict[int, float] = {}
        self._never_up: frozenset[int] = frozenset()
        self._has_found = False
        """Whether this process has found a problem. Then it is not an earlier one about a link that was never up."""
        self.links: Sequence[int] | None = None
        """The links that the GPU has. None if this session has not asked yet."""

    def begin_session(self) -> None:
        """Start again with a new session of the driver. It may know other links."""
        self.links = None
        self.restart()

    def restart(self) -> None:
        """Start again, because the GPU was not watched for a time. The links may have to train again."""
        self._due = -math.inf
        self._down_since.clear()

    def is_due(self, now: float) -> bool:
        """Whether the links should be looked at now. Each look takes a call for each link."""
        return self.links != () and now >= self._due

    def see(self, states: Mapping[int, bool], now: float) -> None:
        """Take what a look has seen: whether each link is up."""
        self.links = tuple(states)
        self._due = now + self._interval
        self._were_up |= {link for link, is_up in states.items() if is_up}
        down = {link for link, is_up in states.items() if not is_up}
        self._never_up = frozenset(down - self._were_up)
        self._down_since = {link: self._down_since.get(link, now) for link in sorted(down & self._were_up)}

    def rest(self, now: float) -> None:
        """Take that a look has found links out of use, which is no fault. Forget which links were up."""
        self.links = None
        self.restart()
        self._due = now + self._interval
        self._were_up.clear()
        self._never_up = frozenset()

    def find(self, now: float) -> Finding:
        """Return what is wrong by the latest look."""
        down = [link for link, since in self._down_since.items() if now - since >= self._training]
        if down:
            self._has_found = True
            return Finding({NVLINK_DOWN: _words_of_links(down)})
        is_open = bool(self._down_since) or (bool(self._never_up) and not self._has_found)
        return Finding({}, frozenset({NVLINK_DOWN}) if is_open else frozenset())


def _words_of_links(links: Sequence[int]) -> str:
    if len(links) == 1:
        return f"NVLink {links[0]} was up and is down"
    more = f" and {len(links) - MAX_LINKS_NAMED} more" if len(links) > MAX_LINKS_NAMED else ""
    return f"NVLinks {', '.join(map(str, links[:MAX_LINKS_NAMED]))}{more} were up and are down"


class SlowdownHistory:
    """The slowdowns of one GPU by its hardware. They come and go."""

    def __init__(self) -> None:
        self._counts_until: dict[Slowdown, float] = {}
        self._other_since: float | None = None

    def see(self, slowdown: Slowdown, now: float) -> None:
        """Take what the driver reports.

        A slowdown without a reason counts if it is there twice in a row. NVML reports one also while clocks change.
        """
        if slowdown != Slowdown.OTHER:
            self._other_since = None
            slowdown &= ~Slowdown.OTHER  # the driver sets it together with each reason
        elif self._other_since is None or now <= self._other_since:
            self._other_since = now
            return
        self._counts_until.update(dict.fromkeys(slowdown, now + SLOWDOWN_MEMORY))

    def find(self, now: float) -> Finding:
        """Return what has slowed the GPU down lately."""
        reasons = [words for each, words in _SLOWDOWN_WORDS.items() if now < self._counts_until.get(each, -math.inf)]
        if not reasons:
            return Finding({})
        return Finding({HARDWARE_SLOWDOWN: f"its hardware slows it down: {', '.join(reasons)}"})


class History:
    """What earlier checks have seen of one GPU."""

    def __init__(self, pace: Pace) -> None:
        self.fabric = FabricHistory(pace.training)
        self.links = LinkHistory(pace.training, pace.links)
        self.slowdown = SlowdownHistory()
        self.unsupported: set[object] = set()
        """The questions that the GPU or the driver does not support in this session."""

    def begin_session(self) -> None:
        """Start again with a new session of the driver."""
        self.unsupported.clear()
        self.fabric.restart()
        self.links.begin_session()

    def restart(self) -> None:
        """Start again, because the GPU did not answer."""
        self.fabric.restart()
        self.links.restart()


class Histories:
    """The history of each GPU. They last as long as the process."""

    def __init__(self, pace: Pace) -> None:
        self._pace = pace
        self._of: dict[PhysicalId, History] = {}

    def begin_session(self) -> None:
        """Start again with a new session of the driver."""
        for history in self._of.values():
            history.begin_session()

    def of(self, device: PhysicalId) -> History:
        """Return the history of a GPU."""
        if device not in self._of:
            self._of[device] = History(self._pace)
        return self._of[device]
