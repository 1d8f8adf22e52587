"""What the condition says of a node whose driver never came up, which depends on whether it should have devices."""

import asyncio
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from harness.api_server import ApiServer, api_server, reporting
from harness.devices import inventory
from harness.node import device, until
from plugin_gateway.adapters.cluster import reports as reports_module
from plugin_gateway.adapters.cluster.target import Target
from plugin_gateway.core.devices import FaultId
from plugin_gateway.core.health.faults import Fault, Moment
from plugin_gateway.core.health.observations import DriverUnavailable, EvidenceReported, InventorySeen
from plugin_gateway.core.health.state import State
from plugin_gateway.core.health.state_function import advance, wait
from plugin_gateway.nvidia.evidence import HEALTH_POLICY, xid_kind

SEEN = InventorySeen(inventory(device(0)))
SICK, _ = advance(
    State(inventory=SEEN.inventory), EvidenceReported(xid_kind(79), device(0).id), Moment(1.0, 1.0), HEALTH_POLICY
)
TARGET = Target("node-1", events=False, condition="GpuProblem", device_word="GPU")


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ApiServer]:
    monkeypatch.setattr(reports_module, "CONDITION_PAUSE", 0.0)
    with api_server(tmp_path / "service-account") as server:
        yield server


def without_driver(faults: Mapping[FaultId, Fault]) -> State:
    state, _ = advance(State(faults=faults), DriverUnavailable("no library"), Moment(1.0, 1.0), HEALTH_POLICY)
    return state


@pytest.mark.parametrize("had_fault", [True, False])
async def test_a_driver_that_never_came_up_on_a_node_with_devices_is_in_the_condition(
    server: ApiServer, monkeypatch: pytest.MonkeyPatch, had_fault: bool
) -> None:
    """Without it, the node would keep the condition from before a reboot: that every GPU is healthy."""
    monkeypatch.setattr(reports_module, "HEARTBEAT", 0.1)
    state = without_driver(SICK.faults if had_fault else {})
    async with reporting(server, TARGET) as reports:
        reports.keep(state)
        if not had_fault:
            reports.tell_missing("0 of 8 are here", is_news=False)
        await asyncio.sleep(0.1)
        assert not server.conditions(), "the driver may still come up"
        gone, _ = wait(state, Moment(31.0, 31.0), HEALTH_POLICY)
        reports.keep(gone)
        await until(lambda: len(server.conditions()) == 2, "the condition, and the same again")
        monkeypatch.setattr(reports_module, "HEARTBEAT", 300)
        reports.keep(advance(replace(gone, faults={}), SEEN, Moment(40.0, 40.0), HEALTH_POLICY)[0])
        await until(lambda: server.conditions()[-1]["status"] == "False", "the driver")
    told = {(each["status"], each["reason"], each["message"]) for each in server.conditions()}
    assert told == {("True", "GpuDriverMissing", "no library"), ("False", "GpusHealthy", "every GPU is healthy")}


async def test_a_node_that_never_had_a_device_gets_no_condition(server: ApiServer) -> None:
    async with reporting(server, TARGET) as reports:
        reports.keep(wait(without_driver({}), Moment(99.0, 99.0), HEALTH_POLICY)[0])
        reports.tell_missing(None, is_news=True)
        await asyncio.sleep(0.2)
    assert not server.conditions()


async def test_missing_devices_are_in_the_condition_on_request_without_a_driver_too(server: ApiServer) -> None:
    async with reporting(server, TARGET._replace(missing_in_condition=True)) as reports:
        reports.keep(without_driver({}))
        reports.tell_missing("0 of 8 are here", is_news=True)
        await until(lambda: len(server.conditions()) == 1, "the condition")
    condition = server.conditions()[0]
    assert (condition["status"], condition["reason"], condition["message"]) == (
        "True",
        "GpusMissing",
        "0 of 8 are here",
    )
