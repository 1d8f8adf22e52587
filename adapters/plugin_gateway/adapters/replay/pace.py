"""What of a recording cannot be played faster than it was: registration keeps the gateway's own clock."""

import time
from typing import NamedTuple

from plugin_gateway.adapters.registration.registration import JUST_STARTED
from plugin_gateway.adapters.registration.retry import SAME_KUBELET_PAUSE
from plugin_gateway.adapters.replay.kubelet_side import TIMEOUT
from plugin_gateway.adapters.replay.reading import Happening
from plugin_gateway.adapters.serving.resource import GRANT_GRACE
from plugin_gateway.core.health.observations import InventorySeen

MARGIN = 1.25
MAX_TIMEOUT = 40.0
"""Seconds; a Register that nobody answers is given up after 25."""
FURTHER = SAME_KUBELET_PAUSE + 0.1
"""Seconds in which the gateway registers again with the same kubelet, if it does."""
_ENDS = frozenset({"kubelet", "replaced", "stopping", "end"})
_OF_REGISTRATION = frozenset({"register", "answered", "opened", "ended", "kubelet", "replaced", "configured"})


class _Mark(NamedTuple):
    at: float
    """Seconds since the recording began."""
    real: float
    """On the monotonic clock."""


class Pace:
    """Tells how long to wait before a line, and for what the gateway does by a clock of its own."""

    def __init__(self) -> None:
        self._grant: _Mark | None = None
        self._kubelet: _Mark | None = None
        self._registration = _Mark(0.0, time.monotonic())

    def note(self, happening: Happening) -> None:
        """Take a line that was just played."""
        now = _Mark(happening.at, time.monotonic())
        if happening.what in _OF_REGISTRATION:
            self._registration = now
        if happening.what in {"kubelet", "replaced"}:
            self._kubelet = now
        if happening.what == "call" and happening.fields["method"] == "Allocate":
            self._grant = now

    def wait_for(self, happening: Happening) -> float:
        """Tell how many seconds to wait before a line that means another thing soon after what went before it.

        A kubelet that was just born knows no device yet; a device that was just granted leaves the list later; and
        what is registered once more than then comes before the kubelet's end, or not at all.
        """
        if happening.what in _ENDS:
            return max(_left(self._registration, happening.at, FURTHER), 0.0)
        is_inventory = happening.what == "seen" and isinstance(happening.fields["observation"], InventorySeen)
        if not is_inventory and happening.what != "configured":
            return 0.0
        limits = ((self._kubelet, JUST_STARTED), (self._grant, GRANT_GRACE))
        return max([0.0, *(_left(mark, happening.at, limit * MARGIN) for mark, limit in limits if mark is not None)])

    def timeout(self, at: float) -> float:
        """Tell for how many seconds to wait for a registration: the pause before it is left to chance in part."""
        return min(TIMEOUT + max(at - self._registration.at, 0.0) * 1.5, MAX_TIMEOUT)


def _left(mark: _Mark, at: float, limit: float) -> float:
    """Tell how much of the time that passed then, up to a limit, has yet to pass."""
    return min(at - mark.at, limit) - (time.monotonic() - mark.real)
