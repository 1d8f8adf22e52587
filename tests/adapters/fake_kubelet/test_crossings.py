"""What the fake kubelet does when calls cross with something else, release by release."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from adapters.fake_kubelet.plugin import RESOURCE, Plugin
from harness.node import until
from plugin_gateway.adapters.fake_kubelet import AdmissionError, FakeKubelet, release
from plugin_gateway.adapters.fake_kubelet.events import Container, KubeletPanicError
from plugin_gateway.api.v1beta1 import api_pb2 as wire

SLOW = 0.3


@asynccontextmanager
async def registered(
    kubelet_dir: Path, name: str, ids: str = "ab", options: wire.DevicePluginOptions | None = None
) -> AsyncIterator[tuple[FakeKubelet, Plugin]]:
    async with (
        FakeKubelet(kubelet_dir, release(name)) as kubelet,
        Plugin(kubelet_dir, release(name), ids=ids) as plugin,
    ):
        plugin.options = options or plugin.options
        await plugin.register()
        await kubelet.wait_for(lambda: kubelet.allocatable(RESOURCE) == len(ids), what="devices")
        plugin.delays = {"Allocate": SLOW}
        yield kubelet, plugin


async def asked(kubelet: FakeKubelet, plugin: Plugin, wanted: int = 1) -> "asyncio.Future[Container]":
    """Have a pod ask; returns once the plugin has the question."""
    asking = asyncio.ensure_future(kubelet.allocate(RESOURCE, wanted, pod="p"))
    await until(lambda: "Allocate" in plugin.called, "the question")
    return asking


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("1.9", "code = Internal desc = transport is closing"),
        ("1.10", "code = Unavailable desc = transport is closing"),
        ("1.37", "code = Canceled desc = grpc: the client connection is closing"),
    ],
)
async def test_a_stream_that_ends_takes_the_calls_along(name: str, words: str, kubelet_dir: Path) -> None:
    async with registered(kubelet_dir, name) as (kubelet, plugin):
        asking = await asked(kubelet, plugin)
        plugin.end_streams()
        with pytest.raises(AdmissionError, match=words):
            await asking


async def test_1_8_waits_for_the_answer_although_the_stream_ended(kubelet_dir: Path) -> None:
    async with registered(kubelet_dir, "1.8") as (kubelet, plugin):
        asking = await asked(kubelet, plugin)
        plugin.end_streams()
        await asking


@pytest.mark.parametrize("name", ["1.34", "1.37"])
async def test_a_list_without_the_device_that_is_being_allocated_ends_the_kubelet(name: str, kubelet_dir: Path) -> None:
    async with registered(kubelet_dir, name) as (kubelet, plugin):
        asking = await asked(kubelet, plugin, 2)
        plugin.list(("c", "Healthy"))
        with pytest.raises(KubeletPanicError, match="nil pointer dereference"):
            await asking


async def test_1_33_outlives_it(kubelet_dir: Path) -> None:
    async with registered(kubelet_dir, "1.33") as (kubelet, plugin):
        asking = await asked(kubelet, plugin, 2)
        plugin.list(("c", "Healthy"))
        await asking


async def test_no_device_is_given_out_twice_while_the_plugin_is_asked(kubelet_dir: Path) -> None:
    async with registered(kubelet_dir, "1.37", "abc") as (kubelet, plugin):
        asking = await asked(kubelet, plugin, 2)
        with pytest.raises(AdmissionError, match="Requested: 2, Available: 1"):
            await kubelet.allocate(RESOURCE, 2, pod="q")
        await asking


async def test_what_a_plugin_refused_is_free_again(kubelet_dir: Path) -> None:
    async with registered(kubelet_dir, "1.37") as (kubelet, plugin):
        good, plugin.answers = plugin.answers, {"Allocate": "no luck"}
        with pytest.raises(AdmissionError, match="no luck"):
            await kubelet.allocate(RESOURCE, 2, pod="p")
        plugin.answers = good
        assert len((await kubelet.allocate(RESOURCE, 2, pod="q")).ids) == 2


async def test_a_resource_is_unknown_before_the_first_list(kubelet_dir: Path) -> None:
    of = release("1.37")
    async with FakeKubelet(kubelet_dir, of) as kubelet, Plugin(kubelet_dir, of) as plugin:
        plugin.silent = True
        await plugin.register()
        assert kubelet.capacity(RESOURCE) is None
        assert (await kubelet.allocate(RESOURCE, 1, pod="p")).ids == ()
        assert "Allocate" not in plugin.called


async def test_a_container_that_needs_the_plugin_does_not_start_without(kubelet_dir: Path) -> None:
    options = wire.DevicePluginOptions(pre_start_required=True)
    async with registered(kubelet_dir, "1.37", options=options) as (kubelet, plugin):
        await kubelet.allocate(RESOURCE, 1, pod="p")
        plugin.end_streams()
        await kubelet.wait_for(lambda: kubelet.allocatable(RESOURCE) == 0, what="the end of the stream")
        with pytest.raises(AdmissionError, match="has been stopped"):
            await kubelet.start_container("p")
