"""Commands that a user can type while the fake kubelet runs."""

import asyncio
import os
import stat
import sys
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping, Sequence
from inspect import signature
from itertools import count
from typing import Any

from plugin_gateway.adapters.commands.fake_kubelet.views import Lines, Picture, shown_answer, shown_devices
from plugin_gateway.adapters.fake_kubelet.kubelet import FakeKubelet
from plugin_gateway.adapters.fake_kubelet.registration import is_valid
from plugin_gateway.adapters.fake_kubelet.releases import release
from plugin_gateway.core.errors import GatewayError, InvalidValueError

MAX_DEVICES = 100_000
"""Devices in one command."""
_DIGITS = len(str(MAX_DEVICES))
HELP = "allocate RESOURCE [COUNT [POD]] | devices RESOURCE | remove POD | drop RESOURCE | restart [RELEASE] | quit"


class Commands:
    """Reads commands from standard input, and carries them out."""

    def __init__(self, kubelet: FakeKubelet, view: Lines | Picture, leave: Callable[[], None]) -> None:
        self._kubelet = kubelet
        self._view = view
        self._say = view.say
        self._leave = leave
        self._pod_numbers = count(1)

    async def read(self) -> None:
        """Read until the input ends. The fake kubelet continues after that."""
        async for line in _lines():
            self._view.entered()
            try:
                await self._carry_out(line.split())
            except (GatewayError, TimeoutError) as error:
                self._say(f"refused: {error}")
            except Exception as error:  # noqa: BLE001 - a command that fails must not end the fake kubelet
                self._say(f"failed: {type(error).__name__}: {error}")

    async def _carry_out(self, words: list[str]) -> None:
        if not words:
            return
        commands: Mapping[str, Callable[..., Coroutine[Any, Any, None]]] = {
            "allocate": self._allocate,
            "devices": self._devices,
            "remove": self._remove,
            "drop": self._drop,
            "restart": self._restart,
            "quit": self._quit,
        }
        command, arguments = commands.get(words[0]), words[1:]
        if command is None or not _takes(command, arguments):
            raise InvalidValueError(f"invalid value {' '.join(words)!r}; expected {HELP}")
        await command(*arguments)

    async def _allocate(self, resource: str, wanted: str = "1", pod: str | None = None) -> None:
        if not (wanted.isascii() and wanted.isdigit() and len(wanted) <= _DIGITS and int(wanted) <= MAX_DEVICES):
            raise InvalidValueError(f"{wanted[:40]!r} is no number of devices; expected 0 to {MAX_DEVICES}")
        if not is_valid(self._kubelet.release, resource):
            raise InvalidValueError(
                f"no plugin can offer {resource[:80]!r}: a resource's name is a domain and a name, as nvidia.com/gpu"
            )
        pod = pod or self._new_pod()
        self._check_pod(pod, there=False)
        container = await self._kubelet.allocate(resource, int(wanted), pod=pod)
        if int(wanted) and not container.ids:
            self._say(f"{pod} starts without devices: no plugin offers {resource}, and this release asks nobody else")
        for line in shown_answer(container.answer):
            self._say(f"container of {pod}: {line}")

    async def _devices(self, resource: str) -> None:
        for words, health in shown_devices(self._kubelet.devices(self._known(resource))):
            self._say(f"{resource} {words} {health}")

    async def _remove(self, pod: str) -> None:
        self._check_pod(pod, there=True)
        await self._kubelet.remove(pod)
        self._say(f"removed {pod}")

    async def _drop(self, resource: str) -> None:
        await self._kubelet.drop_stream(self._known(resource))

    async def _restart(self, name: str | None = None) -> None:
        await self._kubelet.restart(release(name) if name is not None else None)

    async def _quit(self) -> None:
        self._leave()

    def _known(self, resource: str) -> str:
        if resource not in self._kubelet.resources:
            known = ", ".join(self._kubelet.resources) or "none yet"
            raise InvalidValueError(f"no resource {resource!r}, registered are {known}")
        return resource

    def _new_pod(self) -> str:
        names = (f"pod-{number}" for number in self._pod_numbers)
        return next(name for name in names if name not in self._kubelet.pods)

    def _check_pod(self, pod: str, *, there: bool) -> None:
        if (pod in self._kubelet.pods) is not there:
            known = ", ".join(self._kubelet.pods) or "none"
            raise InvalidValueError(f"{'no pod' if there else 'there is already a pod'} {pod!r}; there are {known}")


def _takes(command: Callable[..., object], arguments: Sequence[str]) -> bool:
    """Return whether the command has this number of arguments."""
    try:
        signature(command).bind(*arguments)
    except TypeError:
        return False
    return True


async def _lines() -> AsyncIterator[str]:
    """Yield the lines of standard input. An event loop can wait for a pipe or a terminal, but not for a file."""
    try:
        mode = os.fstat(sys.stdin.fileno()).st_mode
    except (OSError, ValueError, AttributeError):
        return  # it is closed
    if stat.S_ISREG(mode) or (stat.S_ISCHR(mode) and not sys.stdin.isatty()):
        for line in sys.stdin:
            yield line
        return
    reader = asyncio.StreamReader()
    transport, _ = await asyncio.get_running_loop().connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(reader), sys.stdin
    )
    try:
        while line := await reader.readline():
            yield line.decode(errors="replace")
    finally:
        transport.close()
