"""Which device nodes exist: always the truth, mostly for the price of one question."""

import os
import time
from pathlib import Path

import pytest

from harness.limits import no_descriptor_left
from plugin_gateway.adapters.gateway import device_nodes
from plugin_gateway.adapters.gateway.device_nodes import DeviceNodes
from plugin_gateway.adapters.support.unix_files import SETTLED_NS


@pytest.fixture
def dev(tmp_path: Path) -> Path:
    folder = tmp_path / "dev"
    folder.mkdir()
    (folder / "nvidia0").touch()
    return folder


def settle(folder: Path) -> None:
    """Have the folder look as if nothing had changed for long."""
    long_ago = time.time_ns() - 10 * SETTLED_NS
    os.utime(folder, ns=(long_ago, long_ago))


def test_nodes_are_told_by_their_paths_in_a_container(dev: Path) -> None:
    (dev / "nvidiactl").touch()
    assert DeviceNodes(str(dev.parent)).present(["/dev/nvidia0"]) == {"/dev/nvidia0", "/dev/nvidiactl"}


def test_folders_and_links_that_lead_to_none_are_no_nodes(dev: Path) -> None:
    (dev / "shm").mkdir()
    (dev / "folder").symlink_to("shm")
    (dev / "nowhere").symlink_to("gone")
    (dev / "nvidia1").symlink_to("nvidia0")
    assert DeviceNodes(str(dev.parent)).present(["/dev/nvidia0"]) == {"/dev/nvidia0", "/dev/nvidia1"}


def test_a_node_that_comes_or_goes_is_seen_at_the_next_look(dev: Path) -> None:
    settle(dev)
    nodes = DeviceNodes(str(dev.parent))
    for number in range(50):
        assert nodes.present(["/dev/nvidia0"]) == {"/dev/nvidia0"}
        (dev / "nvidia-uvm").touch()
        if number % 2:
            settle(dev)
        assert nodes.present(["/dev/nvidia0"]) == {"/dev/nvidia0", "/dev/nvidia-uvm"}
        (dev / "nvidia-uvm").unlink()


def test_nodes_are_not_lost_while_no_descriptor_is_left_and_followed_afterwards(dev: Path) -> None:
    nodes = DeviceNodes(str(dev.parent))
    assert nodes.present(["/dev/nvidia0"]) == {"/dev/nvidia0"}
    (dev / "nvidia1").touch()
    settle(dev)
    with no_descriptor_left():
        assert nodes.present(["/dev/nvidia0"]) == {"/dev/nvidia0"}
        assert nodes.is_visible()
    assert nodes.present(["/dev/nvidia0"]) == {"/dev/nvidia0", "/dev/nvidia1"}


def test_a_change_within_the_same_tick_of_the_clock_is_seen(dev: Path) -> None:
    now = time.time_ns()
    os.utime(dev, ns=(now, now))
    nodes = DeviceNodes(str(dev.parent))
    assert nodes.present(["/dev/nvidia0"]) == {"/dev/nvidia0"}
    (dev / "nvidia1").touch()
    os.utime(dev, ns=(now, now))
    assert nodes.present(["/dev/nvidia0"]) == {"/dev/nvidia0", "/dev/nvidia1"}


