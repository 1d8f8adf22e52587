"""A container with two resources gets devices that hang below one bridge, whichever the kubelet asks about first.

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
from harness.several import GPUS, OTHERS
from kubelets.fake import FakeAsGenuine, played
from kubelets.genuine import GENUINE, GenuineKubelet
from plugin_gateway.adapters.fake_kubelet import Freedom
from plugin_gateway.adapters.kubelet.checkpoint import read_checkpoint
from plugin_gateway.core.resources.pairing import MAX_AGE
from plugin_gateway.nvidia.simulated import parse_spec

SPECS = {GPUS: "8xH100", OTHERS: "8xA100/name=other"}
"""GPUs with the same index hang below the same bridge. The first four are on NUMA node 0."""
MACHINE = ",".join(f"simulated:{spec}" for spec in SPECS.values())
DEVICES = {name: parse_spec(spec) for name, spec in SPECS.items()}
PREFERRING = [release for release in GENUINE if played(release).prefers]
POLICIES = ("none", "best-effort", "single-numa-node")
PREFERRED = "devices are preferred near those of other resources"
MAX_PODS = 60
"""Until both orders were seen. By chance one is not seen in one of 2^59 runs."""


class Genuine(GenuineKubelet):
    async def admit(self, pod: str) -> None:
        """Admit a pod with a container that wants one device of each resource."""
        await self.allocate(GPUS, 1, pod=pod, further={OTHERS: 1})


class Fake(FakeAsGenuine):
    """With a topology manager it takes the first NUMA node, which has devices of both resources in these tests."""

    def __init__(self, directory: Path, name: str, topology_policy: str) -> None:
        super().__init__(directory, name)
        self._is_aligned = topology_policy != "none"

    async def admit(self, pod: str) -> None:
        for resource in random.sample((GPUS, OTHERS), 2):
            on_node = [str(each.id) for each in DEVICES[resource] if each.numa_node == 0]
            freedom = Freedom(aligned=on_node if self._is_aligned else None)
            await self.allocate(resource, 1, pod=pod, container=resource, freedom=freedom)


class Node:
    """A kubelet, and a gateway with two backends. GPU 0 of the first and GPU 2 of the other are taken.

    Of the GPUs that are left, one whose neighbour is taken is preferred: 1 of the first backend, and 3 of the other.
    """

    def __init__(self, kubelet: Genuine | Fake, process: Process) -> None:
        self.kubelet = kubelet
        self.process = process

    async def take(self) -> None:
        await self.kubelet.allocate(GPUS, 1, pod="taker")
        for index in range(3):
            await self.kubelet.allocate(OTHERS, 1, pod=f"taker-{index}")
            assert self.given(f"taker-{index}") == {OTHERS: index}
        assert self.given("taker") == {GPUS: 0}
        for index in range(2):
            await self.kubelet.remove(f"taker-{index}")
        await asyncio.sleep(MAX_AGE + 0.1)

    async def pod(self) -> tuple[int, int]:
        """Return the indexes of the GPUs that a pod with one of each gets."""
        await self.kubelet.admit("pod")
        given = self.given("pod")
        await self.kubelet.remove("pod")
        return given[GPUS], given[OTHERS]

    def given(self, pod: str) -> Mapping[str, int]:
        """Return the index of the one device of each resource, as the kubelet's checkpoint has it."""
        found = read_checkpoint(self.kubelet.directory)
        assert found is not None
        ids = {holder.resource: holder.devices for holder in found.holders if holder.pod == pod}
        return {
            resource: next(each.index for each in DEVICES[resource] if str(each.id) in devices)
            for resource, devices in ids.items()
        }


@asynccontextmanager
async def node(
    kind: type[Genuine | Fake], release: str, policy: str, directory: Path, *flags: str
) -> AsyncIterator[Node]:
    arguments = (f"--kubelet-dir={directory}", f"--backend={MACHINE}", "--log-level=debug", *flags)
    async with kind(directory, release, policy) as kubelet, started(*arguments) as process:
        await kubelet.wait_for(
            lambda: kubelet.allocatable(GPUS) == kubelet.allocatable(OTHERS) == 8, timeout=20, what="devices"
        )
        kubelet.expected.append("conflicting setting")  # both are GPUs here, and have the same variable
        made = Node(kubelet, process)
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
    async with node(kind, release, policy, kubelet_dir) as made:
        seen: dict[str, tuple[int, int]] = {}
        for pods in range(1, MAX_PODS):
            given = await made.pod()
            second = (await made.process.wait_for_event(PREFERRED, pods + 1))["resource"]
            assert seen.setdefault(second, given) == given
            if len(seen) == 2:
                break
        assert seen == {OTHERS: (1, 1), GPUS: (3, 3)}, "which was second, and what the pod got"


@pytest.mark.timeout(120)
@each_kubelet
@each_release
async def test_without_pairing_each_resource_is_for_itself(
    kind: type[Genuine | Fake], release: str, kubelet_dir: Path
) -> None:
    async with node(kind, release, "best-effort", kubelet_dir, "--pair-devices=false") as made:
        assert {await made.pod() for _ in range(8)} == {(1, 3)}
        assert PREFERRED not in made.process.events()
