"""One resource as the dialects see it: its current devices, and its answers to the kubelet."""

import asyncio
import contextlib
import time
from bisect import bisect_left
from collections.abc import Callable, Collection, Sequence
from typing import TYPE_CHECKING

from plugin_gateway.adapters.support.logs import log
from plugin_gateway.adapters.support.tap import tap
from plugin_gateway.adapters.support.tasks import Latest
from plugin_gateway.core.devices import NO_LINKS, Device, DeviceId, Links
from plugin_gateway.core.errors import MissingNodeError
from plugin_gateway.core.registration import pauses
from plugin_gateway.core.resources.allocation import ContainerEdits, allocate
from plugin_gateway.core.resources.assignment import GRANT_GRACE, Advertisement, keep_granted
from plugin_gateway.core.resources.names import ResourceName
from plugin_gateway.core.resources.policy import USUAL_PREFERENCES, AllocationPolicy, Preferences, UnhealthyFirst

if TYPE_CHECKING:
    from typing import Protocol

    from plugin_gateway.adapters.serving.pairing import Pairing
    from plugin_gateway.core.ports import HostNodes
    from plugin_gateway.core.resources.choice import Known
    from plugin_gateway.core.resources.preference import PreferenceRequest

    class FollowedNodes(HostNodes, Protocol):
        """Device nodes whose changes can be noticed."""

        def generation(self) -> int:
            """Return a number. While it is the same, `present` returns the same for paths that it was asked for."""
            ...


BOUNDS = (0.00005, 0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.05, 0.25, 1.0)
"""Upper bounds in seconds for counting durations. An answer from memory takes about 20 µs."""


class Timings:
    """A histogram of durations."""

    def __init__(self) -> None:
        self.total = 0.0
        """Sum of all durations in seconds."""
        self._counts = [0] * (len(BOUNDS) + 1)

    def note(self, seconds: float) -> None:
        """Count one duration in seconds."""
        self.total += seconds
        self._counts[bisect_left(BOUNDS, seconds)] += 1

    def buckets(self) -> Sequence[tuple[str, float]]:
        """Return for each bound how many durations were at most that long. The last bound is infinity."""
        cumulative, listed = 0, []
        for bound, count in zip((*map(str, BOUNDS), "+Inf"), self._counts, strict=True):
            cumulative += count
            listed.append((bound, float(cumulative)))
        return listed


