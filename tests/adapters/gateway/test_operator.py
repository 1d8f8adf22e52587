"""Health as an operator meets it: what the process logs, what the sub-commands show, and what they change."""

import asyncio
import json
import os
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import yaml

from driver.driver import Driver
from harness.node import RESOURCE
from harness.process import PROGRAM, Process, run_to_end, started
from plugin_gateway.adapters.control.control_client import ControlError, ask_all
from plugin_gateway.adapters.fake_kubelet import FakeKubelet, release

TOO_HOT = 0x40
"""NVML's bit for a slowdown because of the temperature."""
EXAMPLES = Path(__file__).parents[3] / "deploy" / "examples"


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


async def test_an_operator_sees_why_a_device_is_out_and_gives_it_back(
    kubelet_dir: Path, driver: Driver, state_dir: Path
) -> None:
    uuid = driver.uuid(3)
    async with node(kubelet_dir, driver) as (kubelet, process):
        driver.xid(3, 79)
        await kubelet.wait_for(lambda: kubelet.allocatable(RESOURCE) == 7, what="7 devices")
        status, output, _ = await run_to_end("status", "--json")
        assert status == 0
        told = {device["id"]: device for device in json.loads(output)["devices"]}
        assert told[driver.uuid(0)]["health"] == "healthy"
        assert (told[uuid]["health"], told[uuid]["reason"]) == ("unhealthy", "XID 79")
        needs = "a reboot of the node, a reset if the driver tells of it, or an operator's word"
        assert told[uuid]["needs"] == needs
        (evidence,) = told[uuid]["evidence"]
        assert (evidence["what"], evidence["kind"], evidence["source"]) == ("XID 79", "xid-79", "driver event")
        entry = {"PodUID": "uid-1", "ContainerName": "main", "ResourceName": RESOURCE, "DeviceIDs": {"-1": [uuid]}}
        data = {"PodDeviceEntries": [entry], "RegisteredDevices": {}}
        (kubelet_dir / "kubelet_internal_checkpoint").write_text(json.dumps({"Data": data, "Checksum": 1}))
        status, output, _ = await run_to_end("status")
        assert status == 0
        (row,) = [line for line in output.splitlines() if line.startswith("3 ")]
        assert row.endswith("uid-1 main")
        assert f"{RESOURCE}: registered as v1beta1, stream open since" in output
        assert f"{uuid}, unhealthy; it needs {needs}" in output
        assert "  XID 79 (driver event)\n" in output
        status, output, _ = await run_to_end("health", "clear", uuid)
        assert (status, output) == (0, f"{uuid} is healthy: XID 79 is not held against it any more\n")
        await kubelet.wait_for(lambda: kubelet.allocatable(RESOURCE) == 8, what="8 devices")
        status, _, errors = await run_to_end("health", "clear", uuid)
        assert (status, errors) == (1, f"plugin-gateway: {uuid} is healthy already\n")
        assert (await run_to_end("health", "clear", "--all"))[:2] == (0, "every device is healthy already\n")
        for arguments in ((), (uuid, "--all")):
            status, _, errors = await run_to_end("health", "clear", *arguments)
            assert (status, errors) == (2, "plugin-gateway: health clear: expected the ids of devices, or --all\n")
        status, _, errors = await run_to_end("health", "clear", "GPU-none")
        assert (status, errors) == (1, "plugin-gateway: there is no device 'GPU-none'; not healthy are: none\n")
        with pytest.raises(ControlError, match=r"there is no device '\[1\]'; not healthy are: none"):
            ask_all(state_dir)[0].tell({"command": "clear", "devices": [[1]]})
        changes = [line for line in process.lines if line["event"] == "device changed its health"]
        assert [line["health"] for line in changes] == ["unhealthy", "healthy"]