def test_a_folder_in_which_nothing_changes_is_listed_once(dev: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settle(dev)
    listed: list[str] = []

    def note(folder: device_nodes._Folder) -> frozenset[str]:
        listed.append(folder._place)
        return frozenset({"/dev/nvidia0"})

    monkeypatch.setattr(device_nodes._Folder, "_list", note)
    nodes = DeviceNodes(str(dev.parent))
    assert nodes.present(["/dev/nvidia0"]) == nodes.present(["/dev/nvidia0"]) == {"/dev/nvidia0"}
    assert listed == [str(dev)]


def test_nodes_in_folders_of_folders_are_found(dev: Path) -> None:
    (dev / "dri").mkdir()
    (dev / "dri/renderD128").touch()
    nodes = DeviceNodes(str(dev.parent))
    present = nodes.present(["/dev/nvidia0", "/dev/dri/renderD128", "/dev/gone/x"])
    assert present == {"/dev/nvidia0", "/dev/dri/renderD128"}
    assert nodes.present([]) == frozenset()


def test_a_root_that_is_not_there_has_no_nodes_until_it_comes(tmp_path: Path) -> None:
    nodes = DeviceNodes(str(tmp_path / "later"))
    assert nodes.present(["/dev/nvidia0"]) == frozenset()
    (tmp_path / "later/dev").mkdir(parents=True)
    (tmp_path / "later/dev/nvidia0").touch()
    assert nodes.present(["/dev/nvidia0"]) == {"/dev/nvidia0"}
    (tmp_path / "later/dev/nvidia0").unlink()
    (tmp_path / "later/dev").rmdir()
    assert nodes.present(["/dev/nvidia0"]) == frozenset()


def test_a_root_without_a_node_is_not_visible_and_one_with_any_is(tmp_path: Path) -> None:
    """The folder of a driver root is empty where the nodes are mounted over it on the host alone."""
    nodes = DeviceNodes(str(tmp_path))
    assert not nodes.is_visible()
    (tmp_path / "dev/shm").mkdir(parents=True)
    assert not nodes.is_visible()
    (tmp_path / "dev/null").touch()
    assert nodes.is_visible()
    assert DeviceNodes("/").is_visible()


CONTAINER = "703 702 0:57 / /dev rw,nosuid - tmpfs tmpfs rw,size=65536k,mode=755\n"
HOST = "24 29 0:5 / /dev rw,nosuid - devtmpfs udev rw,size=4096k\n"
COPY = "50 29 0:21 /dev /dev rw - tmpfs tmpfs rw\n"
UNRELATED = "61 29 0:30 / /dev/shm rw,nosuid - tmpfs tmpfs rw\n"


@pytest.mark.parametrize(
    ("mounts", "is_taken_for_present"),
    [
        (UNRELATED + CONTAINER, True),
        (HOST + UNRELATED, False),
        (COPY, False),
        (CONTAINER + HOST, False),  # the folder of the host, mounted over it
        (UNRELATED, False),
        ("nonsense\n", False),
    ],
)
def test_in_a_dev_of_the_container_itself_later_nodes_of_parts_cannot_be_seen(
    tmp_path: Path, mounts: str, is_taken_for_present: bool
) -> None:
    """A container runtime makes it when the container starts. The nodes of a part are made when the part is."""
    told = tmp_path / "mountinfo"
    told.write_text(mounts)
    nodes = DeviceNodes("/", mounts=str(told))
    part, whole = "/dev/of-this-test/part1", "/dev/whole-of-this-test"
    present = nodes.present([whole, part])
    assert (part in present, whole in present) == (is_taken_for_present, False)
    assert nodes.unseen == ({part} if is_taken_for_present else frozenset())
    before = nodes.generation()
    assert ("/dev/of-this-test/part2" in nodes.present(["/dev/of-this-test/part2"])) is is_taken_for_present
    assert (nodes.generation() != before) is is_taken_for_present


def test_below_a_root_of_the_host_every_node_is_seen(dev: Path, tmp_path: Path) -> None:
    told = tmp_path / "mountinfo"
    told.write_text(CONTAINER)
    nodes = DeviceNodes(str(dev.parent), mounts=str(told))
    assert nodes.present(["/dev/caps/part1"]) == nodes.unseen == frozenset()
    assert not DeviceNodes("/", mounts=str(tmp_path / "none")).present(["/dev/of-this-test/part1"])


def test_nodes_can_be_asked_for_by_how_they_begin(dev: Path) -> None:
    for name in ("fs1", "fs0", "fs10", "efs0"):
        (dev / name).touch()
    (dev / "uverbs").mkdir()
    (dev / "uverbs" / "uverbs0").touch()
    nodes = DeviceNodes(str(dev.parent))
    asked = ["/dev/fs*", "/dev/uverbs/*", "/dev/nvidia0", "/dev/nvidia1", "/dev/none/*", "/dev/f*"]
    found = ["/dev/fs0", "/dev/fs1", "/dev/fs10", "/dev/uverbs/uverbs0", "/dev/nvidia0"]
    assert nodes.seen(asked) == found, "each once"
    (dev / "none").mkdir()
    (dev / "none" / "0").touch()
    (dev / "fs0").unlink()
    assert nodes.seen(asked) == ["/dev/fs1", "/dev/fs10", "/dev/uverbs/uverbs0", "/dev/nvidia0", "/dev/none/0"]


def test_what_is_only_taken_for_present_is_not_seen(tmp_path: Path) -> None:
    mounts = tmp_path / "mountinfo"
    mounts.write_text("1 2 0:3 / /dev rw - tmpfs tmpfs rw\n")
    nodes, path = DeviceNodes(mounts=str(mounts)), "/dev/no-such-folder/channel0"
    assert path in nodes.present([path])
    assert nodes.seen([path]) == []


def test_the_generation_changes_with_a_node_that_was_asked_for_by_how_it_begins(dev: Path) -> None:
    nodes = DeviceNodes(str(dev.parent))
    assert nodes.seen(["/dev/later/channel*"]) == []
    before = nodes.generation()
    (dev / "later").mkdir()
    (dev / "later" / "channel0").touch()
    assert nodes.generation() != before


def test_the_generation_changes_with_the_content_of_a_folder_alone(dev: Path) -> None:
    nodes = DeviceNodes(str(dev.parent))
    nodes.present(["/dev/nvidia0", "/dev/nvidia-caps/nvidia-cap1"])
    first = nodes.generation()
    assert nodes.generation() == first
    os.utime(dev)
    assert nodes.generation() == first
    (dev / "nvidia-caps").mkdir()
    (dev / "nvidia-caps" / "nvidia-cap1").touch()
    second = nodes.generation()
    assert second != first
    (dev / "nvidia0").unlink()
    assert nodes.generation() not in {first, second}
