"""How the GPUs of the stand-in are connected: NVLinks, and the level of the nearest common ancestor of each pair."""

import ctypes
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from driver.control import MAX_LINKS, Control

SINGLE, HOSTBRIDGE, NODE, SYSTEM = 10, 30, 40, 50
"""NVML's levels: one PCIe switch, one host bridge, one NUMA node, different NUMA nodes."""
SWITCH = -1
"""The other end of a link to an NVSwitch."""


class Machine(NamedTuple):
    """A kind of machine. Pairs are written as ``0-1 2-3``."""

    single: str = ""
    """Pairs with one NVLink."""
    double: str = ""
    """Pairs with two NVLinks."""
    switch_links: int = 0
    """NVLinks of each GPU to NVSwitches."""
    near: tuple[tuple[int, str], ...] = ()
    """Levels with their pairs. All other pairs are of the level SYSTEM. Later ones override."""

    def link_pairs(self) -> Iterator[tuple[int, int]]:
        """Return the two GPUs of each link."""
        for text, count in ((self.single, 1), (self.double, 2)):
            for pair in _pairs(text):
                yield from [pair] * count


def _pairs(text: str) -> Iterator[tuple[int, int]]:
    for pair in text.split():
        one, _, other = pair.partition("-")
        yield int(one), int(other)


def _within(*groups: Iterable[int]) -> str:
    """Return every pair of each group."""
    return " ".join(f"{one}-{other}" for group in map(list, groups) for one in group for other in group if one < other)


_HALVES = _within(range(4), range(4, 8))
DGX1_V100 = Machine(
    double="0-3 0-4 1-2 1-5 2-3 4-7 5-6 6-7",
    single="0-1 0-2 1-3 2-6 3-7 4-5 4-6 5-7",
    near=((HOSTBRIDGE, _HALVES), (SINGLE, "0-1 2-3 4-5 6-7")),
)
CUBE = DGX1_V100._replace(near=((NODE, _HALVES), (SINGLE, "0-1 2-3 4-5 6-7")))
DGX1_P100 = Machine(
    single="0-1 0-2 0-3 0-4 1-2 1-3 1-5 2-3 2-6 3-7 4-5 4-6 4-7 5-6 5-7 6-7",
    near=((HOSTBRIDGE, _HALVES), (SINGLE, "0-2 1-3 4-6 5-7")),
)
RTX_8000 = Machine(double="0-3 1-2", near=((NODE, "0-1 2-3"),))
PCIE = Machine(near=((NODE, "0-1 2-3"),))
SWITCHES = Machine(switch_links=18, near=((NODE, _HALVES), (SINGLE, "0-1 2-3 4-5 6-7")))
NO_LINKS = SWITCHES._replace(switch_links=0)
HGX_A100_4 = Machine(double=" ".join([_within(range(4))] * 2))


class Topology:
    """The connections of all GPUs."""

    def __init__(self, control: Control) -> None:
        self._control = control
        ctypes.memset(control.ancestors, SYSTEM, ctypes.sizeof(control.ancestors))

    def connect_to_switches(self, index: int, links: int) -> None:
        """Let a GPU have so many links, all to NVSwitches."""
        gpu = self._control.gpus[index]
        gpu.links, gpu.link_to[:] = links, [SWITCH] * MAX_LINKS

    def build(self, machine: Machine, gpus: int) -> None:
        """Connect the first GPUs as in this machine, and no other."""
        for index in range(gpus):
            self.connect_to_switches(index, machine.switch_links)
        for one, other in machine.link_pairs():
            self._add_link(one, other)
            self._add_link(other, one)
        ctypes.memset(self._control.ancestors, SYSTEM, ctypes.sizeof(self._control.ancestors))
        for level, pairs in machine.near:
            for one, other in _pairs(pairs):
                self.set_level(one, other, level)

    def _add_link(self, index: int, to: int) -> None:
        gpu = self._control.gpus[index]
        gpu.link_to[gpu.links] = to
        gpu.links += 1

    def set_level(self, one: int, other: int, level: int) -> None:
        """Set the level of the nearest common ancestor of two GPUs."""
        self._control.ancestors[one][other] = self._control.ancestors[other][one] = level
