"""A file that shares GPUs and is changed while pods hold some: from the text to what the kubelet gives out."""

import json
import signal
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from adapters.registration.waiting import allocatable
from driver.driver import Driver
from harness.node import RESOURCE
from harness.process import Process, run_to_end, started
from plugin_gateway.adapters.fake_kubelet import AdmissionError, FakeKubelet, release
from plugin_gateway.core.resources.assignment import Health
from plugin_gateway.core.resources.names import ResourceName

SHARED = ResourceName(f"{RESOURCE}.shared")


@pytest.fixture
def driver(tmp_path: Path) -> Iterator[Driver]:
    """A stand-in driver with two GPUs."""
    made = Driver(tmp_path, gpus=2)
    yield made
    made.close()


class Setup:
    """A gateway with a file, a kubelet, and a driver with two GPUs."""

    def __init__(self, kubelet: FakeKubelet, process: Process, driver: Driver, file: Path) -> None:
        self.kubelet = kubelet
        self.process = process
        self.file = file
        self.ids = [driver.uuid(index) for index in range(2)]

    def replicas(self, index: int, count: int) -> set[str]:
        return {f"{self.ids[index]}::{number}" for number in range(count)}

    async def reload(self, text: str) -> Sequence[str]:
        """Change the file, and return what the gateway says has changed."""
        before = self.process.events().count("configuration changed")
        self.file.write_text(f"version: v1\n{text}\n")
        self.process.send(signal.SIGHUP)
        changed: Sequence[str] = (await self.process.wait_for_event("configuration changed", before + 1))["changed"]
        return changed

    async def listed(self, ids: set[str], resource: ResourceName = RESOURCE, limit: float = 5) -> None:
        await self.kubelet.wait_for(
            lambda: set(self.kubelet.devices(resource)) == ids, timeout=limit, what=f"a list of {sorted(ids)}"
        )

    def unhealthy(self, resource: ResourceName = RESOURCE) -> set[str]:
        return {each for each, health in self.kubelet.devices(resource).items() if health == Health.UNHEALTHY.value}


def sliced(replicas: int, others: str = "") -> str:
    return f"sharing: {{timeSlicing: {{resources: [{{name: gpu, replicas: {replicas}{others}}}]}}}}"


@asynccontextmanager
async def gateway(
    kubelet_dir: Path, driver: Driver, tmp_path: Path, text: str, kubelet: str = "1.37"
) -> AsyncIterator[Setup]:
    file = tmp_path / "config.yaml"
    file.write_text(f"version: v1\n{text}\n")
    arguments = ("--kubelet-dir", str(kubelet_dir), "--driver-root", str(driver.root), "--config-file", str(file))
    async with (
        FakeKubelet(kubelet_dir, release(kubelet)) as running,
        started(*arguments, environment=driver.environment) as process,
    ):
        await process.wait_for_control()
        yield Setup(running, process, driver, file)


async def test_more_and_fewer_replicas_keep_the_ids_that_stay_and_let_granted_ones_finish(
    kubelet_dir: Path, driver: Driver, tmp_path: Path
) -> None:
    async with gateway(kubelet_dir, driver, tmp_path, sliced(3)) as setup:
        await allocatable(setup.kubelet, 6)
        first = await setup.kubelet.allocate(RESOURCE, pod="uid-1", ids=[f"{setup.ids[0]}::2"])
        assert first.environment == {"NVIDIA_VISIBLE_DEVICES": setup.ids[0]}
        assert await setup.reload(sliced(4)) == ["resources: *=nvidia.com/gpu x3 -> *=nvidia.com/gpu x4"]
        await setup.listed(setup.replicas(0, 4) | setup.replicas(1, 4))
        await setup.kubelet.allocate(RESOURCE, pod="uid-2", ids=[f"{setup.ids[0]}::3"])
        await setup.reload(sliced(2))
        kept = {f"{setup.ids[0]}::2", f"{setup.ids[0]}::3"}
        stays = setup.replicas(0, 2) | setup.replicas(1, 2)
        await setup.listed(stays | kept)
        assert setup.unhealthy() == kept, "the kubelet may not have stored yet that they are granted"
        await setup.listed(stays, limit=10)
        assert not setup.unhealthy(), "the number of replicas is no other form, so nothing is withheld"
        assert setup.kubelet.pods == ["uid-1", "uid-2"]
        await setup.kubelet.allocate(RESOURCE, pod="uid-3", ids=[f"{setup.ids[0]}::1"])
        assert setup.process.events().count("resource added") == 1, "it is registered once"


