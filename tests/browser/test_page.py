"""The status page as a person sees it: in a browser, with pictures kept in the build folder."""

import asyncio
import re
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from adapters.monitoring.test_listen import free_port, listening
from browser.driven import Browser, browser
from driver.driver import Driver
from harness.node import RESOURCE, device
from harness.process import started
from plugin_gateway.adapters.fake_kubelet import FakeKubelet, release

PICTURES = Path(__file__).parents[2] / "build" / "page"
LIMIT = 120
NARROW, WIDE = 400, 1200
"""Pixels."""
DOCUMENT = "document.documentElement.outerHTML"
MIG = "mig=" + ";".join(f"{index}:{','.join(['1g.10gb'] * 7)}" for index in range(16))
CARDS = "resources:\n  rdma:\n    - name: rdma/nic\n      select: {functions: pf}\n"

pytestmark = pytest.mark.timeout(LIMIT)


@pytest_asyncio.fixture
async def page(tmp_path: Path) -> AsyncIterator[Browser]:
    async with browser(tmp_path / "profile") as opened:
        yield opened


async def look(page: Browser, address: str, name: str) -> None:
    """Keep pictures of the page: light, dark and narrow. Nothing is wider than the window."""
    for kind, width in (("light", WIDE), ("dark", WIDE), ("narrow", NARROW)):
        await page.go(address, width, is_dark=kind == "dark")
        await page.keep_picture(PICTURES / f"{name}-{kind}.png")
        assert await page.tell("document.documentElement.scrollWidth") == width


async def test_a_person_sees_devices_with_reasons_holders_and_the_last_hour(
    kubelet_dir: Path, driver: Driver, page: Browser
) -> None:
    async with (
        FakeKubelet(kubelet_dir, release("1.36")) as kubelet,
        listening(kubelet_dir, driver) as (port, process),
    ):
        await process.wait_for_event("registered")
        await kubelet.restart(release("1.9"))
        await process.wait_for_event("registered", times=2)
        await kubelet.wait_for(lambda: kubelet.allocatable(RESOURCE) == 8, what="8 devices")
        await kubelet.allocate(RESOURCE, 2, pod="training")
        driver.xid(3, 79)
        await kubelet.wait_for(lambda: kubelet.allocatable(RESOURCE) == 7, what="7 devices")
        await look(page, f"http://127.0.0.1:{port}/", "few")
        document = await page.tell(DOCUMENT)
    tiles = re.findall(r"<section (.*?)</section>", document, re.DOTALL)
    assert len(tiles) == 8
    assert [tile for tile in tiles if 'class="unhealthy"' in tile] == tiles[:1], "the sick one comes first"
    assert f"<b>{device(3).physical.index}</b>" in tiles[0]
    assert "XID 79; needs a reboot of the node" in tiles[0]
    assert "reboot the node</p>" in tiles[0]
    assert sum("held by " in tile for tile in tiles) == 2
    registered = re.findall(r"<li>.*?registered as (\w+)", document, re.DOTALL)
    assert registered == ["v1alpha2", "v1beta1"], "the latest first"
    assert "stream open since" in document
    assert (document.count('<rect class="mark"'), document.count('<rect class="fault"')) == (2, 1)
    assert not page.complaints


async def test_many_devices_are_readable(kubelet_dir: Path, tmp_path: Path, page: Browser) -> None:
    port, file = free_port(), tmp_path / "gateway.yaml"
    file.write_text(CARDS)
    backends = f"simulated:16xH100/{MIG},simulated-rdma:8xCX7"
    where = ("--kubelet-dir", str(kubelet_dir), f"--listen={port}", f"--config-file={file}")
    async with (
        FakeKubelet(kubelet_dir, release("1.36")),
        started(*where, "--mig-strategy=mixed", f"--backend={backends}") as process,
    ):
        await process.wait_for_event("registered", times=2)
        await look(page, f"http://127.0.0.1:{port}/", "many")
        assert await page.tell("document.querySelectorAll('.parts li').length") == 16 * 7
        assert await page.tell("document.querySelectorAll('.tile').length") == 16 + 16
    assert not page.complaints


@pytest.mark.parametrize("has_script", [True, False], ids=["with its script", "without scripts"])
async def test_the_page_refreshes_itself(kubelet_dir: Path, driver: Driver, page: Browser, *, has_script: bool) -> None:
    async with (
        FakeKubelet(kubelet_dir, release("1.36")) as kubelet,
        listening(kubelet_dir, driver) as (port, process),
    ):
        await process.wait_for_event("registered")
        await page.go(f"http://127.0.0.1:{port}/", WIDE, has_script=has_script)
        await page.tell("document.querySelector('details').open = true")
        driver.xid(3, 79)
        await kubelet.wait_for(lambda: kubelet.allocatable(RESOURCE) == 7, what="7 devices")
        await shown(page, "document.querySelectorAll('.sick').length == 1")
        assert await page.tell("document.querySelector('details').open") is has_script
        assert not page.complaints
    if has_script:
        await shown(page, "document.querySelector('#away').checkVisibility()")
        assert await page.tell("document.querySelectorAll('.tile').length") == 8, "what it said last stays"


async def shown(page: Browser, condition: str) -> None:
    async with asyncio.timeout(LIMIT / 4):
        while not await page.tell(condition):  # noqa: ASYNC110 - it is in another process
            await asyncio.sleep(0.2)
