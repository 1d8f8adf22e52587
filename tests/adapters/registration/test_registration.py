"""Staying registered with whatever kubelet is there: every release, every reason, every change of release."""

import asyncio
import shutil
import time
from itertools import pairwise
from pathlib import Path

import pytest

from harness.node import RESOURCE, Node, device, running, until
from plugin_gateway.adapters.dialects.v1beta1 import V1BETA1
from plugin_gateway.adapters.fake_kubelet import FakeKubelet, release
from plugin_gateway.adapters.fake_kubelet.events import RegisterCall
from plugin_gateway.core.registration.retry import ABANDONED
from plugin_gateway.core.resources.names import parse_resource_name
from plugin_gateway.core.resources.rules import ResourceRule, Selector

RELEASES = ("1.8", "1.9", "1.10", "1.36", "1.37")
DIALECT = {"1.8": "0.1", "1.9": "v1alpha2", "1.10": "v1beta1", "1.36": "v1beta1", "1.37": "v1beta1"}
MODELS = ("H100", "A100", "L40S")
UPGRADES = ("1.8", "1.9", "1.10", "1.36", "1.37", "1.8")


async def eight_devices(kubelet: FakeKubelet, count: int = 8) -> None:
    await kubelet.wait_for(lambda: kubelet.allocatable(RESOURCE) == count, what=f"{count} allocatable devices")


def own_sockets(directory: Path) -> list[Path]:
    return sorted(directory.glob("plugin-gateway-*"))


def failures(node: Node) -> int:
    (resource,) = node.registrar._resources.values()
    return resource.registration.retry.failures


def assert_no_name_twice(kubelet: FakeKubelet) -> None:
    names = [call.endpoint for call in kubelet.registrations]
    assert len(set(names)) == len(names)


@pytest.mark.parametrize("name", RELEASES)
async def test_a_kubelet_of_every_release_gets_the_devices_in_its_dialect(name: str, kubelet_dir: Path) -> None:
    async with FakeKubelet(kubelet_dir, release(name)) as kubelet, running(Node(kubelet_dir)):
        await eight_devices(kubelet)
        accepted = [call for call in kubelet.registrations if call.error is None]
        assert [call.version for call in accepted] == [DIALECT[name]]
        container = await kubelet.allocate(RESOURCE, 2, pod="p", container="c")
        visible = container.environment["NVIDIA_VISIBLE_DEVICES"].split(",")
        assert sorted(visible) == sorted(container.ids)
        assert kubelet.open_streams(RESOURCE) == 1


@pytest.mark.parametrize(("before", "after"), list(pairwise(UPGRADES)))
async def test_a_kubelet_that_becomes_another_release_is_followed(before: str, after: str, kubelet_dir: Path) -> None:
    async with FakeKubelet(kubelet_dir, release(before)) as kubelet, running(Node(kubelet_dir)):
        await eight_devices(kubelet)
        known = len(kubelet.registrations)
        await kubelet.restart(release(after), kill=True)
        await eight_devices(kubelet)
        accepted = [call.version for call in kubelet.registrations[known:] if call.error is None]
        assert accepted == [DIALECT[after]]
        assert (await kubelet.allocate(RESOURCE, 8, pod="p", container="c")).environment


async def test_one_gateway_lives_through_all_releases_and_back(kubelet_dir: Path) -> None:
    async with FakeKubelet(kubelet_dir, release(UPGRADES[0])) as kubelet, running(Node(kubelet_dir)):
        await eight_devices(kubelet)
        for name in UPGRADES[1:]:
            await kubelet.restart(release(name))
            await eight_devices(kubelet)
        assert not kubelet.overlaps
        assert_no_name_twice(kubelet)
    assert not own_sockets(kubelet_dir)


@pytest.mark.parametrize("name", RELEASES)
async def test_a_kubelet_restart_is_followed_within_the_second(name: str, kubelet_dir: Path) -> None:
    async with FakeKubelet(kubelet_dir, release(name)) as kubelet, running(Node(kubelet_dir)):
        await eight_devices(kubelet)
        for _ in range(3):
            known = len(kubelet.registrations)
            await kubelet.restart(kill=True)
            await eight_devices(kubelet)
            assert len(kubelet.registrations) > known
        assert_no_name_twice(kubelet)
        assert not kubelet.overlaps


@pytest.mark.parametrize("name", RELEASES)
async def test_a_dropped_stream_is_registered_again_after_the_pause(name: str, kubelet_dir: Path) -> None:
    async with FakeKubelet(kubelet_dir, release(name)) as kubelet, running(Node(kubelet_dir)):
        await eight_devices(kubelet)
        known = len(kubelet.registrations)
        dropped = time.monotonic()
        await kubelet.drop_stream(RESOURCE)
        await kubelet.wait_for(lambda: len(kubelet.registrations) > known, what="a registration")
        assert kubelet.registrations[known].time - dropped >= 0.06
        await eight_devices(kubelet)
        assert not kubelet.overlaps
        assert_no_name_twice(kubelet)


