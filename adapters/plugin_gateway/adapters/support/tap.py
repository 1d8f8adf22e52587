"""Where a recorder gets the conversation with the kubelet from. Without a recorder it costs almost nothing."""

from collections.abc import Callable


class Tap:
    """Passes on messages to and from the kubelet, and observations of the driver."""

    def __init__(self) -> None:
        self.note: Callable[..., None] | None = None
        """Takes the kind of an event and its fields, and returns at once. None while nothing is recorded."""


tap = Tap()
"""The tap of this process."""
