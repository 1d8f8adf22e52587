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
"""A link that is lost this many times within the window has a bad cable or transceiver."""
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


class _Loss(NamedTuple):
    at: float
    losses: int
    symbol_errors: int


@dataclass(slots=True)
class _Port:
    is_up: bool | None = None
    """None if it was not seen yet."""
    counters: Counters = Counters(None, None, None)  # noqa: RUF009 - a constant
    changes: int = 0
    losses: deque[_Loss] = field(default_factory=lambda: deque(maxlen=_MAX_LOOKS))


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
        grown = [_growth(*each) for each in zip(known.counters, counters, strict=True)]
        known.counters = Counters(
            *(old if new is None else new for old, new in zip(known.counters, counters, strict=True))
        )
        has_changed = was_up is not None and was_up != is_up
        known.changes += max(int(has_changed), grown[0], grown[1])
        losses = max(int(has_changed and not is_up), grown[0] // 2, grown[1])
        if losses or grown[2]:
            known.losses.append(_Loss(now, losses, grown[2]))

    def changes(self, port: PortId) -> int:
        """Return how often a port lost its link or got one, as far as it was seen."""
        return self._ports[port].changes if port in self._ports else 0

    def errors(self, port: PortId, now: float) -> str:
        """Return that a port lost its link too often, or has too many errors, for people. Empty if it has not."""
        recent = [each for each in self._ports.get(port, _Port()).losses if now - each.at <= WINDOW]
        if sum(each.losses for each in recent) >= MAX_LOSSES:
            return f"port {port.number} lost its link {MAX_LOSSES} times or more within {WINDOW / 60:g} minutes"
        if sum(each.symbol_errors for each in recent) >= MAX_SYMBOL_ERRORS:
            return f"port {port.number} has {MAX_SYMBOL_ERRORS} symbol errors or more within {WINDOW / 60:g} minutes"
        return ""


def _growth(before: int | None, after: int | None) -> int:
    """Return by how much a counter grew. One that was reset begins anew."""
    return 0 if before is None or after is None else max(0, after - before)