async def test_an_operator_sees_how_often_evidence_was_repeated_and_has_it_count_anew(
    kubelet_dir: Path, driver: Driver, tmp_path: Path
) -> None:
    config, uuid = tmp_path / "config.yaml", driver.uuid(3)
    config.write_text("version: v1\nhealth:\n  xids: {94: {action: unhealthy-until-reset, count: 3, window: 10m}}\n")
    async with node(kubelet_dir, driver, "--config-file", str(config)) as (kubelet, process):
        for number in (1, 2):
            driver.xid(3, 94)
            noted = await process.wait_for_event("evidence", number)
            assert (noted["what"], noted["repeated"]) == ("XID 94", f"{number} of 3 within 600 s")
        _, output, _ = await run_to_end("status", "--json")
        told = {device["id"]: device for device in json.loads(output)["devices"]}
        assert told[driver.uuid(0)]["repeated"] == []
        assert told[uuid]["repeated"] == [
            {"what": "XID 94", "kind": "xid-94", "times": 2, "needed": 3, "window": 600.0}
        ]
        _, output, _ = await run_to_end("status")
        assert f"reported against {uuid}: XID 94, 2 of 3 within 600 s\n" in output
        refused = (1, "", f"plugin-gateway: {uuid} is healthy already\n")
        assert await run_to_end("health", "clear", uuid, "--on-probation") == refused
        cleared = f"{uuid} is healthy; it counts anew, before it was XID 94, 2 of 3 within 600 s\n"
        assert await run_to_end("health", "clear", uuid) == (0, cleared, "")
        assert await run_to_end("health", "clear", uuid) == refused
        line = await process.wait_for_event("an operator says that the device is well")
        assert line["counts_anew"] == ["XID 94, 2 of 3 within 600 s"]
        for number in (3, 4):
            driver.xid(3, 94)
            await until_counted(uuid, number - 2)
        assert kubelet.allocatable(RESOURCE) == 8
        driver.xid(3, 94)
        await kubelet.wait_for(lambda: kubelet.allocatable(RESOURCE) == 7, what="7 devices")


async def until_counted(device: str, times: int) -> None:
    """Wait until the gateway has counted evidence so often."""
    async with asyncio.timeout(10):
        while True:
            _, output, _ = await run_to_end("status", "--json")
            (found,) = [each for each in json.loads(output)["devices"] if each["id"] == device]
            if [each["times"] for each in found["repeated"]] == [times]:
                return


async def test_an_operator_sees_what_a_check_finds_and_the_policy_only_reports(
    kubelet_dir: Path, driver: Driver
) -> None:
    async with node(kubelet_dir, driver) as (_, process):
        driver.slow_down(3, TOO_HOT)
        found = await process.wait_for_event("evidence")
        _, output, _ = await run_to_end("status", "--json")
        told = {device["id"]: device["reported"] for device in json.loads(output)["devices"]}
        assert told[driver.uuid(3)] == [found["what"]]
        assert told[driver.uuid(0)] == []
        _, output, _ = await run_to_end("status")
        assert f"reported against {driver.uuid(3)}: its hardware slows it down: it is too hot\n" in output


async def test_an_operator_cannot_talk_away_a_device_that_does_not_answer(kubelet_dir: Path, driver: Driver) -> None:
    async with node(kubelet_dir, driver) as (kubelet, process):
        driver.lose(3)
        await kubelet.wait_for(lambda: kubelet.allocatable(RESOURCE) == 7, timeout=15, what="7 devices")
        status, output, _ = await run_to_end("health", "clear", driver.uuid(3))
        assert status == 1
        assert "stays unhealthy: does not answer: GPU is lost; it needs a check that no longer finds" in output
        line = await process.wait_for_event("an operator cleared the device, and its problem lasts")
        assert (line["device"], line["what"]) == (driver.uuid(3), "does not answer: GPU is lost")
        assert not [line for line in process.lines if "says that the device is well" in line["event"]]


