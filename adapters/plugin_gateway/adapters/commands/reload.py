"""`plugin-gateway reload`: makes the running gateway read its configuration file again."""

import argparse

from plugin_gateway.adapters.commands.command_line import Parts, SubCommand, complain
from plugin_gateway.adapters.commands.flags import add_options, decide_path, option
from plugin_gateway.adapters.control.control_socket import ask
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
    """Ask the gateway, and print what changed. Return 1 if the file is refused.

    Raises:
        ControlError: the gateway cannot be asked, or has no file.
    """
    answer = ask(decide_path(parsed, parts, "state_dir"), {"command": "reload"})
    if answer["problems"]:
        for problem in ("the configuration is refused, the old one stays", *answer["problems"]):
            complain(problem)
        return 1
    if not answer["changed"]:
        print_lines(["the configuration was read again, nothing changed"])
        return 0
    print_lines(["the configuration was read again; changed:", *(f"  {change}" for change in answer["changed"])])
    return 0
