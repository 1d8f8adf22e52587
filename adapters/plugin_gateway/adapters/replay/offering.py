"""What the gateway offers in a replay: state function and policy over what was recorded, at its recorded times."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from plugin_gateway.adapters.recording.values import Configuration
from plugin_gateway.adapters.replay.reading import Recording
from plugin_gateway.core.devices import DeviceId, Links
from plugin_gateway.core.health.faults import Moment
from plugin_gateway.core.health.memory import recall
from plugin_gateway.core.health.observations import DriverSilence, Observation
from plugin_gateway.core.health.state import State
from plugin_gateway.core.health.state_function import advance, clear, wait
from plugin_gateway.core.resources.assignment import GRANT_GRACE, Advertisement, advertise, keep_granted, kept_names
from plugin_gateway.core.resources.names import ResourceName

EARLY = 0.05
"""Seconds that something can have been recorded before its time: clocks are read one after the other."""


@dataclass(slots=True)
class Offer:
    """One resource, as it is offered now."""

    advertisement: Advertisement
    publish_again_at: float | None = None
    granted_until: dict[str, float] = field(default_factory=dict)
    """Until when each device stays in the list that was allocated."""

    is_kept_back: bool = False
    """Whether no list is sent, because another gateway may be about to send some."""
    repeats: int = 0
    """How often the list was sent again although it was the same, because another gateway can have sent one."""

    def publish(self, wanted: Advertisement, at: float) -> None:
        """Advertise these devices, and those that were allocated a moment ago."""
        self.advertisement, self.publish_again_at = keep_granted(wanted, self.advertisement, self.granted_until, at)

    def grant(self, ids: Sequence[str], at: float) -> None:
        """Remember an allocation."""
        self.granted_until.update(dict.fromkeys(ids, at + GRANT_GRACE))


class Offering:
    """The state of the devices, and the offer of each resource. Times are seconds since the recording began."""

    def __init__(self, recording: Recording) -> None:
        self.configuration: Configuration = recording.configuration
        self.offers: dict[ResourceName, Offer] = {}
        self._signs_are_written = recording.version > 1
        self._sign_at = 0.0
        """When the driver gave its last known sign."""
        self._began, self._uptime, self._state = recording.began, 0.0, State()
        self._published: State | None = None
        self._withheld: Sequence[DeviceId] = ()
        recalled = next((each for each in recording.happenings if each.what == "recalled"), None)
        if recalled is not None:
            memory = recalled.fields["memory"]
            self._uptime, self._state = recalled.fields["uptime"] - recalled.at, recall(memory, memory.boot_id)

    @property
    def links(self) -> Links:
        """How the physical devices are connected, as far as it is known now."""
        return self._state.links

    def pass_time(self, at: float, *, is_seen: bool) -> None:
        """Let the gateway conclude what follows from the time alone. ``is_seen``: the next line is an observation."""
        again = [each.publish_again_at for each in self.offers.values() if each.publish_again_at is not None]
        if again and min(again) - EARLY <= at:
            self._publish(max(at, min(again)))
        if not self._signs_are_written and not is_seen:
            # Version 1 does not say when the driver gave a sign, so it is taken to answer all the time.
            self._sign_at = at
        self._wait(at)

    def see(self, observation: Observation, at: float) -> None:
        """Take an observation."""
        self._hear(at - (observation.seconds if isinstance(observation, DriverSilence) else 0.0))
        self._state, _ = advance(self._state, observation, self._moment(at), self.configuration.health)
        self._wait(at)

    def wait(self, silence: float, at: float) -> None:
        """Conclude what was concluded then because time had passed, with this silence of the driver."""
        self._hear(at - silence)
        self._wait(at)

    def clear(self, device: DeviceId, at: float) -> None:
        """Take an operator's `health clear`."""
        self._state, _ = clear(self._state, device, self._moment(at), self.configuration.health)
        self._wait(at)

    def withhold(self, devices: Sequence[DeviceId], at: float) -> None:
        """Withhold these devices, and no others, from now on."""
        self._withheld = devices
        self._publish(at)

    def configure(self, configuration: Configuration, at: float) -> None:
        """Follow other settings."""
        self.configuration = configuration
        self._publish(at)

    def _hear(self, sign_at: float) -> None:
        self._sign_at = max(self._sign_at, sign_at)

    def _moment(self, at: float) -> Moment:
        return Moment(uptime=self._uptime + at, epoch=self._began + at)

    def _wait(self, at: float) -> None:
        silence = max(at - self._sign_at, 0.0)
        self._state, _ = wait(self._state, self._moment(at), self.configuration.health, silence)
        if self._state is not self._published:
            self._publish(at)

    def _publish(self, at: float) -> None:
        """Advertise what the state says. A resource without devices stays, unless no rule names it any more."""
        self._published, rules = self._state, self.configuration.rules
        wanted = {
            name: each.withholding(self._withheld)
            for name, each in advertise(self._state, rules, numa_hints=self.configuration.numa_hints).items()
        }
        kept = kept_names(rules) | wanted.keys()
        for name, offer in list(self.offers.items()):
            offer.publish(wanted.get(name) or offer.advertisement.without_devices(), at)
            if name not in kept and offer.publish_again_at is None:
                del self.offers[name]
        self.offers |= {name: Offer(each) for name, each in wanted.items() if name not in self.offers}
