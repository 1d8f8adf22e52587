"""Evidence that changes nothing costs little, however much of it there is."""

from collections.abc import Sequence
from pathlib import Path

import pytest

from harness.node import Node, device, running, until
from plugin_gateway.adapters.gateway import gateway as gateway_module
from plugin_gateway.core.health.state import State
from plugin_gateway.core.resources.assignment import ResourceRule, advertise


async def test_lists_are_made_again_only_if_something_has_changed(
    kubelet_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[State] = []

    def counted(state: State, rules: Sequence[ResourceRule]) -> object:
        made.append(state)
        return advertise(state, rules)

    monkeypatch.setattr(gateway_module, "advertise", counted)
    node = Node(kubelet_dir)
    async with running(node):
        await until(lambda: len(made) == 1, "the first lists")
        for number in range(1, 51):
            node.fail(0, 31)
            await until(lambda number=number: node.gateway.evidence.total() == number, "the evidence")  # type: ignore[misc]
        assert len(made) == 1
        node.fail(1, 79)
        await until(lambda: len(made) == 2, "lists with another health")
        assert set(made[-1].faults) == {device(1).id}
