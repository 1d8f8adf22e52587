"""Writes a recording as JSON lines. A thread writes the file, so that the gateway never waits for a disk."""

import contextlib
import json
import os
import threading
import time
from collections import deque
from collections.abc import Mapping
from typing import Any

from plugin_gateway.adapters.configuration.settings import Settings
from plugin_gateway.adapters.recording.values import VERSION, Configuration, plain
from plugin_gateway.adapters.support.about import about
from plugin_gateway.adapters.support.logs import log
from plugin_gateway.adapters.support.tap import tap
from plugin_gateway.core.errors import GatewayError
from plugin_gateway.core.health.memory import remember
from plugin_gateway.core.health.state import State
from plugin_gateway.core.resources.policy import DECIDED

MAX_WAITING = 10_000
"""Lines that wait for the file. If the disk is slower than that, lines are lost; the log and the recording say so."""
MAX_FILES = 100
"""Recordings with the same name and different numbers. A gateway that ends soon after each start must not fill the
disk."""
JOIN_TIMEOUT = 1.0
"""Seconds that the end of the gateway waits for the file."""
SOME_BOOT = "this"
"""Stands for the boot id, which a recording should not reveal. It is not needed: what does not survive a reboot was
removed when the state was read."""


class RecordingError(GatewayError):
    """The file cannot be created."""


def begin_recording(settings: Settings, before: Mapping[str, State]) -> "Recorder | None":
    """Begin a recording, and return its recorder; None if there are too many recordings of this name.

    ``before`` is the state that an earlier instance left of each backend. It is recorded too, because it decides what
    the kubelet is sent.

    A file is never overwritten. If it exists, the new recording gets the next free number. A gateway that is restarted
    can therefore always start.

    Raises:
        RecordingError: the file cannot be created. The message names the flag or the variable that names it.
    """
    try:
        found = _create(settings.record)
    except OSError as error:
        source = settings.sources.get("record", "--record")
        raise RecordingError(f"{source}: {settings.record}: {error.strerror}") from error
    if found is None:
        hint = "move them away, and start again"
        log.error("nothing is recorded: too many recordings are there already", path=settings.record, hint=hint)
        return None
    path, descriptor = found
    say = log.info if path == settings.record else log.warning
    say("recording", path=path, instead_of=settings.record if path != settings.record else None)
    head = {"written_by": about(settings.node_name)._asdict(), **plain(configuration_of(settings))}
    recorder = Recorder(path, descriptor, head)
    for backend, state in before.items():
        if state != State():
            recorder.note_recalled(state, backend if settings.backends else None)
    tap.note = recorder.note
    return recorder


def _create(path: str) -> tuple[str, int] | None:
    """Create the file, or the first one with a number that does not exist. Return None if all numbers are taken."""
    for number in range(MAX_FILES):
        name = f"{path}.{number}" if number else path
        with contextlib.suppress(FileExistsError):
            return name, os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    return None


def configuration_of(settings: Settings) -> Configuration:
    """Return all settings that decide what the kubelet is sent."""
    return Configuration(
        api_version=settings.api_version,
        rules=settings.resources,
        unhealthy_first=settings.unhealthy_first,
        numa_hints=settings.numa_hints,
        **{name: getattr(settings.policy, name) for name in DECIDED},
        preferred_allocation=settings.preferred_allocation,
        shared_devices_allocation_policy=settings.shared_devices_allocation_policy,
        pair_devices=settings.pair_devices,
        backends=settings.backends,
        health=settings.health,
        card_health=settings.card_health,
    )


