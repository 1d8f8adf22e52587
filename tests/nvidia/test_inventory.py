"""What the backend makes of one look at the driver."""

from dataclasses import replace

import pytest

from driver.driver import Call, Driver
from plugin_gateway.core.devices import Kind, PhysicalDevice, PhysicalId, Recipe, whole
from plugin_gateway.core.health.observations import DriverUnavailable, EvidenceReported, InventorySeen
from plugin_gateway.nvidia.evidence import xid_kind
from plugin_gateway.nvidia.library import FOLDERS
from plugin_gateway.nvidia.naming import EXTRAS

from .conftest import MakeDriver
from .watcher import Watcher, eventually, mapped, watch

NOT_SUPPORTED = 3
UNKNOWN_TO_PYNVML = 4242
GIB = 2**30


def uuid(index: int) -> str:
    return f"GPU-5a7d1e00-0000-0000-0000-{index:012x}"


def ids(seen: InventorySeen) -> list[str]:
    return [device.id for device in seen.inventory.devices]


def rejected(watcher: Watcher) -> list[tuple[str, str]]:
    return [(item.place, item.problem) for item in watcher.next(InventorySeen).inventory.rejected]


def test_a_gpu_is_read_with_everything_the_driver_and_sysfs_tell(driver: Driver) -> None:
    driver.add(1, name="NVIDIA L40S", minor=5, numa_node=1, capability=(8, 9))
    with watch(driver) as watcher:
        inventory = watcher.next(InventorySeen).inventory
    assert inventory.physical[1] == PhysicalDevice(
        id=PhysicalId(uuid(1)),
        index=1,
        minor=5,
        pci_address="0000:11:00.0",
        product="NVIDIA L40S",
        memory_bytes=80 * GIB,
        numa_node=1,
        generation="A100",
    )
    assert inventory.devices == tuple(
        whole(each, Kind("gpu"), (f"/dev/nvidia{each.minor}",)) for each in inventory.physical
    )
    recipe = Recipe(
        visibility_variable="NVIDIA_VISIBLE_DEVICES",
        shared_nodes=("/dev/nvidiactl", "/dev/nvidia-uvm"),
        optional_nodes=("/dev/nvidia-uvm-tools", "/dev/nvidia-modeset"),
        cdi_kind="k8s.device-plugin.nvidia.com/gpu",
        mounts_folder="/var/run/nvidia-container-devices",
        extras=EXTRAS,
    )
    assert {kind: replace(each, daemons={}) for kind, each in inventory.recipes.items()} == {
        "gpu": recipe,
        "mig": recipe,
    }
    assert not inventory.rejected


@pytest.mark.parametrize(("written", "read"), [(0, 0), (1, 1), (-1, None), (None, None)])
def test_minus_one_and_no_file_are_no_numa_node(driver: Driver, written: int | None, read: int | None) -> None:
    driver.add(0, numa_node=written)
    with watch(driver) as watcher:
        assert watcher.next(InventorySeen).inventory.devices[0].physical.numa_node == read


def test_a_numa_node_that_is_no_number_is_none(driver: Driver) -> None:
    (driver.sysfs / "bus/pci/devices/0000:10:00.0/numa_node").write_bytes(b"\xff\n")
    with watch(driver) as watcher:
        assert watcher.next(InventorySeen).inventory.devices[0].physical.numa_node is None


def test_a_pci_domain_beyond_16_bits_is_written_as_sysfs_does(driver: Driver) -> None:
    driver.add(0, domain=0x10001)
    with watch(driver) as watcher:
        assert watcher.next(InventorySeen).inventory.devices[0].physical.pci_address == "10001:10:00.0"


def test_facts_that_the_driver_does_not_have_lose_no_gpu(driver: Driver) -> None:
    for call in (Call.MINOR, Call.MEMORY, Call.NAME):
        driver.fail(call, NOT_SUPPORTED)
    with watch(driver) as watcher:
        first = watcher.next(InventorySeen).inventory.devices[0]
    assert (first.id, first.nodes, first.memory_bytes) == (uuid(0), (), 0)
    assert (first.physical.minor, first.physical.product) == (None, "")


def test_a_name_that_is_no_text_loses_no_gpu(driver: Driver) -> None:
    driver.add(0, name=b"NVIDIA \xff")
    with watch(driver) as watcher:
        assert watcher.next(InventorySeen).inventory.devices[0].physical.product == ""


