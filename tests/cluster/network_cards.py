"""Network cards for the node of the cluster: made-up files over its /sys, and device nodes in its /dev."""

import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path

from cards import offered
from cards.builder import Cards
from cards.onload import NODES
from cluster.machine import Machine
from cluster.stand_in import HOST_PROC, make_node

UVERBS_MAJOR, FIRST_UVERBS = 231, 192
"""The numbers of the first uverbs. No driver has them here: open fails with ENXIO if it is allowed, and with EPERM if
not."""
ONLOAD_FOLDER = "/run/network-cards/onload"
"""The folder of the node with Onload's files for containers."""
DEVICE_INFO = "/run/k8s.cni.cncf.io/devinfo/dp"
"""The folder of the node from which Multus learns about devices."""
_MISC_MAJOR, _RDMA_CM = 10, 122
_CGROUPS, _KEPT_CGROUPS = "/sys/fs/cgroup", "/run/network-cards/cgroup"


class NetworkCards:
    """A ConnectX-6 with virtual functions and an X2522 with Onload, as files that can change."""

    def __init__(self, machine: Machine, folder: Path) -> None:
        self._machine = machine
        shutil.rmtree(folder, ignore_errors=True)
        self.made = offered.made_up(folder)
        self.made.files.remove("/sys/devices/system")  # the node has its own processors and NUMA nodes
        self._nodes = dict(self._numbers())

    def install(self) -> None:
        """Put the cards into the machine."""
        for path in (_KEPT_CGROUPS, HOST_PROC, ONLOAD_FOLDER):
            self._machine.run("mkdir", "-p", path)
        root = self.made.root
        self._machine.run("mount", "--bind", f"{root}/proc", HOST_PROC)
        self._machine.run("mount", "--bind", f"{root}/opt/onload", ONLOAD_FOLDER)
        self._machine.run("mount", "--rbind", _CGROUPS, _KEPT_CGROUPS)
        self._machine.run("mount", "--make-rprivate", _KEPT_CGROUPS)  # what is unmounted later is its copies alone
        self._machine.run("mount", "-t", "overlay", "-o", f"ro,lowerdir={root}/sys:/sys", "overlay", "/sys")
        self._machine.run("mount", "--rbind", _KEPT_CGROUPS, _CGROUPS)
        for path, (major, minor) in self._nodes.items():
            node = self._machine.inside(path)
            node.parent.mkdir(exist_ok=True)
            make_node(node, major, minor)

    def give_away(self, address: str) -> None:
        """Let a pod have a function, as a CNI plugin does when the pod starts."""
        self.made.give_away(address)
        _forget_names()

    def take_back(self, address: str) -> None:
        """Let a function come back, as a CNI plugin does before the kubelet forgets the pod."""
        self.made.take_back(address)
        _forget_names()

    def remove(self) -> None:
        """Take the cards out of the machine."""
        for path in self._nodes:
            self._machine.inside(path).unlink(missing_ok=True)
        for path in ("/sys", _KEPT_CGROUPS, HOST_PROC, ONLOAD_FOLDER):
            self._machine.run("umount", "--lazy", path)

    def numbers(self, *paths: str) -> Mapping[str, str]:
        """Return the file type of device nodes and their numbers in hexadecimal, by name below /dev."""
        found = {path: self._nodes[path] for path in paths}
        return {
            path.removeprefix("/dev/"): f"character special file {major:x}:{minor:x}"
            for path, (major, minor) in found.items()
        }

    def _numbers(self) -> Iterator[tuple[str, tuple[int, int]]]:
        """Yield each device node with its numbers."""
        yield offered.RDMA_CM, (_MISC_MAJOR, _RDMA_CM)
        for name, major in NODES.items():
            yield f"/dev/{name}", (major, 0)
        for function in self.made.functions.values():
            if function.rdma is not None:
                number = function.rdma.number
                yield offered.uverbs(function.address), (UVERBS_MAJOR, FIRST_UVERBS + number)
                yield f"/dev/infiniband/umad{number}", (UVERBS_MAJOR, number)


def _forget_names() -> None:
    """Let the kernel look up names anew: an overlay does not notice what is replaced below it."""
    Path("/proc/sys/vm/drop_caches").write_text("2")


def minor_of(address: str, cards: Cards) -> int:
    """Return the minor number of the uverbs of a function."""
    rdma = cards.functions[address].rdma
    assert rdma is not None
    return FIRST_UVERBS + rdma.number
