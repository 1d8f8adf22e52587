"""What the gateways of one node tell each other about a resource, for the time in which one replaces another.

How they tell it is not known here.
"""

import asyncio
from collections.abc import Callable, Collection, Mapping, Sequence

from plugin_gateway.adapters.kubelet.plugin_sockets import is_of_other_resource
from plugin_gateway.adapters.registration.resource_registration import OfferedDevices, ResourceRegistration, offered
from plugin_gateway.adapters.support.tasks import Latest
from plugin_gateway.core.registration.precedence import OtherGateway
from plugin_gateway.core.registration.states import Absent, StandingBy, Streaming
from plugin_gateway.core.registration.values import Agreed, Event, MayShare, OtherLeft, Replaced
from plugin_gateway.core.resources.names import ResourceName

Others = Mapping[str, frozenset[ResourceName]]
"""Instances of other gateways, each with resources."""
Offers = Mapping[ResourceName, OfferedDevices]
"""The devices of each resource of a gateway."""


class Handover:
    """What this gateway waits for from others, and what others may wait for from this one."""

    def __init__(
        self,
        instance: str,
        resources: Mapping[ResourceName, ResourceRegistration],
        note: Callable[[ResourceRegistration, Event], None],
        look_for_others: Callable[[ResourceRegistration], None],
        kubelet_agent: Callable[[], str | None],
        wake: Callable[[], None] = lambda: None,
    ) -> None:
        """``instance`` names this gateway. ``note`` is called with what happened to one of the resources.

        ``look_for_others`` is called when the other gateways of one have to be noted, ``wake`` after that.
        """
        self.instance = instance
        self._resources = resources
        self._note = note
        self._look_for_others = look_for_others
        self._wake = wake
        self.kubelet_agent = kubelet_agent
        self.on_given_up: Callable[[], None] = lambda: None
        """Called when a resource is not in `held` any more."""
        self.held: frozenset[ResourceName] = frozenset()
        """The resources that are offered, or whose streams have not ended yet."""
        self.awaited = Latest[Others]({})
        """The instances that this gateway stands by for, or replaces."""
        self.sharing = Latest[Others]({})
        """The instances that hold streams beside this one until they are told to end them."""
        self.has_others = asyncio.Event()
        """Set when there is another gateway to ask."""
        self.answering: set[str] = set()
        """The instances that can be asked. Who asks them writes it."""
        self.strangers = Latest[frozenset[str]](frozenset())
        """The instances of which it has to be known with which devices they offer other resources."""
        self._seen_strangers: frozenset[str] = frozenset()
        self._offers: dict[str, Offers] = {}
        """What the strangers offer, as far as it is known."""

    def in_the_way(self, resource: ResourceRegistration, strangers: Sequence[OtherGateway]) -> list[OtherGateway]:
        """Return those gateways with other resources that can offer devices of this one in another form.

        As long as it is not known what one offers, it counts, unless the kubelet holds the stream of this resource.
        """
        self._seen_strangers = frozenset(each.instance for each in strangers)
        if not strangers:
            return []
        devices = resource.devices
        has_stream = isinstance(resource.registration.state, Streaming)
        return [each for each in strangers if self._may_offer(each, devices, unless_known=not has_stream)]

    def _may_offer(self, other: OtherGateway, devices: OfferedDevices, *, unless_known: bool) -> bool:
        offers = self._offers.get(other.instance, {})
        of_socket = [theirs for name, theirs in offers.items() if not is_of_other_resource(other.socket, name)]
        if not of_socket:
            return unless_known and bool(devices.ids)
        return any(map(devices.has_any_of, of_socket))

    def note_offers(self, instance: str, offers: Offers) -> None:
        """Take note of what another gateway offers."""
        if self._offers.get(instance) != offers:
            self._offers[instance] = offers
            for each in self._offered():
                self._look_for_others(each)
            self._wake()

    def names_at(self, instance: str, resource: ResourceName) -> frozenset[ResourceName]:
        """Return the resources of another gateway that have to end before this one: the same, or with its devices."""
        offers = self._offers.get(instance, {})
        if resource in offers or resource not in self._resources:
            return frozenset({resource})
        devices = self._resources[resource].devices
        return frozenset(name for name, theirs in offers.items() if devices.has_any_of(theirs)) or frozenset({resource})

    def note_left(self, instance: str, resources: Collection[ResourceName]) -> None:
        """Take note that another gateway has ended its streams of these resources, and registers them no more."""
        self._note_each(resources, OtherLeft(instance))

    def note_agreed(self, instance: str, resources: Collection[ResourceName]) -> None:
        """Take note that another gateway has agreed to be replaced by this one for these resources."""
        self._note_each(resources, MayShare(instance))

    def note_replaced(self, instance: str, resources: Collection[ResourceName]) -> None:
        """End the streams of these resources, if another gateway has some beside them, as it says."""
        for name in resources:
            if name in self._resources:
                self._look_for_others(self._resources[name])
        self._note_each(resources, Replaced(instance))

    def digests(self, resources: Collection[ResourceName]) -> Mapping[str, str]:
        """Return a digest of the ids of the devices of each of these resources, if it is offered."""
        return {each.resource: each.digest for each in self._offered() if each.resource in resources}

    def agree(self, digests: Mapping[str, object]) -> Collection[ResourceName]:
        """Return for which resources another gateway may replace this one: those with the same devices.

        From now on their lists are kept back and nothing is written, until `note_replaced` or for `pauses.KEPT_BACK`.
        """
        agreed = [
            each
            for each in self._offered()
            if isinstance(each.registration.state, Streaming) and digests.get(each.resource) == each.digest
        ]
        for each in agreed:
            self._note(each, Agreed())
            each.keep_back()
        return [each.resource for each in agreed]

    def go_on(self, resources: Collection[str]) -> None:
        """Send lists of these resources again, because a gateway that might have replaced this one has ended."""
        for each in self._resources.values():
            if each.resource in resources:
                each.go_on()

    @property
    def is_giving_way(self) -> bool:
        """Whether another gateway is about to replace this one."""
        return any(each.keeps_back for each in self._offered())

    def publish(self) -> None:
        """Publish what has changed in the registrations."""
        self.awaited.publish(_by_instance(self._offered(), _awaited))
        self.strangers.publish(self._seen_strangers)
        self._offers = {each: self._offers[each] for each in self._offers.keys() & self._seen_strangers}
        if self.awaited.value or self._seen_strangers:
            self.has_others.set()
        self.sharing.publish(_by_instance(self._offered(), _sharing))
        before, self.held = self.held, frozenset(each.resource for each in self._resources.values() if _holds(each))
        if before - self.held:
            self.on_given_up()

    def _note_each(self, resources: Collection[ResourceName], event: Event) -> None:
        for name in resources:
            if name in self._resources:
                self._note(self._resources[name], event)

    def _offered(self) -> Sequence[ResourceRegistration]:
        return offered(self._resources)


def _by_instance(
    resources: Sequence[ResourceRegistration], instances: Callable[[ResourceRegistration], Collection[str]]
) -> Others:
    found: dict[str, frozenset[ResourceName]] = {}
    for resource in resources:
        for instance in instances(resource):
            found[instance] = found.get(instance, frozenset()) | {resource.resource}
    return found


def _awaited(resource: ResourceRegistration) -> Collection[str]:
    """Return also those that this gateway replaces. They go on if its connection to them ends."""
    precedence = resource.registration.precedence
    return precedence.awaited if isinstance(resource.registration.state, StandingBy) else precedence.shared.keys()


def _sharing(resource: ResourceRegistration) -> Collection[str]:
    registration = resource.registration
    return registration.precedence.sharing if isinstance(registration.state, Streaming) else ()


def _holds(resource: ResourceRegistration) -> bool:
    """Whether a resource is offered, or the kubelet may still have a stream of it."""
    registration = resource.registration
    return (
        resource.endpoints is not None
        or not isinstance(registration.state, Absent)
        or any(dial.opened is not None for dial in registration.dials.values())
    )
