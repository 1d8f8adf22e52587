"""Who looks at the page asks the kubelet little, and sees where nothing is known."""

import asyncio
from collections.abc import Sequence
from pathlib import Path

import pytest

from harness.node import Node, running, until
from harness.pages import page_of
from plugin_gateway.adapters.kubelet.checkpoint import CheckpointError, Holder
from plugin_gateway.adapters.monitoring import holders_look
from plugin_gateway.adapters.monitoring.holders_look import HoldersLook


async def test_many_who_look_at_once_are_one_who_asks(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Path] = []

    def answer(kubelet_dir: Path) -> Sequence[Holder]:
        asked.append(kubelet_dir)
        return [Holder("ns/pod", "main", "a/gpu", frozenset({"GPU-1::0"}))]

    monkeypatch.setattr(holders_look, "living_holders", answer)
    look = HoldersLook()
    held = await asyncio.gather(*(look.take("/plugins") for _ in range(32)))
    assert all(each is not None and each.by_device == {"GPU-1": "ns/pod main"} for each in held)
    assert all(each is not None and each.by_resource == {"a/gpu": "ns/pod main"} for each in held)
    assert asked == [Path("/plugins")]
    monkeypatch.setattr(holders_look, "FRESH", -1.0)
    await look.take("/plugins")
    assert len(asked) == 2, "it is asked again later"


async def test_the_page_says_that_the_holders_are_not_known(kubelet_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_: Path) -> Sequence[Holder]:
        raise CheckpointError("broken")

    monkeypatch.setattr(holders_look, "living_holders", fail)
    node = Node(kubelet_dir)
    async with running(node, devices=2):
        await until(lambda: len(node.gateway.state.devices) == 2, "2 devices")
        page = (await page_of(node, "/")).body
    assert page.count("<span>holder not known</span>") == 2
    assert " held" not in page.partition("</header>")[0]
