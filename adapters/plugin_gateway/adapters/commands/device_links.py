"""How the GPUs are connected, in the words of ``nvidia-smi topo -m``."""

from collections.abc import Iterator, Mapping, Sequence

from plugin_gateway.core.devices import Links, Pair, PhysicalDevice

_NEARNESS: Mapping[int, tuple[str, str]] = {
    60: ("PIX", "one PCIe switch, or one board"),
    50: ("PIX", "one PCIe switch, or one board"),
    40: ("PXB", "several PCIe switches"),
    30: ("PHB", "one PCIe host bridge"),
    20: ("NODE", "one NUMA node"),
    10: ("SYS", "different NUMA nodes"),
    0: ("?", "not known"),
}
"""The word of nvidia-smi for each nearness, and what the two GPUs have in common."""
_NOTHING = "nothing is known of the links between the GPUs"


def links_as_json(links: Links) -> Sequence[Mapping[str, object]]:
    """Return each pair of GPUs once, with its nearness in a word and the number of its NVLinks."""
    return [
        {"between": [links.ids[one], links.ids[other]], "nearness": _word(pair), "nvlinks": pair.links}
        for one, row in enumerate(links.pairs)
        for other, pair in enumerate(row)
        if other > one
    ]


def links_as_table(links: Links, physical: Sequence[PhysicalDevice]) -> Iterator[str]:
    """Yield the lines of a table of all GPUs, and what its words mean."""
    if not links.ids:
        yield _NOTHING
        return
    index = {device.id: device.index for device in physical}
    names = [f"GPU{index[each]}" if each in index else each for each in links.ids]
    rows = [[names[one], *_cells(one, row)] for one, row in enumerate(links.pairs)]
    lines = [["", *names], *rows]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    for line in lines:
        yield "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
    yield from _legend({cell for row in rows for cell in row[1:]})


def _cells(one: int, row: Sequence[Pair]) -> Iterator[str]:
    for other, pair in enumerate(row):
        yield "X" if other == one else f"NV{pair.links}" if pair.links else _word(pair)


def _word(pair: Pair) -> str:
    return _NEARNESS.get(pair.nearness, _NEARNESS[0])[0]


def _legend(words: set[str]) -> Iterator[str]:
    if any(word.startswith("NV") for word in words):
        yield "NV#   so many NVLinks from one to the other; links to an NVSwitch do not count"
    known = dict(_NEARNESS.values())
    yield from (f"{word:5} {meaning}" for word, meaning in known.items() if word in words)
