"""The doctor names each cause by itself, with what to do, and ends as it says."""

import errno
import json
import os
import re
import signal
import socket
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from unittest.mock import patch

import pytest

from driver.driver import Call, Driver
from harness.node import RESOURCE
from harness.process import run_to_end, started
from plugin_gateway.adapters.commands.doctor import gateway_checks, kubelet_checks, node_checks
from plugin_gateway.adapters.commands.doctor.findings import Finding, Verdict
from plugin_gateway.adapters.fake_kubelet import FakeKubelet, release
from plugin_gateway.core.health.observations import DriverUnavailable
from plugin_gateway.core.health.remedies import Remedy

OLDER = "plugin-gateway-nvidia.com_gpu-cbcbbfae-0000000001-aaaa-1.sock"


def told(findings: Sequence[Finding], verdict: Verdict = Verdict.MEND) -> str:
    return "\n".join(each.what for each in findings if each.verdict is verdict)


async def doctor(kubelet_dir: Path, driver: Driver, *more: str) -> tuple[int, str, str]:
    return await run_to_end(
        "doctor",
        "--kubelet-dir",
        str(kubelet_dir),
        "--driver-root",
        str(driver.root),
        *more,
        environment=driver.environment,
    )


@asynccontextmanager
async def registered(kubelet_dir: Path, driver: Driver) -> AsyncIterator[None]:
    """A gateway that a kubelet has taken, and that can be asked."""
    arguments = ("--kubelet-dir", str(kubelet_dir), "--driver-root", str(driver.root))
    async with (
        FakeKubelet(kubelet_dir, release("1.36")),
        started(*arguments, environment=driver.environment) as process,
    ):
        await process.wait_for_event("registered")
        await process.wait_for_control()
        yield


async def test_where_all_is_well_it_ends_with_0(kubelet_dir: Path, driver: Driver) -> None:
    async with registered(kubelet_dir, driver):
        status, output, errors = await doctor(kubelet_dir, driver)
    assert (status, errors) == (0, "")
    assert f"ok    a kubelet listens on {kubelet_dir}/kubelet.sock, pid {os.getpid()}" in output
    assert "ok    a gateway runs here, with driver 575.57.08" in output
    assert f"ok    {RESOURCE} is registered as v1beta1" in output
    assert "ok    the driver shows 8 devices: NVIDIA H100 80GB HBM3" in output
    assert "ok    every device node is there" in output
    assert "mend" not in output


async def test_a_gateway_that_is_stopped_is_told_from_one_that_is_away(kubelet_dir: Path, driver: Driver) -> None:
    arguments = ("--kubelet-dir", str(kubelet_dir), "--driver-root", str(driver.root))
    async with started(*arguments, environment=driver.environment) as process:
        await process.wait_for_control()
        process.send(signal.SIGSTOP)
        try:
            status, output, _ = await doctor(kubelet_dir, driver)
        finally:
            process.send(signal.SIGCONT)
    assert status == 1
    assert ".sock did not answer within 5 s\n      -> it hangs or was stopped" in output


async def test_without_flags_it_looks_with_those_of_the_gateway_that_runs_here(
    kubelet_dir: Path, driver: Driver
) -> None:
    async with registered(kubelet_dir, driver):
        status, output, errors = await run_to_end("doctor", environment=driver.environment)
        assert (status, errors) == (0, "")
        assert "ok    the driver shows 8 devices: NVIDIA H100 80GB HBM3" in output
        _, output, _ = await run_to_end("devices", "--json", environment=driver.environment)
        assert len(json.loads(output)["devices"]) == 8
        status, output, _ = await run_to_end("doctor", "--driver-root", "/nowhere", environment=driver.environment)
        assert status == 1
        assert "mend  driver: libnvidia-ml.so.1 is neither" in output


