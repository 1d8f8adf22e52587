"""The fake kubelet itself: its releases, its directory, and what it says of its own faults."""

import asyncio
from pathlib import Path

import pytest

from adapters.fake_kubelet.counts import MODERN, registered
from adapters.fake_kubelet.plugin import Plugin, healthy
from plugin_gateway.adapters.fake_kubelet import FakeKubelet, release
from plugin_gateway.core.errors import InvalidValueError


def test_a_release_that_there_is_not_is_refused_with_those_there_are() -> None:
    with pytest.raises(InvalidValueError, match=r"kubelet release '1.7'; expected 1.8 to 1.37"):
        release("1.7")


@pytest.mark.parametrize(
    ("name", "left"),
    [
        *((name, {"kubelet_internal_checkpoint", "folder", "kubelet.sock"}) for name in ("1.8", "1.9", "1.10")),
        *((name, {"kubelet_internal_checkpoint", "folder", "kubelet.sock", "file"}) for name in MODERN),
    ],
)
async def test_it_empties_its_directory_at_start(name: str, left: set[str], kubelet_dir: Path) -> None:
    (kubelet_dir / "folder").mkdir()
    for file in ("file", "kubelet_internal_checkpoint"):
        (kubelet_dir / file).touch()
    async with Plugin(kubelet_dir, release(name)), FakeKubelet(kubelet_dir, release(name)):
        assert {path.name for path in kubelet_dir.iterdir()} == left


async def test_what_was_waited_for_in_vain_is_told_with_what_was_seen(kubelet_dir: Path) -> None:
    async with registered(kubelet_dir, "1.36") as (kubelet, _):
        with pytest.raises(TimeoutError, match=r"no ninth device within 0.05 s; kubelet 1.36.*2/2.*accepted"):
            await kubelet.wait_for(lambda: False, timeout=0.05, what="ninth device")


async def test_a_fault_of_its_own_is_raised_at_the_end(kubelet_dir: Path) -> None:
    kubelet = FakeKubelet(kubelet_dir, release("1.36"))
    await kubelet.start()
    async with Plugin(kubelet_dir, release("1.36")) as plugin:
        plugin.devices = [("a", "Healthy")]
        kubelet._connections._take = None  # type: ignore[assignment,method-assign]
        await plugin.register()
        await asyncio.sleep(0.1)
        with pytest.raises(TypeError):
            await kubelet.stop()


def test_every_healthy_device_is_said_so() -> None:
    assert healthy("a") == {"a": "Healthy"}


@pytest.mark.parametrize(
    ("name", "left"),
    [
        ("1.8", {"folder", "to a folder", "to nothing"}),
        ("1.20", {"folder", "to a file", "to a folder", "to nothing"}),
        ("1.25", {"folder"}),
        ("1.36", {"file", "folder", "to a file", "to a folder", "to nothing"}),
    ],
)
async def test_what_a_starting_kubelet_deletes(name: str, left: set[str], kubelet_dir: Path) -> None:
    (kubelet_dir / "folder").mkdir()
    (kubelet_dir / "file").touch()
    for target in ("a file", "a folder", "nothing"):
        (kubelet_dir / f"to {target}").symlink_to(target.removeprefix("a "))
    async with Plugin(kubelet_dir, release(name)) as plugin:
        (kubelet_dir / "to a socket").symlink_to(plugin.name)
        async with FakeKubelet(kubelet_dir, release(name)):
            found = {path.name for path in kubelet_dir.iterdir()} - {"kubelet.sock"}
    assert found - {"to a file"} == left - {"to a file"}
