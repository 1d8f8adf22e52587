"""Threads that read signs, so that a function that does not answer blinds no other.

As long as everything answers, one thread reads all functions. One that is stuck is left alone with its function, and
another thread reads the rest. A thread that is stuck cannot be ended: it is a daemon, ends when its read returns, and
nobody waits for it.
"""

import threading
import time
from collections.abc import Callable, Collection, Iterable

from plugin_gateway.linux.card_model import Signs, Unread
from plugin_gateway.linux.signs import FunctionFiles, FunctionPlan, FunctionSigns, KeepingTree, joined
from plugin_gateway.linux.sysfs import NONE_LEFT

NO_ANSWER = 3.0
"""Seconds until a function that has not answered counts as one that does not."""
MOST_READERS = 16
"""Threads, if as many are stuck. What is left is not read then."""
STUCK_OF_CARD = 2
"""Functions of one card that may hold up a thread each. With as many, the others of the card are not asked either."""
SELDOM = 5
"""Looks of which one is at the functions that need not be read at each."""
NO_ANSWER_YET = Unread(None, "no answer yet")


class _Function:
    """A function, and where its reading stands. The lock of the readers guards all but ``files``."""

    def __init__(self, plan: FunctionPlan, files: FunctionFiles) -> None:
        self.plan = plan
        self.files = files
        """Only the thread that reads the function uses it."""
        self.signs: FunctionSigns | None = None
        """What was read last. None before the first answer."""
        self.wanted_since: float | None = None
        """Since when an answer is waited for. None if nobody has asked since the last one."""
        self.is_read = False
        """Whether a thread reads it now."""
        self.is_late = False
        """Whether its answer is no longer waited for."""
        self.is_afresh = True
        """Whether the next read asks for everything."""
        self.is_retired = False
        """Whether it is no longer followed. Who reads it closes its files then."""