async def test_what_the_running_gateway_suffers_from_is_told(kubelet_dir: Path, driver: Driver) -> None:
    arguments = ("--kubelet-dir", str(kubelet_dir), "--driver-root", str(driver.root), "--api-version=v1alpha2")
    async with (
        FakeKubelet(kubelet_dir, release("1.36")),
        started(*arguments, environment=driver.environment) as process,
    ):
        await process.wait_for_event("registration failed")
        await process.wait_for_control()
        driver.xid(3, 79)
        driver.xid(3, 48)
        await process.wait_for_event("evidence")
        status, output, _ = await doctor(kubelet_dir, driver, "--json")
        _, text, _ = await doctor(kubelet_dir, driver)
    assert status == 1
    mends = {each["what"]: each["todo"] for each in json.loads(output) if each["verdict"] == "mend"}
    assert any(what.startswith(f"{RESOURCE} is not registered: ") for what in mends)
    todo = mends[f"{driver.uuid(3)} is not given out: XID 79"]
    assert todo.startswith("it needs a reboot of the node, a reset if the driver tells of it, or an operator's word; ")
    (details,) = [each["details"] for each in json.loads(output) if each["what"].startswith(driver.uuid(3))]
    assert [re.sub(r"at 20\S+ \S+", "at TIME", line) for line in details] == [
        "XID 79: from driver event, at TIME",
        "  do RESTART_BM: reboot the node",
        "  then CONTACT_SUPPORT: collect nvidia-bug-report.sh and contact NVIDIA or the vendor of the machine",
        "XID 48: from driver event, at TIME",
        *(line for line in details if "WORKFLOW_XID_48: let the GPU's work end and reset it" in line),
    ]
    assert len(details) == 5  # NVIDIA says the same twice of XID 48
    assert "\n        do RESTART_BM: reboot the node\n" in text


async def test_all_pods_that_hold_an_unhealthy_device_are_named(kubelet_dir: Path, driver: Driver) -> None:
    def entry(uid: str, *ids: str) -> dict[str, object]:
        return {"PodUID": uid, "ContainerName": "c", "ResourceName": RESOURCE, "DeviceIDs": {"-1": list(ids)}}

    held = [entry("uid-1", driver.uuid(3)), entry("uid-2", driver.uuid(2), driver.uuid(3)), entry("u", driver.uuid(0))]
    arguments = ("--kubelet-dir", str(kubelet_dir), "--driver-root", str(driver.root))
    async with started(*arguments, environment=driver.environment) as process:
        await process.wait_for_control()
        data = {"PodDeviceEntries": held, "RegisteredDevices": {}}
        (kubelet_dir / "kubelet_internal_checkpoint").write_text(json.dumps({"Data": data, "Checksum": 1}))
        driver.xid(3, 79)
        await process.wait_for_event("device changed its health")
        _, output, _ = await doctor(kubelet_dir, driver)
        _, status, _ = await run_to_end("status")
    assert "      held by uid-1 c, uid-2 c\n" in output
    assert re.search(r"^3 .*uid-1 c, uid-2 c$", status, re.MULTILINE)


async def test_a_node_with_nothing_is_told_one_cause_at_a_time(
    kubelet_dir: Path, driver: Driver, state_dir: Path
) -> None:
    driver.uninstall()
    status, output, errors = await doctor(kubelet_dir, driver)
    assert (status, errors) == (1, "")
    lines = [line for line in output.splitlines() if line.startswith("mend ")]
    assert len(lines) == 3
    assert f"there is no {kubelet_dir}/kubelet.sock" in lines[0]
    assert f"no gateway can be asked at {state_dir}: No such file" in lines[1]
    assert "libnvidia-ml.so.1 is neither" in lines[2]
    assert "--feature-gates=DevicePlugins=true" in output


