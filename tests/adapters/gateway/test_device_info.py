"""Files about devices that were given out: written before the kubelet has its answer, and removed afterwards."""

import json
import os
import stat
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from harness import devices
from harness.hosts import EveryNode
from plugin_gateway.adapters.gateway.device_info import SETTLED, DeviceInfoFiles
from plugin_gateway.adapters.gateway.serving_policy import ServingPolicy
from plugin_gateway.adapters.serving.resource import ServedResource
from plugin_gateway.adapters.support.logs import log
from plugin_gateway.core.devices import Device
from plugin_gateway.core.errors import UnknownDeviceError
from plugin_gateway.core.resources.names import ResourceName
from plugin_gateway.core.resources.policy import AllocationPolicy

NAME = ResourceName("example.com/vf")
LONGER = ResourceName("example.com/vf-fast")
KEYS = {"rdma-device": "rdmaDevice"}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "devinfo/dp"


def card(number: int, *names: str) -> Device:
    made = devices.device(number, name=f"0000:3b:00.{number}")
    physical = replace(made.physical, pci_address=f"0000:3b:00.{number}", attributes={"rdmaDevice": names})
    return replace(made, physical=physical)


def served(folder: Path, offered: Sequence[Device], name: ResourceName = NAME) -> ServedResource:
    files = DeviceInfoFiles(str(folder), {NAME}, KEYS)
    policy = ServingPolicy((), AllocationPolicy(), EveryNode(), device_info=files)
    return policy.serve(name, devices.advertised(offered))


def path(folder: Path, device: str) -> Path:
    return folder / f"example.com-vf-{device}-device.json"


def test_each_device_that_is_given_out_has_a_file_as_multus_reads_it(folder: Path) -> None:
    resource = served(folder, [card(1, "mlx5_1"), card(2, "mlx5_2", "mlx5_3"), card(3)])
    resource.allocate(["0000:3b:00.2", "0000:3b:00.3"])
    assert sorted(each.name for each in folder.iterdir()) == [
        "example.com-vf-0000:3b:00.2-device.json",
        "example.com-vf-0000:3b:00.3-device.json",
    ]
    assert path(folder, "0000:3b:00.2").read_text() == (
        '{"type":"pci","version":"1.1.0","pci":{"pci-address":"0000:3b:00.2","rdma-device":"mlx5_2,mlx5_3"}}'
    )
    assert json.loads(path(folder, "0000:3b:00.3").read_text())["pci"] == {"pci-address": "0000:3b:00.3"}
    assert stat.S_IMODE(path(folder, "0000:3b:00.2").stat().st_mode) == 0o444


def test_what_cannot_be_written_leaves_nothing_behind(folder: Path) -> None:
    path(folder, "0000:3b:00.1").mkdir(parents=True)
    served(folder, [card(1, "mlx5_1")]).allocate(["0000:3b:00.1"])
    assert [each.name for each in folder.iterdir()] == [path(folder, "0000:3b:00.1").name]


def test_the_next_pod_with_the_device_finds_a_new_file(folder: Path) -> None:
    resource = served(folder, [card(1, "mlx5_1")])
    resource.allocate(["0000:3b:00.1"])
    before = path(folder, "0000:3b:00.1").stat().st_ino
    path(folder, "0000:3b:00.1").unlink()
    resource.note_granted(["0000:3b:00.1"])  # as for an answer that is kept
    assert path(folder, "0000:3b:00.1").exists()
    resource.allocate(["0000:3b:00.1"])
    assert path(folder, "0000:3b:00.1").stat().st_ino != before


def test_what_is_refused_or_of_another_resource_has_none(folder: Path) -> None:
    with pytest.raises(UnknownDeviceError):
        served(folder, [card(1)]).allocate(["0000:3b:00.7"])
    served(folder, [card(1)], LONGER).allocate(["0000:3b:00.1"])
    assert not folder.exists()


@pytest.fixture
def said() -> Iterator[list[str]]:
    """What was logged."""
    events: list[str] = []
    log.write_to(lambda _level, line: events.append(str(line["event"])))
    yield events
    log.write_to(None)


def test_a_folder_that_cannot_be_written_keeps_no_container_from_starting(tmp_path: Path, said: list[str]) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("")
    resource = served(blocked / "dp", [card(1)])
    for _ in range(3):
        assert resource.allocate(["0000:3b:00.1"]).device_nodes
    assert said.count("no file about a device can be written for Multus") == 1


def test_a_link_that_somebody_has_put_there_is_not_followed(folder: Path) -> None:
    folder.mkdir(parents=True)
    victim = folder / "victim"
    victim.write_text("kept")
    half_made = path(folder, "0000:3b:00.1").with_name(path(folder, "0000:3b:00.1").name + f".{os.getpid()}")
    half_made.symlink_to(victim)
    path(folder, "0000:3b:00.2").symlink_to(victim)
    resource = served(folder, [card(1), card(2)])
    resource.allocate(["0000:3b:00.1"])
    resource.allocate(["0000:3b:00.2"])
    assert victim.read_text() == "kept"
    assert not path(folder, "0000:3b:00.2").is_symlink()


def test_old_files_of_these_resources_are_removed_and_no_others(folder: Path) -> None:
    resource = served(folder, [card(1), card(2)])
    resource.allocate(["0000:3b:00.1", "0000:3b:00.2"])
    others = [folder / "example.com-vf-fast-0000:3b:00.1-device.json", folder / "example.com-vf-x", folder / "y"]
    for each in (path(folder, "0000:3b:00.1"), *others):
        each.touch()
        os.utime(each, (1, 1))
    DeviceInfoFiles(str(folder), {NAME}, KEYS).clean()
    assert set(folder.iterdir()) == {path(folder, "0000:3b:00.2"), *others}
    now = path(folder, "0000:3b:00.2").stat().st_mtime + SETTLED
    DeviceInfoFiles(str(folder), {NAME}, KEYS, lambda: now).clean()
    assert path(folder, "0000:3b:00.2").exists()
    DeviceInfoFiles(str(folder), {NAME}, KEYS, lambda: now + 1).clean()
    assert set(folder.iterdir()) == {*others}


def test_a_folder_that_is_not_there_needs_no_cleaning(folder: Path) -> None:
    DeviceInfoFiles(str(folder), {NAME}, KEYS).clean()
    assert not folder.exists()