class PortReaders:
    """Reads the signs of functions in threads. It is a `SignReader`."""

    def __init__(
        self,
        tree: KeepingTree,
        name: str,
        on_late: Callable[[], object] = lambda: None,
        *,
        no_answer: float = NO_ANSWER,
        most: int = MOST_READERS,
    ) -> None:
        """``name`` is that of the threads. One of them calls ``on_late`` after an answer that was not waited for."""
        self._tree = tree
        self._name = name
        self._on_late = on_late
        self._no_answer_after = no_answer
        self._no_answer = Unread(None, f"no answer for {no_answer:g} s")
        self._most = most
        lock = threading.RLock()
        self._more = threading.Condition(lock)
        """Something is to be read, or the threads are to end."""
        self._done = threading.Condition(lock)
        """What the look waits for has been read."""
        self._functions: dict[FunctionPlan, _Function] = {}
        self._queue: list[_Function] = []
        """What is to be read, the last one first."""
        self._awaited: set[_Function] = set()
        """What the present look waits for."""
        self._answers = self._looks = 0
        self._threads: dict[threading.Thread, _Function | None] = {}
        """Each with what it reads."""
        self._stopping = False

    def follow(self, plans: Iterable[FunctionPlan]) -> None:
        """Read these functions from now on, and no others. The next look asks them for everything."""
        with self._more:
            before, self._functions = self._functions, {}
            for plan in plans:
                function = before.pop(plan, None) or _Function(plan, FunctionFiles(self._tree, plan))
                function.is_afresh = True
                self._functions[plan] = function
            self._retire(before.values())

    def look(self, only: Collection[str] | None = None, *, patience: float) -> Signs:
        """Read the functions with these addresses, or all that are due, and return what is known of all of them.

        If nothing answers for ``patience`` seconds, it no longer waits.
        """
        with self._more:
            self._looks += 1
            self._want(each for each in self._functions.values() if self._is_due(each, only))
            if only is not None:
                for each in self._awaited:
                    each.is_afresh = True
            self._wait(patience)
            self._give_up(self._awaited)
            self._awaited = set()
            now = time.monotonic()
            return joined((each.plan.address, self._known(each, now)) for each in self._functions.values())

    def stop(self) -> None:
        """End the threads that are not stuck, without a wait."""
        with self._more:
            self._stopping = True
            self._retire(self._functions.values())
            self._functions = {}
            self._more.notify_all()
            self._done.notify_all()

    def join(self, timeout: float | None = None) -> None:
        """Wait for the threads that are not stuck, at most this time."""
        end = None if timeout is None else time.monotonic() + timeout
        with self._more:
            ending = [thread for thread, read in self._threads.items() if read is None or not read.is_late]
        for thread in ending:
            thread.join(None if end is None else max(end - time.monotonic(), 0.0))

    def _is_due(self, function: _Function, only: Collection[str] | None) -> bool:
        if only is not None:
            return function.plan.address in only
        return not function.plan.is_seldom or function.is_afresh or not self._looks % SELDOM

    def _retire(self, functions: Iterable[_Function]) -> None:
        for function in functions:
            function.is_retired = True
            self._awaited.discard(function)
            if not function.is_read:
                function.files.close()
        self._queue = [each for each in self._queue if not each.is_retired]

    def _want(self, functions: Iterable[_Function]) -> None:
        """Have functions read. What was wanted before and has not answered is not waited for again."""
        now = time.monotonic()
        for function in functions:
            if function.wanted_since is None:
                function.wanted_since = now
                self._awaited.add(function)
        self._queue = [*reversed([each for each in self._functions.values() if each in self._awaited]), *self._queue]

    def _wait(self, patience: float) -> None:
        """Wait for the answers. While there are none, have another thread read what nobody reads."""
        is_busy = self._call_reader()
        while self._awaited and is_busy and not self._stopping:
            answers = self._answers
            self._done.wait(patience)
            if answers == self._answers:
                self._give_up(read for read in self._threads.values() if read is not None)
                is_busy = self._call_reader()

    def _call_reader(self) -> bool:
        """Have a thread read, if there is something that may be read. Returns whether one will."""
        if self._next() is None:
            return False
        if None in self._threads.values():
            self._more.notify()
            return True
        if len(self._threads) >= self._most:
            return False
        thread = threading.Thread(target=self._run, name=self._name, daemon=True)
        self._threads[thread] = None
        try:
            thread.start()
        except RuntimeError:  # the process may not have another one
            del self._threads[thread]
            return False
        return True

    @staticmethod
    def _give_up(functions: Iterable[_Function]) -> None:
        for function in functions:
            function.is_late = True

    def _known(self, function: _Function, now: float) -> FunctionSigns:
        """Return what is known of a function: its last answer, or that it gives none."""
        since, signs = function.wanted_since, function.signs
        is_overdue = since is not None and now - since >= self._no_answer_after
        if signs is not None and not is_overdue:
            return signs
        why = self._no_answer if is_overdue else NO_ANSWER_YET
        return FunctionSigns(
            {port: why for port, _ in function.plan.ports},
            signs.interfaces if signs is not None else (),
            why if function.plan.interfaces else None,
        )

    def _next(self) -> _Function | None:
        """Return what is to be read next. None if nothing is, or too much of its card is stuck."""
        if not self._queue:
            return None
        stuck = [read.plan.card for read in self._threads.values() if read is not None and read.is_late]
        if not stuck:
            return self._queue[-1]
        return next((each for each in reversed(self._queue) if stuck.count(each.plan.card) < STUCK_OF_CARD), None)

    def _run(self) -> None:
        """Read what is wanted, one after the other, until `stop`."""
        thread = threading.current_thread()
        with self._more:
            while not self._stopping:
                function = self._next()
                if function is None:
                    self._more.wait()
                    continue
                self._take_from_queue(function)
                self._threads[thread] = function
                function.is_read, was_afresh = True, function.is_afresh
                function.is_afresh = False
                self._more.release()
                try:
                    signs = _read(function, is_afresh=was_afresh)
                finally:
                    self._more.acquire()
                self._threads[thread] = None
                self._keep(function, signs)
            del self._threads[thread]

    def _take_from_queue(self, function: _Function) -> None:
        if self._queue[-1] is function:  # it nearly always is, and to look for it takes long
            self._queue.pop()
        else:
            self._queue.remove(function)

    def _keep(self, function: _Function, signs: FunctionSigns) -> None:
        """Keep an answer, and tell who waits for it."""
        was_late = function.is_late
        function.signs, function.wanted_since, function.is_read, function.is_late = signs, None, False, False
        self._answers += 1
        self._awaited.discard(function)
        if function.is_retired:
            function.files.close()
        elif not self._awaited:
            self._done.notify()
        if was_late and not self._stopping:
            self._on_late()


def _read(function: _Function, *, is_afresh: bool) -> FunctionSigns:
    """Return what a function answers. Any error is an answer too, because the thread has to go on.

    Without a descriptor to read with, it is what the function answered last.
    """
    try:
        return function.files.read(afresh=is_afresh)
    except Exception as error:  # noqa: BLE001 - the other functions have to be read after any error
        is_about_us = isinstance(error, OSError) and error.errno in NONE_LEFT
        if is_about_us and function.signs is not None:
            return function.signs
        why = Unread(None, f"{type(error).__name__}: {error}")
        return FunctionSigns({port: why for port, _ in function.plan.ports}, (), why)
