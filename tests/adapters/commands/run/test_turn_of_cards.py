"""The order of a start with network cards: GPUs first, then the cards, then everything that nobody waits for."""

import asyncio
import subprocess
import sys
from pathlib import Path

import pytest

from plugin_gateway.adapters.commands.run import limits, process
from plugin_gateway.adapters.commands.run.backend_set import TurnOfCards
from plugin_gateway.adapters.commands.run.limits import MANY_DESCRIPTORS, make_room_for_descriptors

SOON = 0.005


def descriptors() -> set[str]:
    return {each.name for each in Path("/proc/self/fd").iterdir()}


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(process, "LIST_TIME", SOON)


async def test_cards_begin_after_the_first_register_and_the_rest_when_all_have_answered() -> None:
    has_sent, answers, begun = asyncio.Event(), [asyncio.Event(), asyncio.Event()], asyncio.Event()
    turn = TurnOfCards(has_sent, answers, begun.set)
    running = asyncio.create_task(turn.run())
    await asyncio.sleep(4 * SOON)
    assert not begun.is_set(), "no Register was sent"
    has_sent.set()
    async with asyncio.timeout(5):
        await begun.wait()
        answers[0].set()
        await asyncio.sleep(4 * SOON)
        assert not turn.is_over.is_set(), "one has not answered"
        answers[1].set()
        await turn.is_over.wait()
        await running


async def test_cards_begin_although_no_register_can_be_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(process, "START_TIME", SOON)
    begun = asyncio.Event()
    running = asyncio.create_task(TurnOfCards(asyncio.Event(), [asyncio.Event()], begun.set).run())
    async with asyncio.timeout(5):
        await begun.wait()
    running.cancel()


async def test_without_cards_the_rest_begins_when_a_register_was_sent() -> None:
    has_sent, begun = asyncio.Event(), asyncio.Event()
    turn = TurnOfCards(has_sent, [], begun.set)
    async with asyncio.timeout(5):
        await turn.run()
    assert turn.is_over is has_sent
    assert not has_sent.is_set()
    assert not begun.is_set()


async def test_at_the_end_a_thread_that_waits_for_its_turn_is_let_go() -> None:
    begun = asyncio.Event()
    TurnOfCards(asyncio.Event(), [asyncio.Event()], begun.set).end()
    assert begun.is_set()


def test_room_for_descriptors_takes_none() -> None:
    before = descriptors()
    make_room_for_descriptors()
    assert descriptors() == before


def test_room_that_is_not_allowed_is_done_without(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "MANY_DESCRIPTORS", 2**30)
    make_room_for_descriptors()


def test_the_kernels_table_has_the_room() -> None:
    code = (
        "from plugin_gateway.adapters.commands.run.limits import claim_limits, make_room_for_descriptors\n"
        "claim_limits(); make_room_for_descriptors()\n"
        "print(*[line for line in open('/proc/self/status') if line.startswith('FDSize')])\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=30, check=True)
    assert int(done.stdout.split()[1]) >= MANY_DESCRIPTORS
