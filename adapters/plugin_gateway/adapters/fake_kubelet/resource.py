"""What the fake kubelet's device manager knows about one resource: its devices and its connections."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from plugin_gateway.adapters.dialects.dialect import NO_OPTIONS, PluginOptions
from plugin_gateway.adapters.fake_kubelet.endpoint import PluginEndpoint
from plugin_gateway.adapters.fake_kubelet.events import DeviceList
from plugin_gateway.adapters.fake_kubelet.releases import Release, SecondStream, StreamEnd
from plugin_gateway.core.resources.assignment import Health


class Clients:
    """The connections that the registration server of 1.25 and later knows, and how it loses track of them.

    Up to 1.36 the server knows one connection of each resource: the newest. When a stream ends, it takes the newest
    connection for the one that has ended, even if it was an older one. The server of 1.37 knows any number of them, by
    the path of their socket. When a registration fails, it forgets every connection with this path, even a good one.
    """

    def __init__(self, *, by_path: bool) -> None:
        self.connected: dict[Path, PluginEndpoint] = {}
        """Those that the device manager uses, by path (1.37); the end of a stream is noticed only by ``_known``."""
        self._by_path = by_path
        self._known: list[PluginEndpoint] = []

    def add(self, endpoint: PluginEndpoint) -> None:
        """Add a connection that is about to be made."""
        self._known = [*self._known, endpoint] if self._by_path else [endpoint]

    def forget(self, failed: PluginEndpoint) -> None:
        """Forget a connection, and with it every other that the server cannot distinguish from it."""
        self._known = [each for each in self._known if self._by_path and each.path != failed.path]

    def connect(self, endpoint: PluginEndpoint) -> None:
        """Let the device manager use a connection that has been made."""
        if self._by_path:
            self.connected[endpoint.path] = endpoint

    def take(self, ended: PluginEndpoint) -> PluginEndpoint | None:
        """Forget and return the connection that the server takes for the one whose stream ended, if there is one."""
        found = next((each for each in self._known if not self._by_path or each.path == ended.path), None)
        self.forget(ended)
        return found

    def disconnect(self, known: PluginEndpoint) -> tuple[PluginEndpoint | None, bool]:
        """Return who answers for the resource from now on, and whether the end of this connection changes anything."""
        if not self._by_path:
            return None, True
        was_connected = self.connected.pop(known.path, None) is not None
        return next(iter(self.connected.values()), None) if was_connected else None, was_connected


@dataclass(slots=True)
class Resource:
    """The devices of one resource, its connections, and when it last stopped."""

    name: str
    kubelet: Release
    healthy: set[str] = field(default_factory=set)
    unhealthy: set[str] = field(default_factory=set)
    endpoint: PluginEndpoint | None = None
    """The one that answers Allocate: the newest that the kubelet still knows."""
    streams: list[PluginEndpoint] = field(default_factory=list)
    """The endpoints whose stream is open, including those that the kubelet has lost track of."""
    clients: Clients = field(init=False)
    options: PluginOptions = NO_OPTIONS
    last_count: int = 0
    """How many devices the node reports: 1.8 does not report a count of 0, so that the number before it stays."""
    remembered: Mapping[str, str] = field(default_factory=dict)
    """The health of each device in the last list, for the releases that compare a new list with it."""
    listed: bool = False
    """Whether a list has come, in this life of the kubelet or, according to its checkpoint, in an earlier one."""
    stopped: float | None = None
    """When its last known stream ended, on the monotonic clock."""

    def __post_init__(self) -> None:
        """Distinguish connections as the release does."""
        self.clients = Clients(by_path=self.kubelet.second_stream is SecondStream.KEPT_BY_PATH)

    @property
    def is_known(self) -> bool:
        """Whether the node reports a number for this resource, even if the number is 0."""
        return self.listed or self.stopped is not None

    @property
    def is_offered(self) -> bool:
        """Whether the device manager decides about a pod that wants this resource."""
        return self.listed or (self.stopped is not None and self.kubelet.stream_end is StreamEnd.COUNT_ZERO)

    @property
    def capacity(self) -> int:
        """How many devices the node reports."""
        return len(self.healthy) + (len(self.unhealthy) if self.kubelet.unhealthy_has_capacity else 0)

    @property
    def devices(self) -> Mapping[str, str]:
        """The health of each device, by its id."""
        sick = dict.fromkeys(self.unhealthy, Health.UNHEALTHY.value)
        return sick | dict.fromkeys(self.healthy, Health.HEALTHY.value)

    def take(self, listed: DeviceList) -> None:
        """Replace the devices by those of a new list."""
        self.listed = True
        if self.kubelet.forgets_health:
            self._take_changes(dict(listed.devices))
            return
        self.healthy, self.unhealthy = set(), set()
        for device, health in listed.devices:
            into, out = self.healthy, self.unhealthy
            if health != Health.HEALTHY.value:
                into, out = out, into
            into.add(device)
            if not self.kubelet.counts_twice:
                out.discard(device)

    def _take_changes(self, health: Mapping[str, str]) -> None:
        """Apply only what differs from the last list, whichever endpoint sent it and however long ago."""
        changed = {device for device, word in health.items() if self.remembered.get(device) != word}
        well = {device for device in changed if health[device] == Health.HEALTHY.value}
        gone = self.remembered.keys() - health.keys()
        self.healthy = self.healthy - changed - gone | well
        self.unhealthy = self.unhealthy - changed - gone | (changed - well)
        self.remembered = health

    def take_difference(self, listed: DeviceList, endpoint: PluginEndpoint) -> None:
        """Apply what has changed since this endpoint's last list; devices that another endpoint listed stay (1.8)."""
        self.listed = True
        health = dict(listed.devices)
        well = {device for device, word in health.items() if word == Health.HEALTHY.value}
        self.healthy = (self.healthy - endpoint.listed - health.keys()) | well
        endpoint.listed = set(health)
        self.last_count = len(self.healthy) or self.last_count

    def stop(self, now: float, endpoint: PluginEndpoint) -> None:
        """Change the devices as the release does when the stream ends."""
        self.stopped = now
        if self.kubelet.stream_end is StreamEnd.ITS_OWN:
            self.healthy -= endpoint.listed
            return
        if self.kubelet.stream_end is StreamEnd.UNHEALTHY:
            self.unhealthy |= self.healthy
        else:
            self.unhealthy = set()
        self.healthy = set()
