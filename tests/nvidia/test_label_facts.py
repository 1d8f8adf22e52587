"""What labels tell of GPUs is asked in the thread of the driver, only where somebody wants it."""

import uuid

import pytest

from driver.driver import Call, Driver
from harness.pci_config import OF_A_HYPERVISOR, OF_THE_MACHINE
from plugin_gateway.core.devices import DeviceId
from plugin_gateway.core.health.observations import (
    DevicesChecked,
    DriverUnavailable,
    FactsSeen,
    InventorySeen,
    LinksSeen,
)
from plugin_gateway.core.ports import TellsFacts, want_facts
from plugin_gateway.nvidia import watch as watch_module
from plugin_gateway.nvidia.simulated import SimulatedBackend

from .conftest import MakeDriver
from .watcher import Watcher, eventually, watch

CLUSTER = uuid.UUID("7b968a6d-c8aa-45e1-9e07-e1e51be99c31")
WHOLE = {"capability": "9.0", "class": "0x030200", "mig": "false"}


def wanting(driver: Driver, mig: str = "none") -> Watcher:
    watcher = watch(driver, mig=mig)
    assert want_facts(watcher.backend, wanted=True)
    return watcher


def write_config(driver: Driver, index: int, data: bytes) -> None:
    folder = sorted((driver.sysfs / "bus/pci/devices").iterdir())[index]
    (folder / "config").write_bytes(data)


def test_where_nobody_wants_facts_none_are_asked_for(driver: Driver) -> None:
    with watch(driver) as watcher:
        watcher.next(LinksSeen)
        watcher.next(DevicesChecked, 3)
        assert not watcher.of(FactsSeen)
    assert driver.calls(Call.CUDA) == 0


def test_facts_come_after_the_inventory_and_the_links_and_once(driver: Driver) -> None:
    with wanting(driver) as watcher:
        facts = watcher.next(FactsSeen)
        watcher.next(DevicesChecked, 4)
        kinds = [type(each) for each in watcher.seen]
        assert kinds.index(InventorySeen) < kinds.index(LinksSeen) < kinds.index(FactsSeen)
        assert kinds.count(FactsSeen) == 1
    assert facts.node == {"cuda": "12.9"}
    assert facts.devices == {DeviceId(driver.uuid(index)): WHOLE for index in range(2)}
    assert driver.calls(Call.CUDA) == 1


def test_facts_can_be_wanted_while_the_driver_is_watched(driver: Driver) -> None:
    with watch(driver) as watcher:
        watcher.next(LinksSeen)
        want_facts(watcher.backend, wanted=True)
        assert watcher.next(FactsSeen).node == {"cuda": "12.9"}


def test_other_gpus_have_other_facts(driver: Driver) -> None:
    with wanting(driver) as watcher:
        watcher.next(FactsSeen)
        added = driver.add(2, name="Tesla T4", capability=(7, 5))
        facts = watcher.next(FactsSeen, 2)
    assert len(facts.devices) == 3
    assert facts.devices[DeviceId(added)] == {"capability": "7.5", "class": "0x030200"}


def test_a_mig_device_tells_what_it_has(driver: Driver) -> None:
    driver.mig("0:3g.40gb,1g.10gb+me")
    with wanting(driver, "mixed") as watcher:
        facts = watcher.next(FactsSeen)
    assert facts.devices[DeviceId(driver.uuid(0))]["mig"] == "true"
    assert facts.devices[DeviceId(driver.mig.uuid(0, 0))] == {
        "multiprocessors": "54", "slices.gi": "3", "slices.ci": "3", "engines.copy": "3", "engines.decoder": "3",
        "engines.encoder": "0", "engines.jpeg": "3", "engines.ofa": "0",
    }  # fmt: skip
    assert facts.devices[DeviceId(driver.mig.uuid(0, 1))]["engines.ofa"] == "1"


def test_another_layout_has_other_facts(driver: Driver) -> None:
    driver.mig("0:3g.40gb")
    with wanting(driver, "mixed") as watcher:
        watcher.next(FactsSeen)
        driver.mig("0:1g.10gb,1g.10gb")
        facts = watcher.next(FactsSeen, 2)
    assert facts.devices.keys() == {driver.uuid(0), driver.uuid(1), driver.mig.uuid(0, 0), driver.mig.uuid(0, 1)}


