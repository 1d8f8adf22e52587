"""`plugin-gateway status`: prints the state of the gateways that run on this node, the active one first."""

import argparse
import sys
import time
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from plugin_gateway.adapters.commands.command_line import Parts, SubCommand
from plugin_gateway.adapters.commands.flags import add_json_flag, add_options, decide_flag
from plugin_gateway.adapters.configuration.options import Options
from plugin_gateway.adapters.control.control_client import Asked, ControlError, ask_all
from plugin_gateway.adapters.gateway.device_counter import BY_MEMORY
from plugin_gateway.adapters.kubelet.holders import Found, find_holders, names_by_device
from plugin_gateway.adapters.support.terminal import local_time, print_json, print_lines, table

MAX_REGISTRATIONS = 8
"""Registrations and failures of each resource that are shown, the latest ones."""
WATCH_INTERVAL = 1.0
"""Seconds between two answers with ``--watch``."""
_CLEAR = "\x1b[H\x1b[2J"
"""Escape sequences that clear the terminal."""


def make(_: Parts) -> SubCommand:
    """Return the sub-command."""

    def add_arguments(parser: argparse.ArgumentParser) -> None:
        add_options(parser, (Options.state_dir,))
        ways = parser.add_mutually_exclusive_group()
        add_json_flag(ways)
        ways.add_argument("--watch", action="store_true", help="again every second, until Ctrl-C")

    return SubCommand(add_arguments, run)


def run(parsed: argparse.Namespace) -> int:
    """Print the status once, or with ``--watch`` again and again."""
    state_dir = decide_flag(parsed, Options.state_dir)
    return watch_status(state_dir) if parsed.watch else show_status(state_dir, as_json=parsed.json)


def show_status(state_dir: Path, *, as_json: bool) -> int:
    """Print the status.

    Raises:
        ControlError: no gateway can be asked.
    """
    first, *others = ask_all(state_dir)
    if as_json:
        found = _find_holders(first)
        holders = [{**each._asdict(), "devices": sorted(each.devices)} for each in found.holders]
        added = {"holders": holders, "holders_known": found.source, "other_gateways": [*map(_as_json, others)]}
        print_json({**_as_json(first), **added})
    else:
        print_lines(_all_lines(first, others))
    return 0


def watch_status(state_dir: Path) -> int:
    """Print the status each second until Ctrl-C. If no gateway can be asked, print why and continue."""
    before = _CLEAR if sys.stdout.isatty() else ""
    while True:
        try:
            first, *others = ask_all(state_dir)
            lines = _all_lines(first, others)
        except ControlError as error:
            lines = [str(error)]
        sys.stdout.write(before)
        print_lines([datetime.now().astimezone().isoformat(sep=" ", timespec="seconds"), *lines])
        sys.stdout.flush()
        time.sleep(WATCH_INTERVAL)


def _find_holders(gateway: Asked) -> Found:
    """Return the pods that hold devices. The gateway does not know them; the kubelet does."""
    return find_holders(Path(gateway.status["kubelet_dir"]))


def _as_json(gateway: Asked) -> Mapping[str, Any]:
    problem = {"problem": str(gateway.problem)} if gateway.problem is not None else {}
    return {**gateway.status, "gateway": gateway.identity, **problem}


def _all_lines(first: Asked, others: Sequence[Asked]) -> list[str]:
    """Return the whole status of one gateway, and of each other one what may differ. Each has a line with its name."""
    lines = [*([first.words] if others else []), *_lines(first.status, _find_holders(first))]
    for other in others:
        lines += ["", other.words, *_lines_of_another(other)]
    return lines


def _lines_of_another(gateway: Asked) -> list[str]:
    if gateway.problem is not None:
        return [str(gateway.problem)]
    status = gateway.status
    lines = _head(status)
    for resource in status["resources"]:
        lines += _resource_lines(resource)
    return [*lines, *_explained(_unhealthy(status))]


def _lines(status: Mapping[str, Any], found: Found) -> list[str]:
    """Return the status as lines for people."""
    holders = names_by_device(found.holders)
    lines = _head(status)
    for resource in status["resources"]:
        lines += ["", *_resource_lines(resource)]
    rows: list[Sequence[str]] = [("INDEX", "DEVICE", "PRODUCT", "RESOURCE", "HEALTH", "SINCE", "HELD BY")]
    rows += [(*_row(device), holders.get(device["id"], "")) for device in status["devices"]]
    lines += ["", *table(rows), "", f"holders: {found.source}", *_reported(status["devices"])]
    lines += _explained(_unhealthy(status))
    decided = [f"  {_decided(name, each)}" for name, each in status["configuration"].items()]
    return [*lines, "", "decided by flags, environment and file:", *(decided or ["  nothing"])]


def _decided(name: str, decision: Mapping[str, Any]) -> str:
    value = f" {decision['value']}" if decision["value"] else ""
    return f"{name}{value}, by {decision['source']}"


