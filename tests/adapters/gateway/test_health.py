"""Health on the whole way: from the driver's event to what the kubelet sees, and back again."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from driver.driver import DOUBLE_BIT_ECC, GPU_UNAVAILABLE, Call, Driver
from harness.node import RESOURCE, Node
from plugin_gateway.adapters.fake_kubelet import FakeKubelet, release
from plugin_gateway.adapters.gateway.gateway import Gateway
from plugin_gateway.adapters.gateway.health_memory import HealthMemory
from plugin_gateway.core.health.policy import HealthPolicy
from plugin_gateway.nvidia.backend import NvmlBackend
from plugin_gateway.nvidia.evidence import HEALTH_POLICY
from plugin_gateway.nvidia.pace import Pace

SHORT = replace(HEALTH_POLICY, quiet_time=0.3, driver_timeout=0.5, flap_count=50)
DRIVER_NOT_LOADED = 9


class Machine:
    """A node in this process whose boot, driver and state directory the test decides about."""

    def __init__(self, kubelet_dir: Path, state_dir: Path, driver: Driver, policy: HealthPolicy = SHORT) -> None:
        self.kubelet = FakeKubelet(kubelet_dir, release("1.36"))
        self.driver = driver
        self.boot_id = state_dir.parent / "boot_id"
        self.boot_id.write_text("first\n")
        self.gateway: Gateway
        self._state_dir = state_dir
        self._directory = kubelet_dir
        self._policy = policy

    @asynccontextmanager
    async def running(self) -> AsyncIterator[Node]:
        """Run a gateway for the length of a block."""
        node = Node(self._directory, health=self._policy)
        backend = NvmlBackend(
            driver_root=str(self.driver.root),
            sysfs=str(self.driver.sysfs),
            proc=str(self.driver.proc),
            pace=Pace(rescan=0.05, checkup=0.2, retry=0.05, max_wait=0.05, training=0.3, links=0.0),
        )
        memory = HealthMemory(self._state_dir, self.boot_id)
        node.watch(silent_for=backend.silent_for, state=memory.recall(), keep=lambda state, _: memory.keep(state))
        self.gateway = node.gateway
        backend.start(node.observations.put)
        try:
            async with asyncio.TaskGroup() as tasks:
                running = [tasks.create_task(self.gateway.run()), tasks.create_task(memory.run())]
                try:
                    yield node
                finally:
                    for task in running:
                        task.cancel()
        finally:
            backend.stop()
            self.driver.release()
            assert backend.join(5)

    async def healthy(self, count: int, limit: float = 5.0) -> None:
        """Wait until the kubelet may give so many of the eight to pods."""
        await self.kubelet.wait_for(
            lambda: (self.kubelet.capacity(RESOURCE), self.kubelet.allocatable(RESOURCE)) == (8, count),
            timeout=limit,
            what=f"{count} healthy devices",
        )

    def health(self, index: int) -> str:
        return self.kubelet.devices(RESOURCE)[self.driver.uuid(index)]

    async def stays_at(self, count: int, seconds: float) -> None:
        with pytest.raises(TimeoutError):
            await self.kubelet.wait_for(
                lambda: self.kubelet.allocatable(RESOURCE) != count, timeout=seconds, what="change"
            )


@pytest.fixture(autouse=True)
def stand_in(driver: Driver, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the library find its machine in this process as well."""
    for name, value in driver.environment.items():
        monkeypatch.setenv(name, value)


@pytest.fixture
def machine(kubelet_dir: Path, state_dir: Path, driver: Driver) -> Machine:
    return Machine(kubelet_dir, state_dir, driver)


async def test_an_event_reaches_the_kubelet_within_50_ms_and_the_device_comes_back_after_the_quiet_time(
    machine: Machine,
) -> None:
    async with machine.kubelet, machine.running():
        await machine.healthy(8)
        took = []
        for _ in range(5):
            began = time.monotonic()
            machine.driver.xid(3, 1000)
            await machine.healthy(7)
            took.append(time.monotonic() - began)
            assert machine.health(3) == "Unhealthy"
            await machine.healthy(8)
            assert time.monotonic() - began > SHORT.quiet_time
        assert min(took) < 0.05


