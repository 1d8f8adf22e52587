"""How often ports lost their link or got one, and whether that was too often."""

from collections import deque
from dataclasses import dataclass, field
from typing import NamedTuple

from plugin_gateway.linux.card_model import PortId, Unread
from plugin_gateway.linux.facts import PortState
from plugin_gateway.rdma.diagnosis import is_active

WINDOW = 600.0
"""Seconds within which lost links and errors are counted."""
MAX_LOSSES = 3
"""A link that is lost and comes back this many times within the window has a bad cable or transceiver."""
MAX_SYMBOL_ERRORS = 20
"""As many symbol errors within the window are 120 in an hour, from which on a cable of InfiniBand counts as bad."""
_MAX_LOOKS = 64
"""Looks with an error that are kept for each port."""


class Counters(NamedTuple):
    """What the kernel counts for a port since its driver was loaded. None where it does not."""

    carrier_changes: int | None
    """How often the interface lost its link or got one."""
    link_downed: int | None
    """How often the port lost its link."""
    symbol_errors: int | None


class _Recent(NamedTuple):
    at: float
    changes: int
    symbol_errors: int


@dataclass(slots=True)
class _Port:
    is_up: bool | None = None
    """None if it was not seen yet."""
    counters: Counters = Counters(None, None, None)  # noqa: RUF009 - a constant
    changes: int = 0
    recent: deque[_Recent] = field(default_factory=lambda: deque(maxlen=_MAX_LOOKS))


class PortHistory:
    """What was seen of each port so far. A port that was not looked at for a while goes on where it was."""

    def __init__(self) -> None:
        self._ports: dict[PortId, _Port] = {}

    def keep_only(self, ports: set[PortId]) -> None:
        """Forget the other ports."""
        self._ports = {port: known for port, known in self._ports.items() if port in ports}

    def look(self, port: PortId, state: PortState | Unread, counters: Counters, now: float) -> None:
        """Take down what is seen of a port. ``now`` is on a clock that nobody sets."""
        known = self._ports.setdefault(port, _Port())
        is_up = is_active(state) if isinstance(state, PortState) else known.is_up
        was_up, known.is_up = known.is_up, is_up
        carrier, downed, symbol_errors = map(_growth, known.counters, counters)
        known.counters = Counters(*map(_latest, known.counters, counters))
        by_state = max(int(was_up is not None and was_up != is_up), downed or 0)
        # The state of the port follows its interface a moment later, and that is the same change.
        changes = by_state if carrier is None else carrier
        known.changes += changes
        noticed = max(changes, 2 * (downed or 0))
        if noticed or symbol_errors:
            known.recent.append(_Recent(now, noticed, symbol_errors or 0))
        while known.recent and now - known.recent[0].at > WINDOW:
            known.recent.popleft()

    def is_recent(self, port: PortId) -> bool:
        """Whether something was seen of a port that counts only for a while."""
        return port in self._ports and bool(self._ports[port].recent)

    @property
    def depends_on_time(self) -> bool:
        """Whether something was seen that counts only for a while."""
        return any(known.recent for known in self._ports.values())

    def changes(self, port: PortId) -> int:
        """Return how often a port lost its link or got one, as far as it was seen."""
        return self._ports[port].changes if port in self._ports else 0

    def errors(self, port: PortId, now: float) -> str:
        """Return that a port lost its link too often, or has too many errors, for people. Empty if it has not."""
        recent = [each for each in self._ports.get(port, _Port()).recent if now - each.at <= WINDOW]
        within = f"within {WINDOW / 60:g} minutes"
        if sum(each.changes for each in recent) >= 2 * MAX_LOSSES:
            return f"port {port.number} lost its link {MAX_LOSSES} times or more {within}"
        if sum(each.symbol_errors for each in recent) >= MAX_SYMBOL_ERRORS:
            return f"port {port.number} has {MAX_SYMBOL_ERRORS} symbol errors or more {within}"
        return ""


def _growth(before: int | None, after: int | None) -> int | None:
    """Return by how much a counter grew. None if it is not known. One that was reset begins anew."""
    return None if before is None or after is None else max(0, after - before)


def _latest(before: int | None, after: int | None) -> int | None:
    return before if after is None else after
