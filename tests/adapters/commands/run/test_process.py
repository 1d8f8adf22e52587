"""`plugin-gateway run` as a process: real signals, a real driver library, a kubelet's view of it."""

import asyncio
import os
import select
import signal
import socket
import time
from importlib.metadata import version
from pathlib import Path

import pytest

from driver.driver import Call, Driver
from harness.node import RESOURCE, until
from harness.process import PROGRAM, run_to_end, started
from plugin_gateway.adapters.fake_kubelet import FakeKubelet, release

SIMULATED = ("--backend", "simulated:8xH100")


def at(directory: Path) -> tuple[str, str]:
    return ("--kubelet-dir", str(directory))


def with_driver(driver: Driver) -> tuple[str, str]:
    return ("--driver-root", str(driver.root))


async def devices_seen(kubelet: FakeKubelet, count: int) -> None:
    await kubelet.wait_for(
        lambda: kubelet.allocatable(RESOURCE) == count, timeout=10, what=f"{count} allocatable devices"
    )


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_a_signal_ends_it_in_order_and_its_socket_is_gone(number: signal.Signals, kubelet_dir: Path) -> None:
    async with FakeKubelet(kubelet_dir, release("1.36")) as kubelet, started(*at(kubelet_dir), *SIMULATED) as process:
        await devices_seen(kubelet, 8)
        began = time.monotonic()
        process.send(number)
        assert await process.ended() == 0
        assert time.monotonic() - began < 2
        assert not list(kubelet_dir.glob("plugin-gateway-*"))
        assert process.events()[-1] == "stopped"


async def test_a_kubelet_that_answers_nothing_keeps_no_end_from_being_in_order(
    kubelet_dir: Path, tmp_path: Path
) -> None:
    path, recording = kubelet_dir.parent / "pod-resources" / "kubelet.sock", tmp_path / "recording"
    path.parent.mkdir()
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()
        async with started(*at(kubelet_dir), *SIMULATED, "--record", str(recording)) as process:
            assert (await asyncio.to_thread(select.select, [listener], [], [], 10))[0], "it asks for the pods"
            await process.wait_for_control()
            process.send(signal.SIGTERM)
            assert await process.ended() == 0
            assert process.events()[-1] == "stopped"
    assert '"end"' in recording.read_text().splitlines()[-1]


async def test_a_second_signal_ends_it_at_once(kubelet_dir: Path) -> None:
    async with started(*at(kubelet_dir), *SIMULATED) as process:
        await process.wait_for_event("resource added")
        process.send(signal.SIGSTOP)
        process.send(signal.SIGTERM)
        process.send(signal.SIGINT)
        process.send(signal.SIGCONT)
        assert await process.ended() in {0, 128 + signal.SIGTERM, 128 + signal.SIGINT}


async def test_containers_get_the_uuids_and_the_device_nodes_that_exist(kubelet_dir: Path, driver: Driver) -> None:
    async with (
        FakeKubelet(kubelet_dir, release("1.37")) as kubelet,
        started(*at(kubelet_dir), *with_driver(driver), environment=driver.environment),
    ):
        await devices_seen(kubelet, 8)
        container = await kubelet.allocate(RESOURCE, 2, pod="p", container="c")
        assert container.environment["NVIDIA_VISIBLE_DEVICES"].split(",") == sorted(container.ids)
        names = ("nvidia0", "nvidia1", "nvidiactl", "nvidia-uvm", "nvidia-uvm-tools")
        expected = {f"/dev/{name}": (f"{driver.root}/dev/{name}", "rw") for name in names}
        assert container.device_nodes == expected


async def test_a_node_that_every_container_needs_and_that_is_missing_is_told_at_allocate(
    kubelet_dir: Path, driver: Driver
) -> None:
    (driver.root / "dev/nvidia-uvm").unlink()
    (driver.root / "dev/nvidia-uvm-tools").unlink()
    async with (
        FakeKubelet(kubelet_dir, release("1.37")) as kubelet,
        started(*at(kubelet_dir), *with_driver(driver), environment=driver.environment) as process,
    ):
        await devices_seen(kubelet, 8)
        container = await kubelet.allocate(RESOURCE, 1, pod="p", container="c", ids=[driver.uuid(0)])
        line = await process.wait_for_event("device nodes are missing, the container gets none")
        assert line["nodes"] == ["/dev/nvidia-uvm"]
        assert set(container.device_nodes) == {"/dev/nvidia0", "/dev/nvidiactl"}


