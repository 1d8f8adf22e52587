"""What `/status` and `status --json` show of real gateways has the form of the schema. Another form is told."""

import asyncio
import json
import signal
import socket
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import pytest

from driver.driver import Driver
from harness.node import RESOURCE, until
from harness.process import run_to_end, started
from harness.statuses import BARE, assert_valid
from plugin_gateway.adapters.commands.doctor.findings import Verdict
from plugin_gateway.adapters.commands.doctor.gateway_checks import check_gateway
from plugin_gateway.adapters.commands.status import show_status
from plugin_gateway.adapters.control.control_client import FormError, ask_all
from plugin_gateway.adapters.control.control_socket import ControlServer
from plugin_gateway.adapters.fake_kubelet import FakeKubelet, release
from plugin_gateway.adapters.gateway.status import VERSION
from plugin_gateway.adapters.gateway.status_document import encode
from plugin_gateway.nvidia.remedies import remedy_for


async def shown() -> Any:
    """What `status --json` shows, which is valid."""
    status, output, errors = await run_to_end("status", "--json")
    assert (status, errors) == (0, "")
    document = json.loads(output)
    assert_valid(document)
    return document


async def served(port: int) -> Any:
    """What `/status` serves, which is valid."""

    def get() -> bytes:
        with urlopen(f"http://127.0.0.1:{port}/status", timeout=5) as answer:
            return bytes(answer.read())

    document = json.loads(await asyncio.to_thread(get))
    assert_valid(document)
    return document


async def test_a_gateway_that_is_well_and_then_has_sick_and_missing_devices(kubelet_dir: Path, driver: Driver) -> None:
    with closing(socket.socket()) as free:
        free.bind(("127.0.0.1", 0))
        port = int(free.getsockname()[1])
    arguments = ("--kubelet-dir", str(kubelet_dir), "--driver-root", str(driver.root), f"--listen={port}")
    async with (
        FakeKubelet(kubelet_dir, release("1.36")) as kubelet,
        started(*arguments, environment=driver.environment) as process,
    ):
        await kubelet.wait_for(lambda: kubelet.allocatable(RESOURCE) == 8, timeout=10, what="8 devices")
        await process.wait_for_control()
        for document in (await shown(), await served(port)):
            assert document["version"] == VERSION
            assert {device["health"] for device in document["devices"]} == {"healthy"}
        driver.xid(3, 79)
        await kubelet.wait_for(lambda: kubelet.allocatable(RESOURCE) == 7, what="7 devices")
        for document in (await shown(), await served(port)):
            (sick,) = (device for device in document["devices"] if device["health"] != "healthy")
            assert (sick["reason"], sick["evidence"][0]["source"]) == ("XID 79", "driver event")
        told = await shown()
        assert (told["gateway"]["role"], told["gateway"]["pid"]) == ("active", process.pid)
        assert (told["holders"], told["other_gateways"]) == ([], [])


async def test_a_gateway_without_a_driver_and_one_that_stands_by_and_then_hangs(
    kubelet_dir: Path, driver: Driver, state_dir: Path
) -> None:
    active_arguments = ("--kubelet-dir", str(kubelet_dir), "--driver-root", str(driver.root))
    async with (
        FakeKubelet(kubelet_dir, release("1.36")) as kubelet,
        started(*active_arguments, environment=driver.environment) as active,
        started("--kubelet-dir", str(kubelet_dir), "--driver-root", str(state_dir)) as driverless,
    ):
        await kubelet.wait_for(lambda: kubelet.allocatable(RESOURCE) == 8, timeout=10, what="8 devices")
        await driverless.wait_for_event("waiting for the driver")
        await active.wait_for_control()
        await driverless.wait_for_control()
        told = await shown()
        assert told["gateway"]["pid"] == active.pid
        (other,) = told["other_gateways"]
        assert other["driver"]["version"] is None
        assert other["driver"]["problem"]
        async with started(*active_arguments, environment=driver.environment) as standby:
            await standby.wait_for_event("another gateway offers this resource, standing by")
            await standby.wait_for_control()
            assert [each["stands_by"] for each in (await shown())["other_gateways"][-1]["resources"]] == [True]
            standby.send(signal.SIGSTOP)
            try:
                *_, hanging = (await shown())["other_gateways"]
            finally:
                standby.send(signal.SIGCONT)
        assert hanging["gateway"]["role"] == "does not answer"
        assert "did not answer within 5 s" in hanging["problem"]


@pytest.mark.parametrize("is_alone", [True, False])
async def test_a_gateway_of_another_form_is_told_and_hides_no_other(
    state_dir: Path, kubelet_dir: Path, capsys: pytest.CaptureFixture[str], is_alone: bool
) -> None:
    newer: Mapping[str, Any] = {**encode(BARE), "version": VERSION + 1, "devices": {}}
    ours = {**encode(BARE), "kubelet_dir": str(kubelet_dir)}
    async with asyncio.TaskGroup() as tasks:
        servers = [tasks.create_task(ControlServer(state_dir, "0000000001-aaaa", lambda _: newer).run())]
        if not is_alone:
            servers.append(tasks.create_task(ControlServer(state_dir, "0000000002-bbbb", lambda _: ours).run()))
        await until(lambda: len(list(state_dir.glob("control-*.sock"))) == len(servers), "the sockets")
        if is_alone:
            with pytest.raises(FormError, match=r"devices: \{\} is no list; its form is version 2, known is 1$"):
                await asyncio.to_thread(ask_all, state_dir)
        else:
            assert await asyncio.to_thread(show_status, state_dir, as_json=True) == 0
            assert_valid(json.loads(capsys.readouterr().out))
            assert await asyncio.to_thread(show_status, state_dir, as_json=False) == 0
            assert "cannot be understood\nthe gateway at " in capsys.readouterr().out
        found = await asyncio.to_thread(lambda: list(check_gateway(state_dir, remedy_for)))
        for each in servers:
            each.cancel()
    (finding,) = (each for each in found if each.verdict is Verdict.MEND)
    assert "answers with a status that this version cannot read: devices: {} is no list" in finding.what
    assert finding.todo == "run the plugin-gateway of that gateway's version, for example in its pod"
