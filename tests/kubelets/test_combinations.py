"""Shared and divided devices with the genuine and the fake kubelet of each release. Nothing is granted twice."""

import asyncio
import signal
import tempfile
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, TypeAlias

import pytest

from driver.driver import Driver
from harness.node import RESOURCE
from harness.other_proc import reading
from harness.process import Process, run_to_end, started
from kubelets.combinations import COMBINATIONS, GPUS, Combination, Scenario, chosen_releases
from kubelets.fake import played
from kubelets.scene import Kubelet
from kubelets.table import COMBINED
from plugin_gateway.adapters.fake_kubelet import AdmissionError
from plugin_gateway.adapters.fake_kubelet.events import Container
from plugin_gateway.adapters.kubelet.checkpoint import DamagedCheckpointError, read_checkpoint
from plugin_gateway.core.devices import device_of

Make: TypeAlias = Callable[[Path, str], Kubelet]
SHARED_NODES = frozenset(f"/dev/{name}" for name in ("nvidiactl", "nvidia-uvm", "nvidia-uvm-tools"))
REFUSED = ("Failed to admit", "Predicate failed", "unavailable")
"""Parts of log lines about a pod that is refused."""
STREAM_ENDED = ("istAndWatch ended",)
"""The same, about a stream that ended."""
JUST_STARTED = (
    *STREAM_ENDED,
    "onnect to device plugin client",
    "onnecting to device plugin client",
    "onnect to new client",
)
"""The same, about a resource that is registered twice, because the kubelet had just started the first time."""
DEVICES_GONE = ("was deleted", *STREAM_ENDED)
DAMAGING = ("v1.8.", "v1.9.", "v1.10.")
"""Releases that write the checkpoint for several resources at the same time, so that it can be damaged or old."""
SETTLED = 0.3
"""Seconds after their last list until it is neither, on a busy machine."""
LIMIT = 40.0
"""Seconds until the kubelet knows of a change on a busy machine. Layouts and pods are looked at every 5 s."""
LARGE = "nvidia.com/mig-4g.40gb"
INSTEAD = "4g.40gb,2g.20gb,1g.10gb"
"""Its first device has the device nodes of the first `3g.40gb` of a GPU."""


def each(scenario: Scenario) -> Callable[[Any], Any]:
    """Run a test with each combination that can take part in the scenario, and with each chosen release."""
    cases = [
        pytest.param(combination, marks=pytest.mark.column(combination.column(scenario), table=COMBINED), id=name)
        for combination in COMBINATIONS
        if scenario in combination.scenarios
        for name in (combination.name.replace(" ", "-"),)
    ]

    def mark(test: Any) -> Any:
        return pytest.mark.parametrize("combination", cases)(
            pytest.mark.parametrize("release", chosen_releases())(pytest.mark.timeout(180)(test))
        )

    return mark


@pytest.fixture
def driver(tmp_path: Path) -> Iterator[Driver]:
    """A stand-in driver with as many GPUs as the combinations have."""
    made = Driver(tmp_path, gpus=GPUS)
    yield made
    made.close()


def devices(container: Container) -> list[str]:
    """Return the devices that the variable of a container names."""
    return container.environment["NVIDIA_VISIBLE_DEVICES"].split(",")