@pytest.mark.parametrize("name", RELEASES)
async def test_a_deleted_socket_is_bound_again_and_nothing_else_happens(name: str, kubelet_dir: Path) -> None:
    """The stream lives on, and there is no second registration: 1.25 and later would lose track, 1.37 for good."""
    async with FakeKubelet(kubelet_dir, release(name)) as kubelet, running(Node(kubelet_dir)) as node:
        await eight_devices(kubelet)
        known = len(kubelet.registrations)
        await until(lambda: len(own_sockets(kubelet_dir)) == 1, "the end of the sockets of refused dialects")
        (old,) = own_sockets(kubelet_dir)
        old.unlink()
        await until(lambda: bool(own_sockets(kubelet_dir)), "a new socket")
        assert own_sockets(kubelet_dir) != [old]
        node.fail(2)
        await eight_devices(kubelet, 7)
        assert len(kubelet.registrations) == known
        assert (await kubelet.allocate(RESOURCE, 1, pod="p", container="c")).environment
        await kubelet.restart(kill=True)
        await eight_devices(kubelet, 7)
        assert_no_name_twice(kubelet)


@pytest.mark.parametrize("name", ["1.9", "1.37"])
async def test_a_replaced_directory_is_found(name: str, kubelet_dir: Path) -> None:
    directory = kubelet_dir / "device-plugins"
    async with FakeKubelet(directory, release(name)) as kubelet, running(Node(directory)):
        await eight_devices(kubelet)
        await kubelet.kill()
        shutil.rmtree(directory)
        await asyncio.sleep(0.1)
        await kubelet.start()
        await eight_devices(kubelet)


async def test_a_directory_that_comes_later_is_waited_for(kubelet_dir: Path) -> None:
    directory = kubelet_dir / "device-plugins"
    async with running(Node(directory)):
        await asyncio.sleep(0.1)
        async with FakeKubelet(directory, release("1.10")) as kubelet:
            await eight_devices(kubelet)


async def test_a_stale_socket_is_retried_until_a_kubelet_listens(kubelet_dir: Path) -> None:
    kubelet = FakeKubelet(kubelet_dir, release("1.36"))
    await kubelet.start()
    await kubelet.kill()
    async with running(Node(kubelet_dir)):
        await asyncio.sleep(0.2)
        await kubelet.start()
        await eight_devices(kubelet)
        await kubelet.stop()


async def test_a_name_that_reached_no_kubelet_stays_fresh(kubelet_dir: Path) -> None:
    """A kubelet that stays away for long must not cost a new socket for each attempt."""
    kubelet = FakeKubelet(kubelet_dir, release("1.36"))
    await kubelet.start()
    async with running(Node(kubelet_dir)) as node:
        await eight_devices(kubelet)
        await kubelet.kill()
        await until(lambda: failures(node) >= 1, "a registration that reached nobody")
        await until(lambda: len(own_sockets(kubelet_dir)) == 1, "the end of the socket that was told")
        before = own_sockets(kubelet_dir)
        await until(lambda: failures(node) >= ABANDONED + 1, "another one")
        assert own_sockets(kubelet_dir) == before
        await kubelet.start()
        await eight_devices(kubelet)
        await kubelet.stop()


