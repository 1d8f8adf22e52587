"""Finds the flags and the environment of the gateway that runs on this node, so that `doctor` uses the same."""

import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from plugin_gateway.adapters.control.control_client import ControlError, ask_all
from plugin_gateway.adapters.control.control_socket import control_sockets
from plugin_gateway.adapters.support.unix_files import find_listener


class Start(NamedTuple):
    """The command line and the environment of a gateway process."""

    flags: Sequence[str] = ()
    """The arguments of `run`."""
    environment: Mapping[str, str] = {}
    is_beside: bool = False
    """Whether a gateway runs here whose paths mean the same as here."""
    pid: int = 0
    """Its process. 0 if it is not visible here."""
    program: str = ""
    """The name or path with which the program was called."""


def find_start(state_dir: Path, needs_no_command: Callable[[str], bool]) -> Start:
    """Return how the gateway was started that has this state directory; of several, the active one if it is visible.

    ``needs_no_command`` says of the path of a program whether it is one that runs the gateway without `run`.

    Both are empty if no gateway runs, if this user may not read its process, or if it has another mount namespace. In
    the last case it runs in a container, and its paths mean something else here.
    """
    try:
        pid = _find_process(state_dir)
        if not pid:
            return Start()
        process = Path(f"/proc/{pid}")
        if not os.path.samestat((process / "ns/mnt").stat(), Path("/proc/self/ns/mnt").stat()):
            return Start()
        words = (process / "cmdline").read_bytes().decode(errors="surrogateescape").split("\0")[:-1]
        pairs = (process / "environ").read_bytes().decode(errors="surrogateescape").split("\0")
    except OSError:
        return Start()
    environment = dict(pair.split("=", 1) for pair in pairs if "=" in pair)
    for at, word in enumerate(words):
        if needs_no_command(word):
            return Start(words[at + 1 :], environment, is_beside=True, pid=pid, program=word)
        if word == "run":
            return Start(words[at + 1 :], environment, is_beside=True, pid=pid, program=words[at - 1])
    return Start(is_beside=True, pid=pid)


def _find_process(state_dir: Path) -> int:
    """Return the process of the gateway; 0 if there is none, or it is not visible here.

    Raises:
        OSError: it cannot be found out.
    """
    listeners = [find_listener(path) for path in control_sockets(state_dir)]
    pids = {listener.pid for listener in listeners if listener is not None and listener.pid}
    if len(pids) < 2:  # noqa: PLR2004 - so one that hangs is not waited for
        return next(iter(pids), 0)
    try:
        return next((each.pid for each in ask_all(state_dir) if each.pid), 0)
    except ControlError:
        return 0