class Setup:
    """A kubelet with its pods, a gateway that offers devices in one way, and the driver."""

    def __init__(
        self,
        release: str,
        kubelet: Kubelet,
        process: Process,
        driver: Driver,
        combination: Combination,
        file: Path,
    ) -> None:
        self.release = release
        self.kubelet = kubelet
        self.process = process
        self.driver = driver
        self.file = file
        self.resource = combination.resource
        self.combination = combination
        self.replicas = combination.replicas
        self.nodes = {
            driver.uuid(place.gpu) if place.slot is None else driver.mig.uuid(place.gpu, place.slot): place.caps
            | {f"/dev/nvidia{place.gpu}"}
            for place in combination.devices()
        }
        """The device nodes of each device that the resource has at the start."""

    @property
    def all_replicas(self) -> int:
        return len(self.nodes) * self.replicas

    async def has(self, count: int, resource: str | None = None) -> None:
        name = resource or self.resource
        await self.kubelet.wait_for(
            lambda: (self.kubelet.allocatable(name) or 0) == count, timeout=LIMIT, what=f"{count} allocatable as {name}"
        )

    async def has_all(self) -> None:
        """Wait until the kubelet has all devices, also those of the other resources."""
        if self.combination.layout:
            await self.has(GPUS - len(self.combination.layout), RESOURCE)
            await self.has(1, "nvidia.com/mig-1g.10gb")
        await self.has(self.all_replicas)
        if self.release.startswith(DAMAGING):
            await asyncio.sleep(SETTLED)

    async def admit(self, pod: str, wanted: int = 1, resource: str | None = None) -> Container:
        """Admit a pod. Like a kubelet, make its folder, and remove it if the pod is refused."""
        folder = self.kubelet.directory.parent / "pods" / pod
        folder.mkdir(parents=True)
        try:
            container = await self.kubelet.allocate(resource or self.resource, wanted, pod=pod)
        except AdmissionError:
            folder.rmdir()
            raise
        await self.check_grants()
        return container

    async def end(self, pod: str) -> None:
        await self.kubelet.remove(pod)
        (self.kubelet.directory.parent / "pods" / pod).rmdir()

    async def granted(self) -> dict[str, set[tuple[str, str]]] | None:
        """Return what each pod holds, as resource and id, from the checkpoint. Pods that have ended are left out.

        None if it is damaged, and stays so: kubelets up to 1.10 write it for several resources at the same time.
        """
        living = {folder.name for folder in (self.kubelet.directory.parent / "pods").iterdir()}
        for _ in range(20):
            try:
                checkpoint = read_checkpoint(self.kubelet.directory)
            except DamagedCheckpointError:
                await asyncio.sleep(0.05)
                continue
            assert checkpoint is not None
            return {
                holder.pod: {(holder.resource, device) for device in holder.devices}
                for holder in checkpoint.holders
                if holder.pod in living
            }
        assert self.release.startswith(DAMAGING)
        return None

    async def check_grants(self) -> None:
        """Check that no id is with two pods, and no device is with two pods in two forms."""
        held = [one for pod in (await self.granted() or {}).values() for one in pod]
        assert len(held) == len(set(held)), "an id is with two pods"
        forms = {(device_of(id_), resource, "::" in id_) for resource, id_ in held}
        holdings = Counter(device for device, _, _ in forms)
        assert all(count == 1 for count in holdings.values()), "a device is with two pods in two forms"

    def withheld(self) -> set[str]:
        """Return the devices that the log says are not given out, at any time."""
        said = [line["devices"] for line in self.process.lines if line["event"] == "device is not given out"]
        return {device for devices in said for device in devices}

    def check_nodes(self, container: Container) -> None:
        """Check that a container has the device nodes of its devices, each once, and no others."""
        assert container.device_nodes.keys() == SHARED_NODES.union(
            *(self.nodes[device] for device in devices(container))
        )
        for path, node in container.device_nodes.items():
            assert node == (f"{self.driver.root}{path}", "rw")
        assert not container.answer.mounts

    async def reload(self, replicas: int) -> None:
        """Change the number of replicas in the file, and have it read."""
        before = self.process.events().count("configuration changed")
        self.file.write_text(self.combination.text(replicas))
        self.process.send(signal.SIGHUP)
        await self.process.wait_for_event("configuration changed", before + 1)
        self.replicas = replicas


@asynccontextmanager
async def setup(
    make: Make, kubelet_dir: Path, driver: Driver, release: str, combination: Combination
) -> AsyncIterator[Setup]:
    """Run a kubelet and a gateway inside the block. At the end the kubelet's log must have no unexpected complaint."""
    driver.mig(";".join(f"{gpu}:{layout}" for gpu, layout in combination.layout.items()))
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "config.yaml"
        file.write_text(combination.text(combination.replicas))
        flags = ("--kubelet-dir", str(kubelet_dir), "--driver-root", str(driver.root), "--config-file", str(file))
        async with (
            make(kubelet_dir, release) as kubelet,
            started(*flags, environment=driver.environment, within=reading(driver.proc)) as process,
        ):
            found = Setup(release, kubelet, process, driver, combination, file)
            await found.has_all()
            yield found
            assert not kubelet.complaints()
            assert "ends" not in process.events()


@each(Scenario.ALLOCATED)
async def test_containers_get_their_devices_and_no_device_is_granted_more_often_than_it_is_offered(
    make: Make, release: str, kubelet_dir: Path, driver: Driver, combination: Combination
) -> None:
    async with setup(make, kubelet_dir, driver, release, combination) as found:
        one = await found.admit("one")
        assert one.environment.keys() == {"NVIDIA_VISIBLE_DEVICES"}
        found.check_nodes(one)
        assert (await found.kubelet.start_container("one")).answer == one.answer
        found.kubelet.expected += REFUSED
        with pytest.raises(AdmissionError, match="equested"):
            await found.admit("too many", found.all_replicas)
        containers = [one, *[await found.admit(f"pod {number}") for number in range(1, found.all_replicas)]]
        assert Counter(device for each in containers for device in devices(each)) == dict.fromkeys(
            found.nodes, found.replicas
        )
        with pytest.raises(AdmissionError):
            await found.admit("one more")
        for pod in ("one", *(f"pod {number}" for number in range(1, found.all_replicas))):
            await found.end(pod)
        everything = await found.admit("everything", found.all_replicas)
        assert sorted(devices(everything)) == sorted(found.nodes), "each device is named once"
        found.check_nodes(everything)