class ServedResource:
    """A resource, its current advertisement, and the allocation of its devices."""

    def __init__(
        self,
        resource: ResourceName,
        advertisement: Advertisement,
        policy: AllocationPolicy,
        nodes: "FollowedNodes",
        unhealthy_first: UnhealthyFirst = UnhealthyFirst.AUTO,
        preferences: Preferences = USUAL_PREFERENCES,
    ) -> None:
        self.resource = resource
        self.advertisement = Latest(advertisement)
        self.policy = policy
        self.nodes = nodes
        self.unhealthy_first = unhealthy_first
        self.preferences = preferences
        self.links: Links = NO_LINKS
        """How the physical devices are connected, as far as it is known."""
        self.backend = ""
        """The name of the backend that has the devices. Empty if there is only one."""
        self.pairing: Pairing | None = None
        """What was allocated of all resources, where they are of several backends and should be near each other."""
        self.timings: dict[str, Timings] = {}
        """How long the answers took, by method."""
        self.publish_again_at: float | None = None
        """When to publish again without a device that is still listed, on the monotonic clock."""
        self.may_list = asyncio.Event()
        """Not set while lists are kept back. The kubelet gets the latest one afterwards."""
        self.may_list.set()
        self.fallback: str | None = None
        """Why containers get device nodes and the variable, although CDI was asked for. None if they do not."""
        self.has_changed: Callable[[], None] = lambda: None
        """Called when there is a fallback now, or none any more, before a list is sent, and when a device is away."""
        self.look_at_kubelet: Callable[[], None] = lambda: None
        """Finds out whether the kubelet of the latest stream needs a fallback, after a change of the policy."""
        self.tell_granted: Callable[[ResourceName, Sequence[Device]], None] | None = None
        """Called with the devices of each allocation, before it is answered. None if nobody wants to know."""
        self.look_again: Callable[[], object] = lambda: None
        """Called when an allocation is refused because a device node is not there."""
        self._away: dict[DeviceId, str] = {}
        """The devices that could not be given out because none of their nodes was there, with the folders of these."""
        self._granted: dict[str, float] = {}
        """When each id was allocated last, on the monotonic clock."""
        self._known: Known | None = None
        """What the last question for a preference needed. None before the first one."""

    def publish(self, wanted: Advertisement) -> None:
        """Advertise these devices.

        A vanished device that was allocated within the last `GRANT_GRACE` seconds stays in the list as unhealthy.
        """
        now = time.monotonic()
        self._granted = {each: at for each, at in self._granted.items() if now < at + GRANT_GRACE}
        until = {each: at + GRANT_GRACE for each, at in self._granted.items()}
        kept, self.publish_again_at = keep_granted(wanted, self.advertisement.value, until, now)
        self.advertisement.publish(kept)

    async def keep_back(self, seconds: float, until: asyncio.Event) -> None:
        """Send no list for so long, or until the event. Then send one, because another gateway may have sent some."""
        self.may_list.clear()
        if tap.note is not None:
            tap.note("kept_back", resource=self.resource, is_over=False)
        try:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(seconds):
                    await until.wait()
            if tap.note is not None:
                tap.note("kept_back", resource=self.resource, is_over=True)
            self.advertisement.repeat()
        finally:
            self.may_list.set()

    def note_fallback(self, fallback: str | None) -> None:
        """Take note of a fallback, or that there is none."""
        has_changed = (fallback is None) is not (self.fallback is None)
        self.fallback = fallback
        if has_changed:
            self.has_changed()

    def granted(self, since: float = 0.0) -> frozenset[str]:
        """Return the devices that were allocated within the last `GRANT_GRACE` seconds, and not before ``since``."""
        since = max(since, time.monotonic() - GRANT_GRACE)
        return frozenset(each for each, at in self._granted.items() if at > since)

    def allocate(self, ids: Sequence[str], policy: AllocationPolicy | None = None) -> ContainerEdits:
        """Return what one container gets for these devices, and remember the allocation.

        ``policy`` is what is left of the policy for this kubelet, if that is not all of it.

        Raises:
            AllocationError: with the ids that cannot be allocated.
        """
        try:
            edits = allocate(self.advertisement.value, ids, policy or self.policy, self.nodes)
        except MissingNodeError:
            self.look_again()  # else the kubelet is told only by the next look of the backend
            self._note_away(ids)
            raise
        self.note_granted(ids)
        if edits.absent_nodes:
            log.warning(
                "device nodes are missing, the container gets none", resource=self.resource, nodes=edits.absent_nodes
            )
        return edits

    def _note_away(self, ids: Sequence[str]) -> None:
        """Remember those of these devices of which nothing is there, so that the next container gets another one.

        The kubelet takes them for free. But a pod can have ended before its network namespace did.
        """
        by_id = self.advertisement.value.by_id
        devices = [device for each in ids for device in by_id[each].devices]
        self._away |= {device.id: device.node_folder for device in devices if device.node_folder}
        if self.away():
            self.has_changed()

    def away(self) -> Collection[DeviceId]:
        """Return the devices that could not be given out, and of which nothing is there yet."""
        if self._away:
            self._away = {each: folder for each, folder in self._away.items() if not self.nodes.names_in(folder)}
        return self._away.keys()

    def note_granted(self, ids: Sequence[str]) -> None:
        """Remember that these devices were allocated now."""
        now = time.monotonic()
        for each in ids:
            self._granted[each] = now
        if self.tell_granted is not None:
            self.tell_granted(self.resource, [self.advertisement.value.by_id[each].device for each in ids])
        if self.pairing is not None:
            self.pairing.note(self, ids, now)

    def prefer(self, request: "PreferenceRequest") -> tuple[str, ...]:
        """Return which of the available devices the kubelet should choose for a container. Never fails."""
        from plugin_gateway.core.resources.choice import known_of, preferred  # noqa: PLC0415 - not at the start

        known, advertised = self._known, self.advertisement.value
        if known is None or known.advertised is not advertised or known.links is not self.links:
            known = self._known = known_of(advertised, self.links)
        if self.pairing is not None:
            return self.pairing.prefer(self, known, request, time.monotonic())
        return preferred(known, request, self.preferences)


class Pacing:
    """Keeps messages to the kubelet about different resources apart, for dialects with `one_resource_at_a_time`."""

    def __init__(self) -> None:
        self._turn = 0.0
        """The time of the latest message that was permitted, on the monotonic clock. It can be in the future."""
        self._last: ResourceName | None = None

    async def take(self, resource: ResourceName) -> None:
        """Wait until enough time has passed since the last message about another resource."""
        now = time.monotonic()
        self._turn = max(now, self._turn if resource == self._last else self._turn + pauses.BETWEEN_RESOURCES.seconds)
        self._last = resource
        if self._turn > now:
            await asyncio.sleep(self._turn - now)
