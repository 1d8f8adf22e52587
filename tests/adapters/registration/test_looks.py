"""How often the kubelet's directory is looked at: rarely while inotify reports each change, and soon after one."""

import asyncio
from pathlib import Path

import pytest

from harness.node import RESOURCE, Node, running, until
from plugin_gateway.adapters.fake_kubelet import FakeKubelet, release
from plugin_gateway.adapters.kubelet.directory import KubeletDirectory
from plugin_gateway.adapters.registration import registrar


@pytest.fixture
def looks(monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """Return what each look at the directory found. Looks soon come after 50 ms, others after a minute."""
    found: list[bool] = []

    def has_changed(directory: KubeletDirectory) -> bool:
        found.append(look(directory))
        return found[-1]

    look = KubeletDirectory.has_changed
    monkeypatch.setattr(KubeletDirectory, "has_changed", has_changed)
    monkeypatch.setattr(registrar, "LOOK_INTERVAL", 0.05)
    monkeypatch.setattr(registrar, "WATCHED_LOOK_INTERVAL", 60.0)
    return found


async def settled(kubelet: FakeKubelet, looks: list[bool]) -> None:
    await kubelet.wait_for(lambda: kubelet.allocatable(RESOURCE) == 8, what="eight allocatable devices")
    await until(lambda: bool(looks) and not looks[-1], "a look that finds nothing new")
    await asyncio.sleep(0.3)


async def test_a_quiet_directory_is_left_alone_until_any_file_in_it_changes(
    kubelet_dir: Path, looks: list[bool]
) -> None:
    noticed: list[None] = []
    async with FakeKubelet(kubelet_dir, release("1.36")) as kubelet, running(Node(kubelet_dir)) as node:
        await settled(kubelet, looks)
        node.registrar.on_folder_change = lambda: noticed.append(None)
        for name in ("one.sock", "other.sock"):
            noticed.clear()
            before = len(looks)
            await asyncio.sleep(0.5)
            assert len(looks) == before
            (kubelet_dir / name).touch()
            await until(lambda: bool(noticed), "a look after the change")
            await settled(kubelet, looks)


async def test_a_kubelet_socket_that_is_a_link_is_looked_at_all_the_time(
    kubelet_dir: Path, tmp_path: Path, looks: list[bool]
) -> None:
    async with FakeKubelet(kubelet_dir, release("1.36")) as kubelet, running(Node(kubelet_dir)):
        real = tmp_path / "kubelet.sock"
        (kubelet_dir / "kubelet.sock").rename(real)
        (kubelet_dir / "kubelet.sock").symlink_to(real)
        await settled(kubelet, looks)
        before = len(looks)
        await until(lambda: len(looks) > before + 3, "more looks")


async def test_without_watches_the_directory_is_looked_at_all_the_time(
    kubelet_dir: Path, looks: list[bool], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(KubeletDirectory, "_add_watch", lambda *_: None)
    async with FakeKubelet(kubelet_dir, release("1.36")) as kubelet, running(Node(kubelet_dir)):
        await settled(kubelet, looks)
        before = len(looks)
        await until(lambda: len(looks) > before + 3, "more looks")