@each(Scenario.GPU_FAILS)
async def test_a_gpu_that_fails_takes_out_all_its_replicas_and_parts_and_no_others(
    make: Make, release: str, kubelet_dir: Path, driver: Driver, combination: Combination
) -> None:
    async with setup(make, kubelet_dir, driver, release, combination) as found:
        of_gpu = {device for device, nodes in found.nodes.items() if "/dev/nvidia0" in nodes}
        left = found.all_replicas - len(of_gpu) * found.replicas
        driver.xid(0, 79)
        await found.has(left)
        rest = await found.admit("the rest", left)
        assert set(devices(rest)) == found.nodes.keys() - of_gpu
        await found.process.wait_for_control()
        assert (await run_to_end("health", "clear", driver.uuid(0)))[0] == 0
        await found.has(found.all_replicas)
        others = await found.admit("the others", found.all_replicas - left)
        assert set(devices(others)) == of_gpu


@each(Scenario.KUBELET_KILLED)
async def test_a_kubelet_that_is_killed_and_started_grants_nothing_again_that_its_checkpoint_has(
    make: Make, release: str, kubelet_dir: Path, driver: Driver, combination: Combination
) -> None:
    async with setup(make, kubelet_dir, driver, release, combination) as found:
        before = await found.admit("before", 2)
        found.kubelet.expected += JUST_STARTED
        held = await found.granted()
        await found.kubelet.restart_as()
        await found.has_all()
        assert (await found.kubelet.start_container("before")).answer == before.answer
        await found.admit("after", found.all_replicas - 2)
        after = await found.granted()
        if held is not None and after is not None and not release.startswith(DAMAGING):
            assert after["before"] == held["before"]
            assert len(after["after"]) == found.all_replicas - 2


@each(Scenario.REPLICAS_CHANGE)
async def test_another_number_of_replicas_keeps_what_is_granted_and_no_sharing_waits_for_its_pods(
    make: Make, release: str, kubelet_dir: Path, driver: Driver, combination: Combination
) -> None:
    async with setup(make, kubelet_dir, driver, release, combination) as found:
        found.kubelet.expected += DEVICES_GONE
        old = [await found.admit(f"old {number}") for number in range(2)]
        await found.reload(combination.replicas + 1)
        await found.has(found.all_replicas)
        await found.admit("more", 2)
        await found.reload(2)
        await found.has(found.all_replicas)
        await found.end("more")
        await found.reload(1)
        held = {device for each in old for device in devices(each)}
        await found.has(len(found.nodes) - len(held))
        assert found.withheld() >= held
        alone: set[str] = set()
        if not played(release).asks_at_every_start:  # 1.8 counts all that pods have of the resource, listed or not
            alone = set(devices(await found.admit("alone", len(found.nodes) - len(held))))
            assert not held & alone
        for number in range(2):
            await found.end(f"old {number}")
        await found.has(len(found.nodes))
        rest = await found.admit("the rest", len(found.nodes) - len(alone))
        assert set(devices(rest)) == found.nodes.keys() - alone


@each(Scenario.LAYOUT_CHANGES)
async def test_devices_of_another_layout_wait_for_the_pods_that_can_open_the_same_nodes(
    make: Make, release: str, kubelet_dir: Path, driver: Driver, combination: Combination
) -> None:
    async with setup(make, kubelet_dir, driver, release, combination) as found:
        found.kubelet.expected += DEVICES_GONE
        await found.admit("all", found.all_replicas)
        driver.mig(";".join(f"{gpu}:{INSTEAD}" for gpu in combination.layout))
        await found.has(0)
        await found.process.wait_for_event("device is not given out", limit=LIMIT)
        await found.has(len(combination.layout), "nvidia.com/mig-2g.20gb")
        assert not found.kubelet.allocatable(LARGE)
        free = await found.admit("free", resource="nvidia.com/mig-2g.20gb")
        assert set(devices(free)) <= {driver.mig.uuid(gpu, 1) for gpu in combination.layout}
        await found.end("all")
        await found.has(len(combination.layout), LARGE)
        new = await found.admit("new", len(combination.layout), LARGE)
        assert set(devices(new)) == {driver.mig.uuid(gpu, 0) for gpu in combination.layout}
