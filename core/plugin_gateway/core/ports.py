"""Interfaces to the outside: a vendor's driver (`Backend`) and the host's device nodes (`HostNodes`)."""

from collections.abc import Callable, Collection, Container, Sequence
from typing import TYPE_CHECKING, Protocol, runtime_checkable

from plugin_gateway.core.health.observations import Observation

if TYPE_CHECKING:
    from plugin_gateway.core.cdi import FilesWanted

Report = Callable[[Observation], None]
"""Accepts an observation from any thread and returns at once.

Several observations with the same topic (`Observation.topic`) can arrive before anybody reads them. The reader may then
see only the last of them.
"""


class Backend(Protocol):
    """A connection to the driver of one vendor. It is started once and stopped once.

    Every call that may wait for the driver happens in a thread that the backend owns. Several backends can be side by
    side; an inventory contains everything that this one can offer.
    """

    device_word: str
    """The common word for one of the devices, in the singular."""
    decision_time: float
    """Seconds after an event until the driver has decided what it asks for. A check follows then. It can be set."""

    def start(self, report: Report, after: Callable[[], object] = ...) -> None:
        """Start the thread and report inventories and events through ``report``. Returns at once.

        The thread calls ``after`` before it calls the driver. ``after`` may block, for example until the thread of an
        earlier backend has ended.

        Raises:
            RuntimeError: no thread can be started.
        """
        ...

    def want_files(self, wanted: "FilesWanted | None") -> None:
        """Find the files of the driver after each inventory, and for each driver. None: no longer. Returns at once."""
        ...

    def look_again(self) -> None:
        """Look soon at what is on the node, because something was not as reported. Any thread may call it."""
        ...

    def stop(self) -> None:
        """Stop reporting. Returns at once, even if the driver hangs. Another call has no effect."""
        ...

    def silent_for(self) -> float:
        """Return the seconds since the last sign of the driver. 0 if nothing waits for the driver."""
        ...

    def is_watching(self) -> bool:
        """Whether the thread that watches the driver, or waits for it, is running."""
        ...

    def join(self, timeout: float | None = None) -> bool:
        """Wait for the thread to end after ``stop``, at most ``timeout`` seconds.

        Returns False if the thread has not ended by then, because a call of the driver still hangs.
        """
        ...


@runtime_checkable
class TellsFacts(Protocol):
    """A backend that can report `FactsSeen`. It costs calls of the driver, so it does so only where it is asked."""

    wants_facts: bool
    """Whether somebody wants them. It can be set at any time; the backend notices it after its present wait."""


def want_facts(backend: Backend, *, wanted: bool) -> bool:
    """Have a backend report `FactsSeen`, or no longer. Return whether it ever does."""
    if not isinstance(backend, TellsFacts):
        return False
    backend.wants_facts = wanted
    return True


class HostNodes(Protocol):
    """The device nodes of the host."""

    def present(self, paths: Sequence[str]) -> Container[str]:
        """Return which of these paths are device nodes of the host now.

        The paths are those that a container sees, such as ``/dev/x0``. The result may contain other paths too.
        """
        ...

    def seen(self, patterns: Sequence[str]) -> Sequence[str]:
        """Return the device nodes that this process sees now, of these. A star at the end stands for any ending.

        Unlike `present` it takes nothing for present unseen.
        """
        ...

    def names_in(self, folder: str) -> Sequence[str] | None:
        """Return the names in a folder of the host now, in order. None if it is not there or cannot be read."""
        ...

    def is_visible(self) -> bool:
        """Whether this process sees the folder of the device nodes. If not, a node that it does not see can exist."""
        ...


def matching(pattern: str, paths: Collection[str]) -> Sequence[str]:
    """Return those of the paths that a pattern names. A star at its end stands for any ending without a slash."""
    beginning = pattern.removesuffix("*")
    if beginning == pattern:
        return [pattern] if pattern in paths else []
    return sorted(path for path in paths if path.startswith(beginning) and "/" not in path[len(beginning) :])
