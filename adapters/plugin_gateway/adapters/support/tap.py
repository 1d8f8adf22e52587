"""Where the conversation with the kubelet is told to a recorder; without one it costs a look at a name."""

from collections.abc import Callable


class Tap:
    """What is said to and by the kubelet, and what the driver tells meanwhile."""

    def __init__(self) -> None:
        self.note: Callable[..., None] | None = None
        """Takes what happened and its fields, at once; None while nobody records."""


tap = Tap()
"""The one of this process."""
