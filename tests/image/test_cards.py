"""The image offers network cards without any privilege: made-up ones, mounted where a container has the host's own."""

import re
from collections.abc import Sequence
from pathlib import Path

import pytest

from cards import offered
from cards.builder import Cards
from cards.offered import COUNTS, HCA, ONLOAD, VF, VFS
from driver.driver import Driver
from harness.node import RESOURCE
from harness.process import Process
from image.container import Mount
from image.test_image import MAX_RSS, MIB, deployed
from plugin_gateway.adapters.fake_kubelet import FakeKubelet, release

FLAGS = ("--config-file=/config/config.yaml", "--link-quiet-time=0.5")
LIMIT = 20.0


@pytest.fixture
def cards(tmp_path: Path) -> Cards:
    (tmp_path / "config").mkdir()
    (tmp_path / "config" / "config.yaml").write_text(offered.TEXT)
    return offered.made_up(tmp_path / "host")


def mounts(cards: Cards, *folders: str, below: str = "") -> Sequence[Mount]:
    """Return mounts of these folders of the made-up host, and of the configuration. All are read-only."""
    configuration = Mount(cards.root.parent / "config", "/config")
    return (configuration, *(Mount(cards.files.at(each), f"{below}{each}") for each in folders))


def gateway_of(process: Process) -> Path:
    """Return the folder in /proc of the gateway, which runc has started."""
    threads = Path(f"/proc/{process.pid}/task").glob("*/children")
    (gateway,) = (child for thread in threads for child in thread.read_text().split())
    return Path(f"/proc/{gateway}")


async def available(kubelet: FakeKubelet, **changed: int) -> None:
    names = {"vf": VF, "hca": HCA, "onload": ONLOAD}
    wanted = {RESOURCE: 8, **COUNTS, **{names[each]: count for each, count in changed.items()}}
    await kubelet.wait_for(
        lambda: all(kubelet.allocatable(each) == count for each, count in wanted.items()),
        timeout=LIMIT,
        what=str(wanted),
    )


@pytest.mark.parametrize("name", ["1.8", "1.9", "1.37"])
async def test_cards_below_the_folders_of_the_host_come_and_go_beside_gpus(
    name: str, kubelet_dir: Path, state_dir: Path, driver: Driver, cards: Cards, tmp_path: Path
) -> None:
    of_host = mounts(cards, "/sys", "/dev", "/proc", "/opt/onload", below="/host")
    async with (
        FakeKubelet(kubelet_dir, release(name)) as kubelet,
        deployed(kubelet_dir, state_dir, driver, tmp_path, "--host-root=/host", *FLAGS, mounts=of_host),
    ):
        await available(kubelet)
        for resource in (RESOURCE, HCA):
            await kubelet.allocate(resource, 1, pod=resource)
        assert (await kubelet.allocate(ONLOAD, 1, pod="onload")).answer == offered.of_onload()
        two = await kubelet.allocate(VF, 2, pod="two")
        assert two.answer == offered.of_vfs(two.ids)
        await kubelet.remove("two")
        cards.port_down("0000:3b:00.0")
        await available(kubelet, hca=3)
        cards.port_up("0000:3b:00.0")
        await available(kubelet)
        cards.unplug(VFS[0])
        offered.tell_of_devices()
        await available(kubelet, vf=3)
        cards.plug(VFS[0])
        offered.tell_of_devices()
        await available(kubelet)


async def test_cards_need_neither_a_capability_nor_an_open_device_node_nor_more_memory(
    kubelet_dir: Path, state_dir: Path, driver: Driver, cards: Cards, tmp_path: Path
) -> None:
    of_host = mounts(cards, "/sys", "/dev", "/proc", "/opt/onload", below="/host")
    async with (
        FakeKubelet(kubelet_dir, release("1.37")) as kubelet,
        deployed(kubelet_dir, state_dir, driver, tmp_path, "--host-root=/host", *FLAGS, mounts=of_host) as process,
    ):
        await available(kubelet)
        gateway = gateway_of(process)
        status = (gateway / "status").read_text()
        opened = [str(each.readlink()) for each in (gateway / "fd").iterdir()]
    assert re.search(r"CapEff:\s+0{16}$", status, re.MULTILINE)
    assert [each for each in opened if "/dev/infiniband/" in each or "onload" in each] == []
    resident = int(re.search(r"VmRSS:\s+(\d+) kB", status)[1]) * 1024  # type: ignore[index]
    print(f"resident with cards: {resident / MIB:.1f} MiB")
    assert resident < MAX_RSS


async def test_cards_are_offered_where_they_are_mounted_over_the_containers_own_sys(
    kubelet_dir: Path, state_dir: Path, driver: Driver, cards: Cards, tmp_path: Path
) -> None:
    own = mounts(cards, "/sys", "/dev/infiniband")
    async with (
        FakeKubelet(kubelet_dir, release("1.37")) as kubelet,
        deployed(kubelet_dir, state_dir, driver, tmp_path, *FLAGS, mounts=own) as process,
    ):
        await available(kubelet, onload=0)
        two = await kubelet.allocate(VF, 2, pod="two")
        assert two.answer == offered.of_vfs(two.ids)
        told = await process.wait_for_event("device changed its health", times=2)
        assert [each["reason"] for each in process.lines if each["event"] == told["event"]] == [
            "onload_missing",
            "link_down",
        ]
    assert {each["what"] for each in process.lines if each.get("reason") == "onload_missing"} == {
        "the module onload is loaded, but the kernel has no device onload (/proc/devices)"
    }