async def test_nodes_below_a_root_without_dev_are_given_unseen(kubelet_dir: Path, driver: Driver) -> None:
    (driver.root / "dev").rename(driver.root / "elsewhere")
    async with (
        FakeKubelet(kubelet_dir, release("1.37")) as kubelet,
        started(*at(kubelet_dir), *with_driver(driver), environment=driver.environment),
    ):
        await devices_seen(kubelet, 8)
        container = await kubelet.allocate(RESOURCE, 1, pod="p", container="c", ids=[driver.uuid(3)])
        expected = {f"/dev/{name}" for name in ("nvidia3", "nvidiactl", "nvidia-uvm")}
        assert {path: host for path, (host, _) in container.device_nodes.items()} == {
            path: f"{driver.root}{path}" for path in expected
        }


async def test_an_xid_reaches_the_kubelet_and_an_application_error_does_not(kubelet_dir: Path, driver: Driver) -> None:
    async with (
        FakeKubelet(kubelet_dir, release("1.10")) as kubelet,
        started(*at(kubelet_dir), *with_driver(driver), environment=driver.environment) as process,
    ):
        await devices_seen(kubelet, 8)
        driver.xid(1, 31)
        await process.wait_for_event("evidence")
        assert kubelet.allocatable(RESOURCE) == 8
        driver.xid(2, 79)
        await devices_seen(kubelet, 7)
        assert kubelet.capacity(RESOURCE) == 8
        started_line = await process.wait_for_event("started")
        assert started_line["version"] == version("plugin-gateway")
        line = await process.wait_for_event("device changed its health")
        assert (line["reason"], line["what"]) == ("xid_79", "XID 79")


async def test_while_the_driver_hangs_everything_is_answered(kubelet_dir: Path, driver: Driver) -> None:
    async with (
        FakeKubelet(kubelet_dir, release("1.36")) as kubelet,
        started(*at(kubelet_dir), *with_driver(driver), environment=driver.environment) as process,
    ):
        await devices_seen(kubelet, 8)
        driver.hang()
        assert (await kubelet.allocate(RESOURCE, 8, pod="p", container="c")).environment
        await kubelet.restart(kill=True)
        await devices_seen(kubelet, 8)
        await kubelet.remove("p")
        assert (await kubelet.allocate(RESOURCE, 1, pod="q", container="c")).environment
        began = time.monotonic()
        process.send(signal.SIGTERM)
        assert await process.ended() == 0
        assert time.monotonic() - began < 2


async def test_a_driver_that_hangs_or_does_not_report_is_told_of(kubelet_dir: Path, driver: Driver) -> None:
    driver.add(3, has_events=False)
    async with (
        FakeKubelet(kubelet_dir, release("1.36")) as kubelet,
        started(*at(kubelet_dir), *with_driver(driver), environment=driver.environment) as process,
    ):
        await devices_seen(kubelet, 8)
        line = await process.wait_for_event(
            "devices whose faults the driver does not report by itself, only a check finds them"
        )
        assert line["devices"] == ["GPU-5a7d1e00-0000-0000-0000-000000000003"]
        driver.fail(Call.WAIT, 999)
        line = await process.wait_for_event(
            "the driver's events cannot be waited for, faults of its devices go unseen", limit=20
        )
        assert line["problem"] == "Unknown Error"
        driver.fail(Call.WAIT, 0)
        await process.wait_for_event("the driver's events are seen again", limit=20)
        driver.hang()
        await process.wait_for_event("the driver does not answer, faults of its devices go unseen", limit=30)
        driver.release()
        await process.wait_for_event("the driver answers again", limit=20)
        assert kubelet.allocatable(RESOURCE) == 8


async def test_a_gateway_that_was_stopped_asks_the_driver_before_it_believes_it_gone(
    kubelet_dir: Path, driver: Driver
) -> None:
    flags = (*at(kubelet_dir), *with_driver(driver), "--driver-timeout=10")
    async with (
        FakeKubelet(kubelet_dir, release("1.36")) as kubelet,
        started(*flags, environment=driver.environment) as process,
    ):
        await devices_seen(kubelet, 8)
        for call in (Call.COUNT, Call.INIT):
            driver.fail(call, 9)
        await process.wait_for_event("waiting for the driver", limit=20)
        process.send(signal.SIGSTOP)
        for call in (Call.COUNT, Call.INIT):
            driver.fail(call, 0)
        await asyncio.sleep(16)  # the timeout, and more than a busy machine could add
        process.send(signal.SIGCONT)
        await process.wait_for_event("driver is available", limit=20)
        assert kubelet.allocatable(RESOURCE) == 8
        assert not [line for line in process.lines if line["event"] == "device changed its health"]


