"""Devices, advertisements and offers for tests."""

from harness import devices
from harness.devices import VARIABLE
from harness.hosts import EveryNode
from plugin_gateway.adapters.configuration.options import DEFAULT_RESOURCE
from plugin_gateway.adapters.serving.resource import ServedResource
from plugin_gateway.core.devices import Device, Recipe
from plugin_gateway.core.resources.assignment import Advertisement
from plugin_gateway.core.resources.policy import AllocationPolicy

NODES = Recipe(visibility_variable=VARIABLE, shared_nodes=("/dev/nvidiactl",))


def device(index: int, numa_node: int | None = None) -> Device:
    return devices.device(index, numa_node=numa_node, generation="")


def advertisement(count: int = 4, unhealthy: tuple[int, ...] = (), numa_node: int | None = None) -> Advertisement:
    offered = [device(index, numa_node) for index in range(count)]
    return devices.advertised(offered, *(f"GPU-{index}" for index in unhealthy), recipe=NODES)


def served(count: int = 4, unhealthy: tuple[int, ...] = ()) -> ServedResource:
    """An offer whose device nodes all exist."""
    return ServedResource(DEFAULT_RESOURCE, advertisement(count, unhealthy), AllocationPolicy(), EveryNode())
