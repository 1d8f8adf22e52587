"""How the functions of `facts` become files, as the kernel writes them."""

from cards.facts import Function, Net, PortFacts, Rdma
from cards.files import HostFiles

CPUS = {0: "0-31", 1: "32-63"}
FIRST_MINOR, LAST_OF_MAJOR = 192, 32
"""The first minor number of the uverbs, and how many of them have the major number 231."""
MODULES = ("ib_core", "ib_uverbs", "ib_umad", "rdma_ucm", "mlx5_core", "mlx5_ib")
COUNTERS = (
    "link_downed",
    "link_error_recovery",
    "symbol_error",
    "port_rcv_errors",
    "port_xmit_discards",
    "port_rcv_data",
    "port_xmit_data",
)


def write_common(files: HostFiles) -> None:
    """Write what every host has, and one with RDMA."""
    files.write("/sys/devices/system/node/online", "0-1")
    for node, cpus in CPUS.items():
        files.write(f"/sys/devices/system/node/node{node}/cpulist", cpus)
    files.folder("/sys/bus/pci/devices")
    files.folder("/sys/bus/auxiliary/devices")
    files.folder("/dev/infiniband")


def write_rdma_modules(files: HostFiles) -> None:
    """Write what the modules of RDMA have when they are loaded."""
    for module in MODULES:
        files.write(f"/sys/module/{module}/initstate", "live")
    files.write("/sys/module/ib_core/parameters/netns_mode", "Y")
    files.write("/sys/class/infiniband_verbs/abi_version", 6)
    files.write("/sys/class/infiniband_mad/abi_version", 5)
    write_rdma_cm(files)


def write_rdma_cm(files: HostFiles) -> None:
    """Write what the module rdma_ucm has."""
    files.write("/sys/module/rdma_ucm/initstate", "live")
    files.write("/sys/devices/virtual/misc/rdma_cm/dev", "10:122")
    files.link("/sys/class/misc/rdma_cm", "/sys/devices/virtual/misc/rdma_cm")
    files.touch("/dev/infiniband/rdma_cm")


def remove_rdma_cm(files: HostFiles) -> None:
    """Remove what the module rdma_ucm has."""
    for path in (
        "/dev/infiniband/rdma_cm",
        "/sys/class/misc/rdma_cm",
        "/sys/devices/virtual/misc/rdma_cm",
        "/sys/module/rdma_ucm",
    ):
        files.remove(path)


def write_function(files: HostFiles, function: Function) -> None:
    """Write a function with everything that it has. Its link on the bus comes last, as the kernel does it."""
    _write_pci(files, function)
    _write_virtual(files, function)
    if function.driver is not None:
        write_driver(files, function)
    files.link(f"/sys/bus/pci/devices/{function.address}", function.folder)


def _write_pci(files: HostFiles, function: Function) -> None:
    vendor, device = function.vendor.upper(), function.device.upper()
    sub_vendor, _, sub_device = function.subsystem.partition(":")
    files.write_all(
        function.folder,
        {
            "vendor": f"0x{function.vendor}",
            "device": f"0x{function.device}",
            "subsystem_vendor": f"0x{sub_vendor}",
            "subsystem_device": f"0x{sub_device}",
            "class": f"0x{function.class_code}",
            "revision": "0x00",
            "numa_node": function.numa,
            "local_cpulist": CPUS.get(function.numa, "0-63"),
            "enable": 1,
            "current_link_speed": "16.0 GT/s PCIe",
            "max_link_speed": "16.0 GT/s PCIe",
            "current_link_width": 16,
            "max_link_width": 16,
            "modalias": _alias(function),
            "uevent": uevent(function, vendor, device),
            **function.more,
        },
    )
    files.link(f"{function.folder}/subsystem", "/sys/bus/pci")
    files.folder(f"/sys/kernel/iommu_groups/{function.iommu}")
    files.link(f"{function.folder}/iommu_group", f"/sys/kernel/iommu_groups/{function.iommu}")


