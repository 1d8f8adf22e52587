"""The made-up cards as tables: what their functions, interfaces and RDMA devices are. `writing` makes files of them."""

from dataclasses import dataclass, field, replace

MLX5, SFC = "mlx5_core", "sfc"
ETHERNET, INFINIBAND = "020000", "020700"


@dataclass(frozen=True, slots=True, kw_only=True)
class Net:
    """A network interface of a function."""

    name: str
    ifindex: int
    address: str
    is_up: bool = True
    is_switched_on: bool = True
    speed: int = 100_000
    type: int = 1
    mtu: int = 1500
    dev_port: int = 0
    carrier_changes: int = 2
    port_name: str = ""
    switch_id: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class PortFacts:
    """What the files of a port say."""

    state: str = "4: ACTIVE"
    phys_state: str = "5: LinkUp"
    rate: str = "100 Gb/sec (4X EDR)"
    link_layer: str = "Ethernet"
    lid: str = "0x0"
    sm_lid: str = "0x0"
    cap_mask: str = "0x04010000"
    gids: tuple[tuple[str, str, str], ...] = ()
    """Each with its type and its interface. Both are empty where the kernel answers EINVAL."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rdma:
    """An RDMA device of a function."""

    name: str
    number: int
    """That of its uverbs and its umad."""
    guid: str
    image_guid: str
    board: str
    hca_type: str
    port: PortFacts
    has_issm: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Function:
    """A function of the PCI bus."""

    address: str
    bridges: str
    """The folders above it, below /sys/devices."""
    vendor: str = "15b3"
    device: str = "101b"
    subsystem: str = "15b3:0006"
    class_code: str = ETHERNET
    driver: str | None = MLX5
    numa: int = 0
    iommu: int = 0
    total_vfs: int | None = 0
    vfs: int = 0
    """How many virtual functions it has now."""
    vf_offset: int = 2
    vf_device: str = "101c"
    parent: str | None = None
    vf_number: int | None = None
    auxiliary: tuple[str, ...] = ()
    """What drivers of several parts make of it, such as ``mlx5_core.rdma.0``."""
    net: Net | None = None
    rdma: Rdma | None = None
    more: dict[str, str] = field(default_factory=dict)
    """Further files."""

    @property
    def folder(self) -> str:
        """Its folder."""
        return f"/sys/devices/{self.bridges}/{self.address}"


DOWN_VF = PortFacts(state="1: DOWN", phys_state="3: Disabled", rate="40 Gb/sec (4X QDR)")


def auxiliary_of(number: int, *, with_ethernet: bool = True) -> tuple[str, ...]:
    """Return the parts of a function of this driver."""
    return (*([f"{MLX5}.eth.{number}"] if with_ethernet else []), f"{MLX5}.rdma.{number}")


def _gids_of_pf(function: int, interface: str) -> tuple[tuple[str, str, str], ...]:
    link_local = f"fe80:0000:0000:0000:0000:5eff:fe10:000{function}"
    mapped = f"0000:0000:0000:0000:0000:ffff:c612:0a0{function}"
    used = [(gid, kind, interface) for gid in (link_local, mapped) for kind in ("IB/RoCE v1", "RoCE v2")]
    return (*used, (":".join(["0000"] * 8), "", ""))


def _connectx6_rdma(number: int, guid: str, port: PortFacts, hca_type: str) -> Rdma:
    return Rdma(
        name=f"mlx5_{number}",
        number=number,
        guid=f"0200:5eff:fe10:{guid}",
        image_guid="0200:5eff:fe10:0000",
        board="XX_0000000001",
        hca_type=hca_type,
        port=port,
    )


def _connectx6_pf(number: int) -> Function:
    interface = f"ens1f{number}np{number}"
    return Function(
        address=f"0000:3b:00.{number}",
        bridges="pci0000:3a/0000:3a:00.0",
        total_vfs=8,
        vfs=4 if number == 0 else 0,
        iommu=40 + number,
        auxiliary=auxiliary_of(number),
        net=Net(
            name=interface,
            ifindex=4 + number,
            address=f"02:00:5e:10:00:0{number}",
            port_name=f"p{number}",
            switch_id="0a1b2c3d4e5f",
        ),
        rdma=_connectx6_rdma(number, f"000{number}", PortFacts(gids=_gids_of_pf(number, interface)), "MT4123"),
    )


def connectx6_vf(vf: int, number: int | None = None, *, is_idle: bool = False) -> Function:
    """Return a virtual function of the first port of the ConnectX-6. ``number`` is that of its uverbs."""
    own = 2 + vf if number is None else number
    slot, function = divmod(2 + vf, 8)
    return Function(
        address=f"0000:3b:{slot:02x}.{function}",
        bridges="pci0000:3a/0000:3a:00.0",
        device="101c",
        total_vfs=None,
        iommu=50 + vf,
        parent="0000:3b:00.0",
        vf_number=vf,
        auxiliary=auxiliary_of(2 + vf),
        net=Net(
            name=f"ens1f0v{vf}",
            ifindex=10 + vf,
            address=f"02:00:5e:10:01:0{vf}",
            is_up=not is_idle,
            is_switched_on=not is_idle,
            switch_id="0a1b2c3d4e5f",
        ),
        rdma=replace(
            _connectx6_rdma(own, f"010{vf}", DOWN_VF if is_idle else PortFacts(), "MT4124"), name=f"mlx5_{2 + vf}"
        ),
    )


CONNECTX6 = (
    _connectx6_pf(0),
    _connectx6_pf(1),
    *(connectx6_vf(vf, is_idle=vf == 3) for vf in range(4)),
)
"""A ConnectX-6 with two ports, RoCE, and four virtual functions on the first one. The last of them is idle."""

IB_INIT = PortFacts(
    state="2: INIT",
    phys_state="5: LinkUp",
    rate="100 Gb/sec (4X EDR)",
    link_layer="InfiniBand",
    lid="0xffff",
    cap_mask="0x2651e848",
    gids=(("fe80:0000:0000:0000:0200:5eff:fe20:0001", "IB/RoCE v1", ""),),
)
"""A port of InfiniBand with a cable, and without a subnet manager."""
IB_ACTIVE = replace(IB_INIT, state="4: ACTIVE", lid="0x11", sm_lid="0x1")
IB_DOWN = replace(IB_INIT, state="1: DOWN", phys_state="2: Polling", rate="10 Gb/sec (4X SDR)")


def infiniband(number: int) -> Function:
    """Return an HCA of InfiniBand whose port is down. ``number`` is that of its uverbs."""
    return Function(
        address="0000:d8:00.0",
        bridges="pci0000:d7/0000:d7:00.0",
        subsystem="15b3:0007",
        class_code=INFINIBAND,
        numa=1,
        iommu=90,
        auxiliary=auxiliary_of(number, with_ethernet=False),
        net=Net(
            name="ibp216s0",
            ifindex=6,
            address="00:00:10:87:fe:80:00:00:00:00:00:00:02:00:5e:ff:fe:20:00:01",
            is_up=False,
            type=32,
            mtu=4092,
            carrier_changes=7,
        ),
        rdma=Rdma(
            name="ibp216s0",
            number=number,
            guid="0200:5eff:fe20:0000",
            image_guid="0200:5eff:fe20:0000",
            board="XX_0000000002",
            hca_type="MT4123",
            port=IB_DOWN,
            has_issm=True,
        ),
    )


SOLARFLARE = tuple(
    Function(
        address=f"0000:5e:00.{number}",
        bridges="pci0000:5d/0000:5d:00.0",
        vendor="1924",
        device="0b03",
        subsystem="1924:8022",
        driver=SFC,
        iommu=60 + number,
        net=Net(
            name=f"enp94s0f{number}np{number}",
            ifindex=7 + number,
            address=f"02:00:5e:30:00:0{number}",
            is_up=number == 0,
            speed=25_000,
            dev_port=number,
            port_name=f"p{number}",
            switch_id="1924aabbccdd",
        ),
    )
    for number in range(2)
)
"""A Solarflare X2522. The second of its two ports has no link."""


def many(hcas: int, vfs: int) -> tuple[Function, ...]:
    """Return this many HCAs, each with this many virtual functions, half of them on each NUMA node."""
    found: list[Function] = []
    for hca in range(hcas):
        found += [_one_of_many(hca, vf, vfs, len(found) + vf + 1, 0 if 2 * hca < hcas else 1) for vf in range(-1, vfs)]
    return tuple(found)


def _one_of_many(hca: int, vf: int, vfs: int, number: int, numa: int) -> Function:
    """Return one of many functions. Number -1 among the virtual functions is the physical one."""
    bus, is_vf = 0x11 + 0x10 * hca, vf >= 0
    slot, function = divmod(1 + vf, 8)
    guid = f"{bus:02x}{1 + vf:02x}"
    return Function(
        address=f"0000:{bus:02x}:{slot:02x}.{function}",
        bridges=f"pci0000:{bus - 1:02x}/0000:{bus - 1:02x}:00.0",
        device="101e" if is_vf else "1021",
        numa=numa,
        iommu=100 + number,
        total_vfs=None if is_vf else vfs,
        vfs=0 if is_vf else vfs,
        vf_offset=1,
        vf_device="101e",
        parent=f"0000:{bus:02x}:00.0" if is_vf else None,
        vf_number=vf if is_vf else None,
        auxiliary=auxiliary_of(number),
        net=Net(
            name=f"enp{bus}s0f0v{vf}" if is_vf else f"enp{bus}s0f0np0",
            ifindex=100 + number,
            address=f"02:00:5e:40:{bus:02x}:{1 + vf:02x}",
            speed=400_000,
        ),
        rdma=Rdma(
            name=f"mlx5_{number}",
            number=number,
            guid=f"0200:5eff:fe40:{guid}",
            image_guid=f"0200:5eff:fe40:{bus:02x}00",
            board="XX_0000000003",
            hca_type="MT4126" if is_vf else "MT4129",
            port=PortFacts(rate="400 Gb/sec (4X NDR)"),
        ),
    )
