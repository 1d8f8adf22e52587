"""Two gateways on one node with one state directory: both can be asked, and only the active one writes its memory."""

import asyncio
import json
import os
import signal
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from driver.driver import Driver
from harness.node import RESOURCE, until
from harness.process import Process, run_to_end, started
from harness.statuses import BARE
from harness.statuses import RESOURCE as NOT_REGISTERED
from plugin_gateway.adapters.fake_kubelet import FakeKubelet, release
from plugin_gateway.adapters.gateway.status_document import encode


class Two(NamedTuple):
    """An active gateway and one that stands by, each with a driver of its own that has the same devices."""

    kubelet: FakeKubelet
    active: Process
    standby: Process
    standbys_driver: Driver


@pytest.fixture
def other_driver(tmp_path: Path) -> Iterator[Driver]:
    """A second driver with the same devices, whose events only the second gateway sees."""
    (tmp_path / "other").mkdir()
    made = Driver(tmp_path / "other", gpus=8)
    yield made
    made.close()


@pytest.fixture
async def two(kubelet_dir: Path, driver: Driver, other_driver: Driver) -> AsyncIterator[Two]:
    async with (
        FakeKubelet(kubelet_dir, release("1.36")) as kubelet,
        gateway(kubelet_dir, driver) as active,
        AsyncExitStack() as later,
    ):
        await kubelet.wait_for(lambda: kubelet.allocatable(RESOURCE) == 8, timeout=10, what="8 devices")
        standby = await later.enter_async_context(gateway(kubelet_dir, other_driver))
        await standby.wait_for_event("another gateway offers this resource, standing by")
        yield Two(kubelet, active, standby, other_driver)


@asynccontextmanager
async def gateway(kubelet_dir: Path, driver: Driver) -> AsyncIterator[Process]:
    arguments = ("--kubelet-dir", str(kubelet_dir), "--driver-root", str(driver.root))
    async with started(*arguments, environment=driver.environment) as process:
        await process.wait_for_control()
        yield process


def faults(state_dir: Path) -> list[str]:
    path = state_dir / "health.json"
    return sorted(json.loads(path.read_text())["faults"]) if path.exists() else []


async def test_status_shows_the_active_one_first_and_says_which_is_which(two: Two) -> None:
    status, output, errors = await run_to_end("status")
    assert (status, errors) == (0, "")
    first, second = (
        output.index(f"(pid {two.active.pid}), active"),
        output.index(f"(pid {two.standby.pid}), standing by"),
    )
    assert first < output.index(f"{RESOURCE}: registered as v1beta1") < second
    assert second < output.index(f"{RESOURCE}: standing by, another gateway of this node has it")
    _, output, _ = await run_to_end("status", "--json")
    told = json.loads(output)
    assert (told["gateway"]["pid"], told["gateway"]["role"]) == (two.active.pid, "active")
    (other,) = told["other_gateways"]
    assert (other["gateway"]["pid"], other["gateway"]["role"]) == (two.standby.pid, "standing by")
    assert other["resources"][0]["stands_by"]


