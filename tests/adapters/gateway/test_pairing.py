"""A container gets devices of two backends that are near each other, whichever of them the kubelet asks about first."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from harness.several import FIRST, GPUS, OTHER, OTHERS, Several, several
from plugin_gateway.adapters.commands.run.serving_policy import serving_policy
from plugin_gateway.adapters.fake_kubelet import FakeKubelet, Freedom, release
from plugin_gateway.adapters.serving import resource as served_resource
from plugin_gateway.core.devices import NO_LINKS
from plugin_gateway.core.resources.policy import Preferences
from plugin_gateway.nvidia import simulated_links

MACHINE = "simulated:8xH100,simulated:8xA100/name=other"
"""GPUs with the same index hang below the same bridge. The first four are on NUMA node 0. Their links are all alike."""
RELEASES = ("1.19", "1.25", "1.31", "1.37")
"""Those that ask which devices are preferred."""
MEANWHILE = 2.0
"""Seconds after which what was granted counts no more."""


class Clock:
    """The monotonic clock of the served resources, which can be put forward."""

    def __init__(self) -> None:
        self.ahead = 0.0

    def monotonic(self) -> float:
        return asyncio.get_running_loop().time() + self.ahead


class Machine:
    """A gateway with two backends, and its kubelet."""

    def __init__(self, node: Several, kubelet: FakeKubelet, clock: Clock) -> None:
        self.node = node
        self.kubelet = kubelet
        self._clock = clock
        self._pods = 0

    def pass_time(self) -> None:
        self._clock.ahead += MEANWHILE

    def ids(self, resource: str, *indexes: int) -> list[str]:
        devices = self.node.state(FIRST if resource == GPUS else OTHER).devices
        return [devices[index].id for index in indexes]

    async def take(self, resource: str, *indexes: int) -> None:
        """Give these devices to a pod of their own, so long ago that it does not count."""
        self._pods += 1
        await self.kubelet.allocate(resource, len(indexes), pod=f"taker-{self._pods}", ids=self.ids(resource, *indexes))
        self.pass_time()

    async def pod(self, *wants: tuple[str, int], freedom: Mapping[str, Freedom] | None = None) -> list[list[int]]:
        """Admit a pod that wants so many of these resources, in this order. Return the indexes that it gets."""
        self._pods += 1
        found = []
        for resource, count in wants:
            container = await self.kubelet.allocate(
                resource,
                count,
                pod=f"pod-{self._pods}",
                container=resource,
                freedom=(freedom or {}).get(resource, Freedom()),
            )
            found.append(sorted(self.ids(resource, *range(8)).index(each) for each in container.ids))
        return found


@pytest.fixture(params=RELEASES)
async def machine(
    request: pytest.FixtureRequest, kubelet_dir: Path, state_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Machine]:
    async with running(kubelet_dir, state_dir, monkeypatch, request.param) as made:
        yield made


@asynccontextmanager
async def running(
    kubelet_dir: Path, state_dir: Path, monkeypatch: pytest.MonkeyPatch, version: str = "1.36", text: str = MACHINE
) -> AsyncIterator[Machine]:
    clock = Clock()
    monkeypatch.setattr(served_resource, "time", clock)
    monkeypatch.setattr(simulated_links, "simulated_links", lambda _: NO_LINKS)
    node, others = Several(kubelet_dir, state_dir, text), 8 if "," in text else None
    async with FakeKubelet(kubelet_dir, release(version)) as kubelet, several(node):
        await kubelet.wait_for(
            lambda: (kubelet.allocatable(GPUS), kubelet.allocatable(OTHERS)) == (8, others), timeout=10, what="all"
        )
        yield Machine(node, kubelet, clock)


async def test_what_is_asked_about_second_is_near_what_was_given_first(machine: Machine) -> None:
    await machine.take(GPUS, 0, 1, 2)
    assert await machine.pod((GPUS, 1), (OTHERS, 1)) == [[3], [3]]
    await machine.take(OTHERS, 0, 1, 2)
    await machine.take(OTHERS, 4, 5)
    assert await machine.pod((OTHERS, 1), (GPUS, 1)) == [[6], [6]]


async def test_pods_one_after_the_other_do_not_mix(machine: Machine) -> None:
    await machine.take(GPUS, 0, 1, 2, 3, 4)
    await machine.take(OTHERS, 0)
    assert await machine.pod((GPUS, 1), (OTHERS, 1)) == [[5], [5]]
    assert await machine.pod((OTHERS, 1), (GPUS, 1)) == [[1], [6]], "what the pod before was given does not count"
    assert await machine.pod((GPUS, 1), (OTHERS, 1)) == [[7], [7]]
    assert await machine.pod((OTHERS, 1)) == [[2]]


async def test_with_nothing_on_the_bridge_it_is_on_the_numa_node(machine: Machine) -> None:
    await machine.take(GPUS, 0, 1, 2, 3)
    await machine.take(OTHERS, 4)
    assert await machine.pod((GPUS, 1), (OTHERS, 1)) == [[4], [5]]


async def test_several_devices_are_each_near_one(machine: Machine) -> None:
    await machine.take(GPUS, 0, 2, 4, 6)
    assert await machine.pod((GPUS, 4), (OTHERS, 4)) == [[1, 3, 5, 7], [1, 3, 5, 7]]


async def test_a_container_of_one_resource_is_not_paired_a_second_later(machine: Machine) -> None:
    await machine.take(GPUS, 5)
    assert await machine.pod((OTHERS, 1)) == [[0]]


async def test_a_wrong_guess_costs_distance_only(machine: Machine) -> None:
    await machine.kubelet.allocate(GPUS, 1, pod="a", ids=machine.ids(GPUS, 7))
    assert await machine.pod((OTHERS, 2)) == [[4, 7]], "the guess"
    assert await machine.pod((OTHERS, 2)) == [[0, 1]], "it is used once"


async def test_what_an_init_container_has_is_kept(machine: Machine) -> None:
    (reused,) = machine.ids(OTHERS, 1)
    await machine.take(OTHERS, 1)
    wants = ((GPUS, 1), (OTHERS, 2))
    await machine.take(GPUS, 0, 1, 2, 3)
    assert await machine.pod(*wants, freedom={OTHERS: Freedom(reused=(reused,))}) == [[4], [1, 4]]


async def test_the_topology_manager_comes_first(machine: Machine) -> None:
    """Of the aligned devices the nearest are taken. What is aligned may be far from what was given."""
    on_node = {name: machine.ids(name, 4, 5, 6, 7) for name in (GPUS, OTHERS)}
    aligned = {name: Freedom(aligned=ids) for name, ids in on_node.items()}
    await machine.take(GPUS, 4, 5)
    assert await machine.pod((GPUS, 1), (OTHERS, 1), freedom=aligned) == [[6], [6]]
    await machine.take(OTHERS, 4)
    assert await machine.pod((OTHERS, 1), (GPUS, 1), freedom=aligned) == [[5], [7]]
    assert await machine.pod((GPUS, 1), (OTHERS, 2), freedom=aligned) == [[0], [0, 7]], "nothing else is aligned"


async def test_it_can_be_switched_off_and_on_while_the_gateway_runs(machine: Machine) -> None:
    await machine.take(GPUS, 0, 1)
    gateway, policy = machine.node.gateway, serving_policy(machine.node.settings)
    gateway.apply(policy._replace(preferences=Preferences(pairs=False)))
    assert await machine.pod((GPUS, 1), (OTHERS, 1)) == [[2], [0]]
    gateway.apply(policy)
    assert await machine.pod((GPUS, 1), (OTHERS, 1)) == [[3], [3]]


async def test_one_backend_takes_note_of_nothing(
    kubelet_dir: Path, state_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with running(kubelet_dir, state_dir, monkeypatch, text="simulated:8xH100") as machine:
        assert {served.pairing for served in machine.node.gateway._served.values()} == {None}
        assert await machine.pod((GPUS, 2)) == [[0, 1]]


async def test_the_log_says_how_near_they_are(machine: Machine, told: list[dict[str, Any]]) -> None:
    await machine.take(GPUS, 0, 1)
    await machine.pod((GPUS, 1), (OTHERS, 2))
    (line,) = [each for each in told if each["event"] == "devices are preferred near those of other resources"]
    near, further = machine.ids(OTHERS, 2, 0)
    assert line["devices"]() == {near: "below one bridge", further: "on one NUMA node"}
    assert (line["resource"], line["others"]) == (OTHERS, {GPUS: machine.ids(GPUS, 2)})
