"""`plugin-gateway translate-config`: translates what configures another device plugin."""

import argparse
import sys
from pathlib import Path

from plugin_gateway.adapters.commands.command_line import Parts, SubCommand, complain
from plugin_gateway.adapters.commands.flags import options
from plugin_gateway.core.errors import InvalidValueError

DESCRIPTION = """\
Translates a configuration file of NVIDIA's device plugin, a ConfigMap with some, or the values of its chart.
Or of a plugin for network cards: the JSON of the SR-IOV, the RDMA shared and the RDMA SR-IOV device plugin, a
NicClusterPolicy with some, and an Onload of the operator for Onload.

Prints the same for the gateway, which reads it strictly. What is lost goes to standard error, a line for each.

Ends with 0 where nothing is lost, 1 where something is, 2 where it cannot be read. Then nothing is printed."""
STANDARD_INPUT = "-"


def make(parts: Parts) -> SubCommand:
    """Return the sub-command."""
    return SubCommand(_add_arguments, lambda parsed: run(parsed.file, parts), DESCRIPTION)


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("file", metavar="FILE", help="what to translate; - reads standard input")


def run(file: str, parts: Parts) -> int:
    """Print the translation of a file. Return 1 if something is lost.

    Raises:
        InvalidValueError: the file cannot be read, or is wrong.
    """
    from plugin_gateway.adapters.configuration.chart_translation import text_of, translate_any  # noqa: PLC0415 - YAML only where asked for
    from plugin_gateway.adapters.configuration.translation import translator  # noqa: PLC0415 - the same

    name, data = _read(file)
    done = translate_any(name, data, translator(options(parts), parts.default_health()))
    sys.stdout.write(text_of(done.document))
    for line in (*done.left_out, *done.lost):
        complain(line)
    return 1 if done.lost else 0


def _read(file: str) -> tuple[str, bytes]:
    """Return what complaints call the input, and its content."""
    from plugin_gateway.adapters.configuration.document import MAX_BYTES, read_bytes  # noqa: PLC0415 - only where asked for

    if file != STANDARD_INPUT:
        return file, read_bytes(Path(file))[0]
    data = sys.stdin.buffer.read(MAX_BYTES + 1)
    if len(data) > MAX_BYTES:
        raise InvalidValueError(f"standard input: larger than the {MAX_BYTES} bytes allowed")
    return "standard input", data
