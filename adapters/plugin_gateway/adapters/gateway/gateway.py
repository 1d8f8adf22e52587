"""Connects the backends, the state function and the registrar, for one node."""

import asyncio
import time
from collections.abc import Iterable, Mapping, Sequence
from itertools import zip_longest
from typing import TYPE_CHECKING, NamedTuple

from plugin_gateway.adapters.gateway.rule_log import RuleLog
from plugin_gateway.adapters.gateway.serving_policy import ServingPolicy
from plugin_gateway.adapters.gateway.watched_backend import WatchedBackend
from plugin_gateway.adapters.registration.registrar import Registrar
from plugin_gateway.adapters.serving.resource import ServedResource, Timings
from plugin_gateway.adapters.support.logs import log
from plugin_gateway.adapters.support.tap import tap
from plugin_gateway.core.devices import MAX_NAMES, DeviceId, FaultId, Links, Recipe
from plugin_gateway.core.health.state import State
from plugin_gateway.core.resources.assignment import Advertisement, advertise, kept_names
from plugin_gateway.core.resources.names import ResourceName
from plugin_gateway.core.resources.rules import ResourceRule

if TYPE_CHECKING:
    from plugin_gateway.adapters.gateway.conflict_watch import KnownConflict
    from plugin_gateway.adapters.gateway.forms import Forms
    from plugin_gateway.adapters.gateway.held_elsewhere import Answers, Withheld
    from plugin_gateway.adapters.gateway.specs import Specs
    from plugin_gateway.adapters.kubelet.checkpoint import Holder
    from plugin_gateway.adapters.serving.pairing import Pairing
    from plugin_gateway.adapters.serving.resource import FollowedNodes
    from plugin_gateway.core.resources.conflicts import Held, Holding, Pools
    from plugin_gateway.core.resources.daemons import Wait
    from plugin_gateway.core.resources.side_by_side import NameTaken


class Offer(NamedTuple):
    """What all backends offer."""

    wanted: Mapping[ResourceName, Advertisement]
    links: Mapping[ResourceName, Links] = {}
    """How the devices of each resource are connected, where there are several backends."""
    owners: Mapping[ResourceName, str] = {}
    """The backend of each resource, where there are several."""
    taken: "Sequence[NameTaken]" = ()


