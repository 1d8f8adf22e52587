"""Collects scenarios, and has what all files of scenarios need."""

from collections.abc import Awaitable, Callable
from typing import TypeAlias

from kubelets.scene import Scene

ASK = "GetDevicePluginOptions"
PAUSE = 0.1
"""Seconds between the end of a stream and a Register. In 1.25 to 1.36 it is a matter of chance whether an earlier one
succeeds."""

Scenario: TypeAlias = Callable[[Scene], Awaitable[None]]


class Scenarios(dict[str, Scenario]):
    """Scenarios by name, in the order of their file."""

    def add(self, play: Scenario) -> Scenario:
        """Add a scenario. It is played to the kubelets of all releases."""
        self[play.__name__.replace("_", " ")] = play
        return play
