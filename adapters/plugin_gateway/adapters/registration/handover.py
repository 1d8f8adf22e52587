"""What the gateways of one node tell each other about a resource, for the time in which one replaces another.

How they tell it is not known here.
"""

from collections.abc import Callable, Collection, Mapping, Sequence

from plugin_gateway.adapters.registration.resource_registration import ResourceRegistration, offered
from plugin_gateway.adapters.support.tasks import Latest
from plugin_gateway.core.registration.states import Absent, StandingBy, Streaming
from plugin_gateway.core.registration.values import Agreed, Event, MayShare, OtherLeft, Replaced
from plugin_gateway.core.resources.names import ResourceName

Others = Mapping[str, frozenset[ResourceName]]
"""Instances of other gateways, each with resources."""


class Handover:
    """What this gateway waits for from others, and what others may wait for from this one."""

    def __init__(
        self,
        instance: str,
        resources: Mapping[ResourceName, ResourceRegistration],
        note: Callable[[ResourceRegistration, Event], None],
        look_for_others: Callable[[ResourceRegistration], None],
        kubelet_agent: Callable[[], str | None],
    ) -> None:
        """``instance`` names this gateway. ``note`` is called with what happened to one of the resources.

        ``look_for_others`` is called when the other gateways of one have to be noted.
        """
        self.instance = instance
        self._resources = resources
        self._note = note
        self._look_for_others = look_for_others
        self.kubelet_agent = kubelet_agent
        self.on_given_up: Callable[[], None] = lambda: None
        """Called when a resource is not in `held` any more."""
        self.held: frozenset[ResourceName] = frozenset()
        """The resources that are offered, or whose streams have not ended yet."""
        self.awaited = Latest[Others]({})
        """The instances that this gateway stands by for, or replaces."""
        self.sharing = Latest[Others]({})
        """The instances that hold streams beside this one until they are told to end them."""
        self.answering: set[str] = set()
        """The instances that can be asked. Who asks them writes it."""

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
