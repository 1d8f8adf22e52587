"""Keeps what a backend has seen of network cards in a file of the state directory, for the next start of the gateway.

While a pod has a card, the node does not see all of it. What is kept says to which resource it belongs all the same.
"""

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from plugin_gateway.adapters.support.logs import log
from plugin_gateway.core.errors import InvalidValueError

T = TypeVar("T")
NAME = "cards.json"
_WHAT = "network cards"


class CardMemory:
    """The file. Its content is a text of the backend, which alone understands it."""

    def __init__(self, directory: Path, *, may_write: bool) -> None:
        """Without ``may_write`` the file is only looked at."""
        self._path = directory / NAME
        self._may_write = may_write
        self._problem: str | None = None

    def recall(self, parse: Callable[[str], T]) -> T | None:
        """Return what an earlier instance kept. None if there is nothing that can be used.

        A damaged file is renamed and logged. ``parse`` raises InvalidValueError for a text that it does not understand.
        """
        if not os.path.lexists(self._path):
            return None
        from plugin_gateway.adapters.gateway import state_file  # noqa: PLC0415 - only needed if there is a file

        if not self._may_write:
            try:
                return parse(state_file.load(self._path).decode())
            except (OSError, ValueError, InvalidValueError):
                return None
        try:
            return state_file.read(self._path, lambda value: parse(json.dumps(value)))
        except state_file.DamagedFileError as error:
            log.warning(f"what was kept about {_WHAT} cannot be used", problem=str(error))
            return None

    def keep(self, text: str) -> None:
        """Replace the file. The thread of the backend calls it, when what it knows has changed."""
        if not self._may_write:
            return
        from plugin_gateway.adapters.gateway import state_file  # noqa: PLC0415 - not at the start

        try:
            state_file.replace(self._path, text.encode())
        except OSError as error:
            problem = f"{self._path}: {error.strerror}"
            if problem != self._problem:
                log.warning(
                    f"what is known about {_WHAT} cannot be kept",
                    problem=problem,
                    hint="a restart will forget to which resource a card belongs that a pod has",
                )
            self._problem = problem
        else:
            if self._problem is not None:
                log.info(f"what is known about {_WHAT} is kept again")
            self._problem = None

    def is_kept(self) -> bool:
        """Whether the last attempt to keep something succeeded, and the file is there. Somebody may have deleted it."""
        return not self._may_write or (self._problem is None and os.path.lexists(self._path))
