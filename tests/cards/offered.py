"""What whole programs offer of the made-up cards in tests, and what containers get of it.

The cards are a ConnectX-6 with two ports and four virtual functions (tree A), and an X2522 with Onload (tree C).
"""

import json
from collections.abc import Sequence
from pathlib import Path

from cards.builder import Cards
from plugin_gateway.adapters.fake_kubelet.events import Answer

VF, HCA, ONLOAD = "example.com/vf", "rdma/hca", "amd.com/onload"
"""One resource of each kind: exclusive, shared and a pool."""
COUNTS = {VF: 4, HCA: 6, ONLOAD: 5}
"""How many of each are offered. One of the two ports of the X2522 has no link."""
TEXT = f"""\
version: v1
resources:
  rdma:
  - {{name: {VF}, sharing: exclusive, select: {{functions: vf}}}}
  - {{name: {HCA}, sharing: shared, replicas: 3, select: {{functions: pf}}}}
  onload:
  - {{name: {ONLOAD}, sharing: pool, replicas: 5}}
"""
VFS = tuple(f"0000:3b:00.{number}" for number in (2, 3, 4, 5))
PFS = tuple(f"0000:3b:00.{number}" for number in (0, 1))
RDMA_CM = "/dev/infiniband/rdma_cm"
LIBRARIES = ("libonload.so", "libonload_ext.so.2", "libonload_ext.so.2.0.0")
_FOLDER = "/opt/onload/usr/lib64"
_VARIABLE = "PCIDEVICE_EXAMPLE_COM_VF"
_UEVENTS = Path("/sys/class/misc")


def made_up(root: Path) -> Cards:
    """Make the two cards below this root of a host."""
    return Cards(root).connectx6().solarflare()


def uverbs(address: str, number: int | None = None) -> str:
    """Return the device node of a function. ``number`` is that of its uverbs, if it is not as it was made."""
    return f"/dev/infiniband/uverbs{int(address[-1]) if number is None else number}"


def of_vfs(ids: Sequence[str], number: int | None = None) -> Answer:
    """Return what a container gets with these virtual functions, as the SR-IOV plugin says it."""
    told = {
        each: {
            "generic": {"deviceID": each},
            "rdma": {"rdma_cm": RDMA_CM, "rdma_dev": f"mlx5_{each[-1]}", "uverbs": uverbs(each, number)},
        }
        for each in sorted(ids)
    }
    variables = {_VARIABLE: ",".join(sorted(ids)), f"{_VARIABLE}_INFO": json.dumps(told, separators=(",", ":"))}
    return Answer(environment=variables, device_nodes=_nodes(*(uverbs(each, number) for each in ids), RDMA_CM))


def of_hca(ids: Sequence[str]) -> Answer:
    """Return what a container gets with these parts of physical functions."""
    return Answer(device_nodes=_nodes(*(uverbs(each.partition("::")[0]) for each in ids), RDMA_CM))


def of_onload() -> Answer:
    """Return what a container gets with Onload."""
    return Answer(
        environment={"LD_PRELOAD": f"{_FOLDER}/libonload.so"},
        device_nodes=_nodes("/dev/onload", "/dev/onload_epoll", "/dev/sfc_char"),
        mounts={f"{_FOLDER}/{name}": (f"{_FOLDER}/{name}", True) for name in LIBRARIES},
    )


def _nodes(*paths: str) -> dict[str, tuple[str, str]]:
    return {path: (path, "rw") for path in paths}


def tell_of_devices() -> None:
    """Let the kernel tell everybody that a device changed, which harms nobody. The cards are then looked at again."""
    next(_UEVENTS.glob("*/uevent")).write_text("change\n")
