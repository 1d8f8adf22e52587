"""Runs the gateway until it ends: signals, reload, exit status, and messages to the service manager."""

import asyncio
import contextlib
import os
import signal
import socket
import threading
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

from plugin_gateway.adapters.support.logs import log
from plugin_gateway.adapters.support.tasks import leaves
from plugin_gateway.core.errors import GatewayError

STOP_DEADLINE = 1.8
"""Seconds for an orderly end. After that the process exits anyway."""

START_TIME = 0.3
"""Seconds that are left to the first registration. Register is sent much earlier if kubelet and driver are there and
the machine is not busy."""
LIST_TIME = 0.03
"""Seconds from the first Register until imports of other modules begin. The kubelet has its first list by then."""

Reload = Callable[[], Awaitable[object]]
"""Reads the configuration again, and applies it."""
Work = Callable[[], Coroutine[Any, Any, None]]
"""Runs the gateway until cancelled."""


def run_process(
    work: Work,
    reload: Reload,
    has_sent: asyncio.Event,
    finish_start: Callable[[], None],
    let_go: Callable[[], None] = lambda: None,
) -> int:
    """Run until a signal or an error ends it, and return the exit status.

    ``finish_start`` is called in a thread of its own when the start is over: see there about ``has_sent``. It imports
    modules, and nothing waits for it. ``let_go`` is called when the work has ended.
    """
    return asyncio.run(_Life(work, reload, has_sent, finish_start, let_go).run())


async def start_is_over(has_sent: asyncio.Event) -> None:
    """Wait until imports in other threads hold up no registration, from which they would take the interpreter.

    ``has_sent`` says that a Register was sent.
    """
    with contextlib.suppress(TimeoutError):
        await asyncio.wait_for(has_sent.wait(), START_TIME)
    await asyncio.sleep(LIST_TIME)


class _Life:
    def __init__(
        self,
        work: Work,
        reload: Reload,
        has_sent: asyncio.Event,
        finish_start: Callable[[], None],
        let_go: Callable[[], None],
    ) -> None:
        self._work = work
        self._reload = reload
        self._has_sent = has_sent
        self._finish_start = finish_start
        self._let_go = let_go
        self._finishing: threading.Thread | None = None
        self._stopping = False
        self._has_stopped = False
        self._hangup = asyncio.Event()

    async def run(self) -> int:
        loop = asyncio.get_running_loop()
        main = asyncio.current_task()
        assert main is not None
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._stop, main, number)
        loop.add_signal_handler(signal.SIGHUP, self._hangup.set)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGHUP})  # one that came during the start is handled now
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._work(), name="work")
                tasks.create_task(self._reload_on_hangup(), name="reload")
                tasks.create_task(self._finish(), name="end of the start")
        except asyncio.CancelledError:
            if not self._stopping:
                raise
            log.info("stopped")
            self._has_stopped = True
            return 0
        except BaseExceptionGroup as group:
            _log_end(group)
        finally:
            if self._finishing is not None:
                self._finishing.join(STOP_DEADLINE)
            self._let_go()
        return 1

    async def _finish(self) -> None:
        await start_is_over(self._has_sent)
        self._finishing = threading.Thread(target=self._finish_start, daemon=True)
        self._finishing.start()

    def _stop(self, main: asyncio.Task[int], number: int) -> None:
        """Handle a signal: end in order at the first one, and at once at the second."""
        if self._stopping:
            os._exit(128 + number)
        self._stopping = True
        log.info("stopping", signal=signal.Signals(number).name)
        asyncio.get_running_loop().call_later(STOP_DEADLINE, self._give_up)
        main.cancel()

    def _give_up(self) -> None:
        """Exit although something has not ended. Sockets that are left over are removed by the next instance.

        If only a thread has not ended, which waits for the kubelet or a file system, nothing is left to be done.
        """
        if self._has_stopped:
            os._exit(0)
        log.error("could not stop in time, leaving", seconds=STOP_DEADLINE)
        self._finish_start()  # if it was not called yet, log lines are still kept in memory
        os._exit(1)

    async def _reload_on_hangup(self) -> None:
        while True:
            await self._hangup.wait()
            self._hangup.clear()
            await self._reload()


def _log_end(group: BaseExceptionGroup) -> None:
    """Log why the process ends. A fault of the gateway itself has a traceback."""
    for error in leaves(group):
        if isinstance(error, GatewayError):
            log.error("ends", problem=str(error))
        else:
            log.exception("ends unexpectedly", error)


class ServiceManager:
    """The service manager that started the process, if it sets ``NOTIFY_SOCKET`` as systemd does."""

    def __init__(self, address: str | None) -> None:
        self._address = address or None

    def say_ready(self) -> None:
        """Report that services after this one may start. Only the first call does anything."""
        address, self._address = self._address, None
        if address is None:
            return
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK) as sender:
                # An abstract address is written with @ in place of its first byte, which is 0; see sd_notify(3).
                sender.sendto(b"READY=1", f"\0{address[1:]}" if address.startswith("@") else address)
        except OSError as error:
            log.warning(
                "cannot tell the service manager that it may go on",
                socket=address,
                problem=error.strerror or str(error),
            )