def _unhealthy(status: Mapping[str, Any]) -> Sequence[Mapping[str, Any]]:
    return [device for device in (*status["devices"], *status["absent"]) if device["health"] != "healthy"]


def _head(status: Mapping[str, Any]) -> list[str]:
    """Return the lines about the driver, other plugins and the configuration."""
    driver = status["driver"]
    lines = [f"driver {driver['version']}"] if driver["version"] else ["no driver has told its version"]
    if driver["problem"]:
        lines.append(f"waiting for the driver: {driver['problem']}")
        lines += [f"  -> {driver['todo']}"] if driver.get("todo") else []  # an older gateway has none
    if driver["events_problem"]:
        lines.append(f"faults go unseen, the driver's events cannot be waited for: {driver['events_problem']}")
    if (kernel_log := driver.get("kernel_log")) is not None:  # an older gateway has none
        problem = kernel_log["problem"]
        lines.append(f"the kernel's log cannot be read: {problem}" if problem else "the kernel's log is read")
    lines += _number_lines(status.get("device_count", {}))  # an older gateway has none
    for word, group in (("cannot be offered", "rejected"), ("is left to others", "set_aside")):
        lines += [f"{each['place']} {word}: {each['problem']}" for each in status.get(group, ())]
    for conflict in status.get("conflicts", ()):
        lines += [conflict["what"], f"  -> {conflict['todo']}"]
    if status["configuration_problem"]:
        lines.append(f"configuration refused, an older one is in force: {status['configuration_problem']}")
    file = status.get("configuration_file")  # an older gateway has none
    if file and file["changed"]:
        lines.append(
            f"the configuration file {file['path']} was changed after it was read; plugin-gateway reload reads it again"
        )
    return lines


def _number_lines(number: Mapping[str, Any]) -> list[str]:
    """Return how many GPUs there are and should be, and whether the number is still known after a reboot."""
    if number.get("present") is None or number["expected"] is None:
        return []
    lines = [f"GPUs: {number['present']} can be offered, {number['expected']} are expected: {number['decided_by']}"]
    if number["problem"]:
        lines.append(f"GPUs are missing: {number['problem']}")
    if number["decided_by"] == BY_MEMORY and number.get("not_kept"):  # an older gateway does not tell
        lines.append(f"this number is forgotten at the next start, because it cannot be kept: {number['not_kept']}")
    elif number["decided_by"] == BY_MEMORY and not number["outlives_boot"]:
        where = f"{number['kept_in']} is on {number['file_system'] or 'an unknown file system'}"
        lines.append(f"this number is forgotten at the next boot, because {where}; --expected-gpus is not")
    return lines


def _resource_lines(resource: Mapping[str, Any]) -> list[str]:
    name, opened = resource["name"], resource["stream_opened"]
    if opened is not None:
        lines = [f"{name}: registered as {resource['api_version']}, stream open since {local_time(opened)}"]
    elif resource["stands_by"]:
        lines = [f"{name}: standing by, another gateway of this node has it"]
    else:
        lines = [f"{name}: not registered"]
    events = [
        (each["at"], f"registered as {each['api_version']}, {each['reason']}, {each['took_ms']:g} ms")
        for each in resource["registrations"]
    ]
    events += [
        (each["at"], ": ".join(filter(None, ("failed", each["cause"], each["words"])))) for each in resource["failures"]
    ]
    return lines + [f"  {local_time(at)}  {what}" for at, what in sorted(events)[-MAX_REGISTRATIONS:]]


def _row(device: Mapping[str, Any]) -> tuple[str, ...]:
    since = local_time(device["since"]) if device["health"] != "healthy" else ""
    resource = device["resource"] or "not offered"
    return str(device["index"]), device["id"], device["product"], resource, device["health"], since


def _reported(devices: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return what the policy only reports, or acts on only when it is repeated; an older gateway does not tell it."""
    found = [f"reported against {device['id']}: {each}" for device in devices for each in device.get("reported", ())]
    counted = [(device["id"], each) for device in devices for each in device.get("repeated", ())]
    return found + [
        f"reported against {device}: {each['what']}, {each['times']} of {each['needed']} within {each['window']:g} s"
        for device, each in counted
    ]


def _explained(sick: Sequence[Mapping[str, Any]]) -> list[str]:
    lines = []
    for device in sick:
        here = "" if "index" in device else ", not there now"
        lines += ["", f"{device['id']}, {device['health']}{here}; it needs {device['needs']}"]
        lines += map(_evidence, device["evidence"])
    return lines


def _evidence(evidence: Mapping[str, Any]) -> str:
    """Return a piece of evidence as a line. A gateway of an older version does not tell its source."""
    source = f" ({evidence['source']})" if "source" in evidence else ""
    return f"  {local_time(evidence['at'])}  {evidence['what']}{source}"
