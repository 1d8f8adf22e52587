"""The cluster is told of the devices of each backend by their own word, and of no backend that is no more."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from harness.api_server import ApiServer, api_server, reporting
from harness.devices import inventory
from harness.node import device, until
from plugin_gateway.adapters.cluster.reports import NodeCondition
from plugin_gateway.adapters.cluster.target import Target
from plugin_gateway.core.health.faults import Moment
from plugin_gateway.core.health.observations import EvidenceReported
from plugin_gateway.core.health.state import State
from plugin_gateway.core.health.state_function import advance
from plugin_gateway.nvidia.evidence import HEALTH_POLICY, xid_kind
from plugin_gateway.nvidia.remedies import remedy_for

ID = device(0).id
WELL = State(inventory=inventory(device(0)))
BROKEN, _ = advance(WELL, EvidenceReported(xid_kind(79), ID), Moment(1.0, 1.0), HEALTH_POLICY)
WORDS = {"nvml": "GPU", "rdma": "RDMA device"}


@pytest.fixture
def server(tmp_path: Path) -> Iterator[ApiServer]:
    with api_server(tmp_path / "service-account") as server:
        yield server


def test_the_condition_calls_the_devices_of_each_backend_by_their_own_word() -> None:
    nothing: Any = None
    target = Target("n", False, "DeviceProblem", "GPU", device_words=WORDS)
    condition = NodeCondition(target, nothing, remedy_for)
    condition.keep(WELL, "nvml")
    condition.keep(WELL, "rdma")
    well = condition._judge_all()
    assert well is not None
    assert (well.reason, well.message) == ("GpusHealthy", "every GPU and every RDMA device is healthy")
    condition.keep(BROKEN, "rdma")
    broken = condition._judge_all()
    assert broken is not None
    assert broken.reason == "RdmaDeviceUnhealthy"


def test_the_condition_says_nothing_of_a_backend_that_is_no_more() -> None:
    nothing: Any = None
    condition = NodeCondition(Target("n", False, "DeviceProblem", "GPU"), nothing, remedy_for)
    condition.keep(WELL, "nvml")
    condition.keep(BROKEN, "rdma")
    condition.forget("rdma")
    verdict = condition._judge_all()
    assert verdict is not None
    assert verdict.status == "False"


async def test_an_event_about_a_device_of_another_backend_has_its_word(server: ApiServer) -> None:
    target = Target("node-1", True, "", "GPU", device_words=WORDS)
    async with reporting(server, target) as reports:
        for backend in ("nvml", "rdma"):
            reports.keep(WELL, backend=backend)
        reports.keep(BROKEN, backend="rdma")
        await until(lambda: bool(server.events()), "the Event")
    assert [each["reason"] for each in server.events()] == ["RdmaDeviceUnhealthy"]
