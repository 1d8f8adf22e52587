"""What the gateway needs from a vendor's driver."""

from collections.abc import Callable
from typing import Protocol

from plugin_gateway.core.observations import Observation

Report = Callable[[Observation], None]
"""Takes an observation from any thread, at once, without waiting for anybody."""


class Backend(Protocol):
    """One vendor's driver. Everything that may wait for the driver happens in a thread of the backend's own."""

    def start(self, report: Report) -> None:
        """Begin to look, and report whole inventories and events from then on; returns at once."""
        ...

    def stop(self) -> None:
        """Report nothing more; returns at once, also while the driver hangs. Calling it again does nothing."""
        ...

    def join(self, timeout: float) -> bool:
        """Wait for the thread to end after ``stop``, at most ``timeout`` seconds; False where it still hangs."""
        ...
