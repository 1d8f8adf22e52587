"""Devices, advertisements and offers for tests."""

from collections.abc import Sequence

from plugin_gateway.adapters.configuration.options import DEFAULT_RESOURCE
from plugin_gateway.adapters.serving.resource import ServedResource
from plugin_gateway.core.devices import Device, DeviceId
from plugin_gateway.core.resources.assignment import Advertisement
from plugin_gateway.core.resources.policy import AllocationPolicy

VARIABLE = "NVIDIA_VISIBLE_DEVICES"


def device(index: int, numa_node: int | None = None) -> Device:
    return Device(
        id=DeviceId(f"GPU-{index}"),
        index=index,
        minor=index,
        pci_address=f"0000:{index:02x}:00.0",
        product="NVIDIA H100",
        memory_bytes=1,
        numa_node=numa_node,
        nodes=(f"/dev/nvidia{index}",),
    )


def advertisement(count: int = 4, unhealthy: tuple[int, ...] = (), numa_node: int | None = None) -> Advertisement:
    return Advertisement(
        devices=tuple(device(index, numa_node) for index in range(count)),
        unhealthy=frozenset(DeviceId(f"GPU-{index}") for index in unhealthy),
        shared_nodes=("/dev/nvidiactl",),
        visibility_variable=VARIABLE,
    )


class EveryNode:
    """A host that has every device node."""

    def present(self, paths: Sequence[str]) -> Sequence[str]:
        return paths

    def generation(self) -> int:
        return 0

    def is_visible(self) -> bool:
        return True


def served(count: int = 4, unhealthy: tuple[int, ...] = ()) -> ServedResource:
    """An offer whose device nodes all exist."""
    return ServedResource(DEFAULT_RESOURCE, advertisement(count, unhealthy), AllocationPolicy(), EveryNode())
