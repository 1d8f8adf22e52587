"""The tables of `plugin-gateway devices`: one for each resource, of network cards with other columns."""

from collections.abc import Iterator, Sequence

from plugin_gateway.adapters.support.terminal import fitted, print_lines, printable, terminal_width
from plugin_gateway.core.cards import DRIVER, LINK_TYPE, function_words, interface_words, is_card
from plugin_gateway.core.devices import Device
from plugin_gateway.core.resources.names import ResourceName
from plugin_gateway.core.resources.rules import ResourceRule

HEAD = ("#", "id", "product", "memory", "NUMA", "PCI address")
CARD_HEAD = ("id", "product", "function", "interface", "link", "driver", "NUMA")
"""The id of a network card is its PCI address."""
_TO_THE_RIGHT = ("memory", "replicas")
_ENDLESS = 10_000
"""Columns; more than any table has."""
_MAX_NAMED = 8
"""Cards in one line."""

Taken = Sequence[tuple[ResourceRule, Device]]
"""The devices of a resource, each with the rule that took it."""


def print_resource(name: ResourceName, mine: Taken) -> None:
    """Print the table of one resource."""
    devices = [device for _, device in mine]
    if all(is_card(device.physical.attributes) for device in devices):
        rows = [CARD_HEAD, *map(_card_cells, devices)]
    else:
        rows = [HEAD, *map(_cells, devices)]
    if any(rule.sharing.replicas > 1 and not rule.sharing.is_pool for rule, _ in mine):
        added = ("replicas", *(str(rule.sharing.replicas) for rule, _ in mine))
        rows = [(*row, cell) for row, cell in zip(rows, added, strict=True)]
    _print_rows(_title(name, mine), [[printable(cell) for cell in row] for row in rows])


def _print_rows(title: str, rows: Sequence[Sequence[str]]) -> None:
    """Print one table as wide as it has to be; on a narrower terminal, its cells below each other."""
    from rich.box import SIMPLE_HEAD  # noqa: PLC0415 - JSON needs none of it
    from rich.console import Console  # noqa: PLC0415
    from rich.table import Column, Table  # noqa: PLC0415
    from rich.text import Text  # noqa: PLC0415

    head, *others = rows
    columns = [Column(word, no_wrap=True, justify="right" if word in _TO_THE_RIGHT else "left") for word in head]
    table = Table(*columns, title=title, box=SIMPLE_HEAD, padding=(0, 1, 0, 0), title_justify="left")
    for row in others:
        table.add_row(*map(Text, row))
    needed, terminal = Console(width=_ENDLESS).measure(table).maximum, terminal_width()
    if terminal is None or needed <= terminal:
        Console(width=needed).print(table)
    else:
        print_lines([title, *fitted(rows, terminal), ""])


def _title(name: ResourceName, mine: Taken) -> str:
    """Return what stands above a table: how many devices there are, and how many a kubelet counts."""
    words = "1 device" if len(mine) == 1 else f"{len(mine)} devices"
    if mine[0][0].sharing.is_pool:
        return f"{name}: {words}{mine[0][0].sharing.words}"
    counted = sum(rule.sharing.replicas for rule, _ in mine)
    return f"{name}: {words}" + (f", {counted} with their replicas" if counted > len(mine) else "")


def _cells(device: Device) -> tuple[str, ...]:
    memory = f"{device.memory_bytes / 2**30:.0f} GiB"
    return (device.place_words, device.id, product_words(device), memory, _numa(device), device.physical.pci_address)


def _card_cells(device: Device) -> tuple[str, ...]:
    attributes = device.physical.attributes
    return (
        device.id,
        device.physical.product,
        function_words(attributes),
        interface_words(attributes) or "-",
        ", ".join(attributes.get(LINK_TYPE, ())) or "-",
        ", ".join(attributes.get(DRIVER, ())) or "none",
        _numa(device),
    )


def _numa(device: Device) -> str:
    return "-" if device.physical.numa_node is None else str(device.physical.numa_node)


def product_words(device: Device) -> str:
    """Return the product, and for a part its size."""
    return f"{device.physical.product} {device.profile}".strip()


def unmatched_words(devices: Sequence[Device]) -> Iterator[str]:
    """Yield a line for each device that no rule matches, and one for all network cards: a node has some for itself."""
    cards = [device.id for device in devices if is_card(device.physical.attributes)]
    for device in devices:
        if not is_card(device.physical.attributes):
            yield f"not offered: {device.id}: no rule under resources matches {device.physical.product!r}"
    if cards:
        more = f" and {len(cards) - _MAX_NAMED} more" if len(cards) > _MAX_NAMED else ""
        yield (
            f"not offered: {', '.join(cards[:_MAX_NAMED])}{more}: no rule under resources matches these network cards, "
            "--explain tells why"
        )
