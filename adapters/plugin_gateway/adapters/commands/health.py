"""`plugin-gateway health`: tells the running gateways that devices are well, or that none is missing."""

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from plugin_gateway.adapters.commands.command_line import Parts, SubCommand
from plugin_gateway.adapters.commands.each_gateway import Outcome, attempt, show
from plugin_gateway.adapters.commands.flags import add_options, decide_flag
from plugin_gateway.adapters.configuration.options import Options
from plugin_gateway.adapters.control.control_client import Asked, ask_all
from plugin_gateway.adapters.gateway.status import Status
from plugin_gateway.core.errors import InvalidValueError
from plugin_gateway.core.health.faults import Stage


def make(_: Parts) -> SubCommand:
    """Return the sub-command."""

    def add_arguments(parser: argparse.ArgumentParser) -> None:
        add_options(parser, (Options.state_dir,))
        parser.usage = "%(prog)s clear DEVICE... [--on-probation] | clear --all [--on-probation] | accept"
        parser.add_argument(
            "action",
            choices=("clear", "accept"),
            metavar="clear|accept",
            help="clear: the device is well, give it out again; accept: the node should have what it has now",
        )
        parser.add_argument(
            "devices",
            nargs="*",
            default=(),
            metavar="DEVICE",
            help="its id, such as GPU-…, or the PCI address of a network card, as plugin-gateway status shows it",
        )
        parser.add_argument("--all", action="store_true", help="every device that is not healthy")
        parser.add_argument(
            "--on-probation", action="store_true", help="only those on probation, as a test wants that has passed"
        )

    return SubCommand(add_arguments, run)


def run(parsed: argparse.Namespace) -> int:
    """Clear the devices that the arguments name, or all; or accept the number of devices."""
    if parsed.action == "accept":
        if parsed.all or parsed.devices or parsed.on_probation:
            raise InvalidValueError("health accept: no ids and no --all are allowed, it is about the whole node")
        return accept(decide_flag(parsed, Options.state_dir))
    if parsed.all is bool(parsed.devices):
        raise InvalidValueError("health clear: expected the ids of devices, or --all")
    return clear(decide_flag(parsed, Options.state_dir), parsed.devices, on_probation=parsed.on_probation)


def clear(state_dir: Path, devices: Sequence[str], *, on_probation: bool) -> int:
    """Clear devices at every gateway of the node; all unhealthy ones if there are no ids.

    Return 1 if a device stays unhealthy, or a gateway could not be told.

    Raises:
        ControlError: no gateway answers, or none has one of the devices as unhealthy.
    """
    only = {"only": Stage.PROBATION.value} if on_probation else {}
    gateways = ask_all(state_dir)
    allowed = {each.socket: _clearable(each.status, on_probation=on_probation) for each in gateways}
    if any(all(device not in found for found in allowed.values()) for device in devices):
        gateways[0].tell(_request(devices, only))  # it says what is wrong with them

    def tell(gateway: Asked) -> Outcome:
        names = [name for name in devices if name in allowed[gateway.socket]]
        if devices and not names and gateway.problem is None:
            return Outcome(["they are healthy already"])
        answers = gateway.tell(_request(names, only))["devices"]
        lines = [_cleared(answer) for answer in answers] or ["every device is healthy already"]
        return Outcome(lines, is_well=all(answer["health"] == "healthy" for answer in answers))

    return show(gateways, [attempt(each, tell) for each in gateways])


def _request(devices: Sequence[str], only: Mapping[str, str]) -> Mapping[str, Any]:
    return {"command": "clear", "devices": list(devices), **only}


def _clearable(status: Status | None, *, on_probation: bool) -> frozenset[str]:
    """Return the unhealthy devices, and those with evidence that has to be repeated, which can count anew."""
    devices = (*status.devices, *status.absent) if status is not None else ()
    return frozenset(device.id for device in devices if not device.is_healthy or (device.repeated and not on_probation))


def accept(state_dir: Path) -> int:
    """Have every gateway of the node expect the GPUs that it has now. Return 1 if one could not be told.

    Raises:
        ControlError: no gateway answers.
    """
    gateways = ask_all(state_dir)
    return show(gateways, [attempt(each, _accept) for each in gateways])


def _accept(gateway: Asked) -> Outcome:
    answer = gateway.tell({"command": "accept"})
    before = f", before it were {answer['before']}" if answer["before"] != answer["expected"] else ", as before"
    return Outcome(
        [
            f"{answer['expected']} {answer.get('word', 'GPU')}s are expected from now on{before}",
            *(f"{device} is not missed any more" for device in answer["missed"]),
        ]
    )


def _cleared(answer: Mapping[str, Any]) -> str:
    anew = f"; it counts anew, before it was {'; '.join(counts)}" if (counts := answer.get("counts_anew")) else ""
    if answer["was"]["health"] == "healthy":
        return f"{answer['id']} is healthy{anew}"
    if answer["health"] == "healthy":
        return f"{answer['id']} is healthy: {answer['was']['reason']} is not held against it any more{anew}"
    return f"{answer['id']} stays {answer['health']}: {answer['reason']}; it needs {answer['needs']}"
