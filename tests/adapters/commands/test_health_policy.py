"""What `plugin-gateway health-policy` prints about a policy, its catalog and their age."""

import json
import os
import select
import subprocess
from contextlib import suppress
from dataclasses import replace
from datetime import date, timedelta
from typing import Any

import pytest

from harness.process import PROGRAM
from plugin_gateway.__main__ import catalog
from plugin_gateway.adapters.commands.health_policy import OLD, show_policy
from plugin_gateway.core.health.policy import Action, Decision, EvidenceKind, HealthPolicy, Probation
from plugin_gateway.nvidia.evidence import HEALTH_POLICY, xid_kind

DAY = date.fromisoformat(catalog().date)
REPEATED = HEALTH_POLICY.with_decisions({xid_kind(94): Decision(Action.UNTIL_RESET, "file:3", 5, 600.0)})


def shown(capsys: pytest.CaptureFixture[str], policy: HealthPolicy, today: date = DAY) -> list[str]:
    assert show_policy(policy, catalog(), today, as_json=False) == 0
    return [" ".join(line.split()) for line in capsys.readouterr().out.splitlines()]


def shown_json(capsys: pytest.CaptureFixture[str], policy: HealthPolicy, today: date = DAY) -> dict[str, Any]:
    assert show_policy(policy, catalog(), today, as_json=True) == 0
    document: dict[str, Any] = json.loads(capsys.readouterr().out)
    return document


@pytest.mark.parametrize(
    "line",
    [
        "XID 93 report; ignore for A100 NVIDIA's catalog: IGNORE, but only for A100",
        "XID 121 report; ignore for GB200 NVIDIA's catalog: IGNORE, but only for GB200",
        "XID 152-153 report NVIDIA's catalog: IGNORE, but for no generation",
        "XID 160-161 report; ignore for B100, GB200 NVIDIA's catalog: IGNORE, but only for B100, GB200 from R575",
        "XID 54 unhealthy-until-reboot a reboot NVIDIA's catalog: CHECK_MECHANICALS",
        "XID 109 unhealthy-until-reset a reset NVIDIA's catalog: RESET_GPU from R570",
        "XID 119 unhealthy-until-reset a reset NVIDIA's catalog: RESET_GPU",
        "XID 158 unhealthy-until-reset a reset NVIDIA's catalog: RESET_GPU from its introduction",
        "not-answering unhealthy a check default",
        "The driver's answer counts from 5 s after the evidence on, and is enough.",
        f"RECOVERY ACTION: from which driver on it judges the XID, as NVIDIA's catalog of {DAY} says.",
    ],
)
def test_each_row_says_where_it_comes_from_and_what_it_needs(line: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert line in shown(capsys, HEALTH_POLICY)


def test_a_decision_of_an_administrator_holds_for_each_generation(capsys: pytest.CaptureFixture[str]) -> None:
    policy = HEALTH_POLICY.with_decisions({xid_kind(93): Decision(Action.UNHEALTHY, "file:3")})
    assert "XID 93 unhealthy a check file:3" in shown(capsys, policy)


def test_what_has_to_be_repeated_says_how_often(capsys: pytest.CaptureFixture[str]) -> None:
    line = "XID 94 unhealthy-until-reset from 5 times within 600 s on a reset file:3 from R565"
    assert line in shown(capsys, REPEATED)


def test_a_probation_that_needs_a_word_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    lines = shown(capsys, replace(HEALTH_POLICY, probation=Probation.EXTERNAL))
    assert any("an operator or a test has said that it is well" in line for line in lines)


@pytest.mark.parametrize(("days", "is_old"), [(-9, False), (0, False), (OLD, False), (OLD + 1, True), (5000, True)])
def test_a_catalog_is_old_after_180_days(days: int, is_old: bool, capsys: pytest.CaptureFixture[str]) -> None:
    today = DAY + timedelta(days=days)
    warnings = [line for line in shown(capsys, HEALTH_POLICY, today) if line.startswith("Warning: ")]
    assert bool(warnings) is is_old
    assert all(f"the catalog is of {DAY}. It is {days} days old" in line for line in warnings)
    assert shown_json(capsys, HEALTH_POLICY, today)["catalog"] == {"date": str(DAY), "is_old": is_old}


def test_in_a_terminal_it_is_no_wider_than_that() -> None:
    terminal, slave = os.openpty()
    environment = {**os.environ, "COLUMNS": "80"}
    with subprocess.Popen([PROGRAM, "health-policy"], stdout=slave, env=environment) as process:
        os.close(slave)
        output = b""
        with suppress(OSError):  # the other end is closed
            while select.select([terminal], [], [], 30)[0]:
                output += os.read(terminal, 4096)
        assert process.wait(30) == 0
    os.close(terminal)
    table, _, _ = output.decode().replace("\r\n", "\n").partition("\n\n")
    assert max(len(line) for line in table.split("\n")) <= 80
    assert "\nXID 79              unhealthy-until-reboot-or-recovery\n" in table


def test_programs_get_the_same(capsys: pytest.CaptureFixture[str]) -> None:
    document = shown_json(capsys, REPEATED)
    decisions = {tuple(each["xids"]): each for each in document["decisions"] if each.get("xids")}
    assert decisions[94, 94] == {
        "xids": [94, 94],
        "action": "unhealthy-until-reset",
        "origin": "file:3",
        "count": 5,
        "window": 600.0,
        "needs": "a reset",
        "by_generation": {},
        "recovery_action_from": "R565",
    }
    assert decisions[160, 161]["by_generation"] == {"B100": "ignore", "GB200": "ignore"}
    assert (document["decision_time"], document["probation"]) == (5.0, "quiet-time")


CARDS = HealthPolicy(
    kinds={EvidenceKind("port-down"): Decision(Action.UNHEALTHY, "default")}, quiet_time=10.0, longest_quiet_time=300.0
)


def test_network_cards_have_a_table_of_their_own(capsys: pytest.CaptureFixture[str]) -> None:
    assert show_policy(HEALTH_POLICY, catalog(), DAY, as_json=False, cards={"rdma": CARDS}) == 0
    lines = [" ".join(line.split()) for line in capsys.readouterr().out.splitlines()]
    at = lines.index("backend rdma:")
    assert lines[at + 1 : at + 7] == [
        "EVIDENCE ACTION NEEDS DECIDED BY",
        "port-down unhealthy a check default",
        "",
        "One is given out again once it has what it NEEDS and was well for 10 s.",
        "Each further time within 3600 s doubles this time, up to 300 s.",
        "A driver that is gone for 30 s takes every device out.",
    ]


def test_network_cards_are_in_the_json_by_their_backend(capsys: pytest.CaptureFixture[str]) -> None:
    assert show_policy(HEALTH_POLICY, catalog(), DAY, as_json=True, cards={"rdma": CARDS}) == 0
    told = json.loads(capsys.readouterr().out)["network_cards"]["rdma"]
    assert told["longest_quiet_time"] == 300
    assert [(each["evidence"], each["action"]) for each in told["decisions"]] == [("port-down", "unhealthy")]
