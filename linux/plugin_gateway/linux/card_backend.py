"""Runs a model of network cards as a backend. It owns the thread that scans and hears the kernel.

That thread imports most of what it needs, so that a process which makes the backend goes on at once.
"""

import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from plugin_gateway.core.health.observations import DriverUnavailable
from plugin_gateway.linux.watching import USUAL_PACE, CardPace, LinkSource

if TYPE_CHECKING:
    from plugin_gateway.core.cdi import FilesWanted
    from plugin_gateway.core.health.observations import Observation
    from plugin_gateway.core.ports import Report
    from plugin_gateway.linux.card_model import CardModel
    from plugin_gateway.linux.card_watch import BusScan
    from plugin_gateway.linux.kernel_events import KernelEvents
    from plugin_gateway.linux.made_up_tree import MadeUpTree
    from plugin_gateway.linux.signs import SignReader
    from plugin_gateway.linux.sysfs import HostTree


def _at_once() -> None:
    """Do nothing. The cards are then looked at without a wait."""


class CardBackend:
    """Watches the network cards of a host.

    Its thread scans the bus, and hears from the kernel what comes and goes. What can hang is read by other threads.
    """

    def __init__(
        self,
        make_model: "Callable[[], CardModel]",
        *,
        name: str,
        device_word: str,
        host_root: str = "/",
        link_events: LinkSource = LinkSource.AUTO,
        pace: CardPace = USUAL_PACE,
        made_up: "MadeUpTree | None" = None,
    ) -> None:
        """Create a backend. ``name`` is that of its thread, and ``host_root`` is where the host's /sys and /dev are.

        ``make_model`` is called in that thread. ``device_word`` is the common word for a device, in the singular.

        With ``made_up``, the cards are in memory. No socket and no other thread is needed then.
        """
        self._make_model = make_model
        self._model: CardModel | None = None
        self.device_word = device_word
        self.decision_time = 0.0
        self.wants_facts = False
        self._name = name
        self._host_root = host_root
        self._link_events = link_events
        self._pace = pace
        self._made_up = made_up
        self._stopping = threading.Event()
        self._reporting = threading.RLock()
        self._thread: threading.Thread | None = None
        self._report: Report | None = None
        self._after: Callable[[], object] = _at_once
        self._events: KernelEvents | None = None
        self._reader: SignReader | None = None
        self._busy_since: float | None = None
        """When the thread gave its last sign. None while it waits for something to do."""

    def start(self, report: "Report", after: Callable[[], object] = _at_once) -> None:
        """Start the thread. It calls ``after`` first.

        Raises:
            RuntimeError: the process may not have another thread.
        """
        self._report, self._after = report, after
        self._give_sign()
        thread = threading.Thread(target=self._run, name=self._name, daemon=True)
        thread.start()
        self._thread = thread  # one that has not started cannot be joined

    def want_files(self, wanted: "FilesWanted | None") -> None:
        """Do nothing: no container needs files of a driver for a card."""

    def look_again(self) -> None:
        """Scan soon, and read the signs at once. Any thread may call it."""
        with self._reporting:
            if self._events is not None:
                self._events.wake(for_scan=True)

    def stop(self) -> None:
        """Stop reporting. The threads end, unless they are stuck."""
        with self._reporting:
            self._stopping.set()
            if self._reader is not None:
                self._reader.stop()
            if self._events is not None:
                self._events.wake()

    def join(self, timeout: float | None = None) -> bool:
        """Wait for the thread, at most ``timeout`` seconds. Returns False if it has not ended by then.

        It does not wait for readers that are stuck.
        """
        if self._thread is None:
            return True
        began = time.monotonic()
        self._thread.join(timeout)
        if self._reader is not None:
            self._reader.join(None if timeout is None else max(timeout - (time.monotonic() - began), 0.0))
        return not self._thread.is_alive()

    def silent_for(self) -> float:
        """Return the seconds since the thread's last sign of life. 0 if it waits for something to do, or has ended."""
        since = self._busy_since
        return time.monotonic() - since if since is not None and self.is_watching() else 0.0

    def is_watching(self) -> bool:
        """Whether the thread is running."""
        return self._thread is not None and self._thread.is_alive()

    def _give_sign(self) -> None:
        self._busy_since = time.monotonic()

    def _rest(self) -> None:
        self._busy_since = None

    def _run(self) -> None:
        """Watch the cards until `stop`."""
        self._after()
        while not self._stopping.is_set():
            self._give_sign()
            try:
                self._hold_events()
            except Exception as error:  # noqa: BLE001 - the cards have to be watched after any error
                self._forward(DriverUnavailable(f"{type(error).__name__}: {error}"))
                self._rest()
                self._stopping.wait(self._pace.retry)

    def _hold_events(self) -> None:
        """Watch the cards until `stop`.

        Raises:
            OSError: this process has no descriptor left to wait with.
        """
        from plugin_gateway.linux.card_watch import CardWatch  # noqa: PLC0415 - see the module's docstring
        from plugin_gateway.linux.kernel_events import KernelEvents  # noqa: PLC0415 - the same

        if self._model is None:
            self._model = self._make_model()
        with self._reporting:
            if self._stopping.is_set():
                return
            self._events = KernelEvents(self._link_events, is_real=self._made_up is None)
            tree, scan_bus, self._reader = self._sources(self._events)
        try:
            CardWatch(
                self._model,
                tree,
                scan_bus,
                self._reader,
                self._events,
                self._pace,
                report=self._forward,
                give_sign=self._give_sign,
                is_stopping=self._stopping.is_set,
                rest=self._rest,
                facts_wanted=lambda: self.wants_facts,
            ).watch()
        finally:
            self._reader.stop()
            self._events.close()

    def _sources(self, events: "KernelEvents") -> "tuple[HostTree | MadeUpTree, BusScan, SignReader]":
        """Return the files, what scans the bus in them, and what reads the signs."""
        if self._made_up is not None:
            from plugin_gateway.linux.pci_scan import scan  # noqa: PLC0415 - see the module's docstring
            from plugin_gateway.linux.signs import DirectReader  # noqa: PLC0415 - the same

            made_up = self._made_up
            made_up.on_change(lambda: events.wake(for_scan=True))
            return made_up, lambda _give_sign: scan(made_up), DirectReader(made_up)
        from plugin_gateway.linux.patient_scan import PatientScan  # noqa: PLC0415 - see the module's docstring
        from plugin_gateway.linux.port_readers import PortReaders  # noqa: PLC0415 - the same
        from plugin_gateway.linux.sysfs import HostTree  # noqa: PLC0415 - the same

        tree = HostTree(self._host_root)
        patient = PatientScan(tree, f"{self._name} scan", lambda: events.wake(for_scan=True))
        return tree, patient.scan, PortReaders(tree, f"{self._name} reader", events.wake)

    def _forward(self, observation: "Observation") -> None:
        with self._reporting:
            if self._report is not None and not self._stopping.is_set():
                self._report(observation)
