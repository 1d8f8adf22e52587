"""What each release makes of lists, of the end of a stream, and of a second stream of the same resource."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import grpc
import pytest

from adapters.fake_kubelet.counts import Counts, counts, reach, registered
from adapters.fake_kubelet.plugin import OK, RESOURCE, Plugin, not_utf8
from plugin_gateway.adapters.fake_kubelet import FakeKubelet


@pytest.mark.parametrize(
    ("name", "after"), [("1.8", (1, 1)), ("1.9", (1, 1)), ("1.10", (2, 1)), ("1.36", (2, 1)), ("1.37", (2, 1))]
)
async def test_an_unhealthy_device_counts_in_capacity_from_1_10_on(name: str, after: Counts, kubelet_dir: Path) -> None:
    async with registered(kubelet_dir, name) as (kubelet, plugin):
        plugin.list(("a", "Healthy"), ("b", "healthy"))
        await reach(kubelet, after)
        plugin.list()
        await reach(kubelet, (None, None) if name == "1.8" else (0, 0))


@pytest.mark.parametrize(("name", "after"), [("1.8", (1, 0)), ("1.10", (1, 0)), ("1.36", (2, 1)), ("1.37", (2, 1))])
async def test_an_id_that_is_listed_twice(name: str, after: Counts, kubelet_dir: Path) -> None:
    """The last one counts; from 1.12 on both do."""
    async with registered(kubelet_dir, name) as (kubelet, plugin):
        plugin.list(("a", "Healthy"), ("a", "Unhealthy"))
        await reach(kubelet, (None, None) if name == "1.8" else after)


@pytest.mark.parametrize(
    ("name", "after"), [("1.8", (None, None)), ("1.9", (0, 0)), ("1.10", (2, 0)), ("1.36", (2, 0)), ("1.37", (2, 0))]
)
async def test_the_end_of_the_stream(name: str, after: Counts, kubelet_dir: Path) -> None:
    async with registered(kubelet_dir, name, grace=0.3) as (kubelet, plugin):
        plugin.end_streams()
        await reach(kubelet, after)
        if name in {"1.8", "1.9"}:
            return
        await reach(kubelet, (None, None))


@pytest.mark.parametrize(("pause", "allocatable"), [(0.0, 0), (0.06, 2)])
async def test_a_register_right_after_the_end_of_a_stream_is_taken_for_the_old_one_from_1_25_on(
    pause: float, allocatable: int, kubelet_dir: Path
) -> None:
    async with registered(kubelet_dir, "1.25") as (kubelet, plugin):
        plugin.end_streams()
        await kubelet.wait_for(lambda: kubelet.open_streams(RESOURCE) == 0, what="the end of the stream")
        await asyncio.sleep(pause)
        await plugin.register()
        await asyncio.sleep(0.1)
        assert counts(kubelet) == (2, allocatable)
    async with registered(kubelet_dir, "1.24") as (kubelet, plugin):
        plugin.end_streams()
        await kubelet.wait_for(lambda: kubelet.open_streams(RESOURCE) == 0, what="the end of the stream")
        await plugin.register()
        await asyncio.sleep(0.1)
        assert counts(kubelet) == (2, 2)


async def test_a_register_right_after_the_end_of_a_stream_wedges_1_37_if_the_path_is_the_same(
    kubelet_dir: Path,
) -> None:
    async with registered(kubelet_dir, "1.37") as (kubelet, plugin):
        plugin.end_streams()
        await kubelet.wait_for(lambda: kubelet.open_streams(RESOURCE) == 0, what="the end of the stream")
        code, words = await plugin.register()
        assert code is grpc.StatusCode.UNKNOWN
        assert words.startswith("device plugin already connected")
        await asyncio.sleep(0.1)
        assert counts(kubelet) == (2, 2)


async def test_a_list_of_over_4_mib_ends_the_stream_from_1_10_on(kubelet_dir: Path) -> None:
    many = [(f"{index:060d}", "Healthy") for index in range(60_000)]
    async with registered(kubelet_dir, "1.36") as (kubelet, plugin):
        plugin.list(*many)
        await reach(kubelet, (2, 0))
    async with registered(kubelet_dir, "1.9") as (kubelet, plugin):
        plugin.list(*many)
        await reach(kubelet, (60_000, 60_000))


@asynccontextmanager
async def second(directory: Path, kubelet: FakeKubelet, name: str, *ids: str) -> AsyncIterator[Plugin]:
    """Another instance for the same resource, registered and listed."""
    async with Plugin(directory, kubelet.release, name, ids) as plugin:
        known = len(kubelet.lists)
        assert await plugin.register() == OK
        await kubelet.wait_for(lambda: len(kubelet.lists) > known, what="the list of the second")
        yield plugin


async def test_1_8_lists_first_then_leaves_the_old_stream_and_keeps_what_it_listed(kubelet_dir: Path) -> None:
    async with registered(kubelet_dir, "1.8") as (kubelet, _), second(kubelet_dir, kubelet, "2.sock", "b", "c"):
        await kubelet.wait_for(lambda: kubelet.open_streams(RESOURCE) == 1, what="the end of the first stream")
        assert set(kubelet.devices(RESOURCE)) == {"a", "b", "c"}


@pytest.mark.parametrize("name", ["1.9", "1.10"])
async def test_1_9_and_1_10_close_the_old_connection(name: str, kubelet_dir: Path) -> None:
    async with registered(kubelet_dir, name) as (kubelet, _), second(kubelet_dir, kubelet, "2.sock", "c"):
        await kubelet.wait_for(lambda: kubelet.open_streams(RESOURCE) == 1, what="the end of the first stream")
        assert set(kubelet.devices(RESOURCE)) == {"c"}
        assert counts(kubelet) == (1, 1)


async def test_1_36_closes_the_newest_when_an_older_stream_ends(kubelet_dir: Path) -> None:
    async with registered(kubelet_dir, "1.36") as (kubelet, first), second(kubelet_dir, kubelet, "2.sock", "c"):
        assert kubelet.open_streams(RESOURCE) == 2
        assert len(kubelet.overlaps) == 1
        first.end_streams()
        await reach(kubelet, (1, 0))
        await kubelet.wait_for(lambda: not kubelet.open_streams(RESOURCE), what="the end of the newest stream")


async def test_1_37_lets_another_path_live_on(kubelet_dir: Path) -> None:
    async with (
        registered(kubelet_dir, "1.37") as (kubelet, first),
        second(kubelet_dir, kubelet, "2.sock", "c") as newer,
    ):
        first.end_streams()
        await kubelet.wait_for(lambda: kubelet.open_streams(RESOURCE) == 1, what="the end of the first stream")
        assert counts(kubelet) == (1, 1)
        await kubelet.allocate(RESOURCE, pod="p")
        assert "Allocate" in newer.called


async def test_1_37_is_wedged_by_the_same_path_until_it_restarts(kubelet_dir: Path) -> None:
    async with registered(kubelet_dir, "1.37") as (kubelet, plugin):
        words = f"device plugin already connected: {kubelet_dir / plugin.name}"
        assert await plugin.register() == (grpc.StatusCode.UNKNOWN, words)
        plugin.end_streams()
        await kubelet.wait_for(lambda: kubelet.open_streams(RESOURCE) == 0, what="the end of the stream")
        assert counts(kubelet) == (2, 2), "it never notices"


@pytest.mark.parametrize(("name", "after"), [("1.8", (2, 2)), ("1.34.3", (2, 2)), ("1.34.4", (2, 0)), ("1.36", (2, 0))])
async def test_an_id_that_is_not_utf_8_ends_the_stream_from_1_34_4_on(
    name: str, after: Counts, kubelet_dir: Path
) -> None:
    async with registered(kubelet_dir, name) as (kubelet, plugin):
        known = len(kubelet.lists)
        plugin.send(not_utf8([("a", "Healthy"), ("bb", "Healthy")], "bb"))
        await kubelet.wait_for(
            lambda: len(kubelet.lists) > known or not kubelet.open_streams(RESOURCE), what="a conclusion"
        )
        await reach(kubelet, after)
