"""`plugin-gateway status` and `health`: what the running gateway knows, and an operator's word to it."""

import sys
import time
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from plugin_gateway.adapters.control_socket import ControlError, ask
from plugin_gateway.adapters.holdings.find import find_holdings
from plugin_gateway.adapters.terminal_tables import print_json, print_lines, table

MOST_REGISTRATIONS = 8
"""Of each resource, the latest."""
WATCH_INTERVAL = 1.0
"""Seconds between two looks of ``--watch``."""
_CLEAR = "\x1b[H\x1b[2J"


def show_status(state_dir: Path, *, as_json: bool) -> int:
    """Show what the running gateway knows; 1 where it cannot be asked."""
    status = _ask(state_dir)
    if as_json:
        print_json(status)
    else:
        print_lines(_lines(status))
    return 0


def watch_status(state_dir: Path) -> int:
    """Show it again and again until the user has seen enough; a gateway that is away may come back."""
    before = _CLEAR if sys.stdout.isatty() else ""
    while True:
        try:
            lines = _lines(_ask(state_dir))
        except ControlError as error:
            lines = [str(error)]
        sys.stdout.write(before)
        print_lines([datetime.now().astimezone().isoformat(sep=" ", timespec="seconds"), *lines])
        sys.stdout.flush()
        time.sleep(WATCH_INTERVAL)


def _ask(state_dir: Path) -> Mapping[str, Any]:
    """Ask the gateway, and find out who holds its devices."""
    status = ask(state_dir, {"command": "status"})
    found = find_holdings(Path(status["kubelet_dir"]))
    holders = [{**each._asdict(), "devices": sorted(each.devices)} for each in found.holdings]
    return {**status, "holders": holders, "holders_known": found.source}


def _lines(status: Mapping[str, Any]) -> list[str]:
    holders = {device: f"{each['pod']} {each['container']}" for each in status["holders"] for device in each["devices"]}
    lines = _driver_lines(status["driver"])
    if status["configuration_problem"]:
        lines.append(f"configuration refused, an older one is in force: {status['configuration_problem']}")
    for resource in status["resources"]:
        lines += ["", *_resource_lines(resource)]
    rows: list[Sequence[str]] = [("INDEX", "DEVICE", "PRODUCT", "RESOURCE", "HEALTH", "SINCE", "HELD BY")]
    rows += [(*_row(device), holders.get(device["id"], "")) for device in status["devices"]]
    sick = [device for device in (*status["devices"], *status["absent"]) if device["health"] != "healthy"]
    lines += ["", *table(rows), f"\nholders: {status['holders_known']}", *_explained(sick)]
    decided = [f"  {_decided(name, each)}" for name, each in status["configuration"].items()]
    return [*lines, "", "decided by flags, environment and file:", *(decided or ["  nothing"])]


def _decided(name: str, decision: Mapping[str, Any]) -> str:
    value = f" {decision['value']}" if decision["value"] else ""
    return f"{name}{value}, by {decision['source']}"


def clear(state_dir: Path, devices: Sequence[str]) -> int:
    """Tell the running gateway that devices are well, or all; 1 where one stays out because something lasts."""
    answers = ask(state_dir, {"command": "clear", "devices": list(devices)})["devices"]
    print_lines([_cleared(answer) for answer in answers] or ["every device is healthy already"])
    return 1 if any(answer["health"] != "healthy" for answer in answers) else 0


def _cleared(answer: Mapping[str, Any]) -> str:
    if answer["health"] == "healthy":
        return f"{answer['id']} is healthy: {answer['was']['reason']} is not held against it any more"
    return f"{answer['id']} stays {answer['health']}: {answer['reason']}; it needs {answer['needs']}"


def _driver_lines(driver: Mapping[str, Any]) -> list[str]:
    lines = [f"driver {driver['version']}"] if driver["version"] else ["no driver has told its version"]
    if driver["problem"]:
        lines.append(f"waiting for the driver: {driver['problem']}")
    if driver["events_problem"]:
        lines.append(f"faults go unseen, the driver's events cannot be waited for: {driver['events_problem']}")
    return lines


def _resource_lines(resource: Mapping[str, Any]) -> list[str]:
    name, opened = resource["name"], resource["stream_opened"]
    if opened is not None:
        lines = [f"{name}: registered as {resource['api_version']}, stream open since {_time(opened)}"]
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
    return lines + [f"  {_time(at)}  {what}" for at, what in sorted(events)[-MOST_REGISTRATIONS:]]


def _row(device: Mapping[str, Any]) -> tuple[str, ...]:
    since = _time(device["since"]) if device["health"] != "healthy" else ""
    resource = device["resource"] or "not offered"
    return str(device["index"]), device["id"], device["product"], resource, device["health"], since


def _explained(sick: Sequence[Mapping[str, Any]]) -> list[str]:
    lines = []
    for device in sick:
        here = "" if "index" in device else ", not there now"
        lines += ["", f"{device['id']}, {device['health']}{here}; it needs {device['needs']}"]
        lines += [f"  {_time(evidence['at'])}  {evidence['what']}" for evidence in device["evidence"]]
    return lines


def _time(epoch: float) -> str:
    return datetime.fromtimestamp(epoch).astimezone().isoformat(sep=" ", timespec="seconds")