def _alias(function: Function) -> str:
    sub_vendor, _, sub_device = function.subsystem.upper().partition(":")
    base, sub, interface = function.class_code[:2], function.class_code[2:4], function.class_code[4:]
    ids = f"v0000{function.vendor.upper()}d0000{function.device.upper()}sv0000{sub_vendor}sd0000{sub_device}"
    return f"pci:{ids}bc{base}sc{sub}i{interface}"


def uevent(function: Function, vendor: str, device: str, driver: str | None = None) -> str:
    """Return the file of this name."""
    bound = function.driver if driver is None else driver
    lines = [
        *([f"DRIVER={bound}"] if bound else []),
        f"PCI_CLASS={int(function.class_code, 16):X}",
        f"PCI_ID={vendor}:{device}",
        f"PCI_SUBSYS_ID={function.subsystem.upper()}",
        f"PCI_SLOT_NAME={function.address}",
        f"MODALIAS={_alias(function)}",
    ]
    return "\n".join(lines)


def _write_virtual(files: HostFiles, function: Function) -> None:
    """Write what says which functions are virtual ones of which."""
    if function.parent is not None:
        parent = f"/sys/bus/pci/devices/{function.parent}"
        files.link(f"{function.folder}/physfn", parent_folder(function))
        files.link(f"{parent}/virtfn{function.vf_number}", function.folder)
    if function.total_vfs is not None:
        files.write(f"{function.folder}/sriov_totalvfs", function.total_vfs)
    if function.total_vfs:
        files.write_all(
            function.folder,
            {
                "sriov_numvfs": function.vfs,
                "sriov_offset": function.vf_offset,
                "sriov_stride": 1,
                "sriov_vf_device": function.vf_device,
                "sriov_drivers_autoprobe": 1,
            },
        )


def parent_folder(function: Function) -> str:
    """Return the folder of the physical function of a virtual one."""
    return f"/sys/devices/{function.bridges}/{function.parent}"


def write_driver(files: HostFiles, function: Function) -> None:
    """Write what the driver of a function makes: its parts, its interface and its RDMA device."""
    driver = f"/sys/bus/pci/drivers/{function.driver}"
    files.folder(driver)
    files.link(f"{function.folder}/driver", driver)
    files.link(f"{driver}/{function.address}", function.folder)
    for part in function.auxiliary:
        files.folder(f"{function.folder}/{part}")
        files.link(f"/sys/bus/auxiliary/devices/{part}", f"{function.folder}/{part}")
    if function.net is not None:
        write_interface(files, function, function.net)
    if function.rdma is not None and is_loaded(files, "mlx5_ib"):
        write_rdma(files, function, function.rdma)


def is_loaded(files: HostFiles, module: str) -> bool:
    """Whether a module of the kernel is loaded."""
    return files.at(f"/sys/module/{module}").exists()


def write_interface(files: HostFiles, function: Function, net: Net) -> None:
    """Write an interface of a function."""
    folder = f"{function.folder}/net/{net.name}"
    ups = net.carrier_changes // 2
    files.write_all(
        folder,
        {
            "address": net.address,
            "addr_len": 20 if net.type == 32 else 6,
            "ifindex": net.ifindex,
            "iflink": net.ifindex,
            "type": net.type,
            "mtu": net.mtu,
            **link_files(net.speed, is_up=net.is_up),
            "dev_port": net.dev_port,
            "dev_id": "0x0",
            "flags": "0x1003" if net.is_switched_on else "0x1002",
            "carrier_changes": net.carrier_changes,
            "carrier_up_count": ups,
            "carrier_down_count": net.carrier_changes - ups,
            "name_assign_type": 4,
            "tx_queue_len": 1000,
            **({"phys_switch_id": net.switch_id} if net.switch_id else {}),
            **({"phys_port_name": net.port_name} if net.port_name else {}),
            "uevent": f"INTERFACE={net.name}\nIFINDEX={net.ifindex}",
        },
    )
    files.link(f"{folder}/device", function.folder)
    files.link(f"/sys/class/net/{net.name}", folder)


