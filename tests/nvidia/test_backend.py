"""The NVML backend through the real pynvml and the stand-in library."""

import queue
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from driver.driver import STRANGER, Call, Driver
from plugin_gateway.core.devices import Inventory
from plugin_gateway.core.observations import DeviceLost, DriverUnavailable, InventorySeen, Observation, XidReported
from plugin_gateway.nvidia.backend import NvmlBackend
from plugin_gateway.nvidia.pace import Pace

LIMIT = 5.0
UNKNOWN_ERROR = 777


class Watched:
    """A running backend and what it reports."""

    def __init__(self, driver: Driver, sysfs: Path, proc: Path) -> None:
        self.reported: queue.SimpleQueue[Observation] = queue.SimpleQueue()
        self.backend = NvmlBackend(
            driver_root=str(driver.root), sysfs=str(sysfs), proc=str(proc), pace=Pace(rescan=0.1, retry=0.1)
        )
        self.backend.start(self.reported.put)

    def next(self) -> Observation:
        return self.reported.get(timeout=LIMIT)

    def inventory(self) -> Inventory:
        seen = self.next()
        assert isinstance(seen, InventorySeen), seen
        return seen.inventory

    def problem(self) -> str:
        seen = self.next()
        assert isinstance(seen, DriverUnavailable), seen
        return seen.problem

    def quiet(self, seconds: float = 0.4) -> None:
        with pytest.raises(queue.Empty):
            raise AssertionError(self.reported.get(timeout=seconds))


@pytest.fixture
def driver(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Driver]:
    made = Driver(tmp_path, gpus=4)
    for name, value in made.environment.items():
        monkeypatch.setenv(name, value)
    yield made
    made.release()


@pytest.fixture
def proc(tmp_path: Path) -> Path:
    (tmp_path / "proc/driver/nvidia/gpus").mkdir(parents=True)
    return tmp_path / "proc"


@pytest.fixture
def watch(driver: Driver, tmp_path: Path, proc: Path) -> Iterator[Callable[[], Watched]]:
    """Start a backend; it is ended with the test, and its thread with it."""
    running: list[Watched] = []

    def start() -> Watched:
        running.append(Watched(driver, tmp_path / "sys", proc))
        return running[-1]

    yield start
    for each in running:
        each.backend.stop()
        driver.release()
        assert each.backend.join(LIMIT)


Start = Callable[[], Watched]


def test_a_gpu_is_described_as_driver_and_sysfs_know_it(watch: Start, tmp_path: Path) -> None:
    for index, node in enumerate(("0", "1", "-1")):
        folder = tmp_path / f"sys/bus/pci/devices/0000:{index + 16:02x}:00.0"
        folder.mkdir(parents=True)
        (folder / "numa_node").write_text(f"{node}\n")
    inventory = watch().inventory()
    assert [device.numa_node for device in inventory.devices] == [0, 1, None, None]
    first = inventory.devices[0]
    assert (first.id, first.index, first.minor) == ("GPU-5a7d1e00-0000-0000-0000-000000000000", 0, 0)
    assert (first.pci_address, first.product) == ("0000:10:00.0", "NVIDIA H100 80GB HBM3")
    assert (first.memory_bytes, first.nodes) == (80 * 2**30, ("/dev/nvidia0",))


def test_only_one_thread_ever_calls_the_driver(watch: Start, driver: Driver) -> None:
    watched = watch()
    watched.inventory()
    driver.xid(0, 79)
    watched.next()
    assert len(driver.threads) == 1
    assert threading.get_native_id() not in driver.threads


def test_an_inventory_that_stays_the_same_is_reported_once_and_rescans_are_cheap(watch: Start, driver: Driver) -> None:
    watched = watch()
    watched.inventory()
    names = driver.calls(Call.NAME)
    watched.quiet()
    assert driver.calls(Call.NAME) == names
    assert driver.calls(Call.UUID) > 4


