"""Stand-ins for the node and the driver of a gateway in a replay."""

from collections.abc import Mapping, Sequence
from typing import Any

from plugin_gateway.adapters.gateway.gateway import Gateway
from plugin_gateway.adapters.registration.registrar import Registrar
from plugin_gateway.adapters.registration.resource_registration import ResourceRegistration
from plugin_gateway.core.devices import DeviceId
from plugin_gateway.core.health.faults import Moment
from plugin_gateway.core.resources.assignment import Advertisement
from plugin_gateway.core.resources.names import ResourceName


class RecordedNodes:
    """Device nodes. Present are those that the next recorded answer names; they were there at that time."""

    def __init__(self) -> None:
        self.named: frozenset[str] = frozenset()
        self._generation = 0

    def generation(self) -> int:
        """Return another number each time: the next recorded answer may name others."""
        self._generation += 1
        return self._generation

    def present(self, paths: Sequence[str]) -> frozenset[str]:
        """Return which of these device nodes are present."""
        return self.named.intersection(paths)

    def is_visible(self) -> bool:
        """Return True: what the recorded answer does not name was not given."""
        return True


class RecordedClock:
    """The clock of the recording. It also keeps when the driver gave its last sign."""

    def __init__(self, began: float, uptime: float) -> None:
        """``began`` and ``uptime`` are the time at the beginning: seconds since the epoch, and since the boot."""
        self._began = began
        self._uptime = uptime
        self.at = 0.0
        """The time of the line that is played, in seconds since the recording began."""
        self.sign_at = 0.0
        """When the driver gave its last known sign, in the same seconds."""

    def now(self) -> Moment:
        """Return the recorded time."""
        return Moment(uptime=self._uptime + self.at, epoch=self._began + self.at)

    def silent_for(self) -> float:
        """Return for how many seconds the driver had given no sign, as far as that was recorded."""
        return max(self.at - self.sign_at, 0.0)


class PlayedGateway(Gateway):
    """A gateway that takes the driver's silence, and which devices are withheld, from the recording alone."""

    _recorded: Sequence[DeviceId] = ()

    def withhold(self, devices: Sequence[DeviceId]) -> None:
        """Withhold these devices, and no others, from now on."""
        self._recorded = devices
        self._publish()

    def _withhold(self, wanted: Mapping[ResourceName, Advertisement]) -> Mapping[ResourceName, Advertisement]:
        return {name: each.withholding(self._recorded) for name, each in wanted.items()}

    async def _listen(self) -> None:
        """Do nothing. The recording has what the driver reported."""

    def _heed_pause(self) -> None:
        """Do nothing. The recorded time jumps from line to line, and the recording has the pauses."""


class PlayedRegistrar(Registrar):
    """Registers in the order of the recording. When two resources are due, milliseconds would decide otherwise."""

    def __init__(self, **parts: Any) -> None:
        super().__init__(**parts)
        self._turn: str | None = None

    def give_turn(self, resource: str | None) -> None:
        """Let only this resource register next. With None, any can."""
        if resource != self._turn:
            self._turn = resource
            self.wake()

    def _may_go_on(self, resource: ResourceRegistration) -> bool:
        return self._turn in {None, resource.resource} or resource.registration.attempt is not None
