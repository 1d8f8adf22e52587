"""A whole gateway inside the process of the test, with devices that the test controls."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from harness import devices
from plugin_gateway.adapters.configuration.options import DEFAULT_RESOURCE
from plugin_gateway.adapters.dialects import load_dialects
from plugin_gateway.adapters.dialects.dialect import Dialect
from plugin_gateway.adapters.gateway.device_nodes import DeviceNodes
from plugin_gateway.adapters.gateway.gateway import Gateway
from plugin_gateway.adapters.gateway.observation_queue import ObservationQueue
from plugin_gateway.adapters.gateway.serving_policy import ServingPolicy
from plugin_gateway.adapters.gateway.watched_backend import WatchedBackend
from plugin_gateway.adapters.kubelet.directory import KubeletDirectory
from plugin_gateway.adapters.registration.registrar import Registrar
from plugin_gateway.core.devices import Device
from plugin_gateway.core.health.faults import Checkup
from plugin_gateway.core.health.observations import DevicesChecked, EvidenceReported, InventorySeen
from plugin_gateway.core.health.policy import HealthPolicy
from plugin_gateway.core.resources.policy import AllocationPolicy
from plugin_gateway.core.resources.rules import ResourceRule
from plugin_gateway.nvidia.evidence import HEALTH_POLICY, xid_kind

WELL = Checkup({}, asks_for_recovery=False)
RESOURCE = DEFAULT_RESOURCE
EVERYTHING = (ResourceRule(name=DEFAULT_RESOURCE),)
DIALECTS = load_dialects()


def device(index: int, product: str = "NVIDIA H100 80GB HBM3") -> Device:
    name = f"GPU-{index:08x}-0000-0000-0000-000000000000"
    return devices.device(index, name=name, product=product, numa_node=index // 4, generation="")


class Node:
    """The gateway under test. The methods are what its driver reports."""

    def __init__(
        self,
        directory: Path,
        *,
        allowed: Sequence[Dialect] = DIALECTS,
        rules: tuple[ResourceRule, ...] = EVERYTHING,
        health: HealthPolicy = HEALTH_POLICY,
    ) -> None:
        self.observations = ObservationQueue()
        self.silence = 0.0
        self.serving_policy = ServingPolicy(rules=rules, policy=AllocationPolicy(), nodes=DeviceNodes())
        self.registrar = Registrar(directory=KubeletDirectory(directory), dialects=DIALECTS, allowed=allowed)
        self.health = health
        self.watch()

    def watch(self, **others: Any) -> None:
        """Begin again, with other arguments for the backend that is watched."""
        watched = {
            "name": "nvml",
            "observations": self.observations,
            "silent_for": lambda: self.silence,
            "health": self.health,
            "device_word": "GPU",
        }
        self.backend = WatchedBackend(**{**watched, **others})
        self.gateway = Gateway(backends=[self.backend], registrar=self.registrar, serving_policy=self.serving_policy)

    def see(self, seen: Sequence[Device]) -> None:
        self.observations.put(InventorySeen(devices.inventory(*seen)))

    def check(self, checkup: Checkup = WELL, *indexes: int) -> None:
        """Report the result of a check for these devices, or for all."""
        self.observations.put(DevicesChecked({device(index).id: checkup for index in indexes or range(8)}))

    def fail(self, index: int, xid: int = 79) -> None:
        self.observations.put(EvidenceReported(xid_kind(xid), device(index).id))


@asynccontextmanager
async def running(node: Node, devices: int | None = 8) -> AsyncIterator[Node]:
    """Run the gateway inside the block. An error that ends it earlier is raised. ``devices`` is None if it has some."""
    if devices is not None:
        node.see([device(index) for index in range(devices)])
    async with asyncio.TaskGroup() as tasks:
        task = tasks.create_task(node.gateway.run())
        try:
            yield node
        finally:
            task.cancel()


async def until(condition: Callable[[], bool], what: str, limit: float = 5.0) -> None:
    """Poll until the condition holds. For conditions without an event."""
    deadline = time.monotonic() + limit
    while not condition():
        assert time.monotonic() < deadline, f"waited for {what}"
        await asyncio.sleep(0.005)
