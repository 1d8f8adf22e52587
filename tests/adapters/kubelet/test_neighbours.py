"""The other device plugins of a node are found and asked for their options, and for nothing else."""

import os
import socket
import time
from pathlib import Path

import pytest

from adapters.fake_kubelet.plugin import Plugin
from plugin_gateway.adapters.fake_kubelet import release
from plugin_gateway.adapters.kubelet import neighbours
from plugin_gateway.adapters.kubelet.neighbours import Neighbour, Neighbours

OWN, OTHER = "0000000001-aaaa", "0000000002-bbbb"
GATEWAY = "plugin-gateway-nvidia.com_gpu-cbcbbfae-{}-1.sock"


def listening(path: Path) -> socket.socket:
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(path))
    listener.listen()
    return listener


@pytest.mark.parametrize("kubernetes", ["1.8", "1.9", "1.36"])
async def test_a_plugin_of_every_release_is_found_and_asked_once(kubelet_dir: Path, kubernetes: str) -> None:
    found = Neighbours(kubelet_dir, OWN)
    async with Plugin(kubelet_dir, release(kubernetes)) as plugin:
        for _ in range(3):
            assert await found.look() == [Neighbour("thing.sock", os.getpid(), is_gateway=False)]
        assert plugin.called == (["GetDevicePluginOptions"] if kubernetes == "1.36" else [])
        assert not plugin.agents, "nobody called ListAndWatch"
    assert await found.look() == []
    async with Plugin(kubelet_dir, release("1.36")) as another:
        await found.look()
        assert another.called == ["GetDevicePluginOptions"]


async def test_gateways_are_told_from_other_plugins_and_the_own_socket_is_left_out(kubelet_dir: Path) -> None:
    sockets = [listening(kubelet_dir / GATEWAY.format(each)) for each in (OWN, OTHER)]
    try:
        (found,) = await Neighbours(kubelet_dir, OWN).look()
    finally:
        for each in sockets:
            each.close()
    assert found == Neighbour(GATEWAY.format(OTHER), os.getpid(), is_gateway=True)


async def test_what_is_no_plugin_is_no_neighbour_and_costs_little(
    kubelet_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(neighbours, "TIMEOUT", 0.3)
    (kubelet_dir / "file").touch()
    (kubelet_dir / "gone").symlink_to("nowhere")
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(kubelet_dir / "dead.sock"))
    names = ("kubelet.sock", "silent.sock", "break\n.sock", "\udcff.sock", "per%20cent.sock")
    sockets = [listening(kubelet_dir / name) for name in names]
    try:
        found = Neighbours(kubelet_dir, OWN)
        assert await found.look() == []
        began = time.monotonic()
        assert await found.look() == []
        assert time.monotonic() - began < 0.3, "who does not answer is not asked again at once"
    finally:
        for each in sockets:
            each.close()
    assert await Neighbours(kubelet_dir / "nowhere", OWN).look() == []


async def test_many_that_do_not_answer_hide_no_plugin(kubelet_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(neighbours, "TIMEOUT", 0.5)
    sockets = [listening(kubelet_dir / f"silent-{number}.sock") for number in range(2 * neighbours.AT_ONCE)]
    found = Neighbours(kubelet_dir, OWN)
    try:
        async with Plugin(kubelet_dir, release("1.36")):
            began = time.monotonic()
            assert await found.look() == [Neighbour("thing.sock", os.getpid(), is_gateway=False)]
            assert time.monotonic() - began < 4 * neighbours.TIMEOUT, "they are asked side by side"
    finally:
        for each in sockets:
            each.close()
