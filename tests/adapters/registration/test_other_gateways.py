"""Two gateways of one resource on a node: only one of them has a stream."""

import asyncio
import socket
import time
from pathlib import Path

import pytest

from adapters.registration.waiting import allocatable, reason
from harness.node import RESOURCE, Node, device, running, until
from plugin_gateway.adapters.fake_kubelet import FakeKubelet, release
from plugin_gateway.adapters.kubelet.plugin_sockets import PREFIX, STREAM_OPEN, OwnSockets
from plugin_gateway.core.registration import pauses
from plugin_gateway.core.registration.failures import Reason


async def test_an_elder_whose_devices_come_late_leaves_the_stream_to_the_younger(kubelet_dir: Path) -> None:
    async with FakeKubelet(kubelet_dir, release("1.36")) as kubelet:
        elder = Node(kubelet_dir)
        await asyncio.sleep(0.01)
        younger = Node(kubelet_dir)
        async with running(elder, devices=0):
            async with running(younger):
                await allocatable(kubelet)
                held = held_sockets(kubelet_dir)
                assert len(held) == 1
                known = len(kubelet.registrations)
                elder.see([device(index) for index in range(8)])
                await asyncio.sleep(1.3)
                assert len(kubelet.registrations) == known
            left = time.monotonic()
            await kubelet.wait_for(lambda: len(kubelet.registrations) > known, what="the elder's registration")
            assert time.monotonic() - left >= pauses.TAKE_OVER.seconds - 0.1
            await allocatable(kubelet)
            assert reason(elder) is Reason.OTHER_GATEWAY_LEFT
            assert not kubelet.overlaps


async def test_of_two_gateways_that_both_got_a_stream_the_younger_yields(
    kubelet_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They began at the same instant, neither saw the other's socket."""
    async with FakeKubelet(kubelet_dir, release("1.36")) as kubelet:
        elder = Node(kubelet_dir)
        await asyncio.sleep(0.01)
        younger = Node(kubelet_dir)
        with monkeypatch.context() as blind:
            blind.setattr("plugin_gateway.adapters.kubelet.plugin_sockets.OwnSockets.look_for_others", lambda *_: [])
            blind.setattr("plugin_gateway.adapters.kubelet.plugin_sockets.OwnSockets.has_newcomers", lambda *_: False)
            async with running(elder):
                await allocatable(kubelet)
                waiting = running(younger)
                await waiting.__aenter__()
                await kubelet.wait_for(lambda: kubelet.open_streams(RESOURCE) == 2, what="two streams")
                blind.undo()
                (kubelet_dir / "anything").touch()
                try:
                    await kubelet.wait_for(lambda: kubelet.open_streams(RESOURCE) == 1, what="the end of one")
                    await until(lambda: reason(younger) is Reason.OTHER_GATEWAY_CAME, "the younger's reason")
                    await allocatable(kubelet)
                finally:
                    await waiting.__aexit__(None, None, None)


def held_sockets(directory: Path) -> list[Path]:
    """Find those that show that a stream is held."""
    return [path for path in directory.glob(f"{PREFIX}*") if path.stat().st_mode & STREAM_OPEN]


async def test_a_socket_that_is_bound_again_still_shows_the_stream_that_is_held(kubelet_dir: Path) -> None:
    async with FakeKubelet(kubelet_dir, release("1.36")) as kubelet:
        elder = Node(kubelet_dir)
        await asyncio.sleep(0.01)
        async with running(elder, devices=0), running(Node(kubelet_dir)):
            await allocatable(kubelet)
            elder.see([device(index) for index in range(8)])
            await until(lambda: len(list(kubelet_dir.glob(f"{PREFIX}*"))) == 2, "the elder's socket")
            await until(lambda: bool(held_sockets(kubelet_dir)), "the bit that says that a stream is held")
            (held,) = held_sockets(kubelet_dir)
            held.unlink()
            await until(lambda: len(list(kubelet_dir.glob(f"{PREFIX}*"))) == 2, "the socket in place of it")
            await asyncio.sleep(pauses.TAKE_OVER.seconds + 1.1)
            assert kubelet.open_streams(RESOURCE) == 1
            assert len(kubelet.registrations) == 1


async def test_a_socket_whose_mode_somebody_changes_shows_again_that_a_stream_is_held(kubelet_dir: Path) -> None:
    async with FakeKubelet(kubelet_dir, release("1.36")) as kubelet, running(Node(kubelet_dir)):
        await allocatable(kubelet)
        await until(lambda: bool(held_sockets(kubelet_dir)), "the bit that says that a stream is held")
        (held,) = held_sockets(kubelet_dir)
        held.chmod(0o755)
        async with running(Node(kubelet_dir)):
            await until(lambda: bool(held.stat().st_mode & STREAM_OPEN), "the bit that says so")
        assert len(kubelet.registrations) == 1


async def test_a_socket_that_a_killed_gateway_left_a_moment_ago_is_removed_in_the_end(kubelet_dir: Path) -> None:
    """It is too young at the first looks, and nothing in the directory changes after them."""
    async with FakeKubelet(kubelet_dir, release("1.37")) as kubelet:
        dead = OwnSockets(kubelet_dir).fresh_path(RESOURCE)
        with socket.socket(socket.AF_UNIX) as killed:
            killed.bind(str(dead))
        async with running(Node(kubelet_dir)):
            await allocatable(kubelet)
            assert dead.exists()
            await until(lambda: not dead.exists(), "the end of the dead socket")
            assert len(list(kubelet_dir.glob(f"{PREFIX}*"))) == 1