@pytest.mark.parametrize(
    ("make", "verdict", "words"),
    [
        (lambda path: path.rmdir(), Verdict.MEND, "No such file or directory"),
        (lambda path: (path.rmdir(), path.touch()), Verdict.MEND, "is no directory"),
        (lambda path: (path / "kubelet.sock").touch(), Verdict.MEND, "kubelet.sock is no socket"),
        (lambda _: None, Verdict.MEND, "no kubelet runs here, or it takes no device plugins"),
    ],
)
def test_a_directory_without_a_kubelet(make: object, verdict: Verdict, words: str, tmp_path: Path) -> None:
    directory = tmp_path / "device-plugins"
    directory.mkdir()
    assert callable(make)
    make(directory)
    assert words in told(list(kubelet_checks.check_directory(directory)), verdict)


def test_a_kubelet_that_is_gone_leaves_its_socket(kubelet_dir: Path) -> None:
    with socket.socket(socket.AF_UNIX) as gone:
        gone.bind(str(kubelet_dir / "kubelet.sock"))
    assert "nobody listens: the kubelet that made it is gone" in told(list(kubelet_checks.check_directory(kubelet_dir)))


def test_two_gateways_other_plugins_and_leftovers_are_told_apart(kubelet_dir: Path) -> None:
    names = (OLDER, OLDER.replace("aaaa", "bbbb"), OLDER.replace("cbcbbfae", "00000000"), "other.sock")
    living = [socket.socket(socket.AF_UNIX) for _ in names]
    for each, name in zip(living, names, strict=True):
        each.bind(str(kubelet_dir / name))
        each.listen()
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(kubelet_dir / "dead.sock"))
    try:
        findings = list(kubelet_checks.check_neighbours(kubelet_dir))
    finally:
        for each in living:
            each.close()
    assert told(findings) == ("2 gateways offer the same resource (0000000001-aaaa, 0000000001-bbbb): one stands by")
    # With another resource the same GPUs would be offered twice.
    assert not any("different resources" in str(each.todo) for each in findings)
    assert told(findings, Verdict.HINT) == (
        f"other device plugins are here: other.sock (pid {os.getpid()})\nsockets that nobody listens on: dead.sock"
    )
    cures = [each.todo for each in findings if "`plugin-gateway inspect`" in each.todo]
    assert [cure.endswith("so do it while nothing happens to their devices") for cure in cures] == [True]


def test_a_checkpoint_that_names_devices_which_are_gone_is_told_and_left_alone(tmp_path: Path) -> None:
    def entry(resource: str, *ids: str) -> dict[str, object]:
        return {"PodUID": "uid", "ContainerName": "c", "ResourceName": resource, "DeviceIDs": {"-1": list(ids)}}

    data = {
        "PodDeviceEntries": [entry(RESOURCE, "GPU-1::0", "GPU-1", "GPU-9"), entry("other/x", "y")],
        "RegisteredDevices": {},
    }
    directory = tmp_path / "device-plugins"
    directory.mkdir()
    path = directory / "kubelet_internal_checkpoint"
    path.write_text(json.dumps({"Data": data, "Checksum": 1}))
    gone = list(kubelet_checks.check_checkpoint(directory, [RESOURCE], frozenset({"GPU-1"})))
    assert told(gone) == "the kubelet's checkpoint has pod uid hold GPU-9, which this node does not have"
    fine = list(kubelet_checks.check_checkpoint(directory, [RESOURCE], frozenset({"GPU-1", "GPU-9"})))
    assert [each.verdict for each in fine] == [Verdict.WELL]
    (tmp_path / "pods").mkdir()
    marked = list(kubelet_checks.check_checkpoint(directory, [RESOURCE], frozenset({"GPU-1"})))
    assert told(marked) == "the kubelet's checkpoint has pod uid (gone) hold GPU-9, which this node does not have"


async def test_a_device_in_two_pods_is_named_with_both(kubelet_dir: Path, driver: Driver) -> None:
    def entry(pod: str, *ids: str) -> dict[str, object]:
        return {"PodUID": pod, "ContainerName": "main", "ResourceName": RESOURCE, "DeviceIDs": {"-1": list(ids)}}

    double, single = driver.uuid(3), driver.uuid(4)
    path = kubelet_dir / "kubelet_internal_checkpoint"
    entries = [entry("uid-1", double, single), entry("uid-2", f"{double}::0"), entry("uid-3", "x"), entry("uid-4", "x")]
    for count, words in (
        (4, f"mend  {double} is held by 2 pods: uid-1, uid-2\n"),
        (1, "ok    no device is held by two"),
    ):
        path.write_text(json.dumps({"Data": {"PodDeviceEntries": entries[:count], "RegisteredDevices": {}}}))
        _, output, _ = await doctor(kubelet_dir, driver)
        assert words in output
        assert output.count("is held by") == 1


