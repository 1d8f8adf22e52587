"""Health on the whole way: from the driver's event to what the kubelet sees, and back again."""

import asyncio
import json
import os
import signal
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from driver.driver import DOUBLE_BIT_ECC, GPU_UNAVAILABLE, Call, Driver
from harness.node import RESOURCE, Node
from harness.process import PROGRAM, Process, run_to_end, started
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
            pace=Pace(rescan=0.05, checkup=0.2, retry=0.05, max_wait=0.05),
        )
        memory = HealthMemory(self._state_dir, self.boot_id)
        self.gateway = Gateway(
            observations=node.observations,
            registrar=node.registrar,
            serving_policy=node.serving_policy,
            silent_for=backend.silent_for,
            state=memory.recall(),
            keep=lambda state, _: memory.keep(state),
        )
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


@asynccontextmanager
async def node(kubelet_dir: Path, driver: Driver, *more: str) -> AsyncIterator[tuple[FakeKubelet, Process]]:
    """The process, beside a kubelet that has its eight devices."""
    arguments = ("--kubelet-dir", str(kubelet_dir), "--driver-root", str(driver.root), *more)
    async with (
        FakeKubelet(kubelet_dir, release("1.36")) as kubelet,
        started(*arguments, environment=driver.environment) as process,
    ):
        await kubelet.wait_for(lambda: kubelet.allocatable(RESOURCE) == 8, timeout=10, what="8 devices")
        await process.wait_for_control()
        yield kubelet, process


async def test_an_operator_sees_why_a_device_is_out_and_gives_it_back(kubelet_dir: Path, driver: Driver) -> None:
    uuid = driver.uuid(3)
    async with node(kubelet_dir, driver) as (kubelet, process):
        driver.xid(3, 79)
        await kubelet.wait_for(lambda: kubelet.allocatable(RESOURCE) == 7, what="7 devices")
        status, output, _ = await run_to_end("status", "--json")
        assert status == 0
        told = {device["id"]: device for device in json.loads(output)["devices"]}
        assert told[driver.uuid(0)]["health"] == "healthy"
        assert (told[uuid]["health"], told[uuid]["reason"]) == ("unhealthy", "XID 79")
        assert told[uuid]["needs"] == "a reboot of the node, or an operator's word"
        entry = {"PodUID": "uid-1", "ContainerName": "main", "ResourceName": RESOURCE, "DeviceIDs": {"-1": [uuid]}}
        data = {"PodDeviceEntries": [entry], "RegisteredDevices": {}}
        (kubelet_dir / "kubelet_internal_checkpoint").write_text(json.dumps({"Data": data, "Checksum": 1}))
        status, output, _ = await run_to_end("status")
        assert status == 0
        (row,) = [line for line in output.splitlines() if line.startswith("3 ")]
        assert row.endswith("uid-1 main")
        assert f"{RESOURCE}: registered as v1beta1, stream open since" in output
        assert f"{uuid}, unhealthy; it needs a reboot of the node, or an operator's word" in output
        status, output, _ = await run_to_end("health", "clear", uuid)
        assert (status, output) == (0, f"{uuid} is healthy: XID 79 is not held against it any more\n")
        await kubelet.wait_for(lambda: kubelet.allocatable(RESOURCE) == 8, what="8 devices")
        status, _, errors = await run_to_end("health", "clear", uuid)
        assert (status, errors) == (1, f"plugin-gateway: {uuid} is healthy already\n")
        assert (await run_to_end("health", "clear", "--all"))[:2] == (0, "every device is healthy already\n")
        for arguments in ((), (uuid, "--all")):
            status, _, errors = await run_to_end("health", "clear", *arguments)
            assert (status, errors) == (2, "plugin-gateway: health clear: allowed are the ids of devices, or --all\n")
        status, _, errors = await run_to_end("health", "clear", "GPU-none")
        assert (status, errors) == (1, "plugin-gateway: there is no device 'GPU-none'; not healthy are: none\n")
        changes = [line for line in process.lines if line["event"] == "device changed its health"]
        assert [line["health"] for line in changes] == ["unhealthy", "healthy"]


