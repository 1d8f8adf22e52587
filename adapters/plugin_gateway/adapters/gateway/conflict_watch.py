"""Watches for other device plugins that have the same resource as this gateway, or the same devices.

It looks after a change of the kubelet's directory, which every registration causes, and at a slow interval. What it
sees for the first time may be a list that is just changing, so it looks again before it reports a conflict.

A conflict can hide. After the next list of this gateway, the kubelet has the right devices, but still asks the other
plugin for them. So a conflict that was seen lasts until the other plugin is gone, or the gateway has registered again.
When the other plugin ends, the kubelet can give up the resource although the stream of the gateway is still open. The
gateway then registers again. It does so too if another plugin came and went so fast that nobody saw it: the kubelet
then has none of the devices any more that it had from this stream.
"""

import asyncio
import contextlib
import time
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from plugin_gateway.adapters.kubelet.neighbours import Neighbours
from plugin_gateway.adapters.kubelet.registered import Registered, read_registered
from plugin_gateway.adapters.support.logs import log
from plugin_gateway.adapters.support.terminal import printable
from plugin_gateway.core.devices import PhysicalId
from plugin_gateway.core.registration.failures import Reason
from plugin_gateway.core.resources.conflicts import Cause, Conflict, Sockets, find_conflicts
from plugin_gateway.core.resources.names import ResourceName

if TYPE_CHECKING:
    from plugin_gateway.adapters.gateway.gateway import Gateway

PAUSE = 2.0
"""Seconds between two looks, at least."""
CONFIRMATION = 1.0
"""Seconds until the second look at a conflict that is new."""
SLOW_INTERVAL = 60.0
"""Seconds between two looks if nothing changed."""
CONFLICT_INTERVAL = 5.0
"""The same during a conflict. A plugin that is killed leaves its socket, so that nothing changes when it ends."""
MAX_DEVICES = 8
"""Device ids that are named."""
TODO = (
    "remove one of the two plugins from this node, for example the DaemonSet of the other one; when the other one is "
    "gone, the gateway registers again by itself"
)
"""What to do about a conflict, for people."""


class KnownConflict(NamedTuple):
    """A conflict, and the processes that listen on its sockets."""

    conflict: Conflict
    pids: Mapping[str, int]
    """By socket. 0 if the process is in a PID namespace that is not visible here."""
    seen: float
    """When it was seen last, in seconds since the epoch."""

    @property
    def key(self) -> object:
        """What makes it the same conflict at the next look."""
        return self.conflict.resource, self.conflict.cause, self.conflict.other_resource

    @property
    def words(self) -> str:
        """What is wrong, on one line."""
        resource, cause, devices, other, _ = self.conflict
        ids = ", ".join(map(printable, devices[:MAX_DEVICES])) + (", …" if len(devices) > MAX_DEVICES else "")
        sockets = ", ".join(f"{name}{f' (pid {pid})' if (pid := self.pids[name]) else ''}" for name in self.pids)
        where = f"its socket may be {sockets}" if sockets else "its socket is not in the kubelet's directory"
        match cause:
            case Cause.FOREIGN_DEVICES:
                what = f"another device plugin has registered {resource}: the kubelet has its devices {ids}"
            case Cause.SAME_DEVICES:
                what = f"another device plugin offers devices of {resource} as {printable(other or '')}: {ids}"
            case Cause.SOCKET_NAME:
                what = f"another device plugin has a socket with the name of {resource}, and may have registered it"
        return f"{what}; {where}"