async def test_device_nodes_that_are_missing_are_named(kubelet_dir: Path, driver: Driver) -> None:
    (driver.root / "dev/nvidia-uvm").unlink()
    (driver.root / "dev/nvidia5").unlink()
    status, output, _ = await doctor(kubelet_dir, driver)
    assert status == 1
    assert f"device nodes are missing below {driver.root}: /dev/nvidia5\n" in output
    assert f"device nodes are missing below {driver.root}: /dev/nvidia-uvm\n" in output
    assert "run nvidia-modprobe -u -c 0 on the host" in output


@pytest.mark.parametrize(("capabilities", "is_cause"), [("utility", True), ("compute,utility", False), ("all", False)])
async def test_a_node_that_the_container_runtime_leaves_out_is_told_with_its_cause(
    kubelet_dir: Path, driver: Driver, monkeypatch: pytest.MonkeyPatch, capabilities: str, is_cause: bool
) -> None:
    """NVIDIA's runtime gives nvidia-uvm only to containers with the capability compute."""
    monkeypatch.setenv("NVIDIA_DRIVER_CAPABILITIES", capabilities)
    (driver.root / "dev/nvidia-uvm").unlink()
    _, output, _ = await doctor(kubelet_dir, driver)
    assert f"mend  device nodes are missing below {driver.root}: /dev/nvidia-uvm\n" in output
    assert ("set NVIDIA_DRIVER_CAPABILITIES=compute,utility: it is 'utility' here" in output) is is_cause


async def test_nodes_that_are_not_seen_here_are_not_called_missing(kubelet_dir: Path, driver: Driver) -> None:
    (driver.root / "dev").rename(driver.root / "elsewhere")
    _, output, _ = await doctor(kubelet_dir, driver)
    assert f"note  the device nodes are not seen here: {driver.root}/dev is missing or empty" in output
    assert "/dev/nvidia7, /dev/nvidiactl, /dev/nvidia-uvm unseen" in output
    assert "device nodes are missing" not in output


async def test_a_driver_of_another_version_than_its_library_is_told_in_its_own_words(
    kubelet_dir: Path, driver: Driver
) -> None:
    driver.fail(Call.INIT, 18)
    _, output, _ = await doctor(kubelet_dir, driver)
    library = f"{driver.root}/usr/lib64/libnvidia-ml.so.1"
    told = "NVML cannot be initialised: RM has detected an NVML/RM version mismatch"
    assert f"mend  driver: {library}: {told}" in output


def test_inotify_that_is_used_up_is_told_with_the_limit_and_what_to_do() -> None:
    with patch.object(node_checks, "INotify", side_effect=OSError(errno.EMFILE, "Too many open files")):
        (finding,) = node_checks.check_limits()
    assert "inotify instances of this user are in use" in finding.what
    assert finding.todo == "sysctl fs.inotify.max_user_instances=1024"