async def test_an_operator_cannot_talk_away_a_device_that_does_not_answer(kubelet_dir: Path, driver: Driver) -> None:
    async with node(kubelet_dir, driver) as (kubelet, _):
        driver.lose(3)
        await kubelet.wait_for(lambda: kubelet.allocatable(RESOURCE) == 7, timeout=15, what="7 devices")
        status, output, _ = await run_to_end("health", "clear", driver.uuid(3))
        assert status == 1
        assert "stays unhealthy: does not answer: GPU is lost; it needs an end of" in output


async def test_a_policy_that_is_wrong_at_reload_changes_nothing_and_is_shown(
    kubelet_dir: Path, driver: Driver, tmp_path: Path
) -> None:
    config = tmp_path / "config.yaml"
    config.write_text("version: v1\nhealth:\n  xids: {79: ignore}\n")
    async with node(kubelet_dir, driver, "--config-file", str(config)) as (kubelet, process):
        config.write_text("version: v1\nhealth:\n  xids: {79: maybe}\n")
        process.send(signal.SIGHUP)
        refused = await process.wait_for_event("configuration refused, the old one stays")
        assert f"{config}:3:14: health.xids.79: 'maybe', allowed are ignore" in refused["problem"]
        driver.xid(3, 79)
        noted = await process.wait_for_event("evidence")
        assert noted["meaning"] == "ignored by policy"
        assert kubelet.allocatable(RESOURCE) == 8
        _, output, _ = await run_to_end("status")
        assert f"configuration refused, an older one is in force: {config}:3:14" in output
        config.write_text("version: v1\nhealth:\n  xids: {79: unhealthy}\n")
        process.send(signal.SIGHUP)
        changed = await process.wait_for_event("configuration changed")
        assert changed["changed"] == ["health"]
        driver.xid(3, 79)
        await kubelet.wait_for(lambda: kubelet.allocatable(RESOURCE) == 7, what="7 devices")
        _, output, _ = await run_to_end("status", "--json")
        assert json.loads(output)["configuration_problem"] is None


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("xids: {79: maybe}", "3:14: health.xids.79: 'maybe', allowed are ignore, report, unhealthy"),
        ("xids: {-1: ignore}", "3:10: health.xids: '-1' is no XID, allowed are 1 to 9999"),
        ("xids: {1-9: ignore, 5: report}", "3:23: health.xids.5: XID 5 was decided about before"),
        ("what: 5", "3:3: unknown key health.what"),
    ],
)
@pytest.mark.parametrize("command", ["run", "health-policy"])
async def test_a_policy_that_is_wrong_at_the_start_is_refused_with_its_place(
    command: str, text: str, words: str, tmp_path: Path
) -> None:
    config = tmp_path / "config.yaml"
    config.write_text(f"version: v1\nhealth:\n  {text}\n")
    status, output, errors = await run_to_end(command, "--config-file", str(config), "--backend=simulated:1xT4")
    assert (status, output) == (2, "")
    assert errors.startswith(f"plugin-gateway: {config}:{words}")


async def test_the_policy_in_force_is_shown_with_where_it_comes_from(tmp_path: Path) -> None:
    config = tmp_path / "config.yaml"
    config.write_text("version: v1\nhealth:\n  xids: {126-128: unhealthy}\n  evidence: {driver-gone: report}\n")
    environment = {**os.environ, "DP_DISABLE_HEALTHCHECKS": "48"}
    arguments = ("health-policy", "--config-file", str(config))
    status, output, _ = await run_to_end(*arguments, environment=environment)
    assert status == 0
    rows = [" ".join(line.split()) for line in output.splitlines()]
    assert "XID 79 unhealthy-until-reboot NVIDIA's catalog: REBOOT_NODE" in rows
    assert f"XID 126-128 unhealthy file {config}:3" in rows
    assert "XID 129-135 report NVIDIA's catalog: RESTART_APP" in rows
    assert "XID 48 ignore environment DP_DISABLE_HEALTHCHECKS" in rows
    assert "any other XID unhealthy default" in rows
    assert f"driver-gone report file {config}:4" in rows
    _, output, _ = await run_to_end(*arguments, "--json", environment=environment)
    decisions = json.loads(output)["decisions"]
    assert {"xids": [126, 128], "action": "unhealthy", "origin": f"file {config}:3"} in decisions