def test_an_xid_is_reported_with_its_device(watch: Start, driver: Driver) -> None:
    watched = watch()
    device = watched.inventory().devices[2].id
    driver.xid(2, 79)
    assert watched.next() == XidReported(79, device)


def test_an_xid_of_a_device_that_is_not_ours_names_none(watch: Start, driver: Driver) -> None:
    watched = watch()
    watched.inventory()
    driver.xid(STRANGER, 79)
    assert watched.next() == XidReported(79, None)


def test_an_event_of_another_kind_is_not_an_xid(watch: Start, driver: Driver) -> None:
    watched = watch()
    watched.inventory()
    driver.xid(1, 1, kind=2)
    watched.quiet()


def test_gpus_without_events_are_offered_all_the_same(watch: Start, driver: Driver) -> None:
    for index in range(4):
        driver.add(index, has_events=False)
    watched = watch()
    assert len(watched.inventory().devices) == 4
    watched.quiet()
    assert driver.calls(Call.WAIT) == 0


@pytest.mark.parametrize("call", [Call.SUPPORTED, Call.REGISTER])
def test_a_gpu_whose_events_cannot_be_had_is_offered_all_the_same(watch: Start, driver: Driver, call: Call) -> None:
    driver.fail(call, UNKNOWN_ERROR)
    assert len(watch().inventory().devices) == 4


def test_facts_that_a_driver_does_not_tell_do_not_lose_the_gpu(watch: Start, driver: Driver) -> None:
    for call in (Call.MINOR, Call.NAME, Call.MEMORY):
        driver.fail(call, 3)
    device = watch().inventory().devices[0]
    assert (device.minor, device.product, device.memory_bytes, device.nodes) == (None, "", 0, ())


@pytest.mark.parametrize(
    ("uuid", "problem"),
    [
        (b"GPU-\xff\xfe", "not valid UTF-8"),
        (b"GPU-" + b"x" * 60, "64 characters"),
        (b"", "0 characters"),
        (b"GPU-a,b", "characters other than printable"),
        (b"GPU-5a7d1e00-0000-0000-0000-000000000000", "belongs to GPU 0 too"),
    ],
)
def test_an_id_that_cannot_go_on_the_wire_is_rejected_with_its_place(
    watch: Start, driver: Driver, uuid: bytes, problem: str
) -> None:
    driver.add(3, uuid=uuid)
    watched = watch()
    inventory = watched.inventory()
    assert len(inventory.devices) == 3
    (rejected,) = inventory.rejected
    assert rejected.place == "GPU 3 at 0000:13:00.0"
    assert problem in rejected.problem
    watched.quiet()


def test_a_gpu_that_was_never_known_and_does_not_answer_is_rejected(watch: Start, driver: Driver) -> None:
    driver.lose(1)
    (rejected,) = watch().inventory().rejected
    assert (rejected.place, "GPU is lost" in rejected.problem) == ("GPU 1", True)


def test_a_known_gpu_that_is_lost_stays_and_is_reported_once(watch: Start, driver: Driver, proc: Path) -> None:
    watched = watch()
    before = watched.inventory()
    driver.lose(1)
    assert watched.next() == DeviceLost(before.devices[1].id, "GPU is lost")
    watched.quiet()
    (proc / "driver/nvidia/gpus/new-session").mkdir()
    watched.quiet()
    assert driver.sessions > 1


def test_gpus_that_appear_and_vanish_are_seen(watch: Start, driver: Driver, proc: Path) -> None:
    watched = watch()
    assert len(watched.inventory().devices) == 4
    driver.add(4)
    (proc / "driver/nvidia/gpus/0000:14:00.0").mkdir()
    assert len(watched.inventory().devices) == 5
    driver.remove(0)
    (proc / "driver/nvidia/gpus/0000:14:00.0").rmdir()
    remaining = watched.inventory().devices
    assert [device.minor for device in remaining] == [1, 2, 3, 4]


