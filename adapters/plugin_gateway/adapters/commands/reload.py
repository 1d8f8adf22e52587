"""`plugin-gateway reload`: makes the running gateway read its configuration file again."""

import argparse

from plugin_gateway.adapters.commands.command_line import Parts, SubCommand
from plugin_gateway.adapters.commands.each_gateway import Outcome, attempt, show
from plugin_gateway.adapters.commands.flags import add_options, decide_flag
from plugin_gateway.adapters.configuration.options import Options
from plugin_gateway.adapters.control.control_client import Asked, ask_all

DESCRIPTION = """\
Makes the gateway of this node read its configuration file again, as SIGHUP does, and shows what changed.

Ends with 0 where the file is in force, 1 where it is refused: the gateway then goes on as before."""


def make(_: Parts) -> SubCommand:
    """Return the sub-command."""
    return SubCommand(
        lambda parser: add_options(parser, (Options.state_dir,)),
        run,
        DESCRIPTION,
    )


def run(parsed: argparse.Namespace) -> int:
    """Ask every gateway of the node, and print what changed. Return 1 if one refuses the file, or cannot be told.

    Raises:
        ControlError: no gateway can be asked.
    """
    gateways = ask_all(decide_flag(parsed, Options.state_dir))
    return show(gateways, [attempt(each, _reload) for each in gateways])


def _reload(gateway: Asked) -> Outcome:
    answer = gateway.tell({"command": "reload"})
    if answer["problems"]:
        return Outcome(problems=["the configuration is refused, the old one stays", *answer["problems"]])
    if not answer["changed"]:
        return Outcome(["the configuration was read again, nothing changed"])
    return Outcome(["the configuration was read again; changed:", *(f"  {change}" for change in answer["changed"])])
