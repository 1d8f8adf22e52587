"""The parts of a bundle, in their order.

The service account's token, variables of the environment that are not ours, and what device plugins answered to the
kubelet are never read into it: answers are the environment of containers, and other plugins can have secrets there.
"""

import json
import os
import platform
import re
import stat
from collections.abc import Mapping, Sequence
from enum import Enum
from functools import partial
from http.client import HTTPConnection, HTTPException
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from shutil import which
from typing import Any, NamedTuple

from plugin_gateway.adapters.commands.bundle.collecting import (
    MAX_BYTES,
    MIB,
    AbsentError,
    Content,
    Part,
    UnavailableError,
    command,
    file,
)
from plugin_gateway.adapters.configuration.kinds import ListenAddress
from plugin_gateway.adapters.configuration.settings import Settings
from plugin_gateway.adapters.kubelet.checkpoint import NAME as CHECKPOINT
from plugin_gateway.adapters.recording.recorder import MAX_FILES
from plugin_gateway.adapters.support.about import about
from plugin_gateway.adapters.support.terminal import as_json

MAX_RECORDING = 16 * MIB
"""Bytes of a recording. The beginning of a longer one can be replayed."""
MAX_LOG = 2 * MIB
"""Bytes of the log, the latest ones."""
_JOURNAL_LINES = "5000"
_SHORT, _LONG = 10.0, 60.0
"""Seconds: for a file or an answer, and for a command that asks the driver."""
_STATE_FILE = re.compile(
    r"(health(-[\w.-]+)?|known-devices|known-parts|cards|told-states|node-label)\.(json|damaged|unread)"
    r"|last-good-configuration\.yaml"
)
"""The files of a gateway. Others in the state directory are left alone."""
_ANSWER = "AllocResp"
_PACKAGES = ("grpcio", "protobuf", "PyYAML", "rich")
_ELSEWHERE = "kubectl logs POD, also with --previous"
"""Where the log of a container is."""


class Place(NamedTuple):
    """Where the parts are. Nothing but the folders is known if the settings could not be found out."""

    state_dir: Path
    kubelet_dir: Path
    record: str = ""
    """The file of the recording. Empty if there is none."""
    listen: ListenAddress | None = None
    """Where the gateway serves its metrics."""
    pid: int = 0
    """The process of the gateway. 0 if it is not visible here."""


def settings_content(settings: Settings, problems: Sequence[str]) -> Content:
    """Return each setting with its source, and what is wrong with the configuration."""
    values = {
        name: {"value": _plain(settings.values[name]), "source": source}
        for name, source in sorted(settings.sources.items())
        if name in settings.values
    }
    found = {"settings": values, "resources": [rule.words for rule in settings.resources], "problems": [*problems]}
    return _json(found)


def _plain(value: object) -> object:
    """Return the value of a setting as JSON has it."""
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, bool | int | float | str) or value is None:
        return value
    if isinstance(value, frozenset | set):
        return sorted(str(_plain(each)) for each in value)
    if isinstance(value, tuple | list) and not hasattr(value, "_fields"):
        return [_plain(each) for each in value]
    return str(value)


def _json(value: object) -> Content:
    return Content(f"{as_json(value)}\n".encode())


def parts_of(place: Place, flags: Mapping[str, Sequence[str]]) -> Sequence[Part]:
    """Return the parts, without that of the settings. ``flags`` has those of each command that is run."""
    return (
        Part("versions.json", _SHORT, versions),
        _printed("doctor", flags),
        _printed("doctor", flags, "--json"),
        _printed("status", flags, limit=_LONG / 2),
        _printed("status", flags, "--json", limit=_LONG / 2),
        _printed("devices", flags, "--json"),
        Part("metrics.txt", _SHORT, partial(metrics, place.listen)),
        Part("process.txt", _SHORT, partial(process, place.pid)),
        Part("gateway.log", 2 * _SHORT, partial(log, place.pid)),
        Part("checkpoint.json", _SHORT, partial(checkpoint, place.kubelet_dir)),
        Part("recording.jsonl", 2 * _SHORT, partial(recording, place.record)),
    )


def _printed(name: str, flags: Mapping[str, Sequence[str]], *more: str, limit: float = _LONG) -> Part:
    """Return the part with what a command prints."""
    ending = "json" if "--json" in more else "txt"
    arguments = (name, *flags.get(name, ()), *more)
    return Part(f"{name}.{ending}", limit + _SHORT, partial(command, arguments, limit))


def state_parts(directory: Path) -> Sequence[Part]:
    """Return a part for each file of the gateway in its state directory.

    Raises:
        OSError: the directory cannot be read.
    """
    names = sorted(path.name for path in directory.iterdir() if _STATE_FILE.fullmatch(path.name))
    return [Part(f"state/{name}", _SHORT, partial(file, directory / name)) for name in names]


