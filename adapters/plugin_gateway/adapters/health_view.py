"""`plugin-gateway status`, `health` and `health-policy`: what the gateway knows and decides."""

import json
import sys
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from plugin_gateway.adapters.control_socket import ask
from plugin_gateway.adapters.holdings.find import find_holdings
from plugin_gateway.core.health_policy import Decision, HealthPolicy, Source, range_name

MOST_REGISTRATIONS = 8
"""Of each resource, the latest."""


def show_status(state_dir: Path, *, as_json: bool) -> int:
    """Show what the running gateway knows of its devices; 1 where it cannot be asked."""
    status = {**ask(state_dir, {"command": "status"})}
    found = find_holdings(Path(status["kubelet_dir"]))
    status["holders"] = [{**each._asdict(), "devices": sorted(each.devices)} for each in found.holdings]
    status["holders_known"] = found.source
    if as_json:
        _print_json(status)
        return 0
    holders = {device: f"{holding.pod} {holding.container}" for holding in found.holdings for device in holding.devices}
    lines = _driver_lines(status["driver"])
    if status["configuration_problem"]:
        lines.append(f"configuration refused, an older one is in force: {status['configuration_problem']}")
    for resource in status["resources"]:
        lines += ["", *_resource_lines(resource)]
    rows: list[Sequence[str]] = [("INDEX", "DEVICE", "PRODUCT", "RESOURCE", "HEALTH", "SINCE", "HELD BY")]
    rows += [(*_row(device), holders.get(device["id"], "")) for device in status["devices"]]
    sick = [device for device in (*status["devices"], *status["absent"]) if device["health"] != "healthy"]
    _print((*lines, "", *_table(rows), f"\nholders: {found.source}", *_explained(sick)))
    return 0


def clear(state_dir: Path, devices: Sequence[str]) -> int:
    """Tell the running gateway that devices are well, or all; 1 where one stays out because something lasts."""
    answers = ask(state_dir, {"command": "clear", "devices": list(devices)})["devices"]
    _print([_cleared(answer) for answer in answers] or ["every device is healthy already"])
    return 1 if any(answer["health"] != "healthy" for answer in answers) else 0


def _cleared(answer: Mapping[str, Any]) -> str:
    if answer["health"] == "healthy":
        return f"{answer['id']} is healthy: {answer['was']['reason']} is not held against it any more"
    return f"{answer['id']} stays {answer['health']}: {answer['reason']}; it needs {answer['needs']}"


def show_policy(policy: HealthPolicy, *, as_json: bool) -> int:
    """Show what follows from which evidence, and where it was decided."""
    xids = _ranges(policy)
    others = [(source.value, decision) for source, decision in policy.sources.items()]
    if as_json:
        decisions = [
            *({"xids": [first, last], **_decision(decision)} for first, last, decision in xids),
            {"xids": None, **_decision(policy.unknown_xid)},
            *({"evidence": name, **_decision(decision)} for name, decision in others),
        ]
        times = {name: getattr(policy, name) for name in ("quiet_time", "driver_timeout", "flap_count", "flap_window")}
        _print_json({"decisions": decisions, **times})
        return 0
    rows = [("EVIDENCE", "ACTION", "DECIDED BY")]
    rows += [
        (f"XID {range_name(first, last)}", decision.action.value, decision.origin) for first, last, decision in xids
    ]
    rows.append(("any other XID", policy.unknown_xid.action.value, policy.unknown_xid.origin))
    rows += [(name, decision.action.value, decision.origin) for name, decision in others]
    gone = f"A driver that is gone for {policy.driver_timeout:g} s takes every device out."
    flapping = f"{policy.flap_count} times within {policy.flap_window:g} s"
    _print(
        (
            *_table(rows),
            "",
            f"One is given out again once it has what its action asks for and was well for {policy.quiet_time:g} s.",
            f"One that is taken out {flapping} needs a reset, a reboot, or plugin-gateway health clear.",
            *([gone] if policy.about(Source.DRIVER_GONE).action.needs is not None else []),
        )
    )
    return 0


def _ranges(policy: HealthPolicy) -> Sequence[tuple[int, int, Decision]]:
    """Take neighbours together about which the same was decided in the same place."""
    found: list[tuple[int, int, Decision]] = []
    for xid, decision in sorted(policy.xids.items()):
        if found and found[-1][1] == xid - 1 and found[-1][2] == decision:
            found[-1] = (found[-1][0], xid, decision)
        else:
            found.append((xid, xid, decision))
    return found


def _decision(decision: Decision) -> Mapping[str, str]:
    return {"action": decision.action.value, "origin": decision.origin}


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


def _table(rows: Sequence[Sequence[str]]) -> list[str]:
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]


def _print_json(value: object) -> None:
    _print([json.dumps(value, indent=2)])


def _print(lines: Sequence[str]) -> None:
    sys.stdout.write("\n".join(lines) + "\n")
