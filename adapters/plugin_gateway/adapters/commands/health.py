"""`plugin-gateway health`: tells the running gateway that devices are well, or that none is missing."""

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from plugin_gateway.adapters.commands.command_line import Parts, SubCommand
from plugin_gateway.adapters.commands.flags import add_options, decide_path, option
from plugin_gateway.adapters.control.control_socket import ask
from plugin_gateway.adapters.support.terminal import print_lines
from plugin_gateway.core.errors import InvalidValueError
from plugin_gateway.core.health.faults import Stage


def make(parts: Parts) -> SubCommand:
    """Return the sub-command."""

    def add_arguments(parser: argparse.ArgumentParser) -> None:
        add_options(parser, (option(parts, "state_dir"),))
        parser.usage = "%(prog)s clear DEVICE... [--on-probation] | clear --all [--on-probation] | accept"
        parser.add_argument(
            "action",
            choices=("clear", "accept"),
            help="clear: the device is well, give it out again; accept: the node should have the GPUs that it has now",
        )
        parser.add_argument(
            "devices", nargs="*", metavar="DEVICE", help="its id, such as GPU-…, as plugin-gateway status shows it"
        )
        parser.add_argument("--all", action="store_true", help="every device that is not healthy")
        parser.add_argument(
            "--on-probation", action="store_true", help="only those on probation, as a test wants that has passed"
        )

    return SubCommand(add_arguments, lambda parsed: run(parsed, parts))


def run(parsed: argparse.Namespace, parts: Parts) -> int:
    """Clear the devices that the arguments name, or all; or accept the number of devices."""
    if parsed.action == "accept":
        if parsed.all or parsed.devices or parsed.on_probation:
            raise InvalidValueError("health accept: no ids and no --all are allowed, it is about the whole node")
        return accept(decide_path(parsed, parts, "state_dir"))
    if parsed.all is bool(parsed.devices):
        raise InvalidValueError("health clear: allowed are the ids of devices, or --all")
    return clear(decide_path(parsed, parts, "state_dir"), parsed.devices, on_probation=parsed.on_probation)


def clear(state_dir: Path, devices: Sequence[str], *, on_probation: bool) -> int:
    """Clear devices; all unhealthy ones if there are no ids. Return 1 if one stays unhealthy."""
    only = {"only": Stage.PROBATION.value} if on_probation else {}
    answers = ask(state_dir, {"command": "clear", "devices": list(devices), **only})["devices"]
    print_lines([_cleared(answer) for answer in answers] or ["every device is healthy already"])
    return 1 if any(answer["health"] != "healthy" for answer in answers) else 0


def accept(state_dir: Path) -> int:
    """Have the gateway expect the GPUs that the node has now."""
    answer = ask(state_dir, {"command": "accept"})
    before = f", before it were {answer['before']}" if answer["before"] != answer["expected"] else ", as before"
    print_lines(
        [
            f"{answer['expected']} GPUs are expected from now on{before}",
            *(f"{device} is not missed any more" for device in answer["missed"]),
        ]
    )
    return 0


def _cleared(answer: Mapping[str, Any]) -> str:
    if answer["health"] == "healthy":
        return f"{answer['id']} is healthy: {answer['was']['reason']} is not held against it any more"
    return f"{answer['id']} stays {answer['health']}: {answer['reason']}; it needs {answer['needs']}"
