"""`mps-control-daemon`: says that this image has no such program, where NVIDIA's DaemonSet for it got this image."""

import argparse
from collections.abc import Sequence

from plugin_gateway.adapters.commands.command_line import Parts, SubCommand, complain

SENTENCE = (
    "mps-control-daemon is not in this image: keep the image of NVIDIA's device plugin in the DaemonSet of the MPS "
    "control daemon, and change it only in that of the device plugin"
)


def make(_: Parts) -> SubCommand:
    """Return the sub-command."""
    return SubCommand(_no_arguments, lambda _: refuse(), run_plainly=_refuse_all)


def _no_arguments(_: argparse.ArgumentParser) -> None:
    """Add nothing."""


def _refuse_all(arguments: Sequence[str]) -> int | None:
    """Refuse whatever NVIDIA's program is called with, such as `mount-shm`. Help is left to the parser."""
    return None if {"-h", "--help"} & set(arguments) else refuse()


def refuse() -> int:
    """Print the sentence, and return the exit status."""
    complain(SENTENCE)
    return 1