def link_files(speed: int, *, is_up: bool) -> dict[str, object]:
    """Return the files of an interface that say whether it has a link."""
    if is_up:
        return {"operstate": "up", "carrier": 1, "speed": speed, "duplex": "full"}
    return {"operstate": "down", "carrier": 0, "speed": -1, "duplex": "unknown"}


def write_rdma(files: HostFiles, function: Function, rdma: Rdma) -> None:
    """Write an RDMA device of a function, and the char devices that it has."""
    folder = f"{function.folder}/infiniband/{rdma.name}"
    files.write_all(
        folder,
        {
            "node_type": "1: CA",
            "node_guid": rdma.guid,
            "sys_image_guid": rdma.image_guid,
            "fw_ver": "20.39.1002",
            "hw_rev": 0,
            "board_id": rdma.board,
            "hca_type": rdma.hca_type,
            "node_desc": f"host {rdma.name}",
            "uevent": f"NAME={rdma.name}",
        },
    )
    files.link(f"{folder}/device", function.folder)
    write_port(files, f"{folder}/ports/1", rdma.port)
    files.write_all(f"{folder}/ports/1/counters", dict.fromkeys(COUNTERS, 0))
    files.link(f"/sys/class/infiniband/{rdma.name}", folder)
    write_char_devices(files, function, rdma)


def write_port(files: HostFiles, folder: str, port: PortFacts) -> None:
    """Write what a port says of itself, except its counters."""
    files.write_all(
        folder,
        {
            "state": port.state,
            "phys_state": port.phys_state,
            "link_layer": port.link_layer,
            "rate": port.rate,
            "lid": port.lid,
            "lid_mask_count": 0,
            "sm_lid": port.sm_lid,
            "sm_sl": 0,
            "cap_mask": port.cap_mask,
            "pkeys/0": "0xffff",
        },
    )
    for name in ("gids", "gid_attrs/ndevs", "gid_attrs/types"):
        files.folder(f"{folder}/{name}")
    for index, (gid, kind, interface) in enumerate(port.gids):
        files.write(f"{folder}/gids/{index}", gid)
        if kind:
            files.write(f"{folder}/gid_attrs/types/{index}", kind)
        if interface:
            files.write(f"{folder}/gid_attrs/ndevs/{index}", interface)


def write_char_devices(files: HostFiles, function: Function, rdma: Rdma) -> None:
    """Write uverbs and umad of an RDMA device, and issm where it has one."""
    number = rdma.number
    major, minor = (231, FIRST_MINOR + number) if number < LAST_OF_MAJOR else (508, number - LAST_OF_MAJOR)
    uverbs = f"{function.folder}/infiniband_verbs/uverbs{number}"
    lines = (f"MAJOR={major}", f"MINOR={minor}", f"DEVNAME=infiniband/uverbs{number}", "DEVMODE=0666")
    files.write_all(
        uverbs, {"ibdev": rdma.name, "dev": f"{major}:{minor}", "abi_version": 1, "uevent": "\n".join(lines)}
    )
    files.link(f"/sys/class/infiniband_verbs/uverbs{number}", uverbs)
    files.touch(f"/dev/infiniband/uverbs{number}")
    for kind, first in (("umad", 0), ("issm", 64)) if rdma.has_issm else (("umad", 0),):
        name = f"{kind}{number}"
        folder = f"{function.folder}/infiniband_mad/{name}"
        files.write_all(folder, {"ibdev": rdma.name, "port": 1, "dev": f"231:{first + number}"})
        files.link(f"/sys/class/infiniband_mad/{name}", folder)
        files.touch(f"/dev/infiniband/{name}")
