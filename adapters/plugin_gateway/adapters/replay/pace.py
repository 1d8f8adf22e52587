"""Pauses of a replay. Most of a recording is played without any; registration uses the real clock, and needs them."""

import time
from typing import NamedTuple

from plugin_gateway.adapters.replay.kubelet_side import TIMEOUT
from plugin_gateway.adapters.replay.reading import Happening
from plugin_gateway.adapters.serving.resource import GRANT_GRACE
from plugin_gateway.core.health.observations import InventorySeen
from plugin_gateway.core.registration import pauses

MARGIN = 1.25
"""The factor by which pauses are longer than the times of the gateway that they are for."""
MAX_TIMEOUT = 40.0
"""Seconds. A Register without an answer ends after 25."""
FURTHER = pauses.SAME_KUBELET.seconds + 0.1
"""Seconds after which the gateway has registered again with the same kubelet, if it does so at all."""
_ENDS = frozenset({"kubelet", "replaced", "stopping", "end"})
"""Kinds of lines that end a kubelet or the recording."""
_OF_REGISTRATION = frozenset({"register", "answered", "opened", "ended", "kubelet", "replaced", "configured"})
"""Kinds of lines on which the pauses of registration depend."""


class _Mark(NamedTuple):
    """A moment on two clocks."""

    at: float
    """Seconds since the recording began."""
    real: float
    """Seconds of the monotonic clock now."""


class Pace:
    """Returns how long to wait before a line, and how long to wait for a registration."""

    def __init__(self) -> None:
        self._grant: _Mark | None = None
        self._kubelet: _Mark | None = None
        self._registration = _Mark(0.0, time.monotonic())

    def note(self, happening: Happening) -> None:
        """Note the time of a line that was just played."""
        now = _Mark(happening.at, time.monotonic())
        if happening.what in _OF_REGISTRATION:
            self._registration = now
        if happening.what in {"kubelet", "replaced"}:
            self._kubelet = now
        if happening.what == "call" and happening.fields["method"] == "Allocate":
            self._grant = now

    def wait_for(self, happening: Happening) -> float:
        """Return how many seconds to wait before a line.

        Some lines mean something else if they come too soon after another one. A kubelet that has just started knows no
        device yet, so the gateway treats it in another way. A device that was just allocated stays in the list for some
        time. And a registration that was not recorded has to come before the kubelet's end, or it would not be found.
        """
        if happening.what in _ENDS:
            return max(_left(self._registration, happening.at, FURTHER), 0.0)
        is_inventory = happening.what == "seen" and isinstance(happening.fields["observation"], InventorySeen)
        if not is_inventory and happening.what != "configured":
            return 0.0
        limits = ((self._kubelet, pauses.JUST_STARTED.seconds), (self._grant, GRANT_GRACE))
        return max([0.0, *(_left(mark, happening.at, limit * MARGIN) for mark, limit in limits if mark is not None)])

    def timeout(self, at: float) -> float:
        """Return how many seconds to wait for a registration. The pause before it is partly random."""
        return min(TIMEOUT + max(at - self._registration.at, 0.0) * 1.5, MAX_TIMEOUT)


def _left(mark: _Mark, at: float, limit: float) -> float:
    """Return how much of the recorded pause since a mark, up to a limit, is left to wait."""
    return min(at - mark.at, limit) - (time.monotonic() - mark.real)
