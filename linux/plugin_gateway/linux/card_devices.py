"""Makes physical devices of functions that are network cards, with all that rules can ask of any such card."""

from collections.abc import Mapping, Sequence

from plugin_gateway.core.cards import (
    DEVICE,
    DRIVER,
    FUNCTION,
    INTERFACE,
    LINK_TYPE,
    PARENT,
    PHYSICAL,
    VENDOR,
    VIRTUAL,
    parent_names,
)
from plugin_gateway.core.devices import PhysicalDevice, PhysicalId
from plugin_gateway.linux.facts import PciFunction


def physical_card(
    function: PciFunction,
    *,
    index: int,
    product: str,
    driver: str | None,
    interfaces: Sequence[str],
    link_type: str,
    parent_interfaces: Sequence[str] = (),
    more: Mapping[str, tuple[str, ...]] = {},
) -> PhysicalDevice:
    """Return a function as a device of the machine.

    ``driver`` and ``interfaces`` are those that it has or had: while a pod has a card, or its driver is loaded anew,
    it stays in its resource. ``parent_interfaces`` are those of its physical function, in the same sense. ``more`` has
    the attributes that cards of this kind have besides.
    """
    parents = () if function.parent is None else parent_names(parent_interfaces, function.parent, function.vf_number)
    return PhysicalDevice(
        id=PhysicalId(function.address),
        index=index,
        minor=None,
        pci_address=function.address,
        product=product,
        memory_bytes=0,
        numa_node=function.numa_node,
        pci_path=function.pci_path,
        attributes={
            VENDOR: (function.vendor,),
            DEVICE: (function.device,),
            DRIVER: (driver,) if driver else (),
            INTERFACE: tuple(interfaces),
            LINK_TYPE: (link_type,),
            FUNCTION: (VIRTUAL if function.is_virtual else PHYSICAL,),
            PARENT: parents,
            **more,
        },
    )
