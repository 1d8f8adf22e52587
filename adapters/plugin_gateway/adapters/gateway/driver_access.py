"""Who may use the driver in this process: one backend at a time, and none while an operator has released the driver."""

import asyncio
from collections.abc import Callable
from typing import NamedTuple

from plugin_gateway.adapters.support.logs import log
from plugin_gateway.core.health.observations import DriverUnavailable
from plugin_gateway.core.ports import Backend, Report


class Released(NamedTuple):
    """The driver is released."""

    seconds_left: float
    """Until it is taken again."""
    is_closed: bool
    """Whether the library of the driver is closed. If not yet, a call of it has not returned."""


class DriverAccess:
    """Holds the backend, exchanges it, and lets go of the driver for a time."""

    def __init__(self, backend: Backend, make: Callable[[], Backend], report: Report) -> None:
        """Take over a backend that was started. ``make`` makes another one with the settings of that moment."""
        self._backend = backend
        self._make = make
        self._report = report
        self._taking: asyncio.TimerHandle | None = None
        """The timer that takes the driver again. None while the driver is not released."""

    @property
    def released(self) -> Released | None:
        """Whether and how the driver is released. None if it is in use, or waited for."""
        if self._taking is None:
            return None
        left = self._taking.when() - asyncio.get_running_loop().time()
        return Released(max(left, 0.0), is_closed=not self._backend.is_watching())

    def silent_for(self) -> float:
        """Return the seconds since the driver's last sign."""
        return self._backend.silent_for()

    def is_watching(self) -> bool:
        """Whether the driver is watched, waited for, or released on purpose."""
        return self._taking is not None or self._backend.is_watching()

    def decide_after(self, seconds: float) -> None:
        """Give the driver so long to decide about an event."""
        self._backend.decision_time = seconds

    def release(self, seconds: float) -> None:
        """Close the library, and take the driver again after this time. Every device is unhealthy until then.

        Returns at once. If a call of the driver hangs, the library is closed when the call returns.
        """
        self._forget_timer()
        self._backend.stop()
        problem = f"an operator has released the driver for {seconds:g} s"
        self._report(DriverUnavailable(problem, is_released=True))
        self._taking = asyncio.get_running_loop().call_later(seconds, self.take)
        log.warning("driver released", seconds=seconds)

    def take(self) -> bool:
        """Take the driver again. Returns False if it was not released."""
        if self._taking is None:
            return False
        self._forget_timer()
        log.info("driver taken again")
        self.replace()
        return True

    def replace(self) -> None:
        """Exchange the backend. The new one begins when the old one has ended. While released, do nothing."""
        if self._taking is not None:
            return
        before = self._backend
        before.stop()
        self._backend = self._make()
        self._backend.decision_time = before.decision_time
        self._backend.start(self._report, after=before.join)

    def stop(self) -> None:
        """Stop the backend for good."""
        self._forget_timer()
        self._backend.stop()

    def _forget_timer(self) -> None:
        if self._taking is not None:
            self._taking.cancel()
            self._taking = None
