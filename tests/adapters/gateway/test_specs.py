"""The CDI specs of a gateway inside the process of the test."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from harness import devices
from harness.cdi_schema import checked
from harness.hosts import EveryNode
from harness.node import RESOURCE, Node, device, until
from plugin_gateway.adapters.gateway import specs as specs_module
from plugin_gateway.adapters.gateway.observation_queue import FilesBox
from plugin_gateway.adapters.gateway.specs import Specs, SpecSettings
from plugin_gateway.core.cdi import CdiEdits, DriverFiles
from plugin_gateway.core.devices import Device
from plugin_gateway.core.health.observations import DriverSeen, InventorySeen
from plugin_gateway.core.resources.policy import AllocationPolicy, DeviceIdStrategy, ListStrategy

KIND = "k8s.example.com/card"
RECIPE = replace(devices.RECIPE, cdi_kind=KIND)
POLICY = AllocationPolicy(list_strategies=frozenset({ListStrategy.CDI_CRI}))
OLD, NEW = ("570.1", "1"), ("580.2", "2")


class Scene:
    """A gateway with CDI specs, whose driver and host the test plays."""

    def __init__(self, folder: Path, kubelet_dir: Path) -> None:
        self.folder = folder / "cdi"
        self.dev = folder / "dev"
        self.dev.mkdir()
        self.box = FilesBox()
        self.node = Node(kubelet_dir)
        self.specs = Specs(SpecSettings(POLICY, self.folder, str(folder)), {"nvml": self.box})
        served = self.node.serving_policy._replace(policy=POLICY, nodes=EveryNode())
        self.node.gateway.specs = self.specs
        self.node.gateway.apply(served)

    def see(self, *seen: Device) -> None:
        for each in seen:
            for path in each.nodes:
                (self.dev / path.rpartition("/")[2]).touch()
        self.node.observations.put(InventorySeen(devices.inventory(*seen, recipe=RECIPE)))

    def find(self, driver: tuple[str, str], **found: Any) -> None:
        """Let the driver answer, and its files be found."""
        self.node.observations.put(DriverSeen(*driver))
        self.box.put(DriverFiles(driver, CdiEdits({"DRIVER": driver[0]}), **found))

    @property
    def written(self) -> list[str]:
        """The names in the spec, and the driver that it is for."""
        path = self.folder / "k8s.example.com-card.json"
        if not path.exists():
            return []
        document = checked(path.read_bytes())
        return [document["containerEdits"]["env"][0], *(each["name"] for each in document["devices"])]

    @property
    def healthy(self) -> list[str]:
        offered = self.node.gateway.offered.get(RESOURCE)
        return [each.id for each in offered.offered if each.id not in offered.unhealthy] if offered else []


@pytest.fixture
def scene(tmp_path: Path, kubelet_dir: Path, monkeypatch: pytest.MonkeyPatch) -> Scene:
    monkeypatch.setattr(specs_module, "LOOK_INTERVAL", 0.05)
    return Scene(tmp_path, kubelet_dir)


@asynccontextmanager
async def running(scene: Scene) -> AsyncIterator[None]:
    async with asyncio.TaskGroup() as tasks:
        made = [
            tasks.create_task(scene.specs.run(scene.node.gateway)),
            tasks.create_task(scene.node.gateway.run()),
        ]
        try:
            yield
        finally:
            for task in made:
                task.cancel()


ONE, TWO = device(0), device(1)


async def test_devices_are_listed_when_their_spec_is_there(scene: Scene) -> None:
    async with running(scene):
        scene.see(ONE, TWO)
        await until(lambda: len(scene.node.gateway.undescribed) == 2, "both are withheld")
        assert (scene.healthy, scene.written) == ([], [])
        scene.find(OLD)
        await until(lambda: len(scene.healthy) == 2, "both are listed")
        assert scene.written == ["DRIVER=570.1", ONE.id, TWO.id]
        assert scene.specs.is_ready.is_set()


async def test_a_device_that_comes_later_is_listed_after_the_spec_was_written_again(scene: Scene) -> None:
    async with running(scene):
        scene.see(ONE)
        scene.find(OLD)
        await until(lambda: scene.healthy == [ONE.id], "the first")
        scene.see(ONE, TWO)
        await until(lambda: len(scene.healthy) == 2, "both")
        assert scene.written == ["DRIVER=570.1", ONE.id, TWO.id]
        scene.see(TWO)
        await until(lambda: scene.written == ["DRIVER=570.1", TWO.id], "the spec without the first")


async def test_with_another_driver_no_device_is_listed_until_the_spec_is_for_it(scene: Scene) -> None:
    async with running(scene):
        scene.see(ONE)
        scene.find(OLD)
        await until(lambda: scene.healthy == [ONE.id], "the first driver")
        scene.node.observations.put(DriverSeen(*NEW))
        await until(lambda: scene.healthy == [], "nothing is known of the other driver")
        scene.find(NEW)
        await until(lambda: scene.healthy == [ONE.id], "the other driver")
        assert scene.written == ["DRIVER=580.2", ONE.id]


async def test_a_device_with_other_nodes_needs_another_spec(scene: Scene) -> None:
    part = devices.part(ONE, 1)
    moved = replace(part, nodes=(*ONE.nodes, "/dev/moved"))
    async with running(scene):
        scene.see(part)
        scene.find(OLD)
        await until(lambda: scene.healthy == [part.id], "the part")
        before = scene.specs._written[part.id]
        scene.see(moved)
        await until(lambda: scene.specs._written.get(part.id) not in {None, before}, "another spec")
        assert scene.healthy == [part.id]


async def test_a_file_that_somebody_removed_is_written_again(scene: Scene) -> None:
    async with running(scene):
        scene.see(ONE)
        scene.find(OLD)
        await until(lambda: scene.healthy == [ONE.id], "the device")
        (scene.folder / "k8s.example.com-card.json").unlink()
        await until(lambda: scene.written == ["DRIVER=570.1", ONE.id], "the file again")


async def test_a_folder_that_goes_takes_the_devices_with_it_until_it_can_be_written(scene: Scene) -> None:
    async with running(scene):
        scene.see(ONE)
        scene.find(OLD)
        await until(lambda: scene.healthy == [ONE.id], "the device")
        (scene.folder / "k8s.example.com-card.json").unlink()
        scene.folder.rmdir()
        scene.folder.symlink_to(scene.dev)
        await until(lambda: scene.healthy == [], "no device")
        assert "is a link" in scene.node.gateway.undescribed[ONE.id].reason
        assert "is a link" in scene.specs.problem
        scene.folder.unlink()
        await until(lambda: scene.healthy == [ONE.id], "the device again")


async def test_files_that_are_not_found_are_said_with_what_to_do(scene: Scene) -> None:
    async with running(scene):
        scene.see(ONE)
        scene.find(OLD, problem="no library", todo="install it")
        await until(lambda: scene.specs.is_ready.is_set() and bool(scene.node.gateway.undescribed), "a reason")
        await until(lambda: scene.node.gateway.undescribed[ONE.id].reason == "no library", "the reason")
        assert scene.node.gateway.undescribed[ONE.id].todo == "install it"


async def test_without_cdi_nothing_is_withheld_and_nothing_is_written(scene: Scene) -> None:
    scene.node.gateway.specs = None
    async with running(scene):
        scene.see(ONE)
        await until(lambda: scene.healthy == [ONE.id], "the device")
        assert not scene.folder.exists()


async def test_another_way_to_tell_the_names_takes_no_device_away(scene: Scene) -> None:
    both = frozenset({ListStrategy.CDI_CRI, ListStrategy.CDI_ANNOTATIONS})
    async with running(scene):
        scene.see(ONE)
        scene.find(OLD)
        await until(lambda: scene.healthy == [ONE.id], "the device")
        scene.specs.follow(scene.specs.settings._replace(policy=POLICY._replace(list_strategies=both)))
        scene.node.gateway.publish()
        assert scene.healthy == [ONE.id]
        by_index = POLICY._replace(device_id_strategy=DeviceIdStrategy.INDEX)
        scene.specs.follow(scene.specs.settings._replace(policy=by_index))
        scene.node.gateway.publish()
        assert scene.healthy == [], "its name is in no file yet"
        await until(lambda: scene.healthy == [ONE.id], "the device by its other name")
        assert scene.written == ["DRIVER=570.1", "0"]


async def test_a_path_that_no_spec_can_carry_costs_the_devices_and_not_the_gateway(scene: Scene) -> None:
    async with running(scene):
        scene.see(ONE)
        scene.find(OLD)
        await until(lambda: scene.healthy == [ONE.id], "the device")
        scene.specs.follow(scene.specs.settings._replace(policy=POLICY._replace(dev_root="/with\ta tab")))
        scene.node.gateway.publish()
        await until(lambda: "cannot carry" in scene.node.gateway.undescribed[ONE.id].reason, "the reason")
        assert scene.healthy == []
        scene.specs.follow(scene.specs.settings._replace(policy=POLICY))
        scene.node.gateway.publish()
        await until(lambda: scene.healthy == [ONE.id], "the device again")
