"""`plugin-gateway health-policy`: prints the action for each kind of evidence, and where it was decided."""

import argparse
from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime
from typing import Any, NamedTuple

from plugin_gateway.adapters.commands.command_line import Catalog, Parts, SubCommand
from plugin_gateway.adapters.commands.flags import add_json_flag, add_options, decide_all, given_flags, options
from plugin_gateway.adapters.configuration.health_options import XID, PolicyOptions, range_name
from plugin_gateway.adapters.configuration.option import options_of
from plugin_gateway.adapters.configuration.options import Options
from plugin_gateway.adapters.configuration.settings import make_settings
from plugin_gateway.adapters.support.terminal import fitted, print_json, print_lines, terminal_width
from plugin_gateway.core.health.policy import (
    DRIVER_GONE,
    Decision,
    EvidenceKind,
    HealthPolicy,
    Needs,
    Probation,
    number_of,
)

OLD = 180
"""Days after which the catalog may lack XIDs of newer drivers."""
_NEEDS = {
    None: "",
    Needs.CHECK: "a check",
    Needs.DRIVER: "the driver's answer, or a reset",
    Needs.RESET: "a reset",
    Needs.REBOOT_OR_RECOVERY: "a reboot, or a reset by the driver's word",
    Needs.REBOOT: "a reboot",
}
NO_CARDS: Mapping[str, HealthPolicy] = {}
"""Where no backend has network cards."""
_NUMBERS = ("quiet_time", "decision_time", "driver_timeout", "flap_count", "flap_window")


def make(parts: Parts) -> SubCommand:
    """Return the sub-command."""

    def add_arguments(parser: argparse.ArgumentParser) -> None:
        add_options(parser, (*options_of(PolicyOptions), Options.config_file))
        add_json_flag(parser)

    return SubCommand(add_arguments, lambda parsed: run(parsed, parts))


def run(parsed: argparse.Namespace, parts: Parts) -> int:
    """Print the health policy that flags, environment and file decide."""
    settings = make_settings(decide_all(given_flags(options(parts), parsed), parts))
    today = datetime.now(UTC).date()
    return show_policy(settings.health, parts.catalog(), today, as_json=parsed.json, cards=settings.card_health)


class Row(NamedTuple):
    """What is decided about one kind of evidence, or about several XIDs in a row."""

    decision: Decision
    differs: Mapping[str, Decision]
    """The decisions of the generations that differ."""
    judged_from: str | None
    """From which driver on the recovery action judges these XIDs."""

    @property
    def action(self) -> str:
        """The action in words, with how often the evidence has to be repeated, and for which generations it differs."""
        action, _, times, window, _ = self.decision
        repeated = f" from {times} times within {window:g} s on" if times > 1 else ""
        others = {decision.action.value for decision in self.differs.values()}
        differs = [
            f"{other} for {', '.join(name for name, each in self.differs.items() if each.action.value == other)}"
            for other in sorted(others)
        ]
        return "; ".join((f"{action.value}{repeated}", *differs))


def show_policy(
    policy: HealthPolicy,
    catalog: Catalog,
    today: date,
    *,
    as_json: bool,
    cards: Mapping[str, HealthPolicy] = NO_CARDS,
) -> int:
    """Print the health policy, as a table or as JSON. ``today`` says how old the catalog is.

    ``cards`` has the policies of backends with network cards, by their names.
    """
    xids = _ranges(policy, catalog)
    others = [(kind, _row(policy, kind)) for kind in policy.kinds if number_of(kind, XID) is None]
    unknown = Row(policy.families.get(XID, policy.others), {}, None)
    age = (today - date.fromisoformat(catalog.date)).days
    if as_json:
        decisions = [
            *({"xids": [first, last], **_as_json(row)} for first, last, row in xids),
            {"xids": None, **_as_json(unknown)},
            *({"evidence": name, **_as_json(row)} for name, row in others),
        ]
        dated = {"date": catalog.date, "is_old": age > OLD}
        document = {"decisions": decisions, **_numbers(policy), "catalog": dated}
        of_cards = {
            name: {
                "decisions": [{"evidence": kind, **_as_json(_row(each, kind))} for kind in each.kinds],
                **_numbers(each),
                "longest_quiet_time": each.longest_quiet_time,
            }
            for name, each in cards.items()
        }
        print_json({**document, "network_cards": of_cards})
        return 0
    rows: list[Sequence[str]] = [("EVIDENCE", "ACTION", "NEEDS", "DECIDED BY", "RECOVERY ACTION")]
    rows += [_cells(f"XID {range_name(first, last)}", row) for first, last, row in xids]
    rows.append(_cells("any other XID", unknown))
    rows += [_cells(name, row) for name, row in others]
    print_lines((*fitted(rows, terminal_width()), "", *_explained(policy), *_dated(catalog, age)))
    for name, each in cards.items():
        rows = [
            ("EVIDENCE", "ACTION", "NEEDS", "DECIDED BY"),
            *(_cells(kind, _row(each, kind))[:-1] for kind in each.kinds),
        ]
        print_lines(("", f"backend {name}:", *fitted(rows, terminal_width()), "", *_explained(each)))
    return 0