@pytest.mark.parametrize(
    ("bad", "words"),
    [
        (b"GPU-\xff\xfe", "b'GPU-\\xff\\xfe' is not valid UTF-8"),
        (b"GPU-" + b"x" * 60, "has 64 characters; expected 1 to 63"),
        (b"", "has 0 characters"),
        (b"GPU-1,GPU-2", "without blank and comma"),
        (uuid(0).encode(), "belongs to GPU 0 too"),
    ],
)
def test_an_id_that_cannot_be_offered_is_rejected_with_its_place(driver: Driver, bad: bytes, words: str) -> None:
    driver.add(1, uuid=bad)
    driver.add(2)
    with watch(driver) as watcher:
        assert ids(watcher.next(InventorySeen)) == [uuid(0), uuid(2)]
        ((place, problem),) = rejected(watcher)
    assert place == "GPU 1 at 0000:11:00.0"
    assert words in problem


def test_a_gpu_that_is_lost_from_the_start_is_rejected_and_offered_once_it_answers(driver: Driver) -> None:
    driver.lose(0)
    with watch(driver) as watcher:
        assert ids(watcher.next(InventorySeen)) == [uuid(1)]
        assert rejected(watcher) == [("GPU 0", "the driver does not tell what it is: GPU is lost")]
        driver.find(0)
        assert ids(watcher.next(InventorySeen, 2)) == [uuid(0), uuid(1)]
        watcher.checked(uuid(0))


def test_a_gpu_without_a_pci_address_is_rejected_with_its_index(driver: Driver) -> None:
    driver.fail(Call.PCI, UNKNOWN_TO_PYNVML)
    with watch(driver) as watcher:
        assert rejected(watcher)[0] == ("GPU 0", "the driver does not tell what it is: Unknown Error")


def test_a_driver_without_gpus_is_a_problem_told_once_until_one_is_there(make_driver: MakeDriver) -> None:
    driver = make_driver(gpus=0)
    with watch(driver) as watcher:
        assert "no GPU" in watcher.next(DriverUnavailable).problem
        eventually(lambda: driver.sessions >= 4)
        assert len(watcher.seen) == 1
        driver.add(0)
        assert ids(watcher.next(InventorySeen)) == [uuid(0)]


def test_a_driver_that_has_only_the_older_names_is_read_and_heard(make_driver: MakeDriver) -> None:
    driver = make_driver(old=True)
    with watch(driver, rescan_seconds=60) as watcher:
        assert [device.physical.pci_address for device in watcher.next(InventorySeen).inventory.devices] == [
            "0000:10:00.0",
            "0000:11:00.0",
        ]
        driver.xid(1, 79)
        assert watcher.next(EvidenceReported) == EvidenceReported(xid_kind(79), PhysicalId(uuid(1)))


@pytest.mark.parametrize("folder", FOLDERS)
def test_the_library_is_found_in_every_usual_folder(driver: Driver, folder: str) -> None:
    library = driver.root / "usr/lib64/libnvidia-ml.so.1"
    target = driver.root / folder / library.name
    target.parent.mkdir(parents=True, exist_ok=True)
    library.rename(target)
    with watch(driver) as watcher:
        assert len(ids(watcher.next(InventorySeen))) == 2
        assert mapped(target)


def test_a_file_that_is_no_library_is_passed_over_for_one_that_is(driver: Driver) -> None:
    (driver.root / "usr/lib").mkdir(parents=True)
    (driver.root / "usr/lib64/libnvidia-ml.so.1").rename(driver.root / "usr/lib/libnvidia-ml.so.1")
    (driver.root / "usr/lib64/libnvidia-ml.so.1").write_text("stub")
    with watch(driver) as watcher:
        assert len(ids(watcher.next(InventorySeen))) == 2


def test_a_file_that_is_no_library_is_named(driver: Driver) -> None:
    driver.uninstall()
    (driver.root / "usr/lib64/libnvidia-ml.so.1").write_text("stub")
    with watch(driver) as watcher:
        problem = watcher.next(DriverUnavailable).problem
    assert f"{driver.root}/usr/lib64/libnvidia-ml.so.1 cannot be loaded" in problem
