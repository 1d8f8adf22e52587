"""Machines with known links, as tables of scores.

Links and PCIe of the DGX-1 and the RTX machine: common_test.go of NVIDIA's go-gpuallocator.
"""

from itertools import combinations

from hypothesis import strategies as st

from plugin_gateway.core.resources.links import Scores, pair_score

SYSTEM, NODE, HOST_BRIDGE, ONE_SWITCH = 10, 20, 30, 50
"""The nearness of two devices: across processors, of one processor, below one host bridge, behind one PCIe switch."""


def pairs(text: str) -> list[tuple[int, int]]:
    """Return the pairs of a text such as ``0-3 1-2``."""
    return [(int(one), int(other)) for one, other in (pair.split("-") for pair in text.split())]


def machine(
    size: int, *, double: str = "", single: str = "", quadruple: str = "", switches: str = "", within_half: int = NODE
) -> Scores:
    """Return the scores of a machine with two processors, each with half of the devices."""
    links = dict.fromkeys(pairs(single), 1) | dict.fromkeys(pairs(double), 2) | dict.fromkeys(pairs(quadruple), 4)
    near = set(pairs(switches))
    table = [[0] * size for _ in range(size)]
    for pair in combinations(range(size), 2):
        one, other = pair
        half = within_half if one * 2 // size == other * 2 // size else SYSTEM
        score = pair_score(ONE_SWITCH if pair in near else half, links.get(pair, 0))
        table[one][other] = table[other][one] = score
    return tuple(map(tuple, table))


NEIGHBOURS = "0-1 2-3 4-5 6-7"
_CUBE_DOUBLE = "0-3 0-4 1-2 1-5 2-3 4-7 5-6 6-7"
_CUBE_SINGLE = "0-1 0-2 1-3 2-6 3-7 4-5 4-6 5-7"
DGX1_V100 = machine(8, double=_CUBE_DOUBLE, single=_CUBE_SINGLE, switches=NEIGHBOURS, within_half=HOST_BRIDGE)
DGX1_P100 = machine(
    8,
    single="0-1 0-2 0-3 0-4 1-2 1-3 1-5 2-3 2-6 3-7 4-5 4-6 4-7 5-6 5-7 6-7",
    switches="0-2 1-3 4-6 5-7",
    within_half=HOST_BRIDGE,
)
FOUR_RTX_8000 = machine(4, double="0-3 1-2")
FOUR_ON_PCIE = machine(4)
NVSWITCH = machine(8, switches=NEIGHBOURS)
"""Links to an NVSwitch are to no other GPU, and count nothing: DGX-2, DGX A100, H100, B200."""
HGX_A100_FOUR = machine(4, quadruple="0-1 0-2 0-3 1-2 1-3 2-3")
SIXTEEN_ON_SWITCHES = machine(16)
CUBE_ON_SWITCHES = machine(8, double=_CUBE_DOUBLE, single=_CUBE_SINGLE, switches=NEIGHBOURS)
"""The stand-in driver's cube mesh: within a half, devices of different switches have the processor in common."""

PAIR_SCORES = (10, 20, 30, 40, 50, 60, 110, 130, 210, 250, 1850)


@st.composite
def score_tables(draw: st.DrawFn, min_size: int = 1, max_size: int = 8) -> Scores:
    """Return scores as machines have them, with few different ones, so that many sets are equal."""
    size = draw(st.integers(min_size, max_size))
    known = draw(st.lists(st.sampled_from(PAIR_SCORES), min_size=1, max_size=3))
    table = [[0] * size for _ in range(size)]
    for one, other in combinations(range(size), 2):
        table[one][other] = table[other][one] = draw(st.sampled_from(known))
    return tuple(map(tuple, table))
