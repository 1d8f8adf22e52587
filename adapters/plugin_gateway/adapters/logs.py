"""Log lines: one event with fields for each change of state, as JSON for machines and as text for people."""

import contextlib
import logging
import os
import stat
import sys
from enum import Enum
from typing import Any, TextIO, cast

# structlog looks for rich as it is imported, to print tracebacks with it; that takes longer than all the rest of us.
_RICH = "rich"
_absent = _RICH not in sys.modules
if _absent:
    sys.modules[_RICH] = None  # type: ignore[assignment]  # Python's own sign for "cannot be imported"
import structlog  # noqa: E402

if _absent:
    del sys.modules[_RICH]


class LogFormat(Enum):
    """How a line looks; auto is text on a terminal and JSON elsewhere."""

    AUTO = "auto"
    JSON = "json"
    TEXT = "text"


class _StandardError:
    """Writes a line or loses it: a full disk, or a reader that went or stands still, must stop nothing."""

    def __init__(self) -> None:
        self._descriptor = sys.stderr.fileno()
        if stat.S_ISFIFO(os.fstat(self._descriptor).st_mode):
            os.set_blocking(self._descriptor, False)

    def write(self, text: str) -> None:
        """Write one line, whole or not at all where it is short enough for a pipe (4 KiB)."""
        with contextlib.suppress(OSError):
            os.write(self._descriptor, text.encode(errors="backslashreplace"))

    def flush(self) -> None:
        """Do nothing: nothing is kept back."""


def set_up_logs(level: str, log_format: LogFormat) -> None:
    """Send log lines of this level and above to standard error."""
    as_text = log_format is LogFormat.TEXT or (log_format is LogFormat.AUTO and sys.stderr.isatty())
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            _without_empty_fields,
            *(_text() if as_text else _json()),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelNamesMapping()[level.upper()]),
        logger_factory=structlog.WriteLoggerFactory(cast("TextIO", _StandardError())),
        cache_logger_on_first_use=False,
    )


def _without_empty_fields(_logger: Any, _method: str, event: structlog.typing.EventDict) -> structlog.typing.EventDict:
    return {key: value for key, value in event.items() if value is not None}


def _text() -> list[structlog.typing.Processor]:
    return [
        structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty(), exception_formatter=structlog.dev.plain_traceback)
    ]


def _json() -> list[structlog.typing.Processor]:
    return [structlog.processors.format_exc_info, structlog.processors.JSONRenderer()]