async def test_a_driver_that_is_installed_later_is_found(kubelet_dir: Path, driver: Driver) -> None:
    driver.uninstall()
    async with (
        FakeKubelet(kubelet_dir, release("1.36")) as kubelet,
        started(*at(kubelet_dir), *with_driver(driver), environment=driver.environment) as process,
    ):
        line = await process.wait_for_event("waiting for the driver")
        assert str(driver.root) in line["problem"]
        assert not kubelet.registrations
        driver.install()
        await devices_seen(kubelet, 8)


async def test_with_fail_on_init_error_a_missing_driver_ends_it(kubelet_dir: Path, driver: Driver) -> None:
    driver.uninstall()
    async with started(*at(kubelet_dir), *with_driver(driver), "--fail-on-init-error") as process:
        assert await process.ended() == 1
        assert process.lines[-1]["event"] == "ends"
        assert "libnvidia-ml.so.1" in process.lines[-1]["problem"]


async def test_sighup_applies_what_changed_and_registers_nothing_again(kubelet_dir: Path, tmp_path: Path) -> None:
    config = tmp_path / "config.yaml"
    config.write_text("version: v1\n")
    async with (
        FakeKubelet(kubelet_dir, release("1.37")) as kubelet,
        started(*at(kubelet_dir), *SIMULATED, "--config-file", str(config)) as process,
    ):
        await devices_seen(kubelet, 8)
        config.write_text("version: v1\nflags:\n  plugin:\n    deviceIDStrategy: index\n")
        process.send(signal.SIGHUP)
        await process.wait_for_event("configuration changed")
        container = await kubelet.allocate(RESOURCE, 2, pod="p", container="c")
        assert set(container.environment["NVIDIA_VISIBLE_DEVICES"].split(",")) <= {str(index) for index in range(8)}
        config.write_text("version: v1\nflags:\n  wrong: 1\n")
        process.send(signal.SIGHUP)
        line = await process.wait_for_event("configuration refused, the old one stays")
        assert f"{config}:3:3" in line["problem"]
        for times in range(20):
            config.write_text(f"version: v1\nflags:\n  logLevel: {'debug' if times % 2 else 'info'}\n")
            process.send(signal.SIGHUP)
            await process.wait_for_event("configuration changed", times + 2)
        assert len(kubelet.registrations) == 1
        assert kubelet.open_streams(RESOURCE) == 1


async def test_sighup_adds_and_removes_resources_and_leaves_the_others_alone(kubelet_dir: Path, tmp_path: Path) -> None:
    config = tmp_path / "config.yaml"
    config.write_text("version: v1\n")
    rule = 'resources:\n  gpus:\n  - {pattern: "*H100*", name: nvidia.com/h100}\n'
    async with (
        FakeKubelet(kubelet_dir, release("1.8")) as kubelet,
        started(*at(kubelet_dir), *SIMULATED, "--config-file", str(config)) as process,
    ):
        await devices_seen(kubelet, 8)
        config.write_text(f"version: v1\n{rule}")
        process.send(signal.SIGHUP)
        await kubelet.wait_for(lambda: kubelet.allocatable("nvidia.com/h100") == 8, what="the new resource")
        await kubelet.wait_for(lambda: kubelet.open_streams(RESOURCE) == 0, what="the end of the old one")
        await until(lambda: len(list(kubelet_dir.glob("plugin-gateway-*"))) == 1, "one socket left")


