"""Network cards beside GPUs with the kubelet of every release: an exclusive, a shared and a pooled resource."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from cards import offered
from cards.builder import Cards
from cards.offered import COUNTS, HCA, ONLOAD, VF, VFS
from harness.node import RESOURCE
from harness.process import Process, started
from plugin_gateway.adapters.fake_kubelet import FakeKubelet, release
from plugin_gateway.adapters.fake_kubelet.releases import RELEASES

EVERY = pytest.mark.parametrize("name", RELEASES)
LIMIT = 20.0


@pytest.fixture
def cards(tmp_path: Path) -> Cards:
    return offered.made_up(tmp_path / "host")


@asynccontextmanager
async def gateway(kubelet_dir: Path, cards: Cards) -> AsyncIterator[Process]:
    file = cards.root.parent / "config.yaml"
    file.write_text(offered.TEXT)
    flags = (f"--kubelet-dir={kubelet_dir}", f"--config-file={file}", f"--host-root={cards.root}")
    async with started(*flags, "--backend=simulated:2xH100,auto", "--link-quiet-time=0.5") as process:
        yield process


async def available(kubelet: FakeKubelet, vfs: int = COUNTS[VF]) -> None:
    wanted = {RESOURCE: 2, **COUNTS, VF: vfs}
    await kubelet.wait_for(
        lambda: all(kubelet.allocatable(each) == count for each, count in wanted.items()),
        timeout=LIMIT,
        what=str(wanted),
    )


@EVERY
async def test_a_container_gets_the_same_of_its_cards_in_every_dialect(
    name: str, kubelet_dir: Path, cards: Cards
) -> None:
    async with FakeKubelet(kubelet_dir, release(name)) as kubelet, gateway(kubelet_dir, cards) as process:
        await available(kubelet)
        await kubelet.allocate(RESOURCE, 1, pod="gpu")
        one = await kubelet.allocate(VF, 1, pod="one")
        assert one.answer == offered.of_vfs(one.ids)
        two = await kubelet.allocate(VF, 2, pod="two")
        assert two.answer == offered.of_vfs(two.ids)
        assert len({*one.ids, *two.ids} & {*VFS}) == 3
        part = await kubelet.allocate(HCA, 1, pod="part")
        assert part.answer == offered.of_hca(part.ids)
        preloaded = await kubelet.allocate(ONLOAD, 1, pod="preloaded")
        assert preloaded.answer == offered.of_onload()
        assert set(preloaded.ids) < {str(number) for number in range(COUNTS[ONLOAD])}
        await kubelet.restart(kill=True)
        await available(kubelet)
        assert (await kubelet.allocate(ONLOAD, 4, pod="after")).answer == offered.of_onload()
        await process.wait_for_event("registered", 8)
        sockets = [each for each in kubelet_dir.glob("plugin-gateway-*") if each.is_socket()]
        for socket in sockets:
            socket.unlink()
        await process.wait_for_event("own socket was gone, bound again", 4)
        last = await kubelet.allocate(VF, 1, pod="last")
        assert last.answer == offered.of_vfs(last.ids)
        await kubelet.restart(kill=True)
        await available(kubelet)
        assert "ends" not in process.events()


@EVERY
async def test_a_function_that_a_pod_has_is_counted_by_every_gateway_and_comes_back_with_another_node(
    name: str, kubelet_dir: Path, cards: Cards
) -> None:
    async with FakeKubelet(kubelet_dir, release(name)) as kubelet:
        async with gateway(kubelet_dir, cards):
            await available(kubelet)
            (held,) = (await kubelet.allocate(VF, 1, pod="holder")).ids
            other = next(each for each in reversed(VFS) if each != held)
            cards.give_away(held)
            cards.unplug(other)
            offered.tell_of_devices()
            await available(kubelet, vfs=3)
        async with gateway(kubelet_dir, cards) as process:
            await process.wait_for_event("registered", 4)
            await available(kubelet, vfs=3)
            cards.plug(other)
            offered.tell_of_devices()
            await available(kubelet, vfs=4)
            await kubelet.remove("holder")
            cards.take_back(held, number=9)
            again = await kubelet.allocate(VF, 1, pod="next", ids=[held])
            assert again.answer == offered.of_vfs([held], number=9)
