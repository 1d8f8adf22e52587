"""Small made-up cards for the tests of this room, as files and links by path."""

from pathlib import Path
from typing import NamedTuple

DEVICES = "/sys/devices/pci0000:3a/0000:3a:00.0"
BUS = "/sys/bus/pci/devices"


class Files(NamedTuple):
    """What a host has."""

    texts: dict[str, str]
    links: dict[str, str]

    def __or__(self, other: "Files") -> "Files":
        return Files(self.texts | other.texts, self.links | other.links)


def function(
    address: str, device: str = "101b", *, number: int | None = None, interface: str = "", bridges: str = DEVICES
) -> Files:
    """A function of an Ethernet card, with the RDMA device of this number and an interface if they are named."""
    folder = f"{bridges}/{address}"
    texts = {
        f"{folder}/class": "0x020000\n",
        f"{folder}/vendor": "0x15b3\n",
        f"{folder}/device": f"0x{device}\n",
        f"{folder}/numa_node": "0\n",
    }
    up = "../" * (folder.count("/") - 1)
    links = {
        f"{folder}/driver": f"{up}bus/pci/drivers/mlx5_core",
        f"{BUS}/{address}": f"../../../{folder.removeprefix('/sys/')}",
    }
    if interface:
        net = f"{folder}/net/{interface}"
        texts |= {
            f"{net}/type": "1\n",
            f"{net}/flags": "0x1003\n",
            f"{net}/carrier": "1\n",
            f"{net}/carrier_changes": "2\n",
            f"{net}/speed": "100000\n",
        }
    if number is not None:
        texts |= rdma(folder, number)
        links[f"/sys/class/infiniband/mlx5_{number}"] = f"../../{folder.removeprefix('/sys/')}/infiniband/mlx5_{number}"
    return Files(texts, links)


def rdma(folder: str, number: int) -> dict[str, str]:
    """The RDMA device of a function."""
    device, port = f"{folder}/infiniband/mlx5_{number}", f"{folder}/infiniband/mlx5_{number}/ports/1"
    return {
        f"{folder}/mlx5_core.rdma.{number}/uevent": "\n",
        f"{device}/node_guid": "0200:5eff:fe10:0000\n",
        f"{device}/hca_type": "MT4123\n",
        f"{device}/board_id": "XX_0000000001\n",
        f"{device}/fw_ver": "20.39.1002\n",
        f"{port}/link_layer": "Ethernet\n",
        f"{port}/state": "4: ACTIVE\n",
        f"{port}/phys_state": "5: LinkUp\n",
        f"{port}/rate": "100 Gb/sec (4X EDR)\n",
        f"{folder}/infiniband_verbs/uverbs{number}/ibdev": f"mlx5_{number}\n",
        f"{folder}/infiniband_mad/umad{number}/ibdev": f"mlx5_{number}\n",
    }


def virtual(parent: str, address: str, place: int, *, number: int | None = None, interface: str = "") -> Files:
    """A virtual function, with its links from and to its parent."""
    links = {f"{DEVICES}/{parent}/virtfn{place}": f"../{address}", f"{DEVICES}/{address}/physfn": f"../{parent}"}
    return function(address, "101c", number=number, interface=interface) | Files({}, links)


def many(cards: int, virtuals: int) -> Files:
    """So many cards, each with one physical function that has so many virtual ones."""
    found, number = Files({}, {}), 0
    for card in range(cards):
        bus = f"{0x10 + card * 8:02x}"
        bridges = f"/sys/devices/pci0000:{bus}/0000:{bus}:00.0/0000:{bus}:01.0"
        for place in range(virtuals + 1):
            address = f"0000:{0x11 + card * 8:02x}:{place >> 3:02x}.{place & 7}"
            one = function(address, number=number, interface=f"ens{card}f{place}", bridges=bridges)
            if place:
                one.links[f"{bridges}/{address}/physfn"] = f"../0000:{0x11 + card * 8:02x}:00.0"
                one.links[f"{bridges}/0000:{0x11 + card * 8:02x}:00.0/virtfn{place - 1}"] = f"../{address}"
            found.texts.update(one.texts)
            found.links.update(one.links)
            number += 1
    return found


def write(root: Path, files: Files) -> None:
    """Write them below a folder."""
    for path, text in files.texts.items():
        place = Path(f"{root}{path}")
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(text)
    for path, target in files.links.items():
        place = Path(f"{root}{path}")
        place.parent.mkdir(parents=True, exist_ok=True)
        place.symlink_to(target)
