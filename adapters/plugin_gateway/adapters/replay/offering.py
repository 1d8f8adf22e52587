"""What the gateway offers in a replay: state function and policy over what was recorded, at its recorded times."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from itertools import zip_longest

from plugin_gateway.adapters.recording.values import Configuration
from plugin_gateway.adapters.replay.reading import Recording
from plugin_gateway.core.devices import NO_LINKS, DeviceId, Links, seen_by
from plugin_gateway.core.health.faults import Moment
from plugin_gateway.core.health.memory import recall
from plugin_gateway.core.health.observations import DriverSilence, Observation
from plugin_gateway.core.health.state import State
from plugin_gateway.core.health.state_function import advance, clear, wait
from plugin_gateway.core.resources.assignment import GRANT_GRACE, Advertisement, keep_granted, kept_names
from plugin_gateway.core.resources.names import ResourceName
from plugin_gateway.core.resources.side_by_side import advertise_side_by_side

EARLY = 0.05
"""Seconds that something can have been recorded before its time: clocks are read one after the other."""


@dataclass(slots=True)
class Offer:
    """One resource, as it is offered now."""

    advertisement: Advertisement
    backend: str = ""
    """The backend that has the devices."""
    publish_again_at: float | None = None
    granted_until: dict[str, float] = field(default_factory=dict)
    """Until when each device stays in the list that was allocated."""

    is_kept_back: bool = False
    """Whether no list is sent, because another gateway may be about to send some."""
    links: Links = NO_LINKS
    """How the devices are connected, as far as it is known."""
    repeats: int = 0
    """How often the list was sent again although it was the same, because another gateway can have sent one."""

    def publish(self, wanted: Advertisement, at: float) -> None:
        """Advertise these devices, and those that were allocated a moment ago."""
        self.advertisement, self.publish_again_at = keep_granted(wanted, self.advertisement, self.granted_until, at)

    def grant(self, ids: Sequence[str], at: float) -> None:
        """Remember an allocation."""
        self.granted_until.update(dict.fromkeys(ids, at + GRANT_GRACE))


@dataclass(slots=True)
class _Watched:
    """What is known of one backend."""

    state: State = State()  # noqa: RUF009 - it is frozen
    sign_at: float = 0.0
    """When its driver gave its last known sign."""


class Offering:
    """The state of the devices of each backend, and the offer of each resource.

    Times are seconds since the recording began. The only backend of most recordings has no name.
    """

    def __init__(self, recording: Recording) -> None:
        self.configuration: Configuration = recording.configuration
        self.offers: dict[ResourceName, Offer] = {}
        self._signs_are_written = recording.version > 1
        self._began, self._uptime = recording.began, 0.0
        self._watched: dict[str, _Watched] = {name: _Watched() for name in recording.configuration.backends or ("",)}
        self._published: Sequence[State] = ()
        self._withheld: Sequence[DeviceId] = ()
        self.has_pairs = False
        """Whether devices of several backends are chosen near each other."""
        for line in (each for each in recording.happenings if each.what == "recalled"):
            memory = line.fields["memory"]
            self._uptime = line.fields["uptime"] - line.at
            self._of(line.fields["backend"]).state = recall(memory, memory.boot_id)

    def pass_time(self, at: float, *, is_seen: bool) -> None:
        """Let the gateway conclude what follows from the time alone. ``is_seen``: the next line is an observation."""
        again = [each.publish_again_at for each in self.offers.values() if each.publish_again_at is not None]
        if again and min(again) - EARLY <= at:
            self._publish(max(at, min(again)))
        for backend, watched in self._watched.items():
            if not self._signs_are_written and not is_seen:
                # Version 1 does not say when the driver gave a sign, so it is taken to answer all the time.
                watched.sign_at = at
            self._wait(backend, at)

    def see(self, observation: Observation, at: float, backend: str) -> None:
        """Take an observation."""
        watched = self._hear(backend, at - (observation.seconds if isinstance(observation, DriverSilence) else 0.0))
        watched.state, _ = advance(watched.state, observation, self._moment(at), self.configuration.health_of(backend))
        self._wait(backend, at)

    def wait(self, silence: float, at: float, backend: str) -> None:
        """Conclude what was concluded then because time had passed, with this silence of the driver."""
        self._hear(backend, at - silence)
        self._wait(backend, at)

    def clear(self, device: DeviceId, at: float, backend: str) -> None:
        """Take an operator's `health clear`."""
        watched = self._of(backend)
        watched.state, _ = clear(watched.state, device, self._moment(at), self.configuration.health_of(backend))
        self._wait(backend, at)

    def withhold(self, devices: Sequence[DeviceId], at: float) -> None:
        """Withhold these devices, and no others, from now on."""
        self._withheld = devices
        self._publish(at)

    def configure(self, configuration: Configuration, at: float) -> None:
        """Follow other settings, which can have other backends. The first one stays the first."""
        if configuration.backends != self.configuration.backends:
            first, *others = configuration.backends or ("",)
            watched = next(iter(self._watched.values()))
            if (inventory := watched.state.inventory) is not None:
                watched.state = replace(watched.state, inventory=seen_by(first, inventory))
            self._watched = {first: watched, **{name: self._of(name) for name in others}}
        self.configuration = configuration
        self._publish(at)

    def _of(self, backend: str) -> _Watched:
        """Return what is known of a backend. One that was stopped can still report something, which has no effect."""
        return self._watched.get(backend) or _Watched()

    def _hear(self, backend: str, sign_at: float) -> _Watched:
        watched = self._of(backend)
        watched.sign_at = max(watched.sign_at, sign_at)
        return watched

    def _moment(self, at: float) -> Moment:
        return Moment(uptime=self._uptime + at, epoch=self._began + at)

    def _wait(self, backend: str, at: float) -> None:
        watched = self._of(backend)
        silence = max(at - watched.sign_at, 0.0)
        watched.state, _ = wait(watched.state, self._moment(at), self.configuration.health_of(backend), silence)
        if any(new is not old for new, old in zip_longest(self._states(), self._published)):
            self._publish(at)

    def _states(self) -> Sequence[State]:
        return [watched.state for watched in self._watched.values()]

    def _publish(self, at: float) -> None:
        """Advertise what the states say. A resource without devices stays, unless no rule names it any more."""
        self._published, rules = self._states(), self.configuration.rules
        states = {name: watched.state for name, watched in self._watched.items()}
        found = advertise_side_by_side(states, rules, numa_hints=self.configuration.numa_hints)
        wanted = {name: each.withholding(self._withheld) for name, each in found.wanted.items()}
        kept = kept_names(rules) | wanted.keys()
        for name, offer in list(self.offers.items()):
            offer.publish(wanted.get(name) or offer.advertisement.without_devices(), at)
            if name not in kept and offer.publish_again_at is None:
                del self.offers[name]
        self.offers |= {name: Offer(each) for name, each in wanted.items() if name not in self.offers}
        for name, owner in found.owners.items():
            self.offers[name].links = states[owner].links
            self.offers[name].backend = owner
        self.has_pairs = self.configuration.pair_devices and len(set(found.owners.values())) > 1