def _numbers(policy: HealthPolicy) -> Mapping[str, Any]:
    return {**{name: getattr(policy, name) for name in _NUMBERS}, "probation": policy.probation.value}


def _explained(policy: HealthPolicy) -> Sequence[str]:
    """Return what the table does not say, in sentences."""
    well = f"was well for {policy.quiet_time:g} s"
    if policy.probation is Probation.EXTERNAL:
        well = "an operator or a test has said that it is well, with plugin-gateway health clear"
    gone = f"A driver that is gone for {policy.driver_timeout:g} s takes every device out."
    flapping = (
        f"One that is taken out {policy.flap_count} times within {policy.flap_window:g} s needs a reset, a reboot, or "
        "plugin-gateway health clear."
    )
    if (longest := policy.longest_quiet_time) is not None:
        flapping = f"Each further time within {policy.flap_window:g} s doubles this time, up to {longest:g} s."
    decides = f"The driver's answer counts from {policy.decision_time:g} s after the evidence on, and is enough."
    return (
        f"One is given out again once it has what it NEEDS and {well}.",
        *([decides] if policy.longest_quiet_time is None else []),
        flapping,
        *([gone] if policy.about(DRIVER_GONE).action.needs is not None else []),
    )


def _dated(catalog: Catalog, age: int) -> Sequence[str]:
    """Return what the catalog is, and that it is old if it is."""
    old = f"It is {age} days old: newer drivers may have other XIDs, and a newer gateway may know them."
    return (
        f"RECOVERY ACTION: from which driver on it judges the XID, as NVIDIA's catalog of {catalog.date} says.",
        *([f"Warning: the catalog is of {catalog.date}. {old}"] if age > OLD else []),
    )


def _row(policy: HealthPolicy, kind: EvidenceKind, judged_from: str | None = None) -> Row:
    decision = policy.about(kind)
    differs = {generation: kinds[kind] for generation, kinds in policy.by_generation.items() if kind in kinds}
    return Row(decision, differs, judged_from)


def _ranges(policy: HealthPolicy, catalog: Catalog) -> Sequence[tuple[int, int, Row]]:
    """Return first number, last number and what is decided. Equal XIDs in a row are one range."""
    found: list[tuple[int, int, Row]] = []
    numbers = {xid: kind for kind in policy.kinds if (xid := number_of(kind, XID)) is not None}
    for xid, kind in sorted(numbers.items()):
        row = _row(policy, kind, catalog.judged_from.get(xid))
        if found and found[-1][1] == xid - 1 and found[-1][2] == row:
            found[-1] = (found[-1][0], xid, row)
        else:
            found.append((xid, xid, row))
    return found


def _cells(name: str, row: Row) -> tuple[str, ...]:
    judged = f"from {row.judged_from}" if row.judged_from else ""
    return name, row.action, _NEEDS[row.decision.action.needs], row.decision.origin, judged


def _as_json(row: Row) -> Mapping[str, Any]:
    action, origin, times, window, _ = row.decision
    return {
        "action": action.value,
        "origin": origin,
        "count": times,
        "window": window if times > 1 else None,
        "needs": _NEEDS[action.needs] or None,
        "by_generation": {name: each.action.value for name, each in row.differs.items()},
        "recovery_action_from": row.judged_from,
    }
