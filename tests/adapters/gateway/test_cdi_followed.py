"""The CDI spec while driver and MIG layout change, and when it is written first. The driver is the stand-in."""

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from driver.driver import Call, Driver
from harness.cdi_schema import checked
from harness.driven import DrivenNode
from harness.driver_root import LIBRARIES, put_libraries
from harness.node import until
from plugin_gateway.adapters.fake_kubelet import FakeKubelet, release
from plugin_gateway.adapters.fake_kubelet.events import Event, EventKind
from plugin_gateway.adapters.gateway.observation_queue import FilesBox
from plugin_gateway.adapters.gateway.specs import Specs, SpecSettings
from plugin_gateway.core.cdi import FilesWanted
from plugin_gateway.core.resources.policy import AllocationPolicy, ListStrategy
from plugin_gateway.nvidia import watch
from plugin_gateway.nvidia.backend import NvmlBackend

from .cdi_scene import FILE, KIND, RESOURCE, V

DRIVER_NOT_LOADED = 9
NEXT = "580.65.06"
HALF, SEVENTH = "nvidia.com/mig-3g.40gb", "nvidia.com/mig-1g.10gb"
POLICY = AllocationPolicy(list_strategies=frozenset({ListStrategy.CDI_CRI}))


class DescribedNode(DrivenNode):
    """A gateway whose containers get their GPUs by CDI."""

    def __init__(self, kubelet_dir: Path, driver: Driver, folder: Path, strategy: str = "none") -> None:
        super().__init__(kubelet_dir, driver, strategy, POLICY)
        self.file = folder / FILE
        self._box = FilesBox()
        self._wanted = FilesWanted(str(driver.root), "", (), self._box.put)
        self._specs = Specs(SpecSettings(POLICY, folder, str(driver.root)), {"nvml": self._box})
        self.gateway.specs = self._specs
        put_libraries(driver.root, V)

    def make(self) -> NvmlBackend:
        made = super().make()
        made.want_files(self._wanted)
        return made

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        async with asyncio.TaskGroup() as tasks:
            writing = tasks.create_task(self._specs.run(self.gateway))
            async with super().running():
                yield
            writing.cancel()

    @property
    def hosts(self) -> set[str]:
        """The files of the host that every container gets."""
        return {each["hostPath"] for each in self._document["containerEdits"]["mounts"]}

    @property
    def nodes(self) -> dict[str, list[str]]:
        """The device nodes of each device."""
        devices = self._document["devices"]
        return {each["name"]: [node["path"] for node in each["containerEdits"]["deviceNodes"]] for each in devices}

    @property
    def _document(self) -> Any:
        return checked(self.file.read_bytes())


async def healthy(kubelet: FakeKubelet, resource: str, count: int) -> None:
    await kubelet.wait_for(
        lambda: kubelet.allocatable(resource) == count, timeout=15, what=f"{count} healthy devices of {resource}"
    )


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watch, "FILES_RETRY", 0.05)


async def test_the_resource_is_registered_while_libraries_are_looked_for(
    driver: Driver, kubelet_dir: Path, tmp_path: Path
) -> None:
    """A file that the search needs cannot be read until somebody writes into it."""
    held_up = driver.sysfs / "module/firmware_class/parameters/path"
    held_up.parent.mkdir(parents=True)
    os.mkfifo(held_up)
    node, events = DescribedNode(kubelet_dir, driver, tmp_path / "cdi"), list[Event]()
    async with FakeKubelet(kubelet_dir, release("1.37"), on_event=events.append) as kubelet, node.running():
        await until(lambda: EventKind.REGISTER in [each.kind for each in events], "Register", 15)
        try:
            assert (kubelet.lists, node.file.exists()) == ([], False), "neither a list nor a spec"
        finally:
            with held_up.open("r+b", buffering=0) as writer:  # also if the search has not come so far
                held_up.unlink()
                writer.write(b"/opt/firmware\n")
        await healthy(kubelet, RESOURCE, 8)
        assert [len(sent.devices) for sent in kubelet.lists] == [8], "the first list is the only one"
        assert (len(node.nodes), len(kubelet.registrations)) == (8, 1)


async def test_a_spec_follows_the_mig_layout(driver: Driver, kubelet_dir: Path, tmp_path: Path) -> None:
    driver.mig("0:3g.40gb,3g.40gb")
    node = DescribedNode(kubelet_dir, driver, tmp_path / "cdi", "mixed")
    async with FakeKubelet(kubelet_dir, release("1.37")) as kubelet, node.running():
        await healthy(kubelet, HALF, 2)
        halves, others = [driver.mig.uuid(0, slot) for slot in (0, 1)], [driver.uuid(index) for index in range(1, 8)]
        before = node.nodes
        assert before.keys() == {*halves, *others}
        assert [len(before[each]) for each in halves] == [3, 3], "of GPU, GPU instance and compute instance"
        driver.mig("0:1g.10gb")
        await healthy(kubelet, SEVENTH, 1)
        small = driver.mig.uuid(0, 0)
        assert node.nodes.keys() == {small, *others}
        container = await kubelet.allocate(SEVENTH, pod="pod", ids=[small])
        assert container.answer.cdi_devices == (f"{KIND}={small}",)


async def test_another_driver_has_its_own_libraries_before_devices_are_given_out_again(
    driver: Driver, kubelet_dir: Path, tmp_path: Path
) -> None:
    node = DescribedNode(kubelet_dir, driver, tmp_path / "cdi")
    async with FakeKubelet(kubelet_dir, release("1.37")) as kubelet, node.running():
        await healthy(kubelet, RESOURCE, 8)
        assert f"{driver.root}/{LIBRARIES}/libcuda.so.{V}" in node.hosts
        sessions = driver.sessions
        driver.fail(Call.COUNT, DRIVER_NOT_LOADED)
        await until(lambda: driver.sessions > sessions, "another session", 15)
        driver.load_module(NEXT)
        driver.fail(Call.COUNT, 0)
        await healthy(kubelet, RESOURCE, 0)
        await until(lambda: any(NEXT in wait.reason for wait in node.gateway.undescribed.values()), "the reason", 15)
        assert kubelet.allocatable(RESOURCE) == 0
        put_libraries(driver.root, NEXT)
        await healthy(kubelet, RESOURCE, 8)
        assert f"{driver.root}/{LIBRARIES}/libcuda.so.{NEXT}" in node.hosts
        assert not [path for path in node.hosts if path.endswith(V)]
