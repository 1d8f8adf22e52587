"""`plugin-gateway health-policy`: prints the action for each kind of evidence, and where it was decided."""

import argparse
from collections.abc import Mapping, Sequence

from plugin_gateway.adapters.commands.command_line import Parts, SubCommand
from plugin_gateway.adapters.commands.flags import add_json_flag, add_run_options, decide_all
from plugin_gateway.adapters.configuration.parsers import XID, range_name
from plugin_gateway.adapters.configuration.settings import make_settings
from plugin_gateway.adapters.support.terminal import print_json, print_lines, table
from plugin_gateway.core.health.policy import DRIVER_GONE, Decision, HealthPolicy, number_of


def make(parts: Parts) -> SubCommand:
    """Return the sub-command."""

    def add_arguments(parser: argparse.ArgumentParser) -> None:
        add_run_options(parser, parts)
        add_json_flag(parser)

    return SubCommand(add_arguments, lambda parsed: run(parsed, parts))


def run(parsed: argparse.Namespace, parts: Parts) -> int:
    """Print the health policy that flags, environment and file decide."""
    return show_policy(make_settings(decide_all(parsed, parts)).health, as_json=parsed.json)


def show_policy(policy: HealthPolicy, *, as_json: bool) -> int:
    """Print the health policy, as a table or as JSON."""
    xids = _ranges(policy)
    others = [(kind, decision) for kind, decision in policy.kinds.items() if number_of(kind, XID) is None]
    unknown = policy.families.get(XID, policy.others)
    if as_json:
        decisions = [
            *({"xids": [first, last], **_decision(decision)} for first, last, decision in xids),
            {"xids": None, **_decision(unknown)},
            *({"evidence": name, **_decision(decision)} for name, decision in others),
        ]
        times = {name: getattr(policy, name) for name in ("quiet_time", "driver_timeout", "flap_count", "flap_window")}
        print_json({"decisions": decisions, **times})
        return 0
    rows = [("EVIDENCE", "ACTION", "DECIDED BY")]
    rows += [
        (f"XID {range_name(first, last)}", decision.action.value, decision.origin) for first, last, decision in xids
    ]
    rows.append(("any other XID", unknown.action.value, unknown.origin))
    rows += [(name, decision.action.value, decision.origin) for name, decision in others]
    gone = f"A driver that is gone for {policy.driver_timeout:g} s takes every device out."
    flapping = f"{policy.flap_count} times within {policy.flap_window:g} s"
    print_lines(
        (
            *table(rows),
            "",
            f"One is given out again once it has what its action asks for and was well for {policy.quiet_time:g} s.",
            f"One that is taken out {flapping} needs a reset, a reboot, or plugin-gateway health clear.",
            *([gone] if policy.about(DRIVER_GONE).action.needs is not None else []),
        )
    )
    return 0


def _ranges(policy: HealthPolicy) -> Sequence[tuple[int, int, Decision]]:
    """Return first number, last number and decision. XIDs in a row with the same decision are one range."""
    found: list[tuple[int, int, Decision]] = []
    numbers = {kind: number_of(kind, XID) for kind in policy.kinds}
    for xid, decision in sorted((xid, policy.kinds[kind]) for kind, xid in numbers.items() if xid is not None):
        if found and found[-1][1] == xid - 1 and found[-1][2] == decision:
            found[-1] = (found[-1][0], xid, decision)
        else:
            found.append((xid, xid, decision))
    return found


def _decision(decision: Decision) -> Mapping[str, str]:
    return {"action": decision.action.value, "origin": decision.origin}