async def test_a_policy_that_is_wrong_at_reload_changes_nothing_and_is_shown(
    kubelet_dir: Path, driver: Driver, tmp_path: Path
) -> None:
    config = tmp_path / "config.yaml"
    config.write_text("version: v1\nhealth:\n  xids: {79: ignore}\n")
    async with node(kubelet_dir, driver, "--config-file", str(config)) as (kubelet, process):
        config.write_text("version: v1\nhealth:\n  xids: {79: maybe}\n")
        process.send(signal.SIGHUP)
        refused = await process.wait_for_event("configuration refused, the old one stays")
        assert f"{config}:3:14: health.xids.79: invalid value 'maybe'; expected ignore" in refused["problem"]
        driver.xid(3, 79)
        noted = await process.wait_for_event("evidence")
        assert (noted["evidence"], noted["meaning"]) == ("xid_79", "ignored")
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


async def test_a_test_job_ends_a_probation_and_no_other_fault(kubelet_dir: Path, driver: Driver) -> None:
    """The command is that of the example."""
    job = yaml.safe_load((EXAMPLES / "probation-test" / "job.yaml").read_text())
    (container,) = job["spec"]["template"]["spec"]["containers"]

    def command(index: int) -> list[str]:
        return [word.replace("GPU-UUID", driver.uuid(index)) for word in container["args"]]

    async with node(kubelet_dir, driver, "--probation=external", "--quiet-time=0") as (kubelet, process):
        driver.xid(3, 79)
        driver.xid(4, 9999)
        await kubelet.wait_for(lambda: kubelet.allocatable(RESOURCE) == 6, what="6 devices")
        await process.wait_for_event("device changed its health", 3)
        status, output, _ = await run_to_end("status")
        assert f"{driver.uuid(4)}, probation; it needs an operator's word, or that of a test" in output
        status, output, _ = await run_to_end(*command(3))
        assert (status, "stays unhealthy: XID 79; it needs a reset" in output) == (1, True)
        status, output, _ = await run_to_end(*command(4))
        assert (status, output) == (0, f"{driver.uuid(4)} is healthy: XID 9999 is not held against it any more\n")
        await kubelet.wait_for(lambda: kubelet.allocatable(RESOURCE) == 7, what="7 devices")


async def test_the_time_in_which_the_driver_decides_can_be_changed_while_a_question_is_open(
    kubelet_dir: Path, driver: Driver, tmp_path: Path
) -> None:
    config = tmp_path / "config.yaml"
    config.write_text("version: v1\nhealth: {decisionTime: 600}\n")
    async with node(kubelet_dir, driver, "--config-file", str(config)) as (kubelet, process):
        driver.xid(3, 145)
        await kubelet.wait_for(lambda: kubelet.allocatable(RESOURCE) == 7, what="7 devices")
        config.write_text("version: v1\nhealth: {decisionTime: 1}\n")
        process.send(signal.SIGHUP)
        await process.wait_for_event("configuration changed")
        await kubelet.wait_for(lambda: kubelet.allocatable(RESOURCE) == 8, timeout=20, what="8 devices")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("xids: {79: maybe}", "3:14: health.xids.79: invalid value 'maybe'; expected ignore, report, unhealthy"),
        ("xids: {-1: ignore}", "3:10: health.xids: '-1' is no XID; expected 1 to 9999"),
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
    environment = {"BACKEND": "simulated:1xT4"}
    status, output, errors = await run_to_end(command, "--config-file", str(config), environment=environment)
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
    judged = "XID 79 unhealthy-until-reboot-or-recovery a reboot, or a reset by the driver's word"
    assert f"{judged} NVIDIA's catalog: RESTART_BM from R565" in rows
    assert f"XID 126-128 unhealthy a check file {config}:3" in rows
    assert "XID 129-135 report NVIDIA's catalog: RESTART_APP" in rows
    assert "XID 48 ignore environment DP_DISABLE_HEALTHCHECKS from R565" in rows
    assert "any other XID unhealthy a check default" in rows
    assert f"driver-gone report file {config}:4" in rows
    _, output, _ = await run_to_end(*arguments, "--json", environment=environment)
    decisions = json.loads(output)["decisions"]
    (decided,) = [each for each in decisions if each.get("xids") == [126, 128]]
    assert (decided["action"], decided["origin"]) == ("unhealthy", f"file {config}:3")