class Gateway:
    """Offers the devices of one node to its kubelet."""

    def __init__(
        self,
        *,
        backends: Sequence[WatchedBackend],
        registrar: Registrar,
        serving_policy: ServingPolicy,
    ) -> None:
        """Create a gateway. It starts with `run`. Where two backends have devices of one name, the first offers it."""
        self.backends = tuple(backends)
        """What is known of the devices, by each backend."""
        self._registrar = registrar
        self._serving_policy = serving_policy
        self._published: Sequence[State] = ()
        """The state of each backend that was published last."""
        self._tasks: asyncio.TaskGroup | None = None
        self._watching: dict[str, asyncio.Task[None]] = {}
        """The tasks that follow the backends, by their names."""
        self._is_published = asyncio.Event()
        self._served: dict[ResourceName, ServedResource] = {}
        self._rule_log = RuleLog()
        self._pairing: Pairing | None = None
        """What was allocated a moment ago. None as long as not several backends offer devices."""
        self._held: dict[Holding, str] = {}
        """Who holds which device, and in which form, as it was seen last."""
        self._forms: Forms | None = None
        """The forms in which devices were offered. None as long as neither inventory nor rules have changed."""
        self.forms_changed = asyncio.Event()
        """Set when devices have another form now, or the first one is withheld. Then somebody looks who holds them."""
        self._overruled: set[DeviceId] = set()
        """Devices that an operator gives out although they may be held."""
        self.withheld: Mapping[DeviceId, Withheld] = {}
        """Devices that are unhealthy because a pod holds them in another form, such as another resource."""
        self.taken: Sequence[NameTaken] = ()
        """The devices that are not offered, because an earlier backend has the name of their resource."""
        self.specs: Specs | None = None
        """The CDI specs of the devices. None if containers do not get their devices by name."""
        self.undescribed: Mapping[DeviceId, Wait] = {}
        """Devices that are not given out because they are in no CDI spec."""
        self._noted: list[DeviceId] = []
        """The devices that a recording says are withheld."""
        self.conflicts: Sequence[KnownConflict] = ()
        """The conflicts with other device plugins, as `ConflictWatch` found them."""

    async def run(self) -> None:
        """Offer the devices until cancelled.

        Raises:
            DriverUnavailableError: the first look of a backend that has to have devices found no driver or no device.
        """
        self._clean()
        try:
            async with asyncio.TaskGroup() as self._tasks:
                self._tasks.create_task(self._registrar.run(), name="registrar")
                for backend in self.backends:
                    self._watch(self._tasks, backend)
                self._tasks.create_task(self._publish_again(), name="vanished devices")
        finally:
            self._clean()

    def _clean(self) -> None:
        """Remove the files about devices that were given out before."""
        if self._serving_policy.device_info is not None:
            self._serving_policy.device_info.clean()

    def _watch(self, tasks: asyncio.TaskGroup, backend: WatchedBackend) -> None:
        name = f"backend {backend.name}"
        self._watching[backend.name] = tasks.create_task(backend.run(self._publish_changes), name=name)

    def exchange(self, backends: Sequence[WatchedBackend]) -> None:
        """Have these backends from now on, of which some can be new. `apply` has to follow, with rules for them."""
        left = [each for each in self.backends if each not in backends]
        new = [each for each in backends if each not in self.backends]
        self.backends, self._published = tuple(backends), ()
        for backend in left:
            if (task := self._watching.pop(backend.name, None)) is not None:
                task.cancel()
        if self._tasks is not None:
            for backend in new:
                self._watch(self._tasks, backend)

    def apply(self, serving_policy: ServingPolicy, *, is_recut: bool = False) -> None:
        """Apply a new policy. Resources that stay the same are not registered again.

        ``is_recut`` says that a new backend follows, which gives out other parts of devices. The old one was stopped.
        """
        if is_recut or serving_policy.rules != self._serving_policy.rules:
            from plugin_gateway.adapters.gateway.held_elsewhere import just_granted  # noqa: PLC0415 - not at the start

            if is_recut:
                for backend in self.backends:
                    backend.take()  # what the old one reported last
                self.forms.outgoing = [state.inventory for state in self.states if state.inventory is not None]
            for state in self.states:
                self.forms.see(state, self.offered)
            self._overruled.clear()
            self._held = {**just_granted(self._served.values(), self._held), **self._held}
        written = self._serving_policy.policy.described_extras
        self._serving_policy = serving_policy
        self.tell_extras(written)
        for served in self._served.values():
            serving_policy.followed_by(served).look_at_kubelet()
        self._publish()

    def tell_extras(self, described: Mapping[str, str]) -> None:
        """Name these extras to containers that get their devices by CDI. Their names, by the words of the backends."""
        policy = self._serving_policy.policy._replace(described_extras=described)
        if policy != self._serving_policy.policy:
            self._serving_policy = self._serving_policy._replace(policy=policy)
        for served in self._served.values():
            served.policy = self._serving_policy.policy

    async def _publish_again(self) -> None:
        """Publish again when a vanished device that was allocated a moment ago may leave its list."""
        while True:
            self._is_published.clear()
            times = [each.publish_again_at for each in self._served.values() if each.publish_again_at is not None]
            left = max(min(times) - time.monotonic(), 0) if times else None
            try:
                async with asyncio.timeout(left):
                    await self._is_published.wait()
            except TimeoutError:
                self._publish()

    def see_holders(
        self, holders: "Iterable[Holder]", answers: "Answers | None" = None, looked: float | None = None
    ) -> None:
        """Withhold what one of these containers holds in another form.

        ``answers`` is as for `held_devices`, and ``looked`` when the look at them began.
        """
        from plugin_gateway.adapters.gateway.held_elsewhere import held_at, held_now  # noqa: PLC0415 - not at the start

        held = held_now(self, holders, answers)
        self._held = held_at(looked or time.monotonic(), held, self._served.values(), self.forms)
        self._publish()

    def see_nobody(self) -> None:
        """Give out what is withheld only because the pods are not known. A node without devices would be worse."""
        if self.forms.is_unknown:
            self.forms.is_unknown = False
            self._publish()

    def suspect(self, held: "Held") -> None:
        """Take these forms for held until the next look at the pods, which is asked for now."""
        self._held |= held
        self.forms_changed.set()
        self._publish()

    def overrule(self, device: DeviceId) -> None:
        """Give out a device although a pod may hold it in another form. Until the next change of the rules."""
        self._overruled.add(device)
        self._publish()

    @property
    def state(self) -> State:
        """The current state of the devices of the first backend, which is the only one of most nodes."""
        return self.backends[0].state

    @property
    def states(self) -> Sequence[State]:
        """The current state of the devices of each backend."""
        return [backend.state for backend in self.backends]

    @property
    def _names(self) -> Sequence[str]:
        """The name of each backend, as rules can have it. The only one has none."""
        return [backend.name for backend in self.backends] if len(self.backends) > 1 else [""]

    @property
    def recipes(self) -> Sequence[Recipe]:
        """How containers get the devices of all backends."""
        return [recipe for state in self.states for recipe in state.recipes]

    def backend_of(self, device: FaultId) -> WatchedBackend:
        """Return the backend that has a device, or knows of it. The first one if none does."""
        having = (each for each in self.backends if each.state.has(device))
        knowing = (each for each in self.backends if device in each.state.faults or device in each.state.repeated)
        return next(having, None) or next(knowing, self.backends[0])

    @property
    def registrar(self) -> Registrar:
        """The registrar of the resources."""
        return self._registrar

    @property
    def timings(self) -> Mapping[tuple[ResourceName, str], Timings]:
        """How long the answers to the kubelet took, by resource and method."""
        return {
            (name, method): timings
            for name, served in self._served.items()
            for method, timings in served.timings.items()
        }

    @property
    def offered(self) -> Mapping[ResourceName, Advertisement]:
        """What each resource advertises now."""
        return {name: served.advertisement.value for name, served in self._served.items()}

    @property
    def rules(self) -> Sequence[ResourceRule]:
        """The rules that decide under which name a device is offered."""
        return self._serving_policy.rules

    def _publish_changes(self) -> None:
        """Publish if anything has changed. Most of the evidence in a storm changes nothing."""
        if any(new is not old for new, old in zip_longest(self.states, self._published)):
            self._publish()

    def _publish(self) -> None:
        """Publish the advertisement of each resource. Add and remove resources.

        A resource without devices stays registered with an empty list, unless no rule names it any more.
        """
        before, self._published = self._published, self.states
        self._is_published.set()
        self._rule_log.look(self.states, self.rules, self._names)
        offer = self.offer(self.rules)
        self._note_taken(offer.taken)
        for old, new in zip(before, self.states, strict=False):
            if old.inventory not in (None, new.inventory):
                self._suspect_holders(old, offer.wanted)
        wanted = self._without_specs(self._withhold(offer.wanted))
        self._note_withheld()
        kept = kept_names(self.rules) | wanted.keys()
        for name, served in list(self._served.items()):
            served.publish(wanted.get(name) or served.advertisement.value.without_devices())
            if name not in kept and served.publish_again_at is None:  # a recently allocated device stays listed
                self._remove(name)
        for name, advertisement in wanted.items():
            if name not in self._served:
                self._served[name] = self._serving_policy.serve(name, advertisement)
                self._served[name].has_changed = self._publish
                log.info("resource added", resource=name, count=len(advertisement.offered))
                if self.specs is not None:
                    self.specs.keep_back(self._served[name])
                self._registrar.add(self._served[name])
        pairing = self._pairing_of(offer.owners)
        for name, served in self._served.items():
            served.links = offer.links.get(name, self.state.links)
            served.backend, served.pairing = offer.owners.get(name, served.backend), pairing

    def _pairing_of(self, owners: Mapping[ResourceName, str]) -> "Pairing | None":
        """Return what resources need to know of each other. None unless they are of several backends."""
        if not self._serving_policy.preferences.pairs or len(frozenset(owners.values())) < 2:  # noqa: PLR2004
            return None
        from plugin_gateway.adapters.serving.pairing import Pairing  # noqa: PLC0415 - only with several backends

        if self._pairing is None:
            self._pairing = Pairing()
        return self._pairing

    def offer(self, rules: Sequence[ResourceRule], names: Sequence[str] = ()) -> Offer:
        """Return what all backends offer with these rules, as far as they are among ``names``, if there are any."""
        numa_hints = self._serving_policy.numa_hints
        states = {backend.name: backend.state for backend in self.backends}
        if names and [*names] != [*states]:
            is_alone = len(names) == 1
            states = {each.name: each.state_if(is_alone=is_alone) for each in self.backends if each.name in names}
        if len(states) == 1:
            return Offer(advertise(next(iter(states.values())), rules, numa_hints=numa_hints))
        from plugin_gateway.core.resources.side_by_side import advertise_side_by_side  # noqa: PLC0415 - with several

        found = advertise_side_by_side(states, rules, numa_hints=numa_hints)
        links = {name: states[owner].links for name, owner in found.owners.items()}
        return Offer(found.wanted, links, found.owners, found.taken)

    def _note_taken(self, taken: "Sequence[NameTaken]") -> None:
        """Log which devices are not offered because of their name, if they are not the same as before."""
        for each in taken if taken != self.taken else ():
            devices = each.devices[:MAX_NAMES]
            log.warning("devices are not offered", count=len(each.devices), devices=list(devices), problem=str(each))
        self.taken = taken

    def _suspect_holders(self, before: State, wanted: Mapping[ResourceName, Advertisement]) -> None:
        """Take the devices for held whose form changes with the inventory. Nobody looked before, as for new rules."""
        self.forms.see(before, self.offered)
        if outdated := self.forms.outdated(wanted):
            self._held = {**outdated, **self._held}
            self.forms_changed.set()

    @property
    def forms(self) -> "Forms":
        """The forms in which devices were offered."""
        from plugin_gateway.adapters.gateway.forms import Forms  # noqa: PLC0415 - not at the start

        if self._forms is None:
            self._forms = Forms()
        return self._forms

    @property
    def pools(self) -> "Pools":
        """The devices of each resource of which an id stands for all of them, or stood."""
        if self._forms is None and not any(each.is_pool for each in self.offered.values()):
            return {}
        return self.forms.pools_with(self.offered)

    def _withhold(self, wanted: Mapping[ResourceName, Advertisement]) -> Mapping[ResourceName, Advertisement]:
        """Make the devices unhealthy that are held in another form, or away. Log them if they are not as before."""
        away = [device for each in self._served.values() for device in each.away()]
        must_wait = self._forms is not None and self._forms.must_wait(self.states)
        if not (away or self._held or self.withheld or must_wait):
            return wanted
        from plugin_gateway.adapters.gateway.held_elsewhere import note_withheld, withheld_now  # noqa: PLC0415 - not at the start

        found = withheld_now(wanted, self._held, self.withheld, time.time(), self.forms, self.states, away)
        before, self.withheld = self.withheld, {each: why for each, why in found.items() if each not in self._overruled}
        note_withheld(before, self.withheld)
        if self.withheld and not before:
            self.forms_changed.set()
        return {name: each.withholding(self.withheld.keys()) for name, each in wanted.items()}

    def _without_specs(self, wanted: Mapping[ResourceName, Advertisement]) -> Mapping[ResourceName, Advertisement]:
        """Make the devices unhealthy that are in no CDI spec, where containers get them by name."""
        if self.specs is None:
            self.undescribed = {}
            return wanted
        by_nodes = {name for name, each in self._served.items() if each.fallback is not None}
        unneeded = {device.id for name in by_nodes & wanted.keys() for device in wanted[name].devices}
        self.undescribed = self.specs.waits([backend.state for backend in self.backends], unneeded)
        return {name: each.withholding(self.undescribed.keys()) for name, each in wanted.items()}

    def _note_withheld(self) -> None:
        """Record which devices are withheld, if they are others than before."""
        now = list(dict.fromkeys((*self.withheld, *self.undescribed)))
        if tap.note is not None and now != self._noted:
            self._noted = now
            tap.note("withheld", devices=now)

    def before_register(self) -> None:
        """Have the CDI specs written if another gateway had its own until now. Called before each registration."""
        if self.specs is not None:
            self.specs.take_over(self._served.values())

    def publish(self) -> None:
        """Publish again, because it is known of other devices now whether they are in a CDI spec."""
        self._publish()

    @property
    def fallbacks(self) -> Mapping[str, str]:
        """Why containers with devices of a resource do not get them by CDI, although they should."""
        return {name: each.fallback for name, each in self._served.items() if each.fallback is not None}

    @property
    def nodes(self) -> "FollowedNodes":
        """The device nodes of the host."""
        return self._serving_policy.nodes

    def _remove(self, name: ResourceName) -> None:
        """Remove a resource. The kubelet has received its empty list before."""
        self._served.pop(name)
        log.info("resource removed", resource=name)
        self._registrar.remove(name)