def test_a_gpu_with_another_uuid_is_another_gpu(watch: Start, driver: Driver) -> None:
    watched = watch()
    watched.inventory()
    driver.add(0, uuid=b"GPU-another")
    assert watched.inventory().devices[0].id == "GPU-another"
    driver.add(0, uuid=b"GPU-\xff")
    assert len(watched.inventory().rejected) == 1


def test_a_missing_library_is_told_once_and_found_when_it_comes(watch: Start, driver: Driver) -> None:
    driver.uninstall()
    watched = watch()
    problem = watched.problem()
    assert str(driver.root) in problem
    assert "usr/lib64" in problem
    driver.install()
    while not isinstance(seen := watched.next(), InventorySeen):
        assert seen == DriverUnavailable(problem)
    assert len(seen.inventory.devices) == 4


def test_a_library_that_cannot_be_loaded_is_named(watch: Start, driver: Driver) -> None:
    driver.uninstall()
    library = driver.root / "usr/lib64/libnvidia-ml.so.1"
    library.write_text("no library")
    assert f"{library} cannot be loaded" in watch().problem()


def test_a_driver_that_is_not_loaded_is_told_in_its_own_words(watch: Start, driver: Driver) -> None:
    driver.fail(Call.INIT, 9)
    watched = watch()
    assert "Driver Not Loaded" in watched.problem()
    driver.fail(Call.INIT, 0)
    while not isinstance(watched.next(), InventorySeen):
        pass


def test_a_machine_without_gpu_is_waited_for(watch: Start, driver: Driver) -> None:
    for index in range(4):
        driver.remove(index)
    watched = watch()
    assert watched.problem() == "the driver is there but has no GPU"
    driver.add(0)
    while not isinstance(seen := watched.next(), InventorySeen):
        pass
    assert len(seen.inventory.devices) == 1


@pytest.mark.parametrize("call", [Call.COUNT, Call.CREATE])
def test_an_error_of_an_unknown_number_is_told_and_survived(watch: Start, driver: Driver, call: Call) -> None:
    driver.fail(call, UNKNOWN_ERROR)
    watched = watch()
    assert "NVML" in watched.problem()
    driver.fail(call, 0)
    while not isinstance(watched.next(), InventorySeen):
        pass


def test_a_driver_that_goes_away_is_told_and_seen_again_when_it_is_back(watch: Start, driver: Driver) -> None:
    watched = watch()
    before = watched.inventory()
    driver.fail(Call.COUNT, 9)
    assert "Driver Not Loaded" in watched.problem()
    driver.fail(Call.COUNT, 0)
    while not isinstance(seen := watched.next(), InventorySeen):
        assert isinstance(seen, DriverUnavailable)
    assert seen.inventory == before


def test_a_wait_that_fails_is_evidence_against_nobody(watch: Start, driver: Driver) -> None:
    watched = watch()
    watched.inventory()
    driver.fail(Call.WAIT, UNKNOWN_ERROR)
    watched.quiet()
    driver.fail(Call.WAIT, 0)
    driver.xid(0, 48)
    assert isinstance(watched.next(), XidReported)


def test_stop_returns_at_once_while_the_driver_hangs_and_the_thread_ends_later(watch: Start, driver: Driver) -> None:
    watched = watch()
    watched.inventory()
    driver.hang()
    driver.xid(0, 79)
    began = time.monotonic()
    watched.backend.stop()
    assert not watched.backend.join(0.2)
    assert time.monotonic() - began < 1
    driver.release()
    assert watched.backend.join(LIMIT)
    watched.quiet(0.1)


def test_anything_unforeseen_is_told_and_survived(watch: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    failures = iter([ZeroDivisionError("by accident")])

    def read(*_: object) -> None:
        for failure in failures:
            raise failure
        monkeypatch.undo()
        raise ValueError("again")

    monkeypatch.setattr("plugin_gateway.nvidia.session.read_snapshot", read)
    watched = watch()
    assert watched.problem() == "ZeroDivisionError: by accident"
    assert watched.problem() == "ValueError: again"