async def test_nobody_there_to_ask_is_one_line(state_dir: Path) -> None:
    for arguments in (("status",), ("health", "clear", "GPU-1")):
        status, output, errors = await run_to_end(*arguments)
        assert (status, output) == (1, "")
        assert errors.startswith(f"plugin-gateway: no gateway can be asked at {state_dir}: No such file")
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


async def test_a_gpu_that_is_missing_after_a_restart_is_said_everywhere_and_can_be_accepted(
    kubelet_dir: Path, driver: Driver, state_dir: Path
) -> None:
    uuid = driver.uuid(7)
    async with node(kubelet_dir, driver) as (_, process):
        _, output, _ = await run_to_end("status")
        assert "\nGPUs: 8 can be offered, 8 are expected: what this node had before\n" in output
    assert json.loads((state_dir / "known-devices.json").read_text())["number"] == 8
    driver.remove(7)
    arguments = ("--kubelet-dir", str(kubelet_dir), "--driver-root", str(driver.root))
    async with started(*arguments, environment=driver.environment) as process:
        line = await process.wait_for_event("devices are missing", limit=30)
        assert line["problem"].startswith(f"7 of 8 GPUs can be offered; {uuid} at 0000:")
        assert line["problem"].endswith(" is missing")
        _, output, _ = await run_to_end("status")
        assert f"\nGPUs are missing: {line['problem']}\n" in output
        _, output, _ = await run_to_end("status", "--json")
        assert [each["id"] for each in json.loads(output)["device_count"]["missing"]] == [uuid]
        status, output, _ = await run_to_end("doctor", *arguments, environment=driver.environment)
        assert status == 1
        assert f"mend  GPUs are missing: {line['problem']} (expected by: what this node had before)" in output
        assert "if they were taken out on purpose: `plugin-gateway health accept`" in output
        status, _, errors = await run_to_end("health", "accept", "--all")
        assert (status, errors.count("\n")) == (2, 1)
        status, output, _ = await run_to_end("health", "accept")
        assert status == 0
        first, second = output.splitlines()
        assert first == "7 GPUs are expected from now on, before it were 8"
        assert second.startswith(f"{uuid} at 0000:")
        await process.wait_for_event("no device is missing any more", limit=30)
    assert json.loads((state_dir / "known-devices.json").read_text())["number"] == 7


async def test_a_number_in_the_file_can_change_while_the_gateway_runs(
    kubelet_dir: Path, driver: Driver, tmp_path: Path
) -> None:
    config = tmp_path / "config.yaml"
    config.write_text("version: v1\nhealth:\n  expectedGpus: 6\n")
    more = ("--config-file", str(config), "--kubernetes-events", "--node-name=node-1")
    async with node(kubelet_dir, driver, *more) as (_, process):
        line = await process.wait_for_event("there are more devices than expected")
        assert (line["expected"], line["present"]) == (6, 8)
        _, output, _ = await run_to_end("status")
        assert f"\nGPUs: 8 can be offered, 6 are expected: file {config}:3\n" in output
        status, _, errors = await run_to_end("health", "accept")
        assert (status, errors) == (1, f"plugin-gateway: the number is given by file {config}:3: change it there\n")
        config.write_text("version: v1\nhealth:\n  expectedGpus: 9\n")
        process.send(signal.SIGHUP)
        line = await process.wait_for_event("configuration changed")
        assert line["changed"] == ["expected_gpus: 6 -> 9"]
        line = await process.wait_for_event("devices are missing", limit=30)
        assert line["problem"] == "8 of 9 GPUs can be offered; their ids are not known"
        line = await process.wait_for_event("the cluster cannot be told about unhealthy devices")
        assert line["output"] == "Events"