class ConflictWatch:
    """Finds conflicts, and tells the gateway and the log."""

    def __init__(self, directory: Path, gateway: "Gateway") -> None:
        self._directory = directory
        self._gateway = gateway
        self._neighbours = Neighbours(directory, gateway.registrar.instance)
        self._changed = asyncio.Event()
        self._suspected: frozenset[object] = frozenset()
        """The conflicts of the last look. One that is seen twice is reported."""
        self._offered: dict[ResourceName, dict[str, PhysicalId]] = {}
        """All ids ever offered, each with its physical device. The kubelet may still have one that is gone."""
        self._had: dict[ResourceName, str | None] = {}
        """The endpoint from which the kubelet was seen to have devices of a resource last."""
        self._lost: frozenset[ResourceName] = frozenset()
        """The resources of which the kubelet had no device any more at the last look."""

    async def run(self) -> None:
        """Look until cancelled."""
        registrar = self._gateway.registrar
        registrar.on_folder_change = self._changed.set
        try:
            while True:
                self._changed.clear()
                pause = CONFIRMATION
                if await self._look():
                    pause, looked = PAUSE, time.monotonic()
                    with contextlib.suppress(TimeoutError):
                        async with asyncio.timeout(CONFLICT_INTERVAL if self._gateway.conflicts else SLOW_INTERVAL):
                            await self._changed.wait()
                    pause -= time.monotonic() - looked
                await asyncio.sleep(max(pause, 0))
        finally:
            registrar.on_folder_change = lambda: None

    async def _look(self) -> bool:
        """Compare what the kubelet has with what is offered. Returns whether all of it was seen before."""
        pids, found, lost = await self._find()
        suspected, self._suspected = self._suspected, frozenset(each.key for each in found)
        known = {each.key for each in self._gateway.conflicts}
        confirmed = [each for each in found if each.key in suspected | known]
        lost_before, self._lost = self._lost, lost - {each.conflict.resource for each in found if each.pids}
        self._register_again(pids.keys())
        for resource in self._lost & lost_before:
            self._gateway.registrar.renew(resource, Reason.DEVICES_LOST)
        self._tell([*confirmed, *self._hidden(confirmed, pids.keys())])
        return len(confirmed) == len(found) and self._lost <= lost_before

    async def _find(self) -> tuple[Mapping[str, int], Sequence[KnownConflict], frozenset[ResourceName]]:
        """Return what can be seen now: who listens, by socket, the conflicts, and what the kubelet has lost."""
        others = await self._neighbours.look()
        registered = await read_registered(self._directory)
        offered = self._gateway.offered
        for name, advertisement in offered.items():
            ids = self._offered.setdefault(name, {})
            ids.update((each.id, each.device.physical.id) for each in advertisement.offered)
        pids = {each.name: each.pid for each in others}
        found = find_conflicts(
            {name: self._offered[name] for name in offered},
            self._streams().keys(),
            {name: ids for name, ids in registered.devices.items() if name in offered or name not in self._offered},
            Sockets(
                [each.name for each in others if not each.is_gateway], [each.name for each in others if each.is_gateway]
            ),
            self._gateway.pools,
        )
        now = time.time()
        conflicts = [
            KnownConflict(each, {name: pids[name] for name in each.sockets}, now)
            for each in found
            if each.sockets or registered.is_live
        ]
        return pids, conflicts, self._find_lost(registered)

    def _find_lost(self, registered: Registered) -> frozenset[ResourceName]:
        """Return the resources whose stream is open, but the kubelet has no device any more that it had from it."""
        lost = set()
        for each in self._gateway.registrar.status():
            name = ResourceName(each.resource)
            offered, has = self._gateway.offered.get(name), registered.devices.get(name)
            healthy = offered.by_id.keys() - offered.unhealthy if offered is not None else frozenset()
            if each.stream_opened is None or not healthy or (has is None and not registered.is_live):
                continue
            if has and has & healthy:
                self._had[name] = each.endpoint
            elif self._had.get(name) == each.endpoint:
                lost.add(name)
        return frozenset(lost)

    def _streams(self) -> Mapping[ResourceName, float]:
        """Return since when the kubelet holds the stream of each resource, in seconds since the epoch."""
        return {
            ResourceName(each.resource): each.stream_opened
            for each in self._gateway.registrar.status()
            if each.stream_opened is not None
        }

    def _hidden(self, confirmed: Sequence[KnownConflict], sockets: Collection[str]) -> list[KnownConflict]:
        """Return the known conflicts that cannot be seen any more, although the other plugin may still be there."""
        told, streams = {each.conflict.resource for each in confirmed}, self._streams()
        return [
            each._replace(pids={name: pid for name, pid in each.pids.items() if name in sockets})
            for each in self._gateway.conflicts
            if each.conflict.cause is Cause.FOREIGN_DEVICES
            and each.conflict.resource not in told
            and any(name in sockets for name in each.pids)
            and streams.get(each.conflict.resource, 0.0) < each.seen
        ]

    def _register_again(self, sockets: Collection[str]) -> None:
        """Register again each resource whose other plugin may have left. The kubelet may have given it up then."""
        streams = self._streams()
        for each in self._gateway.conflicts:
            resource, cause = each.conflict.resource, each.conflict.cause
            has_left = any(name not in sockets for name in each.pids)
            if has_left and cause is not Cause.SAME_DEVICES and streams.get(resource, each.seen) < each.seen:
                self._gateway.registrar.renew(resource, Reason.OTHER_PLUGIN_LEFT)

    def _tell(self, conflicts: Sequence[KnownConflict]) -> None:
        """Log what is new and what has ended."""
        before, now = ({each.key: each for each in known} for known in (self._gateway.conflicts, conflicts))
        self._gateway.conflicts = conflicts
        for ended in (known.conflict for key, known in before.items() if key not in now):
            log.info(
                "the conflict with another device plugin has ended", resource=ended.resource, cause=ended.cause.value
            )
        for known in (known for key, known in now.items() if key not in before):
            _log(known)


def _log(known: KnownConflict) -> None:
    log.warning(
        "another device plugin is in conflict with this gateway",
        resource=known.conflict.resource,
        cause=known.conflict.cause.value,
        problem=known.words,
        sockets=list(known.pids),
        pids=[pid for pid in known.pids.values() if pid] or None,
        todo=TODO,
    )
