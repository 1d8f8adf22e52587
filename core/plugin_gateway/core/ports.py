"""What the gateway needs from the world outside: a vendor's driver, and the host's device nodes."""

from collections.abc import Callable, Container, Sequence
from typing import Protocol

from plugin_gateway.core.health.observations import Observation

Report = Callable[[Observation], None]
"""Takes an observation from any thread, at once, without waiting for anybody.

Of several observations on one topic (`Observation.topic`) that come before anybody looks, only the last may be seen.
"""


class Backend(Protocol):
    """One vendor's driver, for one life. Whatever may wait for the driver happens in a thread of the backend's own.

    A node has one backend at a time: an inventory is everything there is to offer.
    """

    device_word: str
    """What people call one of its devices, in the singular."""

    def start(self, report: Report, after: Callable[[], object] = ...) -> None:
        """Begin to look, and report whole inventories and events from then on; returns at once.

        ``after`` is called before the driver is, and may wait for as long as it likes: for the thread of a backend that
        asked it before.
        """
        ...

    def stop(self) -> None:
        """Report nothing more; returns at once, also while the driver hangs. Calling it again does nothing."""
        ...

    def silent_for(self) -> float:
        """Tell for how many seconds the driver has not given any sign; 0 where nobody is waiting for it."""
        ...

    def is_watching(self) -> bool:
        """Whether the driver is watched, or waited for; False once whoever did so is gone."""
        ...

    def join(self, timeout: float | None = None) -> bool:
        """Wait for the thread to end after ``stop``, at most ``timeout`` seconds; False where it still hangs."""
        ...


class HostNodes(Protocol):
    """The device nodes of the host."""

    def present(self, paths: Sequence[str]) -> Container[str]:
        """Tell which of these paths, as a container would see them, are device nodes of the host now."""
        ...