def versions() -> Content:
    """Return the versions of this program and of what it uses. `status` has that of the gateway."""
    packages = {}
    for name in _PACKAGES:
        try:
            packages[name] = version(name)
        except PackageNotFoundError:
            packages[name] = "not installed"
    return _json(
        {**about("")._asdict(), "machine": os.uname().machine, "python": platform.python_version(), **packages}
    )


def metrics(address: ListenAddress | None) -> Content:
    """Return what the gateway serves at /metrics."""
    if address is None or not address.port:
        raise AbsentError("the gateway has no --listen")
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(address.host, address.host)  # noqa: S104 - not bound here
    connection = HTTPConnection(host, address.port, timeout=_SHORT / 2)
    try:
        connection.request("GET", "/metrics")
        return Content(connection.getresponse().read(MAX_BYTES))
    except (OSError, HTTPException) as error:
        raise UnavailableError(f"http://{address}/metrics: {error}") from error
    finally:
        connection.close()


def process(pid: int) -> Content:
    """Return what the kernel says of the gateway's process: its memory, its threads, its limits, and where each waits.

    For a gateway that hangs this is most of what can be known.
    """
    if not pid:
        raise UnavailableError("no gateway's process is visible here")
    root = Path(f"/proc/{pid}")
    found = {name: _read(root / name) for name in ("status", "limits")}
    waits = sorted((root / "task").iterdir(), key=lambda task: int(task.name))
    threads = [f"{task.name} {_read(task / 'comm').strip()}: {_read(task / 'wchan')}" for task in waits]
    sections = {**found, "threads and where they wait in the kernel": "\n".join(threads)}
    return Content("\n\n".join(f"# {name}\n{text.strip()}" for name, text in sections.items()).encode() + b"\n")


def _read(path: Path) -> str:
    """Return a short file of /proc, or why it cannot be read."""
    try:
        return path.read_text(errors="replace")
    except OSError as error:
        return f"({error.strerror})"


def log(pid: int) -> Content:
    """Return the end of the gateway's log, which goes to its standard error: a file, or the journal of systemd.

    A container's log is a pipe to the container runtime, and cannot be read from inside.
    """
    if not pid:
        raise UnavailableError(f"no gateway's process is visible here; in a cluster: {_ELSEWHERE}")
    path = f"/proc/{pid}/fd/2"
    mode = os.stat(path).st_mode  # noqa: PTH116 - pathlib would do the same
    if stat.S_ISREG(mode):
        return _end_of(path)
    if stat.S_ISSOCK(mode) and (journal := which("journalctl")):
        arguments = ("--no-pager", f"--lines={_JOURNAL_LINES}", "--output=short-iso-precise", f"_PID={pid}")
        return command(arguments, _SHORT, (journal,))
    raise AbsentError(f"the log goes to whoever started the gateway; in a cluster: {_ELSEWHERE}")


def _end_of(path: str) -> Content:
    """Return the end of a file. It begins with a whole line."""
    with Path(path).open("rb") as opened:
        size = opened.seek(0, os.SEEK_END)
        opened.seek(max(0, size - MAX_LOG))
        if size > MAX_LOG:
            opened.readline()
        data = opened.read(MAX_LOG)
    return Content(data, f"the last {len(data)} of {size} bytes" if size > MAX_LOG else "")


def checkpoint(kubelet_dir: Path) -> Content:
    """Return the kubelet's checkpoint, without what device plugins answered.

    Raises:
        UnavailableError: it is no JSON. So it is not known what is in it.
    """
    path = kubelet_dir / CHECKPOINT
    try:
        found = file(path, MAX_BYTES)
    except FileNotFoundError as error:
        raise AbsentError(f"there is no {path}") from error
    try:
        return _json(_without_answers(json.loads(found.data)))
    except (ValueError, RecursionError) as error:
        raise UnavailableError(f"{path} is no JSON; {found.remark or f'it has {len(found.data)} bytes'}") from error


def _without_answers(value: Any) -> Any:
    """Return the JSON value with the length of each answer instead of the answer."""
    if isinstance(value, list):
        return [_without_answers(each) for each in value]
    if not isinstance(value, dict):
        return value
    return {
        name: f"left out, {len(json.dumps(each))} characters" if name == _ANSWER else _without_answers(each)
        for name, each in value.items()
    }


def recording(path: str) -> Content:
    """Return the latest recording of the gateway, or its beginning."""
    if not path:
        raise AbsentError("the gateway has no --record")
    names = [path, *(f"{path}.{number}" for number in range(1, MAX_FILES))]
    there = [Path(name) for name in names if os.path.lexists(name)]
    if not there:
        raise UnavailableError(f"there is no {path} here")
    return _named(there[-1], file(there[-1], MAX_RECORDING), is_only=len(there) == 1)


def _named(path: Path, content: Content, *, is_only: bool) -> Content:
    """Return the content with a remark which of several files it is."""
    which_one = "" if is_only else f"{path}, the latest of several"
    return content._replace(remark="; ".join(filter(None, (which_one, content.remark))))
