"""What a gateway that is played to has instead of a node and a driver."""

from collections.abc import Sequence
from typing import Any

from plugin_gateway.adapters.gateway.gateway import Gateway
from plugin_gateway.adapters.registration.registrar import Registrar
from plugin_gateway.adapters.registration.registration import Registration
from plugin_gateway.core.health.faults import Moment


class RecordedNodes:
    """The device nodes that the answer named which is about to be given again: those were there then."""

    def __init__(self) -> None:
        self.named: frozenset[str] = frozenset()

    def present(self, paths: Sequence[str]) -> frozenset[str]:
        """Tell which of these nodes were there."""
        return self.named.intersection(paths)


class RecordedClock:
    """Stands where the recording stands; it knows as well when the driver gave a sign."""

    def __init__(self, began: float, uptime: float) -> None:
        """``began`` and ``uptime`` are its beginning on the clocks of the epoch and of the uptime."""
        self._began = began
        self._uptime = uptime
        self.at = 0.0
        self.sign_at = 0.0
        """When the driver gave its last sign that is known."""

    def now(self) -> Moment:
        """Tell the time of the last line that was played."""
        return Moment(uptime=self._uptime + self.at, epoch=self._began + self.at)

    def silent_for(self) -> float:
        """Tell for how long the driver had given no sign, as far as the recording says."""
        return max(self.at - self.sign_at, 0.0)


class PlayedGateway(Gateway):
    """Hears of the driver's silence from the recording alone."""

    async def _listen(self) -> None:
        """Listen to nobody: the recording has what was heard."""


class PlayedRegistrar(Registrar):
    """Registers in the order of the recording: of two resources whose time has come, milliseconds decide otherwise."""

    def __init__(self, **parts: Any) -> None:
        super().__init__(**parts)
        self._turn: str | None = None

    def give_turn(self, resource: str | None) -> None:
        """Have this resource be the next; None where the order is of no account."""
        if resource != self._turn:
            self._turn = resource
            self.wake()

    def _waiting(self) -> list[Registration]:
        waiting = super()._waiting()
        return [each for each in waiting if self._turn in {None, each.served.resource}]
