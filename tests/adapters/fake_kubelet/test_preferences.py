"""What each release asks before it chooses devices, with an init container and a topology manager too.

The questions are those of `devicesToAllocate` in the device managers of 1.20.15, 1.36.3 and 1.37.2.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from adapters.fake_kubelet.plugin import OK, RESOURCE, Plugin
from plugin_gateway.adapters.fake_kubelet import FakeKubelet, Freedom, release
from plugin_gateway.api.v1beta1 import api_pb2 as wire

IDS = tuple("abcdef")


@asynccontextmanager
async def six(directory: Path, name: str, *preferred: str) -> AsyncIterator[tuple[FakeKubelet, Plugin]]:
    """A kubelet, and a plugin of six devices that always prefers the same ones."""
    async with (
        FakeKubelet(directory, release(name)) as kubelet,
        Plugin(directory, release(name), ids=IDS) as plugin,
    ):
        plugin.options.get_preferred_allocation_available = True
        answer = wire.ContainerPreferredAllocationResponse(deviceIDs=preferred)
        encoded = wire.PreferredAllocationResponse(container_responses=[answer]).SerializeToString()
        plugin.answers = {**plugin.answers, "GetPreferredAllocation": encoded}
        assert await plugin.register() == OK
        await kubelet.wait_for(lambda: kubelet.allocatable(RESOURCE) == 6, what="six devices")
        yield kubelet, plugin


def asked(plugin: Plugin) -> tuple[str, str, int] | None:
    """Return what the kubelet asked last: the available ids, those that must be included, and how many in all."""
    if "GetPreferredAllocation" not in plugin.requests:
        return None
    (each,) = wire.PreferredAllocationRequest.FromString(plugin.requests["GetPreferredAllocation"]).container_requests
    return "".join(sorted(each.available_deviceIDs)), "".join(each.must_include_deviceIDs), each.allocation_size


@pytest.mark.parametrize(
    ("freedom", "wanted", "question", "chosen"),
    [
        (Freedom(), 2, ("abcdef", "", 2), "ef"),
        (Freedom(), 6, ("abcdef", "", 6), "efabcd"),
        (Freedom(aligned="bcd"), 2, ("bcd", "", 2), "bc"),
        (Freedom(aligned="def"), 2, ("def", "", 2), "ef"),
        (Freedom(aligned="bc"), 2, None, "bc"),
        (Freedom(aligned="bc"), 3, ("abcdef", "bc", 3), "bce"),
        (Freedom(aligned=""), 2, ("abcdef", "", 2), "ef"),
    ],
)
@pytest.mark.parametrize("name", ["1.19", "1.31", "1.37"])
async def test_the_plugin_is_asked_about_aligned_devices_unless_all_are_needed(
    name: str, freedom: Freedom, wanted: int, question: tuple[str, str, int] | None, chosen: str, kubelet_dir: Path
) -> None:
    async with six(kubelet_dir, name, "e", "f") as (kubelet, plugin):
        container = await kubelet.allocate(RESOURCE, wanted, pod="p", freedom=freedom)
        assert ("".join(container.ids), asked(plugin)) == (chosen, question)


@pytest.mark.parametrize(
    ("aligned", "wanted", "question", "chosen"),
    [
        (None, 2, None, "ab"),
        (None, 1, None, "a"),
        (None, 3, ("abcdef", "ab", 3), "abe"),
        ("cde", 3, ("abcde", "ab", 3), "abe"),
        ("cd", 5, ("abcdef", "abcd", 5), "abcde"),
        ("cd", 4, None, "abcd"),
    ],
)
async def test_devices_of_an_init_container_are_reused_first(
    aligned: str | None, wanted: int, question: tuple[str, str, int] | None, chosen: str, kubelet_dir: Path
) -> None:
    async with six(kubelet_dir, "1.37", "e", "f") as (kubelet, plugin):
        await kubelet.allocate(RESOURCE, 2, pod="p", container="init", ids=["a", "b"])
        freedom = Freedom(("a", "b"), aligned)
        container = await kubelet.allocate(RESOURCE, wanted, pod="p", freedom=freedom)
        assert ("".join(container.ids), asked(plugin)) == (chosen, question)


async def test_1_18_aligns_and_asks_nobody(kubelet_dir: Path) -> None:
    async with six(kubelet_dir, "1.18", "e", "f") as (kubelet, plugin):
        assert (await kubelet.allocate(RESOURCE, 2, pod="p", freedom=Freedom(aligned="bcd"))).ids == ("b", "c")
        assert (await kubelet.allocate(RESOURCE, 2, pod="q", freedom=Freedom(aligned="bcd"))).ids == ("d", "a")
        assert plugin.called == ["Allocate", "Allocate"]
