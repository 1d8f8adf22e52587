"""A container with a GPU and a network card gets both below one bridge, whichever the kubelet asks about first.

A kubelet asks about the resources of a container in the order of a Go map, which is another one each time. The topology
manager limits what can be chosen to one NUMA node, and both devices are on it.
"""

import asyncio
import random
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from harness.process import Process, started
from kubelets.fake import FakeAsGenuine, played
from kubelets.genuine import GENUINE, GenuineKubelet
from plugin_gateway.adapters.fake_kubelet import Freedom
from plugin_gateway.adapters.fake_kubelet.events import Container
from plugin_gateway.adapters.kubelet.checkpoint import read_checkpoint
from plugin_gateway.core.resources.pairing import MAX_AGE
from plugin_gateway.nvidia.simulated import parse_spec

GPUS, CARDS = "nvidia.com/gpu", "example.com/roce"
MACHINE = "simulated:8xH100,simulated-rdma:8xCX7+2"
"""GPU and card with the same number hang below the same bridge. The first four of each are on NUMA node 0."""
COUNTS = {GPUS: 8, CARDS: 16}
WAYS = {"exclusive": "select: {functions: vf}", "shared": 'replicas: 2, select: {interfaces: ["ens*f0np0"]}'}
"""How cards are offered: each virtual function once, or the first port of each card twice."""
PREFERRING = [release for release in GENUINE if played(release).prefers]
POLICIES = ("none", "best-effort", "single-numa-node")
PREFERRED = "devices are preferred near those of other resources"
MAX_PODS = 60
"""Until both orders were seen. By chance one is not seen in one of 2^59 runs."""


class Genuine(GenuineKubelet):
    async def admit(self, pod: str) -> list[Container]:
        """Admit a pod with a container that wants one device of each resource."""
        return [await self.allocate(GPUS, 1, pod=pod, further={CARDS: 1})]


class Fake(FakeAsGenuine):
    """With a topology manager it takes the first NUMA node, which has devices of both resources in these tests."""

    def __init__(self, directory: Path, name: str, topology_policy: str) -> None:
        super().__init__(directory, name)
        self._is_aligned = topology_policy != "none"

    async def admit(self, pod: str) -> list[Container]:
        containers = []
        for resource in random.sample((GPUS, CARDS), 2):
            on_node = [each for each in self.devices(resource) if number(each) < 4]
            freedom = Freedom(aligned=on_node if self._is_aligned else None)
            containers.append(await self.allocate(resource, 1, pod=pod, container=resource, freedom=freedom))
        return containers


UUIDS = {str(gpu.id): gpu.index for gpu in parse_spec("8xH100")}


def number(device: str) -> int:
    """Return the number of a GPU, or that of the card, which has a bus of its own."""
    return UUIDS[device] if device in UUIDS else int(device.split(":")[1], 16) // 2 - 1


class Node:
    """A kubelet, and a gateway with two backends. GPU 0, and one of each of the cards 0 to 2 are taken.

    Of what is left, GPU 1 is preferred, because its neighbour is taken, and card 3, because least of it is given away.
    """

    def __init__(self, kubelet: Genuine | Fake, process: Process, way: str) -> None:
        self.kubelet = kubelet
        self.process = process
        self._is_exclusive = way == "exclusive"

    async def take(self) -> None:
        await self.kubelet.allocate(GPUS, 1, pod="taker")
        for card in range(3):
            await self.kubelet.allocate(CARDS, 1, pod=f"taker-{card}")
            assert self.given(f"taker-{card}") == {CARDS: card}
        assert self.given("taker") == {GPUS: 0}
        await asyncio.sleep(MAX_AGE + 0.1)

    async def pod(self) -> tuple[int, int]:
        """Return the numbers of the GPU and the card that a pod with one of each gets."""
        containers = await self.kubelet.admit("pod")
        given = self.given("pod")
        told = {name: value for each in containers for name, value in each.environment.items()}
        assert number(told["NVIDIA_VISIBLE_DEVICES"]) == given[GPUS]
        if self._is_exclusive:
            assert number(told["PCIDEVICE_EXAMPLE_COM_ROCE"]) == given[CARDS]
        await self.kubelet.remove("pod")
        return given[GPUS], given[CARDS]

    def given(self, pod: str) -> Mapping[str, int]:
        """Return the number of the one device of each resource, as the kubelet's checkpoint has it."""
        found = read_checkpoint(self.kubelet.directory)
        assert found is not None
        ids = {holder.resource: holder.devices for holder in found.holders if holder.pod == pod}
        return {resource: number(device) for resource, (device,) in ids.items()}


@asynccontextmanager
async def node(
    kind: type[Genuine | Fake], release: str, policy: str, directory: Path, *flags: str, way: str = "exclusive"
) -> AsyncIterator[Node]:
    config = directory.parent / "config.yaml"
    config.write_text(f"version: v1\nresources: {{rdma: [{{name: {CARDS}, sharing: {way}, {WAYS[way]}}}]}}\n")
    arguments = (f"--kubelet-dir={directory}", f"--backend={MACHINE}", f"--config-file={config}", "--log-level=debug")
    async with kind(directory, release, policy) as kubelet, started(*arguments, *flags) as process:
        await kubelet.wait_for(
            lambda: {name: kubelet.allocatable(name) for name in COUNTS} == COUNTS, timeout=20, what="devices"
        )
        made = Node(kubelet, process, way)
        await made.take()
        yield made
        assert not kubelet.complaints()


each_kubelet = pytest.mark.parametrize("kind", [Genuine, Fake])
each_release = pytest.mark.parametrize("release", PREFERRING)
each_policy = pytest.mark.parametrize("policy", POLICIES)


@pytest.mark.timeout(120)
@each_kubelet
@each_release
@each_policy
async def test_both_devices_are_below_one_bridge_in_both_orders(
    kind: type[Genuine | Fake], release: str, policy: str, kubelet_dir: Path
) -> None:
    await check_both_orders(kind, release, policy, kubelet_dir, "exclusive")


@pytest.mark.timeout(120)
@each_kubelet
@each_release
async def test_a_share_of_the_card_below_the_bridge_is_given(
    kind: type[Genuine | Fake], release: str, kubelet_dir: Path
) -> None:
    await check_both_orders(kind, release, "none", kubelet_dir, "shared")


async def check_both_orders(kind: type[Genuine | Fake], release: str, policy: str, kubelet_dir: Path, way: str) -> None:
    async with node(kind, release, policy, kubelet_dir, way=way) as made:
        seen: dict[str, tuple[int, int]] = {}
        for pods in range(1, MAX_PODS):
            given = await made.pod()
            second = (await made.process.wait_for_event(PREFERRED, pods + 1))["resource"]
            assert seen.setdefault(second, given) == given
            if len(seen) == 2:
                break
        assert seen == {CARDS: (1, 1), GPUS: (3, 3)}, "which was second, and what the pod got"


@pytest.mark.timeout(120)
@each_kubelet
@each_release
async def test_without_pairing_each_resource_is_for_itself(
    kind: type[Genuine | Fake], release: str, kubelet_dir: Path
) -> None:
    async with node(kind, release, "best-effort", kubelet_dir, "--pair-devices=false") as made:
        assert {await made.pod() for _ in range(8)} == {(1, 3)}
        assert PREFERRED not in made.process.events()