@pytest.mark.parametrize(
    ("before", "held", "after", "name", "count", "words"),
    [
        ("", "", sliced(2), RESOURCE, 4, "nvidia.com/gpu (not shared)"),
        (sliced(2), "::1", "", RESOURCE, 2, "nvidia.com/gpu (shared)"),
        (sliced(2), "::1", sliced(2, ", rename: gpu.shared"), SHARED, 4, "nvidia.com/gpu"),
        ("", "", sliced(3, ", devices: [0], rename: gpu.shared"), SHARED, 3, "nvidia.com/gpu"),
    ],
    ids=["exclusive to shared", "shared to exclusive", "to another name", "one of them to another name"],
)
async def test_another_form_waits_for_the_pods_that_hold_the_old_one(
    before: str, held: str, after: str, name: ResourceName, count: int, words: str,
    kubelet_dir: Path, driver: Driver, tmp_path: Path,
) -> None:  # fmt: skip
    async with gateway(kubelet_dir, driver, tmp_path, before) as setup:
        await allocatable(setup.kubelet, 4 if before else 2)
        await setup.kubelet.allocate(RESOURCE, pod="uid-1", container="main", ids=[f"{setup.ids[0]}{held}"])
        await setup.reload(after)
        line = await setup.process.wait_for_event("device is not given out")
        assert (line["devices"], line["what"]) == ([setup.ids[0]], f"held as {words} by uid-1 main")
        await setup.kubelet.wait_for(lambda: setup.kubelet.capacity(name) == count, timeout=10, what="the new form")
        assert {each.partition("::")[0] for each in setup.unhealthy(name)} == {setup.ids[0]}
        await setup.kubelet.remove("uid-1")
        free = [
            (each, known) for each in (RESOURCE, name) for known in setup.kubelet.devices(each) if setup.ids[1] in known
        ]
        await setup.kubelet.allocate(free[-1][0], pod="uid-2", ids=[free[-1][1]])  # only now it forgets the other pod
        await setup.kubelet.wait_for(
            lambda: setup.kubelet.allocatable(name) == count, timeout=15, what="the new form without the old one"
        )


async def test_a_device_that_a_rule_excludes_leaves_the_list_and_comes_back(
    kubelet_dir: Path, driver: Driver, tmp_path: Path
) -> None:
    async with gateway(kubelet_dir, driver, tmp_path, sliced(2)) as setup:
        await setup.listed(setup.replicas(0, 2) | setup.replicas(1, 2))
        never = f"resources: {{rules: [{{uuid: {setup.ids[0]}, never: true}}]}}\n{sliced(2)}"
        await setup.reload(never)
        await setup.listed(setup.replicas(1, 2))
        told = json.loads((await run_to_end("status", "--json"))[1])
        assert [(each["resource"], each["health"]) for each in told["devices"]] == [
            (None, "healthy"),
            (RESOURCE, "healthy"),
        ]
        await setup.reload(sliced(2))
        await setup.listed(setup.replicas(0, 2) | setup.replicas(1, 2))


async def test_rules_of_ours_share_each_device_differently(kubelet_dir: Path, driver: Driver, tmp_path: Path) -> None:
    text = """\
resources:
  rules:
  - {index: 0, name: gpu.shared, replicas: 2, failRequestsGreaterThanOne: true}
  - {index: 1, name: gpu, replicas: 1}
"""
    async with gateway(kubelet_dir, driver, tmp_path, text, "1.9") as setup:
        await setup.listed(setup.replicas(0, 2), SHARED)
        await setup.listed({setup.ids[1]})
        with pytest.raises(AdmissionError, match="at most 1 shared device, 2 were asked for"):
            await setup.kubelet.allocate(SHARED, 2, pod="uid-1")
        driver.xid(0, 79)
        await allocatable(setup.kubelet, 0, SHARED)
        assert setup.unhealthy(SHARED) == setup.replicas(0, 2)
        assert not setup.unhealthy()