async def test_nobody_there_to_ask_is_one_line(state_dir: Path) -> None:
    for arguments in (("status",), ("health", "clear", "GPU-1")):
        status, output, errors = await run_to_end(*arguments)
        assert (status, output) == (1, "")
        assert errors.startswith(f"plugin-gateway: no gateway can be asked at {state_dir}/control.sock: No such file")
        assert errors.count("\n") == 1


async def test_a_cluster_that_cannot_be_told_is_said_and_changes_nothing(kubelet_dir: Path, driver: Driver) -> None:
    more = ("--kubernetes-events", "--node-condition=GpuProblem", "--node-name=node-1")
    async with node(kubelet_dir, driver, *more) as (kubelet, process):
        driver.xid(3, 79)
        await kubelet.wait_for(lambda: kubelet.allocatable(RESOURCE) == 7, what="7 devices")
        told = await process.wait_for_event("the cluster cannot be told about unhealthy devices")
        assert told["problem"] == "no API server is known: KUBERNETES_SERVICE_HOST is not set, so this is no pod"


@pytest.mark.parametrize("flag", ["--kubernetes-events", "--node-condition=GpuProblem"])
async def test_what_the_cluster_is_told_needs_the_name_of_the_node(flag: str) -> None:
    status, _, errors = await run_to_end("run", "--backend=simulated:1xT4", flag)
    assert (status, errors) == (
        2,
        "plugin-gateway: --node-name is needed with --kubernetes-events and --node-condition [NODE_NAME]\n",
    )


async def test_status_can_be_watched_and_tells_what_was_decided(kubelet_dir: Path, driver: Driver) -> None:
    async with node(kubelet_dir, driver, "--quiet-time=7"):
        _, output, _ = await run_to_end("status")
        assert "\n  quiet_time 7.0, by flag --quiet-time\n" in output
        watching = await asyncio.create_subprocess_exec(
            PROGRAM, "status", "--watch", stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
        )
        assert watching.stdout is not None
        async with asyncio.timeout(15):
            seen = b""
            while seen.count(b"holders: ") < 3:
                seen += await watching.stdout.read(4096)
            watching.send_signal(signal.SIGINT)
            _, errors = await watching.communicate()
        assert (watching.returncode, errors) == (130, b"")
        assert f"{RESOURCE}: registered as v1beta1".encode() in seen
        assert b"\x1b" not in seen  # what is no terminal is not cleared
    status, _, errors_of_both = await run_to_end("status", "--watch", "--json")
    assert status == 2
    assert "not allowed with argument" in errors_of_both


async def test_a_fault_just_before_the_end_is_kept(kubelet_dir: Path, driver: Driver, state_dir: Path) -> None:
    async with node(kubelet_dir, driver) as (kubelet, process):
        driver.xid(3, 79)
        await kubelet.wait_for(lambda: kubelet.allocatable(RESOURCE) == 7, what="7 devices")
        process.send(signal.SIGTERM)
        assert await process.ended() == 0
    assert list(json.loads((state_dir / "health.json").read_text())["faults"]) == [driver.uuid(3)]


async def test_evidence_that_comes_again_and_again_is_one_line(kubelet_dir: Path, driver: Driver) -> None:
    async with node(kubelet_dir, driver) as (_, process):
        for _ in range(200):
            driver.xid(3, 31)
            await asyncio.sleep(0.001)
        driver.xid(3, 13)
        await process.wait_for_event("evidence", times=2)
        assert [line["what"] for line in process.lines if line["event"] == "evidence"] == ["XID 31", "XID 13"]