async def test_an_api_version_that_is_no_longer_allowed_ends_its_registration(
    kubelet_dir: Path, tmp_path: Path
) -> None:
    config = tmp_path / "config.yaml"
    config.write_text("version: v1\n")
    async with (
        FakeKubelet(kubelet_dir, release("1.9")) as kubelet,
        started(*at(kubelet_dir), *SIMULATED, "--config-file", str(config)) as process,
    ):
        await devices_seen(kubelet, 8)
        config.write_text("version: v1\nflags:\n  plugin:\n    apiVersion: v1beta1\n")
        process.send(signal.SIGHUP)
        assert (await process.wait_for_event("configuration changed"))["changed"] == ["api_version: auto -> v1beta1"]
        line = await process.wait_for_event("registration failed")
        assert line["cause"] == "package_unknown"


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (("--api-version", "v2"), ("--api-version", "'v2'", "v1beta1")),
        (("--resource-name", "Foo.com/x"), ("--resource-name", "'Foo.com/x'", "lower-case")),
        (("--resource-name", "x.kubernetes.io/gpu"), ("kubernetes.io/",)),
        (("--frobnicate",), ("unknown flag --frobnicate",)),
        (("--backend", "simulated:0xH100"), ("--backend", "0xH100")),
        (("--kubelet-dir", "/" + "x" * 100), ("101 bytes", "expected at most 55")),
        (("--kubelet-dir", "/dev/null"), ("/dev/null", "no directory")),
    ],
)
async def test_a_mistake_is_told_in_one_line_and_ends_with_2(flags: tuple[str, ...], words: tuple[str, ...]) -> None:
    status, output, errors = await run_to_end("run", *SIMULATED, *flags)
    assert (status, output) == (2, "")
    assert errors.count("\n") == 1
    assert all(word in errors for word in words), errors


@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"])
@pytest.mark.parametrize("flag", ["--version", "--help"])
async def test_closed_standard_streams_end_nothing(closed: str, flag: str) -> None:
    status, _, errors = await run_to_end(flag, within=("sh", "-c", f'exec "$0" "$@" {closed}'))
    assert (status, errors) == (0, "")


async def test_it_serves_with_closed_standard_streams(kubelet_dir: Path) -> None:
    async with FakeKubelet(kubelet_dir, release("1.37")) as kubelet:
        shell = await asyncio.create_subprocess_shell(
            f"exec {PROGRAM} run --kubelet-dir {kubelet_dir} --backend simulated:2xH100 <&- >&- 2>&-"
        )
        try:
            await kubelet.wait_for(lambda: kubelet.allocatable(RESOURCE) == 2, what="two devices")
            led_to = {str(Path(f"/proc/{shell.pid}/fd/{number}").readlink()) for number in range(3)}
            assert led_to == {os.devnull}
        finally:
            shell.terminate()
            assert await asyncio.wait_for(shell.wait(), 5) == 0


async def test_a_directory_that_does_not_exist_yet_is_waited_for(kubelet_dir: Path) -> None:
    directory = kubelet_dir / "later"
    async with started(*at(directory), *SIMULATED) as process:
        await process.wait_for_event("waiting for the kubelet directory")
        async with FakeKubelet(directory, release("1.36")) as kubelet:
            await devices_seen(kubelet, 8)
            await asyncio.sleep(0)


async def test_with_an_empty_kubelet_socket_it_registers_with_nobody_and_says_so(kubelet_dir: Path) -> None:
    async with (
        FakeKubelet(kubelet_dir, release("1.36")) as kubelet,
        started(*at(kubelet_dir), *SIMULATED, environment={"KUBELET_SOCKET": ""}) as process,
    ):
        await process.wait_for_event("registering with no kubelet, as it was decided")
        await process.wait_for_event("resource added")
        await process.wait_for_control()
        await asyncio.sleep(1.5)  # the next look comes within a second
        assert not kubelet.registrations
        _, output, _ = await run_to_end("doctor", "--kubelet-dir", str(kubelet_dir), *SIMULATED)
        assert "--kubelet-socket is empty, so the gateway registers with nobody" in output


async def test_the_demo_shows_every_step_and_ends_with_0() -> None:
    status, output, errors = await run_to_end("demo")
    assert (status, errors) == (0, "")
    assert output.count("seen: yes") == 9
    assert "no link on 0000:08:10.0" in output
    assert "allocatable: 8 + 7" in output


async def test_devices_are_shown_as_a_table_and_as_json(driver: Driver) -> None:
    driver.add(7, uuid=b"GPU-\xff\xfe")
    shown = await run_to_end("devices", *with_driver(driver), environment=driver.environment)
    assert shown[0] == 0
    assert "GPU-5a7d1e00-0000-0000-0000-000000000003" in shown[1]
    assert "not valid UTF-8" in shown[1]
    status, output, _ = await run_to_end("devices", "--json", *with_driver(driver), environment=driver.environment)
    assert status == 0
    assert output.count('"pci_address"') == 7


async def test_devices_says_why_there_are_none(tmp_path: Path) -> None:
    status, output, errors = await run_to_end("devices", "--driver-root", str(tmp_path))
    assert (status, output, errors.count("\n")) == (1, "", 1)
    assert str(tmp_path) in errors