def test_a_gpu_that_joins_the_fabric_later_is_noticed(driver: Driver, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watch_module, "FACTS_LOOK", 0.05)
    driver.set_fabric(0, state=2)
    for index in range(2):
        driver.join_clique(index, CLUSTER, 4)
    gpu = DeviceId(driver.uuid(0))
    with wanting(driver) as watcher:
        facts = watcher.next(FactsSeen)
        assert "clique" not in facts.devices[gpu]
        assert facts.devices[DeviceId(driver.uuid(1))]["clique"] == f"{CLUSTER}.4"
        driver.set_fabric(0)
        assert watcher.next(FactsSeen, 2).devices[gpu]["clique"] == f"{CLUSTER}.4"


def test_a_fact_that_cannot_be_read_now_is_kept_and_read_again(driver: Driver, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watch_module, "FACTS_RETRY", 0.05)
    monkeypatch.setattr(watch_module, "FACTS_LOOK", 0.05)
    driver.fail(Call.CUDA, 999)
    with wanting(driver) as watcher:
        assert watcher.next(FactsSeen).node == {}
        driver.fail(Call.CUDA, 0)
        assert watcher.next(FactsSeen, 2).node == {"cuda": "12.9"}
        driver.lose(0)
        asked = driver.calls(Call.CUDA)
        eventually(lambda: driver.calls(Call.CUDA) > asked + 2)
        assert len(watcher.of(FactsSeen)) == 2, "a GPU that is lost keeps what was known of it"


def test_what_the_driver_does_not_know_is_left_out(driver: Driver) -> None:
    driver.set_cuda(0)
    driver.know_fabric(0)
    with wanting(driver) as watcher:
        facts = watcher.next(FactsSeen)
    assert facts.node == {}
    assert facts.devices[DeviceId(driver.uuid(0))] == WHOLE


def test_a_gpu_of_a_hypervisor_is_told_only_where_each_configuration_space_is_readable(driver: Driver) -> None:
    write_config(driver, 0, OF_A_HYPERVISOR)
    with wanting(driver) as watcher:
        assert watcher.next(FactsSeen).node == {"cuda": "12.9"}
    write_config(driver, 1, OF_THE_MACHINE[:64])
    with wanting(driver) as watcher:
        assert watcher.next(FactsSeen).node == {"cuda": "12.9"}
    write_config(driver, 1, OF_THE_MACHINE)
    with wanting(driver) as watcher:
        node = watcher.next(FactsSeen).node
    assert node == {"cuda": "12.9", "vgpu": "true", "hostDriver": "570.124.03", "hostBranch": "r570_00"}


def test_a_machine_without_gpus_says_that_none_is_of_a_hypervisor(make_driver: MakeDriver) -> None:
    driver = make_driver(gpus=0)
    (driver.sysfs / "bus/pci/devices").mkdir(parents=True)
    with wanting(driver) as watcher:
        assert watcher.next(FactsSeen) == FactsSeen({"vgpu": "false"}, {})
        watcher.next(DriverUnavailable)


def test_a_driver_before_2018_tells_facts_too(make_driver: MakeDriver) -> None:
    with wanting(make_driver(old=True)) as watcher:
        facts = watcher.next(FactsSeen)
    assert all(each["capability"] == "9.0" for each in facts.devices.values())


def test_simulated_gpus_tell_facts_as_well() -> None:
    backend = SimulatedBackend("1xH100+1xT4/mig=0:3g.40gb")
    assert isinstance(backend, TellsFacts)
    with Watcher(backend) as watcher:
        assert not watcher.of(FactsSeen)
        want_facts(backend, wanted=True)
        first, second = watcher.next(FactsSeen).devices.values()
        assert first == {"capability": "9.0", "class": "0x030200", "mig": "true"}
        assert second == {"capability": "7.5", "class": "0x030200"}
        backend.add("T4")
        assert len(watcher.next(FactsSeen, 2).devices) == 3
