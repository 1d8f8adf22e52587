"""Evidence that changes nothing costs little, however much of it there is."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from harness.node import Node, device, running, until
from plugin_gateway.adapters.gateway import change_log, health_counters
from plugin_gateway.adapters.gateway import gateway as gateway_module
from plugin_gateway.core.health.changes import Changes, Note, Significance
from plugin_gateway.core.health.state import State
from plugin_gateway.core.resources.assignment import advertise
from plugin_gateway.core.resources.rules import ResourceRule
from plugin_gateway.nvidia.evidence import xid_kind


async def test_lists_are_made_again_only_if_something_has_changed(
    kubelet_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[State] = []

    def counted(state: State, rules: Sequence[ResourceRule], *, numa_hints: bool) -> object:
        made.append(state)
        return advertise(state, rules, numa_hints=numa_hints)

    monkeypatch.setattr(gateway_module, "advertise", counted)
    node = Node(kubelet_dir)
    async with running(node):
        await until(lambda: len(made) == 1, "the first lists")
        for number in range(1, 51):
            node.fail(0, 31)
            await until(lambda number=number: node.backend.counted.evidence.total() == number, "the evidence")  # type: ignore[misc]
        assert len(made) == 1
        node.fail(1, 79)
        await until(lambda: len(made) == 2, "lists with another health")
        assert set(made[-1].faults) == {device(1).id}


def test_more_different_evidence_than_is_remembered_does_not_flood_the_log(
    told: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """172 XIDs of 8 GPUs, again and again."""
    now = 0.0
    monkeypatch.setattr("plugin_gateway.adapters.gateway.change_log.time.monotonic", lambda: now)
    monkeypatch.setattr(change_log, "_evidence", change_log._Evidence())
    xids, gpus = range(1, 173), [device(number).id for number in range(8)]
    notes = [Note(gpu, xid_kind(xid), f"XID {xid}", Significance.REPORTED) for xid in xids for gpu in gpus]
    for _ in range(10):
        change_log.log_changes(Changes(notes=tuple(notes)))
    logged = [line for line in told if line["event"] == "evidence"]
    assert sum(len(line["devices"]) for line in logged) == change_log.MAX_EVIDENCE_REMEMBERED
    assert [line["event"] for line in told if line not in logged] == ["there is too much evidence to log all of it"]
    now = 61.0
    change_log.log_changes(Changes(notes=tuple(notes[-1:])))
    assert told[-1]["what"] == "XID 172"


async def test_evidence_of_ever_new_numbers_is_counted_in_limited_memory(
    kubelet_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(health_counters, "MAX_TOKENS", 10)
    node = Node(kubelet_dir)
    async with running(node):
        for number in range(1000, 1101):
            node.fail(0, number)
        await until(lambda: node.backend.counted.evidence.total() == 100, "the evidence")
        node.fail(0, 79)
        await until(lambda: node.backend.counted.evidence.total() == 101, "evidence of a number that the policy knows")
    assert len(node.backend.counted.evidence) == 9 + len({"other", "xid_79"})
    assert node.backend.counted.evidence["other", Significance.FURTHER] == 91
    assert node.backend.counted.evidence["xid_79", Significance.FURTHER] == 1
