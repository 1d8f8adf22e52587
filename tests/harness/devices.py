"""Devices, inventories and advertisements for tests."""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any

from plugin_gateway.core.devices import (
    Device,
    DeviceId,
    Inventory,
    Kind,
    Offered,
    OfferedId,
    PhysicalDevice,
    PhysicalId,
    Recipe,
    RejectedDevice,
    whole,
)
from plugin_gateway.core.resources.assignment import Advertisement
from plugin_gateway.core.resources.sharing import Sharing

GPU, PART = Kind("gpu"), Kind("mig")
VARIABLE = "NVIDIA_VISIBLE_DEVICES"
RECIPE = Recipe(visibility_variable=VARIABLE)
ALONE = Sharing()


def device(
    number: int,
    *,
    name: str | None = None,
    product: str = "NVIDIA H100 80GB HBM3",
    numa_node: int | None = None,
    generation: str = "H100",
) -> Device:
    """A whole device whose attributes follow from its index."""
    physical = PhysicalDevice(
        id=PhysicalId(name or f"GPU-{number}"),
        index=number,
        minor=number,
        pci_address=f"0000:{number + 1:02x}:00.0",
        product=product,
        memory_bytes=80 * 2**30,
        numa_node=numa_node,
        generation=generation,
    )
    return whole(physical, GPU, (f"/dev/nvidia{number}",))


def part(parent: Device, number: int, profile: str = "1g.10gb") -> Device:
    """A part of a device, with the node of the whole one and one of its own."""
    index = parent.physical.index
    return Device(
        id=DeviceId(f"MIG-{index}-{number}"),
        physical=parent.physical,
        kind=PART,
        profile=profile,
        place=(index, number),
        nodes=(*parent.nodes, f"/dev/nvidia-caps/nvidia-cap{100 * index + number}"),
        memory_bytes=10 * 2**30,
    )


def altered(known: Device, **changes: Any) -> Device:
    """The whole device with other facts about the physical one."""
    return whole(replace(known.physical, **changes), known.kind, known.nodes)


def inventory(
    *devices: Device,
    physical: Iterable[PhysicalDevice] = (),
    rejected: tuple[RejectedDevice, ...] = (),
    set_aside: tuple[RejectedDevice, ...] = (),
    recipe: Recipe = RECIPE,
) -> Inventory:
    """These devices with all that they belong to, and further physical ones."""
    known = {each.id: each for each in (*physical, *(each.physical for each in devices))}
    return Inventory(
        physical=tuple(sorted(known.values(), key=lambda each: each.index)),
        devices=devices,
        rejected=rejected,
        set_aside=set_aside,
        recipes={GPU: recipe, PART: recipe},
    )


def advertised(
    devices: Iterable[Device], *unhealthy: str, recipe: Recipe = RECIPE, sharing: Sharing = ALONE, **others: Any
) -> Advertisement:
    """These devices in one resource. ``unhealthy`` are ids of devices, or of replicas."""
    offered = tuple(offer for each in devices for offer in sharing.offers(each))
    return Advertisement(
        offered=offered,
        unhealthy=frozenset(each.id for each in offered if {each.id, each.device.id} & set(unhealthy)),
        recipes={GPU: recipe, PART: recipe},
        one_per_request=sharing.one_per_request,
        **others,
    )


def offers(devices: Sequence[Device]) -> tuple[Offered, ...]:
    """Each device under its own id."""
    return tuple(Offered(OfferedId(each.id), each) for each in devices)