@asynccontextmanager
async def older_gateway(state_dir: Path, status: Mapping[str, Any]) -> AsyncIterator[Path]:
    """A gateway that has this status and knows no other command. All of its version had this name for the socket."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked = json.loads(await reader.readline())["command"]
        told = {"answer": status} if asked == "status" else {"error": "unknown command"}
        writer.write(json.dumps(told).encode() + b"\n")
        writer.close()

    path = state_dir / "control.sock"
    async with await asyncio.start_unix_server(answer, path):
        yield path


async def test_a_gateway_of_an_older_version_is_shown_too(two: Two, driver: Driver, state_dir: Path) -> None:
    """It does not say which one it is."""
    two.standbys_driver.xid(3, 79)
    await two.standby.wait_for_event("device changed its health")
    _, output, _ = await run_to_end("status", "--json")
    (told,) = json.loads(output)["other_gateways"]
    older = {name: value for name, value in told.items() if name not in {"gateway", "conflicts"}}
    (fault,) = [device for device in older["devices"] if device["health"] != "healthy"]
    fault["evidence"] = [{name: each[name] for name in ("what", "at")} for each in fault["evidence"]]

    async with older_gateway(state_dir, older) as path:
        for arguments in (("status",), ("status", "--json"), ("doctor",)):
            _, output, errors = await run_to_end(*arguments, environment=driver.environment)
            assert (errors, str(path) in output) == ("", True)
        _, output, _ = await run_to_end("status")
        assert f"gateway at {path} (pid {os.getpid()}), standing by" in output
        assert "  XID 79\n" in output


async def test_doctor_tells_both_and_what_is_wrong_with_a_device_once(two: Two, driver: Driver) -> None:
    for each in (driver, two.standbys_driver):
        each.xid(3, 79)
    await two.standby.wait_for_event("device changed its health")
    await two.kubelet.wait_for(lambda: two.kubelet.allocatable(RESOURCE) == 7, what="7 devices")
    status, output, errors = await run_to_end("doctor", environment=driver.environment)
    assert (status, errors) == (1, "")
    first, second = (f"(pid {pid}) runs here, {role}, with driver" for pid, role in roles(two))
    assert output.index(first) < output.index(second)
    assert output.count(f"{driver.uuid(3)} is not given out: XID 79") == 1


def roles(two: Two) -> Sequence[tuple[int, str]]:
    return (two.active.pid, "active"), (two.standby.pid, "standing by")


async def test_health_clear_goes_to_both(two: Two, driver: Driver) -> None:
    uuid = driver.uuid(3)
    for each in (driver, two.standbys_driver):
        each.xid(3, 79)
    for process in (two.active, two.standby):
        await process.wait_for_event("device changed its health")
    await two.kubelet.wait_for(lambda: two.kubelet.allocatable(RESOURCE) == 7, what="7 devices")
    status, output, errors = await run_to_end("health", "clear", uuid)
    assert (status, errors) == (0, "")
    assert output.count(f"{uuid} is healthy: XID 79 is not held against it any more") == 2
    await two.kubelet.wait_for(lambda: two.kubelet.allocatable(RESOURCE) == 8, what="8 devices")
    await two.standby.wait_for_event("device changed its health", times=2)
    status, output, errors = await run_to_end("health", "clear", uuid)
    assert (status, errors) == (1, f"plugin-gateway: {uuid} is healthy already\n")


async def test_both_accept_the_number_of_gpus(two: Two) -> None:
    status, output, errors = await run_to_end("health", "accept")
    assert (status, errors) == (0, "")
    assert output.count("8 GPUs are expected from now on") == 2
    for process in (two.active, two.standby):
        await process.wait_for_event("an operator accepts the devices that are here")


async def test_both_are_told_to_read_their_configuration_again(two: Two) -> None:
    status, output, errors = await run_to_end("reload")
    told = output + errors
    assert all(f"(pid {pid}), {role}: " in told for pid, role in roles(two))
    assert status == 1, "neither has a file"


async def test_both_release_the_driver_and_take_it_again(two: Two) -> None:
    status, output, errors = await run_to_end("driver", "release")
    assert (status, errors) == (0, "")
    assert output.count("its library is closed") == 2
    status, output, errors = await run_to_end("driver", "take")
    assert (status, errors) == (0, "")
    assert output.count("the driver is taken again") == 2
    assert all(f"(pid {pid}), " in output for pid, _ in roles(two))


@pytest.mark.parametrize(
    ("command", "done"),
    [
        (("driver", "release"), "its library is closed"),
        (("driver", "take"), "the driver was not released"),
        (("health", "accept"), "8 GPUs are expected from now on"),
        (("health", "clear", "--all"), "every device is healthy already"),
    ],
)
async def test_one_that_refuses_a_command_keeps_it_from_no_other(
    command: Sequence[str], done: str, two: Two, state_dir: Path
) -> None:
    older = replace(BARE, resources=(replace(NOT_REGISTERED, stream_opened=1.0),))
    async with older_gateway(state_dir, encode(older)) as path:
        status, output, errors = await run_to_end(*command)
    assert status == 1
    assert errors == f"plugin-gateway: gateway at {path} (pid {os.getpid()}), active: unknown command\n"
    assert output.count(done) == 2
    assert all(f"(pid {pid}), {role}: " in output for pid, role in roles(two))


async def test_health_clear_of_what_only_one_of_them_holds_against_a_device(two: Two, driver: Driver) -> None:
    two.standbys_driver.xid(3, 79)
    await two.standby.wait_for_event("device changed its health")
    status, output, errors = await run_to_end("health", "clear", driver.uuid(3))
    assert (status, errors) == (0, "")
    assert output.count("XID 79 is not held against it any more") == 1
    assert f"(pid {two.standby.pid}), standing by: {driver.uuid(3)} is healthy" in output


async def test_a_gateway_that_hangs_is_named_and_the_other_one_answers(two: Two, driver: Driver) -> None:
    driver.xid(3, 79)
    await two.kubelet.wait_for(lambda: two.kubelet.allocatable(RESOURCE) == 7, what="7 devices")
    two.standby.send(signal.SIGSTOP)
    try:
        status, output, errors = await run_to_end("health", "clear", "--all")
    finally:
        two.standby.send(signal.SIGCONT)
    assert status == 1
    assert f"{driver.uuid(3)} is healthy: XID 79 is not held against it any more" in output
    assert "did not answer within 5 s" in errors


async def test_the_memory_is_written_by_the_active_one_and_read_by_who_takes_over(
    two: Two, driver: Driver, state_dir: Path
) -> None:
    driver.xid(3, 79)
    await two.kubelet.wait_for(lambda: two.kubelet.allocatable(RESOURCE) == 7, what="7 devices")
    await until(lambda: faults(state_dir) == [driver.uuid(3)], "the active one's fault in the file")
    two.standbys_driver.xid(5, 79)  # the one that stands by knows it alone
    await two.standby.wait_for_event("device changed its health")
    assert faults(state_dir) == [driver.uuid(3)]
    two.active.send(signal.SIGKILL)
    await two.standby.wait_for_event("registered")
    listed = [each for each in two.kubelet.lists if (driver.uuid(3), "Healthy") in each.devices]
    await two.kubelet.wait_for(lambda: two.kubelet.allocatable(RESOURCE) == 6, what="6 devices")
    assert len({each.endpoint for each in listed}) == 1, "the device is not given back for a moment"
    await until(lambda: faults(state_dir) == [driver.uuid(3), driver.uuid(5)], "the faults of both")
    await two.standby.wait_for_event("device changed its health", times=2)


async def test_a_fault_between_the_end_of_one_and_the_registration_of_the_other_loses_nothing(
    two: Two, driver: Driver, state_dir: Path
) -> None:
    driver.xid(3, 79)
    await until(lambda: faults(state_dir) == [driver.uuid(3)], "the active one's fault in the file")
    two.active.send(signal.SIGKILL)
    await two.active.ended()
    two.standbys_driver.xid(5, 79)  # the other one is not registered yet, and is the only one that can write
    await until(lambda: driver.uuid(5) in faults(state_dir), "its own fault in the file")
    assert faults(state_dir) == [driver.uuid(3), driver.uuid(5)]
    await two.kubelet.wait_for(lambda: two.kubelet.allocatable(RESOURCE) == 6, what="6 devices")


async def test_the_end_of_one_that_stands_by_leaves_the_memory_and_the_other_one_can_be_asked(
    two: Two, driver: Driver, state_dir: Path
) -> None:
    driver.xid(3, 79)
    await until(lambda: faults(state_dir) == [driver.uuid(3)], "the fault in the file")
    two.standbys_driver.xid(5, 79)
    await two.standby.wait_for_event("device changed its health")
    two.standby.send(signal.SIGTERM)
    assert await two.standby.ended() == 0
    assert faults(state_dir) == [driver.uuid(3)]
    status, output, errors = await run_to_end("status")
    assert (status, errors) == (0, "")
    assert f"{RESOURCE}: registered as v1beta1" in output
    assert "standing by" not in output


async def test_one_that_stands_by_with_a_state_directory_of_its_own_writes_there(
    kubelet_dir: Path, driver: Driver, other_driver: Driver, state_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = state_dir.with_name("own")
    async with FakeKubelet(kubelet_dir, release("1.36")) as kubelet, gateway(kubelet_dir, driver):
        await kubelet.wait_for(lambda: kubelet.allocatable(RESOURCE) == 8, timeout=10, what="8 devices")
        monkeypatch.setenv("STATE_DIR", str(own))
        async with gateway(kubelet_dir, other_driver) as standby:
            await standby.wait_for_event("another gateway offers this resource, standing by")
            other_driver.xid(3, 79)
            await until(lambda: faults(own) == [driver.uuid(3)], "the fault in its file")
    assert not faults(state_dir)