@pytest.mark.parametrize(
    ("status", "needs_mig", "words", "todo"),
    [
        ("Name:\tx\nCapEff:\t0000000000000000\n", False, "with no capabilities; the gateway needs none", ""),
        ("CapEff:\t00000000a80425fb\n", False, "with 14 capabilities", "drop all of them from a container"),
        ("Name:\tx\n", False, "does not tell the capabilities", "look as whom the gateway runs"),
        ("CapEff:\t0000000000200000\n", True, "with the capability SYS_ADMIN", ""),
        (
            "CapEff:\t00000000a80425fb\n",
            True,
            "without the capability SYS_ADMIN",
            "where MIG devices are refused, give it to the container, as the chart does",
        ),
    ],
)
def test_capabilities_are_told(status: str, needs_mig: bool, words: str, todo: str, tmp_path: Path) -> None:
    (tmp_path / "status").write_text(status)
    with patch.object(node_checks, "OWN_STATUS", tmp_path / "status"):
        (finding,) = node_checks.check_privileges(needs_mig=needs_mig)
    assert words in finding.what
    assert finding.todo == todo


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")
async def test_the_kernels_log_is_looked_at_if_the_gateway_reads_it(kubelet_dir: Path, driver: Driver) -> None:
    _, without, _ = await doctor(kubelet_dir, driver)
    _, output, _ = await doctor(kubelet_dir, driver, "--kernel-log")
    assert "kernel's log" not in without
    can = _opens("/dev/kmsg")
    assert (
        "ok    the kernel's log can be read" if can else "mend  the kernel's log cannot be read: /dev/kmsg"
    ) in output


def _opens(path: str) -> bool:
    try:
        os.close(os.open(path, os.O_RDONLY | os.O_NONBLOCK))
    except OSError:
        return False
    return True


def test_why_the_kernels_log_cannot_be_read_is_told_with_what_to_do() -> None:
    finding = gateway_checks.check_kernel_log("CAP_SYSLOG is missing")
    assert finding.what == "the kernel's log cannot be read: CAP_SYSLOG is missing"
    assert "the chart's kernelLog" in finding.todo
    assert gateway_checks.check_kernel_log(None) == Finding(Verdict.WELL, "the kernel's log can be read")


async def test_a_gateway_that_cannot_read_the_kernels_log_says_so_itself(kubelet_dir: Path) -> None:
    """The doctor's own look would say that it can: it has another backend, and can be another user."""
    arguments = ("--kubelet-dir", str(kubelet_dir), "--backend=simulated:1xT4", "--kernel-log")
    problem = "the kernel's log says nothing about simulated GPUs"
    async with FakeKubelet(kubelet_dir, release("1.36")), started(*arguments) as process:
        await process.wait_for_event("registered")
        await process.wait_for_control()
        _, output, _ = await run_to_end("status")
        assert f"\nthe kernel's log cannot be read: {problem}\n" in output
        _, output, _ = await run_to_end("status", "--json")
        assert json.loads(output)["driver"]["kernel_log"] == {"problem": problem}
        _, output, _ = await run_to_end("doctor", "--kubelet-dir", str(kubelet_dir))
        assert output.count("the kernel's log cannot be read") == 1
        assert "the kernel's log can be read" not in output
        assert f"mend  the kernel's log cannot be read: {problem}\n" in output
    line = await process.wait_for_event("the kernel's log cannot be read, only the driver's events count")
    assert line["problem"] == problem


async def test_somebody_else_is_told_what_could_not_be_seen(kubelet_dir: Path, state_dir: Path) -> None:
    (kubelet_dir / "locked").mkdir(mode=0o700)
    state_dir.mkdir(mode=0o700)
    kubelet_dir.chmod(0o711)
    state_dir.parent.chmod(0o711)
    closed = PermissionError(errno.EACCES, "Permission denied")
    with (
        patch.object(os, "geteuid", return_value=12345),
        patch.object(os, "access", return_value=False),
        patch.object(node_checks, "explain_unwritable", return_value=closed),
    ):
        directory = list(kubelet_checks.check_directory(kubelet_dir))
        gateway = list(gateway_checks.check_gateway(state_dir, lambda _: Remedy()))
        state = list(node_checks.check_state_directory(state_dir))
    assert [each.verdict for each in (*directory, *gateway, *state)] == [Verdict.UNSEEN] * 3


def test_a_driver_without_a_gpu_is_told_with_where_to_look() -> None:
    (finding,) = node_checks.check_inventory(DriverUnavailable("the driver is there but has no GPU"), [])
    assert "see `dmesg` for NVRM" in finding.todo
