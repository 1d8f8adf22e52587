"""Which states the API server was told last, kept in a file for the next start of the gateway.

So what was not told before a restart is told after it, and what was told is not told again.
"""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple

from plugin_gateway.adapters.cluster.events import Sending
from plugin_gateway.adapters.gateway.kept_file import KeptFile
from plugin_gateway.adapters.gateway.state_file import Decoded
from plugin_gateway.adapters.support.strict_json import plain, shown
from plugin_gateway.core.errors import InvalidValueError

NAME = "told-states.json"
"""Name of the file in the state directory."""
VERSION = 1
"""Version of the form. Every version can be read."""
MAX_STATES = 1000
"""States that are kept. A node has far fewer devices; the oldest go first."""
MAX_TEXT = 4096
"""Characters of one text."""


class Told(NamedTuple):
    """A state, as the Event's cause names it."""

    reason: str
    detail: str


class ToldStates:
    """The last state of each subject that the API server took. A subject that is well has none."""

    def __init__(self, directory: Path, may_write: Callable[[], bool] = lambda: True) -> None:
        """`read` reads the file in this directory, and `run` writes it.

        ``may_write`` says whether this is the gateway that writes the file, if several have it.
        """
        self._states: Mapping[str, Told] = {}
        self._file = KeptFile[Mapping[str, Told]](
            directory / NAME,
            "the Events of devices",
            "a restart will report unhealthy devices again",
            _encode,
            may_write,
        )

    def read(self) -> None:
        """Read what an earlier instance told. Waits for the file."""
        self._states = self._file.read(lambda: _decode) or {}

    def about(self, subject: str) -> Told | None:
        """Return what was told last. None if the subject was well, or never told of."""
        return self._states.get(subject)

    def note(self, sent: Sending) -> None:
        """Take what the API server took."""
        if not sent.cause.is_state:
            return
        states = {subject: told for subject, told in self._states.items() if subject != sent.cause.subject}
        if sent.kind != "Normal":
            states[sent.cause.subject] = Told(sent.cause.reason, plain(sent.cause.detail, MAX_TEXT))
        self._states = dict(list(states.items())[-MAX_STATES:])
        self._file.keep(self._states)

    async def run(self) -> None:
        """Write the file after each change until cancelled, and once more at the end."""
        await self._file.run()


def _encode(states: Mapping[str, Told]) -> Mapping[str, object]:
    told = {plain(subject, MAX_TEXT): told._asdict() for subject, told in states.items()}
    return {"version": VERSION, "told": told}


def _decode(value: object) -> Decoded[Mapping[str, Told]]:
    """Return what a file of any version contains. An entry that cannot be read counts as not told.

    Raises:
        InvalidValueError: it contains nothing that a gateway writes.
    """
    if not isinstance(value, dict) or not isinstance(value.get("told"), dict):
        raise InvalidValueError(f"{shown(value)} where the states that were told belong")
    states, problems = dict[str, Told](), list[str]()
    for subject, entry in list(value["told"].items())[-MAX_STATES:]:
        reason, detail = (entry.get("reason"), entry.get("detail")) if isinstance(entry, dict) else (None, None)
        if isinstance(reason, str) and isinstance(detail, str):
            states[subject] = Told(plain(reason, MAX_TEXT), plain(detail, MAX_TEXT))
        else:
            problems.append(f"told of {shown(subject)}: {shown(entry)}")
    return Decoded(states, tuple(problems[:8]))
