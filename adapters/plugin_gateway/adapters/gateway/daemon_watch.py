"""Looks whether the daemons are there through which containers share devices. The gateway starts none.

A daemon is there if its file says that it has started, and its socket takes a connection. Each look is made in a
thread, because a file system can hang. A look that takes too long counts as one that found no daemon. What was seen
goes to the queue of observations, so no call of the kubelet waits for a look.
"""

import asyncio
import errno
import os
import socket
import stat
import struct
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, NamedTuple

from plugin_gateway.adapters.support.unix_files import MAX_PATH, who_may
from plugin_gateway.core.health.observations import DaemonsSeen
from plugin_gateway.core.resources.daemons import below

if TYPE_CHECKING:
    from plugin_gateway.adapters.gateway.gateway import Gateway
    from plugin_gateway.core.health.observations import Observation
    from plugin_gateway.core.resources.names import ResourceName

LOOK_INTERVAL = 2.0
"""Seconds between two looks. A daemon that is gone is noticed within this time and `LOOK_TIMEOUT`."""
EARLY_INTERVAL = 0.25
"""Seconds between two looks as long as no device is known that needs a daemon."""
LOOK_TIMEOUT = 2.0
"""Seconds that one look may take."""
CONNECT_TIMEOUT = 0.5
"""Seconds in which a daemon has to take a connection."""
_TIMEOUT = struct.pack("@ll", 0, int(CONNECT_TIMEOUT * 1e6))
"""For the kernel, which waits with a connection to a unix socket only if the socket itself has no time limit."""
_SOCKETS = (socket.SOCK_SEQPACKET, socket.SOCK_STREAM)
"""The kinds of sockets that are tried. A socket of the other kind says so at once."""


class Daemon(NamedTuple):
    """Where a daemon is looked for, and what to do if it is not there."""

    backend: str
    """The backend of the devices that are shared through it."""
    ready_file: str
    socket: str
    todo: str


async def watch_daemons(gateway: "Gateway", root: Callable[[], str], put: "Callable[[str, Observation], None]") -> None:
    """Look for the daemons of all resources that need one, again and again. ``root`` is the folder of all of them.

    ``put`` is called with the name of a backend and what was seen, if that is news.
    """
    seen = {backend.name: DaemonsSeen({}) for backend in gateway.backends}
    look: asyncio.Task[Mapping[ResourceName, str]] | None = None
    try:
        while True:
            daemons = daemons_of(gateway, root())
            if look is None:
                look = asyncio.create_task(asyncio.to_thread(look_at, daemons), name="look for daemons")
            done, _ = await asyncio.wait({look}, timeout=LOOK_TIMEOUT)
            found = look.result() if done else dict.fromkeys(daemons, f"a look at {root()} takes too long")
            for backend, before in seen.items():
                own = {name: daemon for name, daemon in daemons.items() if daemon.backend == backend}
                todo = next((each.todo for each in own.values()), "")
                if (now := DaemonsSeen({name: found[name] for name in own if name in found}, todo)) != before:
                    seen[backend] = now
                    put(backend, now)
            look = None if done else look
            is_early = not daemons and any(rule.sharing.through for rule in gateway.rules)
            await asyncio.sleep(EARLY_INTERVAL if is_early else LOOK_INTERVAL)
    finally:
        if look is not None:
            look.cancel()


def daemons_of(gateway: "Gateway", root: str) -> "Mapping[ResourceName, Daemon]":
    """Return the daemons that the offered devices need now."""
    shared = {
        each.resource: (gateway.backend_of(device).name, each.recipe)
        for offer in gateway.offered.values()
        for device, each in offer.through.items()
    }
    return {
        name: Daemon(backend, below(root, recipe.ready_file, name), below(root, recipe.socket, name), recipe.todo)
        for name, (backend, recipe) in shared.items()
    }


def look_at(daemons: "Mapping[ResourceName, Daemon]") -> "Mapping[ResourceName, str]":
    """Return why the daemon of each resource is not there. Empty for one that is."""
    return {name: _problem(daemon) for name, daemon in daemons.items()}


def _problem(daemon: Daemon) -> str:
    if problem := _file_problem(daemon.ready_file):
        return f"{daemon.ready_file}, which its daemon makes when it has started, {problem}"
    problem = _socket_problem(daemon.socket)
    return f"{daemon.socket}, the socket of its daemon, {problem}" if problem else ""


def _file_problem(path: str) -> str:
    try:
        return "" if stat.S_ISREG(os.stat(path).st_mode) else "is no file"  # noqa: PTH116 - no Path is needed
    except OSError as error:
        return _words(error)


def _socket_problem(path: str) -> str:
    """Return why no connection can be made. Nothing is sent, and the connection is closed at once."""
    if len(os.fsencode(path)) > MAX_PATH:
        return f"has a longer path than the {MAX_PATH} bytes that a socket can have"
    problem = ""
    for kind in _SOCKETS:
        try:
            with socket.socket(socket.AF_UNIX, kind) as client:
                client.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, _TIMEOUT)
                client.connect(path)
                return ""
        except BlockingIOError:
            return f"took no connection within {CONNECT_TIMEOUT:g} s"
        except OSError as error:
            problem = _words(error)
            if error.errno != errno.EPROTOTYPE:
                break
    return problem


def _words(error: OSError) -> str:
    match error.errno:
        case errno.ENOENT | errno.ENOTDIR:
            return "is not there"
        case errno.ECONNREFUSED:
            return "takes no connection: nobody listens on it"
        case errno.EACCES | errno.EPERM:
            return f"cannot be opened: {error.strerror}; {who_may()}"
    return f"cannot be opened: {error.strerror or error}"