@pytest.mark.parametrize("kind", [DOUBLE_BIT_ECC, GPU_UNAVAILABLE])
async def test_an_event_that_asks_for_a_reset_waits_for_the_driver_to_report_one(machine: Machine, kind: int) -> None:
    async with machine.kubelet, machine.running():
        await machine.healthy(8)
        machine.driver.xid(3, 0, kind)
        await machine.healthy(7)
        await machine.stays_at(7, 3 * SHORT.quiet_time)
        machine.driver.ask_for_recovery(3, 1)
        await machine.stays_at(7, 2 * SHORT.quiet_time)
        machine.driver.ask_for_recovery(3, 0)
        await machine.healthy(8)


async def test_a_recovery_action_takes_a_device_out_for_as_long_as_the_driver_asks_for_it(machine: Machine) -> None:
    async with machine.kubelet, machine.running():
        await machine.healthy(8)
        machine.driver.ask_for_recovery(5, 2)
        await machine.healthy(7)
        await machine.stays_at(7, 2 * SHORT.quiet_time)
        machine.driver.ask_for_recovery(5, 0)
        await machine.healthy(8)


async def test_a_device_that_cannot_use_the_fabric_is_out_until_it_can_also_over_a_restart(machine: Machine) -> None:
    async with machine.kubelet:
        async with machine.running():
            await machine.healthy(8)
            machine.driver.set_fabric(4, status=999)
            await machine.healthy(7)
            assert machine.health(4) == "Unhealthy"
        await machine.healthy(0)
        async with machine.running():
            await machine.healthy(7)
            await machine.stays_at(7, 2 * SHORT.quiet_time)
            machine.driver.set_fabric(4)
            await machine.healthy(8)


async def test_a_link_that_is_down_is_no_less_down_after_a_restart(machine: Machine) -> None:
    async with machine.kubelet:
        async with machine.running():
            await machine.healthy(8)
            await machine.stays_at(8, 0.3)
            machine.driver.set_links_down(4, 1)
            await machine.healthy(7)
        await machine.healthy(0)
        async with machine.running():
            await machine.healthy(7)
            await machine.stays_at(7, 2 * SHORT.quiet_time)
            machine.driver.set_links_down(4)
            await machine.healthy(8)


async def test_a_device_that_is_slow_or_has_less_bandwidth_stays_healthy(machine: Machine) -> None:
    async with machine.kubelet, machine.running():
        await machine.healthy(8)
        machine.driver.slow_down(1, 0x40)
        machine.driver.set_fabric(2, summary=3)
        await machine.stays_at(8, 2 * SHORT.quiet_time)
        assert len(machine.gateway.state.reported) == 2


async def test_a_lost_device_comes_back_when_it_answers_and_is_quiet(machine: Machine) -> None:
    async with machine.kubelet, machine.running():
        await machine.healthy(8)
        machine.driver.lose(2)
        await machine.healthy(7)
        machine.driver.find(2)
        began = time.monotonic()
        await machine.healthy(8)
        assert time.monotonic() - began > SHORT.quiet_time


async def test_broken_memory_takes_a_device_out(machine: Machine) -> None:
    async with machine.kubelet, machine.running():
        await machine.healthy(8)
        machine.driver.fail_memory(0, remap_failed=True)
        machine.driver.fail_memory(1, pending=True)
        await machine.healthy(6)
        machine.driver.recover(1)
        await machine.healthy(7)
        assert machine.health(0) == "Unhealthy"


async def test_a_device_that_was_bad_before_the_start_is_found(machine: Machine) -> None:
    machine.driver.ask_for_recovery(5, 4)
    async with machine.kubelet, machine.running():
        await machine.healthy(7)
        assert machine.health(5) == "Unhealthy"


async def test_a_driver_that_hangs_takes_every_device_along_until_it_answers(machine: Machine) -> None:
    async with machine.kubelet, machine.running():
        await machine.healthy(8)
        machine.driver.hang()
        await machine.stays_at(8, SHORT.driver_timeout / 2)
        await machine.healthy(0)
        machine.driver.release()
        await machine.healthy(8)


async def test_a_driver_that_is_reloaded_as_another_version_is_used_without_a_restart(machine: Machine) -> None:
    async with machine.kubelet, machine.running():
        await machine.healthy(8)
        machine.driver.xid(3, 48)
        await machine.healthy(7)
        machine.driver.fail(Call.COUNT, DRIVER_NOT_LOADED)
        await machine.healthy(0)
        machine.driver.load_module("580.65.06")
        machine.driver.fail(Call.COUNT, 0)
        await machine.healthy(8)
        assert machine.gateway.state.driver is not None
        assert machine.gateway.state.driver.version == "580.65.06"
        assert len(machine.kubelet.registrations) == 1


