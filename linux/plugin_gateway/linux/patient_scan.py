"""Scans the bus in a thread of its own, so that a function that does not answer blinds no other.

What a scan reads comes from the kernel's memory, except the vital product data of a few functions. But a kernel can
hold a lock for ever. A thread that is stuck is left alone with its function, and another one scans the rest.
"""

import threading
import time
from collections.abc import Callable

from plugin_gateway.linux.card_model import Tree
from plugin_gateway.linux.facts import PciFunctions
from plugin_gateway.linux.pci_scan import Managers, NoBusError, scan

NO_ANSWER = 3.0
"""Seconds until a function that has not answered is left out."""
MOST_STUCK = 16
"""Functions that may hold up a thread each. With more, the bus counts as one that cannot be read."""


class _LeftAloneError(Exception):
    """Nobody waits for this scan any more."""


class _Attempt:
    """A scan in a thread. Only the thread sets what is here, except ``is_left_alone``."""

    def __init__(self, scan_with: "Callable[[Callable[[str], object]], PciFunctions]") -> None:
        self._scan_with = scan_with
        self.ended = threading.Event()
        self.name = ""
        """The function that is being read. Empty before the first one."""
        self.since = time.monotonic()
        self.found: PciFunctions | None = None
        self.error: Exception | None = None
        self.is_left_alone = False

    def run(self) -> None:
        """Scan."""
        try:
            self.found = self._scan_with(self._at)
        except Exception as error:  # noqa: BLE001 - who waits raises it
            self.error = error
        self.ended.set()

    def _at(self, name: str) -> None:
        if self.is_left_alone:
            raise _LeftAloneError
        self.name, self.since = name, time.monotonic()


class PatientScan:
    """Scans the bus of a tree whose files can hang. One thread calls it."""

    def __init__(
        self, tree: Tree, name: str, on_late: Callable[[], object] = lambda: None, *, no_answer: float = NO_ANSWER
    ) -> None:
        """``name`` is that of the threads. One of them calls ``on_late`` when a function answers after all."""
        self._tree = tree
        self._name = name
        self._on_late = on_late
        self._no_answer = no_answer
        self._managers: Managers = {}
        self._stuck: dict[str, _Attempt] = {}
        """The attempt that waits for each function that does not answer."""

    def scan(self, give_sign: Callable[[], object]) -> PciFunctions:
        """Return what is on the bus. A function that does not answer is unreadable.

        Raises:
            NoBusError: the bus cannot be read.
        """
        while True:
            self._stuck = {name: each for name, each in self._stuck.items() if not each.ended.is_set()}
            if len(self._stuck) > MOST_STUCK:
                raise NoBusError(f"more than {MOST_STUCK} PCI functions do not answer")
            attempt = self._begin()
            while not attempt.ended.wait(max(attempt.since + self._no_answer - time.monotonic(), 0.0)):
                if time.monotonic() - attempt.since < self._no_answer:
                    give_sign()
                elif attempt.name:
                    break
                else:  # the list of the bus itself does not answer
                    attempt.ended.wait(self._no_answer)
            give_sign()
            if not attempt.ended.is_set():
                self._stuck[attempt.name], attempt.is_left_alone = attempt, True
            elif attempt.error is not None:
                raise attempt.error
            elif attempt.found is not None:
                return attempt.found

    def _begin(self) -> _Attempt:
        """Begin to scan what is not stuck, in a thread if there can be one."""
        left_out = dict.fromkeys(self._stuck, f"no answer for {self._no_answer:g} s")
        attempt = _Attempt(lambda at: scan(self._tree, at=at, managers=self._managers, left_out=left_out))
        try:
            threading.Thread(target=self._run, args=(attempt,), name=self._name, daemon=True).start()
        except RuntimeError:  # the process may not have another one
            attempt.run()
        return attempt

    def _run(self, attempt: _Attempt) -> None:
        attempt.run()
        if attempt.is_left_alone:
            self._on_late()