async def test_without_inotify_the_safety_net_finds_everything(
    kubelet_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def used_up(**_: object) -> None:
        raise OSError(24, "Too many open files")

    monkeypatch.setattr("plugin_gateway.adapters.kubelet.directory.INotify", used_up)
    async with FakeKubelet(kubelet_dir, release("1.37")) as kubelet, running(Node(kubelet_dir)):
        await eight_devices(kubelet)
        (old,) = own_sockets(kubelet_dir)
        old.unlink()
        await until(lambda: bool(own_sockets(kubelet_dir)), "a new socket")
        await kubelet.restart(kill=True)
        await eight_devices(kubelet)


async def test_a_registration_whose_socket_is_deleted_meanwhile_is_made_again(kubelet_dir: Path) -> None:
    """1.8 and 1.9 lose a registration whose dial-back fails, and tell nobody."""
    async with FakeKubelet(kubelet_dir, release("1.9")) as kubelet:

        async def lose(_: object) -> None:
            if len(kubelet.registrations) <= 2:
                (kubelet_dir / kubelet.registrations[-1].endpoint).unlink()

        kubelet.on_register = lose
        async with running(Node(kubelet_dir)):
            await eight_devices(kubelet)
            assert_no_name_twice(kubelet)


async def test_a_refused_registration_is_tried_again(kubelet_dir: Path) -> None:
    async with FakeKubelet(kubelet_dir, release("1.36")) as kubelet:

        async def refuse(_: object) -> str | None:
            return "failed to get device plugin options: not yet" if len(kubelet.registrations) < 3 else None

        kubelet.on_register = refuse
        async with running(Node(kubelet_dir)):
            await eight_devices(kubelet)
        assert len(kubelet.registrations) == 3
        assert_no_name_twice(kubelet)


async def test_a_kubelet_replaced_while_it_registers_does_not_hold_anything_up(kubelet_dir: Path) -> None:
    async with FakeKubelet(kubelet_dir, release("1.36")) as kubelet:

        async def hang(_: object) -> None:
            await asyncio.sleep(30)

        kubelet.on_register = hang
        async with running(Node(kubelet_dir)):
            await kubelet.wait_for(lambda: bool(kubelet.registrations), what="a registration")
            kubelet.on_register = None
            await kubelet.restart(release("1.8"), kill=True)
            await eight_devices(kubelet)
            assert not kubelet.overlaps


@pytest.mark.parametrize("name", RELEASES)
async def test_two_gateways_do_not_fight_and_the_younger_takes_over(name: str, kubelet_dir: Path) -> None:
    async with FakeKubelet(kubelet_dir, release(name)) as kubelet:
        async with running(Node(kubelet_dir)):
            await eight_devices(kubelet)
            known = len(kubelet.registrations)
            await asyncio.sleep(0.01)
            async with running(Node(kubelet_dir)):
                await asyncio.sleep(0.5)
                assert len(kubelet.registrations) == known
                await kubelet.restart(kill=True)
                await eight_devices(kubelet)
                await asyncio.sleep(0.5)
                assert kubelet.open_streams(RESOURCE) == 1
                assert not kubelet.overlaps
        async with running(Node(kubelet_dir)):
            await eight_devices(kubelet)


async def test_the_younger_gateway_takes_over_when_the_elder_leaves(kubelet_dir: Path) -> None:
    async with FakeKubelet(kubelet_dir, release("1.36")) as kubelet:
        elder = Node(kubelet_dir)
        await asyncio.sleep(0.01)
        younger = Node(kubelet_dir)
        async with running(elder):
            await eight_devices(kubelet)
            waiting = running(younger)
            await waiting.__aenter__()
            await asyncio.sleep(0.2)
        try:
            await eight_devices(kubelet)
            assert not kubelet.overlaps
        finally:
            await waiting.__aexit__(None, None, None)


@pytest.mark.parametrize("name", RELEASES)
async def test_two_resources_are_registered_one_after_the_other(name: str, kubelet_dir: Path) -> None:
    rules = (
        ResourceRule(selector=Selector(products=("*A100*",)), name=parse_resource_name("nvidia.com/a100")),
        ResourceRule(name=RESOURCE),
    )
    node = Node(kubelet_dir, rules=rules)
    async with FakeKubelet(kubelet_dir, release(name)) as kubelet, running(node, devices=0):
        node.see([device(0), device(1, "NVIDIA A100-SXM4-80GB"), device(2)])
        await kubelet.wait_for(
            lambda: kubelet.allocatable(RESOURCE) == 2 and kubelet.allocatable("nvidia.com/a100") == 1,
            what="both resources",
        )
        times = [call.time for call in kubelet.registrations if call.error is None]
        if name == "1.8":
            assert min(later - earlier for earlier, later in pairwise(times)) >= 0.04


@pytest.mark.parametrize("minor", range(9, 38))
async def test_a_resource_that_is_not_answered_delays_no_other(minor: int, kubelet_dir: Path) -> None:
    """The limit is for a busy machine. Usual is 0.02 s. Genuine kubelets have the same test."""
    names = [parse_resource_name(f"nvidia.com/{model.lower()}") for model in MODELS]
    rules = tuple(
        ResourceRule(selector=Selector(products=(f"*{model}*",)), name=name)
        for model, name in zip(MODELS, names, strict=True)
    )
    async with FakeKubelet(kubelet_dir, release(f"1.{minor}")) as kubelet:

        async def answer_all_but_the_first(call: RegisterCall) -> None:
            if call.resource == kubelet.registrations[0].resource:
                await asyncio.sleep(30)

        kubelet.on_register = answer_all_but_the_first
        async with running(Node(kubelet_dir, rules=rules), devices=0) as node:
            node.see([device(index, f"NVIDIA {model}") for index, model in enumerate(MODELS)])
            await kubelet.wait_for(
                lambda: sum(kubelet.allocatable(name) or 0 for name in names) == 2, what="two of three"
            )
            assert not kubelet.allocatable(kubelet.registrations[0].resource)


async def test_only_the_allowed_dialects_are_tried(kubelet_dir: Path) -> None:
    async with FakeKubelet(kubelet_dir, release("1.9")) as kubelet, running(Node(kubelet_dir, allowed=(V1BETA1,))):
        await asyncio.sleep(0.5)
        assert not [call for call in kubelet.registrations if call.version != "v1beta1"]
        assert kubelet.capacity(RESOURCE) is None


async def test_a_kubelet_behind_a_link_is_registered_with_again_when_it_comes_back(
    kubelet_dir: Path, tmp_path: Path
) -> None:
    """Its socket lies in another directory, so that nothing changes in the one that is watched."""
    (kubelet_dir / "kubelet.sock").symlink_to(tmp_path / "kubelet.sock")
    kubelet = FakeKubelet(tmp_path, release("1.37"))
    async with running(Node(kubelet_dir)):
        async with kubelet:
            await kubelet.wait_for(lambda: bool(kubelet.registrations), what="a registration")
        known = len(kubelet.registrations)
        await asyncio.sleep(2.5)
        async with kubelet:
            await kubelet.wait_for(lambda: len(kubelet.registrations) > known, what="another registration")