class Recorder:
    """A recording in progress."""

    def __init__(self, path: str, descriptor: int, head: Mapping[str, Any]) -> None:
        """``descriptor`` is that of a new file. The thread closes it at the end."""
        self._path = path
        self._descriptor = descriptor
        self._began = time.monotonic()
        self._lock = threading.Condition()
        self._waiting: deque[Mapping[str, Any]] = deque([{"recording": VERSION, "at": time.time(), **head}])
        """Lines that are not in the file yet. The thread is writing the first one."""
        self._missing = 0
        """Lines that were lost after the last line in `_waiting`."""
        self._lost = 0
        """Lines that were lost in all."""
        self._is_closing = False
        self._is_over = False
        """Whether nothing more can be written, after an error or at the end."""
        self._thread = threading.Thread(target=self._write, name="recording", daemon=True)
        self._thread.start()

    def note(self, what: str, **fields: Any) -> None:
        """Record one event. Returns at once; the line is lost if too many lines wait."""
        line = self._line(what, **fields)
        with self._lock:
            if self._is_closing:
                return
            is_taken = not self._is_over and len(self._waiting) < MAX_WAITING
            is_first = not is_taken and not self._lost
            if is_taken:
                self._append(line)
            else:
                self._missing += 1
                self._lost += 1
        if is_first:
            log.warning("the recording loses lines", path=self._path, hint="record to a disk that is fast enough")

    def note_recalled(self, state: State, backend: str | None) -> None:
        """Record the state that an earlier instance left, with the uptime, because its times are uptimes.

        ``backend`` is the one that it is about, if there are several.
        """
        from plugin_gateway.adapters.gateway.health_document import encode  # noqa: PLC0415 - only where something was left

        label = {} if backend is None else {"backend": backend}
        memory = encode(remember(state, SOME_BOOT))
        self.note("recalled", uptime=time.clock_gettime(time.CLOCK_BOOTTIME), memory=memory, **label)

    def note_configured(self, settings: Settings) -> None:
        """Record the settings that are in force from now on."""
        self.note("configured", **plain(configuration_of(settings)))

    def close(self) -> None:
        """End the recording with the line `end`, which shows that it is complete. Wait at most 1 s for the file."""
        with self._lock:
            if not self._is_over:
                self._append(self._line("end"))
            self._is_closing = True
            self._lock.notify()
        self._thread.join(JOIN_TIMEOUT)
        with self._lock:
            self._is_over = True
            self._lost += len(self._waiting)
        if self._lost:
            hint = "what was written plays up to the first that is missing"
            log.warning("the recording is not whole", path=self._path, lines_lost=self._lost, hint=hint)

    def _line(self, what: str, **fields: Any) -> Mapping[str, Any]:
        return {"t": round(time.monotonic() - self._began, 6), "what": what, **fields}

    def _append(self, line: Mapping[str, Any]) -> None:
        """Add a line for the thread, and before it a line that says how many were lost since the last one."""
        if self._missing:
            self._waiting.append({"t": line["t"], "what": "lost", "lines": self._missing})
            self._missing = 0
        self._waiting.append(line)
        self._lock.notify()

    def _write(self) -> None:
        try:
            while (line := self._next()) is not None:
                self._write_line((json.dumps(plain(line)) + "\n").encode())
                with self._lock:
                    self._waiting.popleft()
        except OSError as error:
            self._give_up(error)
        finally:
            os.close(self._descriptor)

    def _next(self) -> Mapping[str, Any] | None:
        """Wait for the next line, and return it; None at the end."""
        with self._lock:
            while not self._waiting and not self._is_closing:
                self._lock.wait()
            return self._waiting[0] if self._waiting and not self._is_over else None

    def _write_line(self, data: bytes) -> None:
        """Write a whole line. If only a part can be written, remove that part again."""
        before, left = os.lseek(self._descriptor, 0, os.SEEK_CUR), data
        try:
            while left:
                left = left[os.write(self._descriptor, left) :]
        except OSError:
            with contextlib.suppress(OSError):
                os.ftruncate(self._descriptor, before)
            raise

    def _give_up(self, error: OSError) -> None:
        """Log that the recording ended, and count all waiting lines as lost."""
        with self._lock:
            self._is_over = True
            self._lost += len(self._waiting)
            self._waiting.clear()
        hint = "make room, or record to another disk; what was written until now plays"
        log.error("recording ended", path=self._path, problem=error.strerror, hint=hint)
