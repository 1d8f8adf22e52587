"""What the fake kubelet's device manager holds of one resource."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from plugin_gateway.adapters.fake_kubelet.endpoint import PluginEndpoint
from plugin_gateway.adapters.fake_kubelet.events import DeviceList
from plugin_gateway.adapters.fake_kubelet.releases import Release, SecondStream, StreamEnd
from plugin_gateway.api.v1beta1 import api_pb2 as wire
from plugin_gateway.core.resources.assignment import Health


class Clients:
    """To 1.36 one for each resource: the newest. In 1.37 any number, told apart by the path of their socket."""

    def __init__(self, *, by_path: bool) -> None:
        self.connected: dict[Path, PluginEndpoint] = {}
        """What the device manager itself holds (1.37); the end of the stream is noticed through the others."""
        self._by_path = by_path
        self._known: list[PluginEndpoint] = []

    def add(self, endpoint: PluginEndpoint) -> None:
        """Know one more, before it is dialed."""
        self._known = [*self._known, endpoint] if self._by_path else [endpoint]

    def forget(self, failed: PluginEndpoint) -> None:
        """Give a connection up that could not be made, and with it whatever goes by the same name."""
        self._known = [each for each in self._known if self._by_path and each.path != failed.path]

    def connect(self, endpoint: PluginEndpoint) -> None:
        """Hold one that could be made."""
        if self._by_path:
            self.connected[endpoint.path] = endpoint

    def take(self, ended: PluginEndpoint) -> PluginEndpoint | None:
        """Find the one that goes by the name of one whose stream ended, and forget it; None where there is none."""
        found = next((each for each in self._known if not self._by_path or each.path == ended.path), None)
        self.forget(ended)
        return found

    def disconnect(self, known: PluginEndpoint) -> tuple[PluginEndpoint | None, bool]:
        """Tell who answers for the resource from now on, and whether the end of this one matters at all."""
        if not self._by_path:
            return None, True
        was_connected = self.connected.pop(known.path, None) is not None
        return next(iter(self.connected.values()), None) if was_connected else None, was_connected


@dataclass(slots=True)
class Resource:
    """Devices, connections and the time of the last stop."""

    name: str
    kubelet: Release
    healthy: set[str] = field(default_factory=set)
    unhealthy: set[str] = field(default_factory=set)
    endpoint: PluginEndpoint | None = None
    """The one that answers Allocate: the newest that the kubelet still knows."""
    streams: list[PluginEndpoint] = field(default_factory=list)
    """Those whose stream is open, known or forgotten."""
    clients: Clients = field(init=False)
    options: wire.DevicePluginOptions = field(default_factory=wire.DevicePluginOptions)
    last_count: int = 0
    """What the node is said to have: 1.8 does not report a count of zero."""
    remembered: Mapping[str, str] = field(default_factory=dict)
    """The health that the last endpoint told of each device, where a release compares with it."""
    listed: bool = False
    """Whether a list came, in this life of the kubelet or, by its checkpoint, in an earlier one."""
    stopped: float | None = None
    """When its last known stream ended, on the monotonic clock."""

    def __post_init__(self) -> None:
        """Hold connections as the release does."""
        self.clients = Clients(by_path=self.kubelet.second_stream is SecondStream.KEPT_BY_PATH)

    @property
    def is_known(self) -> bool:
        """Whether the node is said to have any number of it, and be it 0."""
        return self.listed or self.stopped is not None

    @property
    def is_offered(self) -> bool:
        """Whether a pod that wants it is a matter of the device manager."""
        return self.listed or (self.stopped is not None and self.kubelet.stream_end is StreamEnd.COUNT_ZERO)

    @property
    def capacity(self) -> int:
        """How many devices the node is said to have."""
        return len(self.healthy) + (len(self.unhealthy) if self.kubelet.unhealthy_has_capacity else 0)

    @property
    def devices(self) -> Mapping[str, str]:
        """Health by id."""
        sick = dict.fromkeys(self.unhealthy, Health.UNHEALTHY.value)
        return sick | dict.fromkeys(self.healthy, Health.HEALTHY.value)

    def take(self, listed: DeviceList) -> None:
        """Replace the devices by a list that came."""
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
        """Apply only what differs from what the endpoint before this one told last, however long ago it ended."""
        changed = {device for device, word in health.items() if self.remembered.get(device) != word}
        well = {device for device in changed if health[device] == Health.HEALTHY.value}
        gone = self.remembered.keys() - health.keys()
        self.healthy = self.healthy - changed - gone | well
        self.unhealthy = self.unhealthy - changed - gone | (changed - well)
        self.remembered = health

    def take_difference(self, listed: DeviceList, endpoint: PluginEndpoint) -> None:
        """Apply what changed since the endpoint's last list: what another one listed stays (1.8)."""
        self.listed = True
        health = dict(listed.devices)
        well = {device for device, word in health.items() if word == Health.HEALTHY.value}
        self.healthy = (self.healthy - endpoint.listed - health.keys()) | well
        endpoint.listed = set(health)
        self.last_count = len(self.healthy) or self.last_count

    def stop(self, now: float, endpoint: PluginEndpoint) -> None:
        """Draw the conclusion from the end of the stream."""
        self.stopped = now
        if self.kubelet.stream_end is StreamEnd.ITS_OWN:
            self.healthy -= endpoint.listed
            return
        if self.kubelet.stream_end is StreamEnd.UNHEALTHY:
            self.unhealthy |= self.healthy
        else:
            self.unhealthy = set()
        self.healthy = set()
