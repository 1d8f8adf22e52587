"""`plugin-gateway devices`: prints the devices that would be offered, as a table or as JSON."""

import argparse
from collections.abc import Sequence

from plugin_gateway.adapters.commands.command_line import Parts, SubCommand, complain
from plugin_gateway.adapters.commands.flags import add_json_flag, add_options
from plugin_gateway.adapters.commands.gateway_settings import View, view_as_the_gateway
from plugin_gateway.adapters.configuration.options import Options
from plugin_gateway.adapters.gateway.first_look import ask_driver
from plugin_gateway.adapters.support.terminal import print_json, print_lines, printable
from plugin_gateway.core.devices import Device, Inventory
from plugin_gateway.core.errors import InvalidValuesError
from plugin_gateway.core.health.observations import DriverUnavailable
from plugin_gateway.core.health.state import State
from plugin_gateway.core.ports import Backend
from plugin_gateway.core.resources.assignment import advertise, unmatched
from plugin_gateway.core.resources.names import ResourceName

FLAGS = (
    Options.driver_root,
    Options.container_driver_root,
    Options.backend,
    Options.resource_name,
    Options.state_dir,
    Options.config_file,
)
"""The options that replace what the gateway has."""


def make(parts: Parts) -> SubCommand:
    """Return the sub-command."""

    def add_arguments(parser: argparse.ArgumentParser) -> None:
        add_options(parser, FLAGS)
        add_json_flag(parser)

    return SubCommand(add_arguments, lambda parsed: run(parsed, parts))


def run(parsed: argparse.Namespace, parts: Parts) -> int:
    """Print the devices, with the settings of the gateway that runs on this node if there is one.

    Raises:
        InvalidValueError: a flag, or the file that a flag names, is wrong.
    """
    view = view_as_the_gateway(parsed, parts)
    if hasattr(parsed, "config_file") and view.problems:
        raise InvalidValuesError(view.problems)
    backend = parts.make_backend(view.settings.backend, view.settings.container_driver_root, "")
    return show_devices(backend, view, as_json=parsed.json)


def show_devices(backend: Backend, view: View, *, as_json: bool) -> int:
    """Ask the driver once, and print its devices.

    Return 1 if it does not answer, or the gateway's configuration has problems, which are shown too.
    """
    rules = view.settings.resources
    inventory = ask_driver(backend)
    if isinstance(inventory, DriverUnavailable):
        complain("; ".join(filter(None, (inventory.problem, inventory.todo))))
        return 1
    offered = [
        (name, device)
        for name, advertisement in advertise(State(inventory=inventory), rules).items()
        for device in advertisement.devices
    ]
    left_out = unmatched(State(inventory=inventory), rules)
    if as_json:
        _print_json(inventory, offered, left_out, view.problems)
    else:
        _print_table(inventory, offered, left_out)
        for problem in view.problems:
            complain(problem)
    return 1 if view.problems else 0


def _print_json(
    inventory: Inventory,
    offered: Sequence[tuple[ResourceName, Device]],
    left_out: Sequence[Device],
    problems: Sequence[str],
) -> None:
    """Print all devices as one JSON object."""
    devices = [
        {
            "resource": name,
            "id": device.id,
            "index": device.physical.index,
            "minor": device.physical.minor,
            "pci_address": device.physical.pci_address,
            "product": device.physical.product,
            "memory_bytes": device.memory_bytes,
            "numa_node": device.physical.numa_node,
            "nodes": list(device.nodes),
        }
        for name, device in offered
    ]
    rejected, aside = ([each._asdict() for each in group] for group in (inventory.rejected, inventory.set_aside))
    unknown = [{"id": device.id, "product": device.physical.product} for device in left_out]
    print_json(
        {
            "devices": devices,
            "unmatched": unknown,
            "rejected": rejected,
            "set_aside": aside,
            "problems": list(problems),
        }
    )


def _print_table(
    inventory: Inventory, offered: Sequence[tuple[ResourceName, Device]], left_out: Sequence[Device]
) -> None:
    """Print a table for each resource, and a line for each device that is not offered."""
    from rich.box import SIMPLE_HEAD  # noqa: PLC0415 - JSON needs none of it
    from rich.console import Console  # noqa: PLC0415
    from rich.table import Column, Table  # noqa: PLC0415
    from rich.text import Text  # noqa: PLC0415

    terminal = Console()
    console = terminal if terminal.is_terminal else Console(width=120)
    for name in dict(offered):
        table = Table(
            "#",
            Column("id", no_wrap=True),
            "product",
            Column("memory", justify="right"),
            "NUMA",
            Column("PCI address", no_wrap=True),
            title=f"{name}: {sum(resource == name for resource, _ in offered)} devices",
            box=SIMPLE_HEAD,
            padding=(0, 1, 0, 0),
            title_justify="left",
        )
        for device in [device for resource, device in offered if resource == name]:
            table.add_row(*(Text(printable(cell)) for cell in _cells(device)))
        console.print(table)
    lines = [] if offered else ["no device is offered under any resource"]
    lines += [
        f"not offered: {device.id}: no rule under resources matches {device.physical.product!r}" for device in left_out
    ]
    print_lines(
        [
            *lines,
            *(f"not offered: {each.place}: {each.problem}" for each in (*inventory.rejected, *inventory.set_aside)),
        ]
    )


def _cells(device: Device) -> tuple[str, ...]:
    physical = device.physical
    numa = "-" if physical.numa_node is None else str(physical.numa_node)
    memory = f"{device.memory_bytes / 2**30:.0f} GiB"
    return (device.place_words, device.id, physical.product, memory, numa, physical.pci_address)
