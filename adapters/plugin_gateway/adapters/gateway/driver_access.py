"""Who may use the driver in this process: one backend at a time, and none while an operator has released the driver."""

import asyncio
import threading
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, NamedTuple

from plugin_gateway.adapters.support.logs import log
from plugin_gateway.core.health.observations import DriverUnavailable
from plugin_gateway.core.ports import Backend, Report, TellsFacts, want_facts

if TYPE_CHECKING:
    from plugin_gateway.core.cdi import FilesWanted

POLL = 0.5
"""Seconds after which a backend that waits for an earlier one notices that it need not wait any more."""
RETRY = 5.0
"""Seconds before a backend is started again for which there was no thread."""


class Released(NamedTuple):
    """The driver is released."""

    seconds_left: float
    """Until it is taken again."""
    is_closed: bool
    """Whether the library of the driver is closed. If not yet, a call of it has not returned."""


class DriverAccess:
    """Holds the backend, exchanges it, and lets go of the driver for a time."""

    def __init__(self, backend: Backend, make: Callable[[], Backend], report: Report, name: str | None = None) -> None:
        """Take over a backend that was started. ``make`` makes another one with the settings of that moment.

        ``name`` is that of the backend, if there are several.
        """
        self.name = name
        """Stands in the log. None if it is the only backend."""
        self._backend = backend
        self._make = make
        self._report = report
        self._files_wanted: FilesWanted | None = None
        self._wants_facts = isinstance(backend, TellsFacts) and backend.wants_facts
        """Whether a backend that takes the place of this one is asked for facts as well."""
        self._ending: Sequence[Backend] = ()
        """Backends that were stopped, and whose last call of the driver has not returned yet."""
        self._stopped = threading.Event()
        """Set when the present backend is stopped."""
        self._retrying: asyncio.TimerHandle | None = None
        """The timer that starts a backend again for which there was no thread."""
        self._taking: asyncio.TimerHandle | None = None
        """The timer that takes the driver again. None while the driver is not released."""

    @property
    def released(self) -> Released | None:
        """Whether and how the driver is released. None if it is in use, or waited for."""
        if self._taking is None:
            return None
        left = self._taking.when() - asyncio.get_running_loop().time()
        return Released(max(left, 0.0), is_closed=all(each.join(0) for each in self._ending))

    def silent_for(self) -> float:
        """Return the seconds since the driver's last sign."""
        return self._backend.silent_for()

    def is_watching(self) -> bool:
        """Whether the driver is watched, waited for, or released on purpose."""
        return self._taking is not None or self._backend.is_watching()

    def decide_after(self, seconds: float) -> None:
        """Give the driver so long to decide about an event."""
        self._backend.decision_time = seconds

    def want_files(self, wanted: "FilesWanted | None") -> None:
        """Have the backend find the files of its driver, or no longer."""
        self._files_wanted = wanted
        self._backend.want_files(wanted)

    @property
    def tells_facts(self) -> bool:
        """Whether the backend can tell what labels are made of besides the devices."""
        return isinstance(self._backend, TellsFacts)

    def look_again(self) -> None:
        """Have the backend look soon at what is on the node."""
        self._backend.look_again()

    def release(self, seconds: float) -> None:
        """Close the library, and take the driver again after this time. Every device is unhealthy until then.

        Returns at once. If a call of the driver hangs, the library is closed when the call returns.
        """
        self._forget_timers()
        self._stop_backend()
        problem = f"an operator has released the driver for {seconds:g} s"
        self._report(DriverUnavailable(problem, is_released=True))
        self._taking = asyncio.get_running_loop().call_later(seconds, self.take)
        log.warning("driver released", seconds=seconds, backend=self.name)

    def take(self) -> bool:
        """Take the driver again. Returns False if it was not released."""
        if self._taking is None:
            return False
        self._forget_timers()
        log.info("driver taken again", backend=self.name)
        self.replace()
        return True

    def try_again(self) -> None:
        """Start the backend after a time, for which there was no thread before."""
        self._report(DriverUnavailable("no thread can be started for it"))
        self._retrying = asyncio.get_running_loop().call_later(RETRY, self.replace)

    def replace(self, meanwhile: Callable[[], object] = lambda: None) -> None:
        """Exchange the backend. The new one begins when the old one has ended. While released, there is none.

        ``meanwhile`` is called in between, when neither reports anything.
        """
        if self._taking is not None:
            meanwhile()
            return
        self._forget_timers()
        decision_time = self._backend.decision_time
        self._stop_backend()
        meanwhile()
        self._backend, self._stopped = self._make(), threading.Event()
        self._backend.decision_time = decision_time
        self._backend.want_files(self._files_wanted)
        want_facts(self._backend, wanted=self._wants_facts)
        ending, stopped = self._ending, self._stopped
        try:
            self._backend.start(self._report, after=lambda: _wait_for(ending, stopped))
        except RuntimeError:  # Python raises it if a thread cannot be started
            self.try_again()

    def stop(self) -> None:
        """Stop the backend for good."""
        self._forget_timers()
        self._backend.stop()
        self._stopped.set()

    def _stop_backend(self) -> None:
        """Stop the backend, which calls the driver no more; a call of it may still hang."""
        self._backend.stop()
        self._stopped.set()
        self._ending = [each for each in {*self._ending, self._backend} if not each.join(0)]

    def _forget_timers(self) -> None:
        for timer in (self._taking, self._retrying):
            if timer is not None:
                timer.cancel()
        self._taking = self._retrying = None


def _wait_for(backends: Sequence[Backend], stopped: threading.Event) -> None:
    """Wait in the thread of a backend until others have ended, or it is stopped itself."""
    for each in backends:
        while not each.join(POLL) and not stopped.is_set():
            pass
