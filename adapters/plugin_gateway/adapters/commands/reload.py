"""`plugin-gateway reload`: makes the running gateway read its configuration file again."""

import argparse
from collections.abc import Mapping
from typing import Any

from plugin_gateway.adapters.commands.command_line import Parts, SubCommand, complain
from plugin_gateway.adapters.commands.flags import add_options, decide_path, option
from plugin_gateway.adapters.control.control_client import Asked, ControlError, ask, ask_all
from plugin_gateway.adapters.support.terminal import print_lines

DESCRIPTION = """\
Makes the gateway of this node read its configuration file again, as SIGHUP does, and shows what changed.

Ends with 0 where the file is in force, 1 where it is refused: the gateway then goes on as before."""


def make(parts: Parts) -> SubCommand:
    """Return the sub-command."""
    return SubCommand(
        lambda parser: add_options(parser, (option(parts, "state_dir"),)),
        lambda parsed: run(parsed, parts),
        DESCRIPTION,
    )


def run(parsed: argparse.Namespace, parts: Parts) -> int:
    """Ask every gateway of the node, and print what changed. Return 1 if one refuses the file, or cannot be told.

    Raises:
        ControlError: no gateway can be asked, or the only one has no file.
    """
    gateways = ask_all(decide_path(parsed, parts, "state_dir"))
    if len(gateways) == 1:
        return _show(ask(gateways[0].socket, _REQUEST), "")
    return max([_reload(each) for each in gateways])


_REQUEST = {"command": "reload"}


def _reload(gateway: Asked) -> int:
    """Ask one of several gateways, and return the exit status."""
    try:
        return _show(ask(gateway.socket, _REQUEST), f"{gateway.words}: ")
    except ControlError as error:
        complain(f"{gateway.words}: {error}")
        return 1


def _show(answer: Mapping[str, Any], name: str) -> int:
    if answer["problems"]:
        for problem in ("the configuration is refused, the old one stays", *answer["problems"]):
            complain(f"{name}{problem}")
        return 1
    if not answer["changed"]:
        print_lines([f"{name}the configuration was read again, nothing changed"])
        return 0
    changed = [f"{name}the configuration was read again; changed:", *(f"  {change}" for change in answer["changed"])]
    print_lines(changed)
    return 0
