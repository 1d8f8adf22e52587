"""Finds the other device plugins in the kubelet's directory, without disturbing them.

Each is asked for GetDevicePluginOptions once, as a kubelet does when a plugin registers. ListAndWatch is never called:
some plugins tell a change of health to one listener only, and the kubelet would then go on with a device that is dead.
"""

import asyncio
import math
import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import grpc
import grpc.aio

from plugin_gateway.adapters.kubelet.directory import KUBELET_SOCKET
from plugin_gateway.adapters.kubelet.plugin_sockets import parse_name
from plugin_gateway.adapters.support.unix_files import FileIdentity, find_listener, identify_socket

TIMEOUT = 2.0
"""Seconds that a plugin has to answer."""
RETRY = 60.0
"""Seconds before a socket is asked again that did not answer as a device plugin. It may have been starting."""
AT_ONCE = 16
"""Sockets that are asked side by side. Some may not answer, and each of them costs the whole time."""
_METHOD = "/v1beta1.DevicePlugin/GetDevicePluginOptions"
_OPTIONS = (
    ("grpc.default_authority", "localhost"),
    ("grpc.use_local_subchannel_pool", 1),
    ("grpc.enable_retries", 0),
)
_PLUGIN = (grpc.StatusCode.OK, grpc.StatusCode.UNIMPLEMENTED)
"""The codes with which a device plugin answers. Those for Kubernetes 1.8 and 1.9 do not have the method."""


class Neighbour(NamedTuple):
    """A socket of another process in the kubelet's directory."""

    name: str
    pid: int
    """The process that listens. 0 if it is in a PID namespace that is not visible here."""
    is_gateway: bool
    """Whether it is another gateway of ours."""


class Neighbours:
    """The other device plugins of a node."""

    def __init__(self, directory: Path, own_instance: str) -> None:
        self._directory = directory
        self._own_instance = own_instance
        self._ask_again: dict[tuple[str, FileIdentity], float] = {}
        """For each socket that was asked, when it is asked again, on the monotonic clock. Never if it is a plugin."""

    async def look(self) -> Sequence[Neighbour]:
        """Return the device plugins that listen now, without this gateway. The first look at a socket asks it."""
        names = self._names()
        self._ask_again = {key: then for key, then in self._ask_again.items() if key[0] in names}
        free = asyncio.Semaphore(AT_ONCE)
        found = await asyncio.gather(*(self._look_at(name, free) for name in names))
        return [each for each in found if each is not None]

    def _names(self) -> Sequence[str]:
        try:
            names = os.listdir(self._directory)  # noqa: PTH208 - called often, and names are wanted
        except OSError:
            return []
        return [name for name in sorted(names) if name != KUBELET_SOCKET and name.isprintable()]

    async def _look_at(self, name: str, free: asyncio.Semaphore) -> Neighbour | None:
        path, parts = self._directory / name, parse_name(name)
        identity = identify_socket(path)
        if identity is None or (parts is not None and parts.instance == self._own_instance):
            return None
        try:
            listener = find_listener(path)
        except OSError:
            return None
        if listener is None:
            return None
        if parts is not None:
            return Neighbour(name, listener.pid, is_gateway=True)
        key, now = (name, identity), time.monotonic()
        if self._ask_again.get(key, -math.inf) <= now:
            async with free:
                self._ask_again[key] = math.inf if await _is_plugin(path) else now + RETRY
        return Neighbour(name, listener.pid, is_gateway=False) if self._ask_again[key] == math.inf else None


async def _is_plugin(path: Path) -> bool:
    """Ask a socket for its options, and return whether a device plugin answered."""
    async with grpc.aio.insecure_channel(f"unix:{path}", options=_OPTIONS) as channel:
        call: grpc.aio.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(_METHOD)
        try:
            await call(b"", timeout=TIMEOUT)
        except grpc.aio.AioRpcError as error:
            return error.code() in _PLUGIN
    return True
