"""What sysfs says of network cards. Each value is as the kernel writes it, or parsed; nothing is judged here."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple


class Interface(NamedTuple):
    """A network interface of a function (Documentation/ABI/testing/sysfs-class-net)."""

    name: str
    type: int
    """The kernel's number of the hardware type: 1 Ethernet, 32 InfiniBand. -1 if it cannot be read."""
    is_switched_on: bool
    """Bit 0 of its flags."""
    carrier: bool | None
    """Whether it has a link. None if the kernel does not say, as while it is switched off (EINVAL).

    A scan does not ask, because the answer can take a minute: this and the speed are among the signs.
    """
    speed: int | None = None
    """Mbit/s. None if it is not known, as without a link, and after a scan."""
    carrier_changes: int = 0
    """How often it lost its link or got one since it exists."""


class Port(NamedTuple):
    """A port of an RDMA device."""

    number: int
    link_layer: str
    """``InfiniBand``, ``Ethernet`` or ``Unknown``."""


class PortState(NamedTuple):
    """What the driver says of a port when it is asked. To ask can hang for a minute."""

    state: str
    """The word, such as ``ACTIVE``, ``INIT`` or ``DOWN``."""
    phys_state: str
    """The word, such as ``LinkUp`` or ``Polling``."""
    rate_gbps: float | None = None
    """None if it is not known."""
    link_downed: int | None = None
    """How often the port lost its link since its driver was loaded. None if it was not asked, as ``symbol_errors``."""
    symbol_errors: int | None = None


class RdmaDevice(NamedTuple):
    """An RDMA device of a function."""

    name: str
    """Such as ``mlx5_0``. It can be renamed."""
    ports: tuple[Port, ...]
    uverbs: tuple[str, ...]
    """Names of its device nodes below /dev/infiniband, such as ``uverbs0``. A device without one is of no use."""
    umad: tuple[str, ...] = ()
    issm: tuple[str, ...] = ()
    node_guid: str = ""
    hca_type: str = ""
    """Such as ``MT4123``. Empty if the driver names none."""
    board_id: str = ""
    firmware: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class PciFunction:
    """A function of the PCI bus."""

    address: str
    """Such as ``0000:3b:00.0``. The domain can have more than four digits."""
    vendor: str
    """Four hex digits, such as ``15b3``."""
    device: str
    """Four hex digits."""
    class_code: str
    """Six hex digits, such as ``020000``."""
    driver: str | None
    """The kernel driver that has it. None if none has."""
    numa_node: int | None
    """None if the machine reports none (sysfs shows -1)."""
    pci_path: tuple[str, ...]
    """The host bridge and the bridges above it, such as ``("pci0000:3a", "0000:3a:00.0")``."""
    parent: str | None = None
    """The address of the physical function, if it is a virtual one."""
    vf_number: int | None = None
    """Its number among the virtual functions of its parent."""
    vf_count: int = 0
    """How many virtual functions it has now."""
    interfaces: tuple[Interface, ...] = ()
    """Those that this network namespace sees. None of them while a pod has them."""
    rdma_devices: tuple[RdmaDevice, ...] = ()
    """Those that this network namespace sees, in the order of their names."""
    rdma_drivers: tuple[str, ...] = ()
    """The auxiliary devices that say that the function can do RDMA, such as ``mlx5_core.rdma.0``, wherever its RDMA
    device is. Empty on kernels before 5.11."""
    manages_nvlink: bool = False
    """Whether its vital product data say that it manages the links between GPUs, and is no data port (``SW_MNG``)."""
    unread: Mapping[str, str] = field(default_factory=dict)
    """What could not be read of it, with the error, by the path below its folder."""

    @property
    def is_virtual(self) -> bool:
        """Whether it is a virtual function, even if it cannot be read of which physical one."""
        return self.parent is not None or "physfn" in self.unread


class PciFunctions(NamedTuple):
    """What one scan of the PCI bus found."""

    functions: tuple[PciFunction, ...]
    """In the order of their addresses."""
    unreadable: Mapping[str, str]
    """Functions of which not even vendor, device and class can be read, with the error, by address."""
