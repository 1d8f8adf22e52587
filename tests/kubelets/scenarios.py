"""What a scenario is, and what every file of them has."""

from collections.abc import Awaitable, Callable
from typing import TypeAlias

from kubelets.scene import Scene

ASK = "GetDevicePluginOptions"
PAUSE = 0.1
"""Seconds between the end of a stream and a Register whose success is not to be a matter of chance (1.25 to 1.36)."""

Scenario: TypeAlias = Callable[[Scene], Awaitable[None]]


class Scenarios(dict[str, Scenario]):
    """Scenarios by name, in the order in which they stand in their file."""

    def add(self, play: Scenario) -> Scenario:
        """Have it played to the kubelets of every release."""
        self[play.__name__.replace("_", " ")] = play
        return play
