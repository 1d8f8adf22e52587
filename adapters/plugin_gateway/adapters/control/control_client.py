"""The client of the control sockets: asks the gateways of this node, the active one first."""

import json
import os
import socket
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

from plugin_gateway.adapters.control.control_socket import control_sockets
from plugin_gateway.adapters.gateway.status import GatewayIdentity, Status
from plugin_gateway.adapters.gateway.status_document import decode
from plugin_gateway.adapters.support.strict_json import MisfitError, parse
from plugin_gateway.adapters.support.unix_files import peer_of, who_may
from plugin_gateway.core.errors import GatewayError

TIMEOUT = 5.0
"""Seconds that a gateway has for each step of an answer."""
MAX_ANSWER = 64 * 1024 * 1024
"""Bytes."""


class ControlError(GatewayError):
    """The gateway cannot be reached, or refuses the command. The message is for the operator."""


class NoAnswerError(ControlError):
    """The gateway accepted the connection, but did not answer in time."""


class FormError(ControlError):
    """The gateway answered in a form that this version does not know."""


class _GoneError(ControlError):
    """Nobody listens on the socket."""


class Asked(NamedTuple):
    """A gateway of this node, and its status."""

    socket: Path
    pid: int
    """0 if the process is in a PID namespace that is not visible here."""
    status: Status | None
    """None if there was no answer."""
    problem: ControlError | None = None
    """Why there was no answer."""

    @property
    def role(self) -> str:
        """What it does for the kubelet, in words."""
        if self.status is None:
            return "cannot be understood" if isinstance(self.problem, FormError) else "does not answer"
        if any(each.stream_opened is not None for each in self.status.resources):
            return "active"
        return "standing by" if any(each.stands_by for each in self.status.resources) else "not registered"

    @property
    def identity(self) -> GatewayIdentity:
        """Which gateway it is. Version and host are missing if it is of an older version."""
        told = self.status.gateway if self.status is not None else GatewayIdentity()
        return replace(told, pid=self.pid or None, socket=str(self.socket), role=self.role)

    @property
    def name(self) -> str:
        """Which gateway it is, in words."""
        told = self.identity
        which = f"{told.version} of {told.host}" if told.version is not None else f"at {self.socket}"
        return f"gateway {which}{f' (pid {self.pid})' if self.pid else ''}"

    @property
    def words(self) -> str:
        """Which gateway it is, and what it does, on one line."""
        return f"{self.name}, {self.role}"

    def tell(self, request: Mapping[str, Any]) -> Mapping[str, Any]:
        """Send it a request, and return its answer.

        Raises:
            NoAnswerError: it does not answer in time.
            ControlError: it did not answer before, cannot be reached, or refuses.
        """
        if self.problem is not None:
            raise self.problem
        return _converse(self.socket, request)[1]

    def ask_status(self) -> Status:
        """Ask it for its status of this moment.

        Raises:
            ControlError: as `tell`.
            FormError: it answers in another form.
        """
        return _understand(self.socket, self.tell({"command": "status"}))


_ORDER = ("active", "not registered", "standing by", "cannot be understood", "does not answer")


def ask_all(directory: Path) -> Sequence[Asked]:
    """Ask every gateway with this state directory for its status, and return the answers, that of the active one first.

    Raises:
        ControlError: no gateway answers. The message is about the one that was asked first.
    """
    asked: list[Asked] = []
    problems: list[ControlError] = []
    for path in _find(directory):
        try:
            pid, answer = _converse(path, {"command": "status"})
            asked.append(Asked(path, pid, _understand(path, answer)))
        except _GoneError as error:
            problems.append(error)
        except ControlError as error:
            problems.insert(0, error)
            asked.append(Asked(path, 0, None, error))
    if all(each.problem is not None for each in asked):
        raise problems[0] if problems else _nobody(directory, "there is no control socket")
    return sorted(asked, key=lambda each: _ORDER.index(each.role))


def _understand(path: Path, answer: Mapping[str, Any]) -> Status:
    try:
        return decode(answer)
    except MisfitError as error:
        raise FormError(
            f"the gateway at {path} answers with a status that this version cannot read: {error}"
        ) from error


def _find(directory: Path) -> Sequence[Path]:
    try:
        return control_sockets(directory)
    except OSError as error:
        raise _nobody(directory, error.strerror or str(error), hint=_hint(error)) from error


_IS_IT_RUNNING = "; is it running, and does it have the same --state-dir?"


def _nobody(place: Path, problem: str, hint: str = _IS_IT_RUNNING) -> ControlError:
    return ControlError(f"no gateway can be asked at {place}: {problem}{hint}")


def _converse(path: Path, request: Mapping[str, Any]) -> tuple[int, Mapping[str, Any]]:
    """Send a request. Return the process that answered, and its answer."""
    try:
        with socket.socket(socket.AF_UNIX) as client:
            client.settimeout(TIMEOUT)
            client.connect(os.fspath(path))
            pid = peer_of(client).pid
            client.sendall(json.dumps(request).encode() + b"\n")
            with client.makefile("rb") as file:
                data = file.readline(MAX_ANSWER)
    except TimeoutError as error:
        raise NoAnswerError(f"the gateway at {path} did not answer within {TIMEOUT:.0f} s") from error
    except BlockingIOError as error:  # the queue of its socket is full, because it accepts nobody
        raise NoAnswerError(f"the gateway at {path} accepts no connection any more: it hangs") from error
    except OSError as error:
        kind = _GoneError if isinstance(error, (ConnectionRefusedError, FileNotFoundError)) else ControlError
        raise kind(str(_nobody(path, error.strerror or str(error), _hint(error)))) from error
    return pid, _parse(path, data)


def _hint(error: OSError) -> str:
    """Return a likely cause, for the end of the error message."""
    if isinstance(error, PermissionError):
        return f"; {who_may() if os.geteuid() == 0 else 'only root may'}"
    if isinstance(error, ConnectionResetError):
        return "; it is busy with others, try again"
    return _IS_IT_RUNNING


def _parse(path: Path, data: bytes) -> Mapping[str, Any]:
    """Return the answer in a line of the gateway.

    Raises:
        ControlError: it is an error, or no answer at all.
    """
    try:
        found = parse(data)
    except ValueError as error:
        raise ControlError(f"the gateway at {path} hung up; it answers root alone") from error
    match found:
        case {"answer": dict(answer)} if len(found) == 1:
            return answer
        case {"error": problem} if len(found) == 1:
            raise ControlError(str(problem))
    raise ControlError(f"what listens at {path} is no gateway of this version")
