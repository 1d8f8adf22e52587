"""State that is published."""

import asyncio

import pytest

from plugin_gateway.adapters.support.tasks import Latest, PublicationClosed


async def test_a_follower_gets_the_value_that_is_there_and_then_only_newer_ones() -> None:
    latest = Latest(1)
    assert await latest.newer_than(-1) == (0, 1)
    assert not latest.publish(1)
    waiting = asyncio.ensure_future(latest.newer_than(0))
    await asyncio.sleep(0)
    assert latest.publish(2)
    assert latest.publish(3)
    assert await waiting == (2, 3)
    assert latest.value == 3


async def test_the_end_comes_after_what_was_not_seen_yet() -> None:
    latest = Latest(1)
    latest.publish(2)
    waiting = asyncio.ensure_future(latest.newer_than(1))
    await asyncio.sleep(0)
    latest.close()
    assert await latest.newer_than(0) == (1, 2)
    with pytest.raises(PublicationClosed):
        await waiting
