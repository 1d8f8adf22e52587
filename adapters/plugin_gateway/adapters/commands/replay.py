"""`plugin-gateway replay`: the arguments of the sub-command. The package `replay` does the work."""

import argparse
from pathlib import Path

from plugin_gateway.adapters.commands.command_line import Parts, SubCommand
from plugin_gateway.adapters.support.signals import Interruption

DESCRIPTION = """\
Plays the kubelet's side of what run --record wrote to a gateway with the same devices,
and tells the differences. Ends with 0 where there is none, 1 where there are some or nothing could be
compared, 2 where FILE is no recording."""


def make(_parts: Parts) -> SubCommand:
    """Return the sub-command."""

    def add_arguments(parser: argparse.ArgumentParser) -> None:
        parser.add_argument("file", metavar="FILE", help="what run --record wrote")

    return SubCommand(add_arguments, run, DESCRIPTION)


def run(parsed: argparse.Namespace) -> int:
    """Play a recording. Signals are handled from the first moment; imports take a while."""
    interruption = Interruption()
    interruption.install()
    from plugin_gateway.adapters.replay.report import replay  # noqa: PLC0415 - see above

    return replay(Path(parsed.file), interruption)
