"""Log lines: an event with fields for each change of state, as JSON for machines or as text for people.

To import structlog takes a tenth of the time from the start of the process to the first registration. So it is imported
after that. Until then log lines are kept in memory, and then written with the time at which they were logged.
"""

import logging
import os
import sys
import time
from collections import deque
from collections.abc import Callable
from enum import Enum
from typing import TYPE_CHECKING, Any, TextIO, cast

from plugin_gateway.adapters.support.lean_imports import deferred, left_out
from plugin_gateway.adapters.support.standard_error import StandardError
from plugin_gateway.adapters.support.terminal import printable

if TYPE_CHECKING:
    import structlog

MAX_KEPT = 1000
"""Lines that are kept in memory at most; the oldest are lost first."""

_Write = Callable[[str, dict[str, Any]], None]
"""Writes a line: its level, and its fields with the event and the time."""


class LogFormat(Enum):
    """The form of a line. AUTO is text on a terminal and JSON elsewhere.

    JSON_GCP is JSON with the level as ``severity`` too, which Google Cloud reads.
    """

    AUTO = "auto"
    JSON = "json"
    JSON_GCP = "json-gcp"
    TEXT = "text"


class Log:
    """The log of this process. Fields that are None are left out.

    A field that is a function is called when the line is written. That is after the start, when time is not short.
    """

    def __init__(self) -> None:
        self._write: _Write | None = None
        self._kept: deque[tuple[str, dict[str, Any]]] = deque(maxlen=MAX_KEPT)

    def debug(self, event: str, **fields: Any) -> None:
        """Log details that help to find a fault."""
        self._say("debug", event, fields)

    def info(self, event: str, **fields: Any) -> None:
        """Log a change of state."""
        self._say("info", event, fields)

    def warning(self, event: str, **fields: Any) -> None:
        """Log a change that may need action."""
        self._say("warning", event, fields)

    def error(self, event: str, **fields: Any) -> None:
        """Log that something cannot continue."""
        self._say("error", event, fields)

    def exception(self, event: str, error: BaseException, **fields: Any) -> None:
        """Log a fault in the gateway itself, with its traceback."""
        self._say("error", event, {**fields, "exc_info": error})

    def write_to(self, write: _Write | None) -> None:
        """Write the kept lines and all that follow. With None, keep lines again."""
        self._write_kept(write)
        self._write = write
        self._write_kept(write)

    def _write_kept(self, write: _Write | None) -> None:
        """Write the kept lines, the oldest first."""
        while write is not None and self._kept:
            write(*self._kept.popleft())

    def _say(self, level: str, event: str, fields: dict[str, Any]) -> None:
        line = {"time": time.time(), "event": event, **{key: each for key, each in fields.items() if each is not None}}
        if self._write is None:
            self._kept.append((level, line))
        else:
            self._write(level, line)


log = Log()


def set_up_logs(level: str, log_format: LogFormat) -> None:
    """Write log lines of this level and above to standard error, from now on."""
    structlog = _import_structlog()
    as_text = log_format is LogFormat.TEXT or (log_format is LogFormat.AUTO and sys.stderr.isatty())
    logger = structlog.wrap_logger(
        structlog.WriteLogger(cast("TextIO", StandardError())),
        processors=[
            structlog.processors.add_log_level,
            _in_order,
            *(_text(structlog) if as_text else _json(structlog, log_format)),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelNamesMapping()[level.upper()]),
    )
    log.write_to(lambda of_level, line: getattr(logger, of_level)(**line))


def _import_structlog() -> Any:
    """Import structlog without rich, and without what it offers to others.

    rich takes longer than all other imports, and only formats tracebacks. The others take half a megabyte.
    """
    with left_out("rich"), deferred("structlog.stdlib", "structlog.threadlocal"):
        import structlog  # noqa: PLC0415 - see above
    return structlog


def _in_order(_logger: Any, _method: str, line: "structlog.typing.EventDict") -> "structlog.typing.EventDict":
    """Put first what everybody looks for, with a timestamp in UTC with milliseconds in place of the time."""
    said = line.pop("time")
    seconds = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(said))
    first = {"event": line.pop("event"), "level": line.pop("level")}
    fields = {key: value() if callable(value) else value for key, value in line.items()}
    return {**first, "timestamp": f"{seconds}.{int(said % 1 * 1000):03d}Z", **fields}


def _text(structlog: Any) -> list["structlog.typing.Processor"]:
    renderer = structlog.dev.ConsoleRenderer(colors=_takes_colors(), exception_formatter=_write_traceback)
    return [_without_control_characters, renderer]


def _takes_colors() -> bool:
    """Whether standard error is a terminal with colors. https://no-color.org says what ``NO_COLOR`` means."""
    return sys.stderr.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def _without_control_characters(
    _logger: Any, _method: str, line: "structlog.typing.EventDict"
) -> "structlog.typing.EventDict":
    """Make all texts of the line printable. Values that are no texts are written as Python does, with escapes."""
    return {key: printable(value) if isinstance(value, str) else value for key, value in line.items()}


def _write_traceback(file: TextIO, error: Any) -> None:
    """Write a traceback. The text of the error in it can be anybody's."""
    import traceback  # noqa: PLC0415 - only for faults of our own

    lines = "".join(traceback.format_exception(*error)).rstrip("\n").split("\n")
    file.write("\n" + "\n".join(printable(line) for line in lines))


def _json(structlog: Any, log_format: LogFormat) -> list["structlog.typing.Processor"]:
    severity = [_with_severity] if log_format is LogFormat.JSON_GCP else []
    return [*severity, structlog.processors.format_exc_info, structlog.processors.JSONRenderer(), _without_delete]


def _with_severity(_logger: Any, _method: str, line: "structlog.typing.EventDict") -> "structlog.typing.EventDict":
    """Add the level by the name that Google Cloud reads: DEBUG, INFO, WARNING or ERROR."""
    return {"severity": line["level"].upper(), **line}


def _without_delete(_logger: Any, _method: str, line: Any) -> str:
    """Escape the one control character that JSON does not escape."""
    return str(line).replace("\x7f", r"\u007f")
