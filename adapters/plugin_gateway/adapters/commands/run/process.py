"""The life of the process: signals, the way it ends, and what it says then."""

import asyncio
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
"""Seconds for an orderly end; after that the process leaves anyway."""

START_TIME = 0.03
"""Seconds after which the first registration is on its way, where kubelet and driver are there."""

Reload = Callable[[], Awaitable[None]]
Work = Callable[[], Coroutine[Any, Any, None]]


def run_process(work: Work, reload: Reload, finish_start: Callable[[], None]) -> int:
    """Run until a signal ends it; returns the exit status.

    ``finish_start`` is called a moment later, in a thread of its own: it imports, and nothing waits for it.
    """
    return asyncio.run(_Life(work, reload, finish_start).run())


class _Life:
    def __init__(self, work: Work, reload: Reload, finish_start: Callable[[], None]) -> None:
        self._work = work
        self._reload = reload
        self._finish_start = finish_start
        self._finishing = threading.Timer(START_TIME, finish_start)
        self._finishing.daemon = True
        self._stopping = False
        self._hangup = asyncio.Event()

    async def run(self) -> int:
        loop = asyncio.get_running_loop()
        main = asyncio.current_task()
        assert main is not None
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._stop, main, number)
        loop.add_signal_handler(signal.SIGHUP, self._hangup.set)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGHUP})  # one that came during the start is heeded now
        self._finishing.start()
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._work(), name="work")
                tasks.create_task(self._reload_on_hangup(), name="reload")
        except asyncio.CancelledError:
            if not self._stopping:
                raise
            log.info("stopped")
            return 0
        except BaseExceptionGroup as group:
            _log_end(group)
        finally:
            self._finishing.cancel()
            self._finishing.join(STOP_DEADLINE)
        return 1

    def _stop(self, main: asyncio.Task[int], number: int) -> None:
        """End in order at the first signal, at once at the second."""
        if self._stopping:
            os._exit(128 + number)
        self._stopping = True
        log.info("stopping", signal=signal.Signals(number).name)
        asyncio.get_running_loop().call_later(STOP_DEADLINE, self._give_up)
        main.cancel()

    def _give_up(self) -> None:
        """Leave although something does not end; the sockets may stay, and the next instance removes them."""
        log.error("could not stop in time, leaving", seconds=STOP_DEADLINE)
        self._finish_start()  # it may not have come to that, and what was said is still kept
        os._exit(1)

    async def _reload_on_hangup(self) -> None:
        while True:
            await self._hangup.wait()
            self._hangup.clear()
            await self._reload()


def _log_end(group: BaseExceptionGroup) -> None:
    """Say why the process ends: in one line where we know, with a traceback where it is a fault of ours."""
    for error in leaves(group):
        if isinstance(error, GatewayError):
            log.error("ends", problem=str(error))
        else:
            log.exception("ends unexpectedly", error)


class ServiceManager:
    """Listens on the socket that it names in ``NOTIFY_SOCKET``; ``None`` where nobody wants to be told."""

    def __init__(self, address: str | None) -> None:
        self._address = address or None

    def say_ready(self) -> None:
        """Say that what comes after this service may be started; a second time does nothing."""
        address, self._address = self._address, None
        if address is None:
            return
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK) as sender:
                # An address without a file is written with @ in the place of its first byte (sd_notify(3)).
                sender.sendto(b"READY=1", f"\0{address[1:]}" if address.startswith("@") else address)
        except OSError as error:
            log.warning(
                "cannot tell the service manager that it may go on",
                socket=address,
                problem=error.strerror or str(error),
            )