async def test_a_driver_that_is_away_for_a_moment_takes_no_device_along(machine: Machine) -> None:
    async with machine.kubelet, machine.running():
        await machine.healthy(8)
        machine.driver.fail(Call.COUNT, DRIVER_NOT_LOADED)
        await asyncio.sleep(SHORT.driver_timeout / 2)
        machine.driver.fail(Call.COUNT, 0)
        await machine.stays_at(8, 2 * SHORT.driver_timeout)


async def test_wait_errors_are_evidence_against_nobody(machine: Machine) -> None:
    async with machine.kubelet, machine.running():
        await machine.healthy(8)
        machine.driver.fail(Call.WAIT, 999)
        await machine.stays_at(8, 2 * SHORT.driver_timeout)


async def test_a_restart_whitewashes_nobody_and_a_reboot_gives_a_new_chance(machine: Machine) -> None:
    async with machine.kubelet:
        async with machine.running():
            await machine.healthy(8)
            machine.driver.xid(3, 79)
            await machine.healthy(7)
        await machine.healthy(0)
        async with machine.running():
            await machine.healthy(7)
            await machine.stays_at(7, 3 * SHORT.quiet_time)
        await machine.healthy(0)
        machine.boot_id.write_text("second\n")
        async with machine.running():
            await machine.healthy(7)
            await machine.healthy(8)


async def test_without_a_boot_id_it_starts_and_a_reboot_forgives_nothing(
    kubelet_dir: Path, state_dir: Path, driver: Driver, told: list[dict[str, Any]]
) -> None:
    machine = Machine(kubelet_dir, state_dir, driver)
    machine.boot_id = machine.boot_id / "not-there"
    async with machine.kubelet:
        async with machine.running():
            await machine.healthy(8)
            machine.driver.xid(3, 79)
            await machine.healthy(7)
        (line,) = [line for line in told if line["event"] == "this boot cannot be told from others"]
        assert (line["level"], "boot_id" in line["problem"]) == ("warning", True)
        await machine.healthy(0)
        async with machine.running():
            await machine.healthy(7)
            await machine.stays_at(7, 3 * SHORT.quiet_time)


async def test_a_restart_in_probation_begins_the_quiet_time_anew(
    kubelet_dir: Path, state_dir: Path, driver: Driver
) -> None:
    machine = Machine(kubelet_dir, state_dir, driver, replace(SHORT, quiet_time=1.0))
    async with machine.kubelet:
        async with machine.running():
            await machine.healthy(8)
            driver.xid(3, 1000)
            await machine.healthy(7)
            await machine.stays_at(7, 0.5)
        await machine.healthy(0)
        async with machine.running():
            began = time.monotonic()
            await machine.healthy(7)
            await machine.healthy(8)
            assert time.monotonic() - began > 1.0


async def test_the_first_list_after_a_restart_has_the_device_out_already(machine: Machine) -> None:
    async with machine.kubelet:
        async with machine.running():
            await machine.healthy(8)
            machine.driver.xid(3, 79)
            await machine.healthy(7)
        await machine.healthy(0)
        known = len(machine.kubelet.lists)
        async with machine.running():
            await machine.healthy(7)
        for listed in machine.kubelet.lists[known:]:
            assert dict(listed.devices)[machine.driver.uuid(3)] == "Unhealthy"


async def test_a_damaged_state_file_is_set_aside_and_said(machine: Machine, state_dir: Path) -> None:
    state_dir.mkdir()
    (state_dir / "health.json").write_text("{}")
    async with machine.kubelet, machine.running():
        await machine.healthy(8)
    assert (state_dir / "health.damaged").exists()


async def test_a_state_directory_that_cannot_be_written_harms_nothing(
    kubelet_dir: Path, tmp_path: Path, driver: Driver
) -> None:
    (tmp_path / "file").touch()
    machine = Machine(kubelet_dir, tmp_path / "file", driver)
    async with machine.kubelet, machine.running():
        await machine.healthy(8)
        driver.xid(3, 1000)
        await machine.healthy(7)
        await machine.healthy(8)
