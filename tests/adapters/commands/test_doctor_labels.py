"""`doctor` compares the labels that the gateway wants with those that are there."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from harness.api_objects import NODES
from harness.api_server import ApiServer, api_server
from plugin_gateway.adapters.cluster.feature_file import FeatureFileWay, feature_text, write_feature_file
from plugin_gateway.adapters.cluster.kubernetes_api import KubernetesApi
from plugin_gateway.adapters.cluster.label_way import Way
from plugin_gateway.adapters.cluster.node_patch import NodePatchWay
from plugin_gateway.adapters.commands.doctor import label_checks
from plugin_gateway.adapters.gateway.status import LabelsStatus
from plugin_gateway.core.findings import Finding, Verdict

WANTED = {"nvidia.com/gpu.count": "8", "nvidia.com/gpu.mode": "compute"}
TAINT = "plugin-gateway/unhealthy-device=xid-79:NoSchedule"


def compared(way: Way, *told: LabelsStatus) -> Finding:
    return label_checks.compare(way, told)


def told(**parts: Any) -> LabelsStatus:
    return LabelsStatus(**{"way": "patch", "where": "node node-1", "wanted": WANTED, **parts})


@pytest.fixture
def server(tmp_path: Path) -> Iterator[ApiServer]:
    with api_server(tmp_path / "service-account") as server:
        server.objects.put(f"{NODES}/node-1", metadata={"labels": {**WANTED, "else": "1"}})
        yield server


@pytest.fixture
def way(server: ApiServer) -> NodePatchWay:
    return NodePatchWay(KubernetesApi(server.environment, server.service_account), "node-1")


def change(server: ApiServer, labels: Mapping[str, str | None]) -> None:
    server.objects.change(f"{NODES}/node-1", {"metadata": {"labels": dict(labels)}})


def test_a_node_with_all_labels_is_well(way: NodePatchWay) -> None:
    found = compared(way, told())
    assert (found.verdict, found.what) == (Verdict.WELL, "node node-1 has the 2 labels and taints that it should have")


def test_what_is_missing_or_other_is_named(server: ApiServer, way: NodePatchWay) -> None:
    change(server, {"nvidia.com/gpu.count": "4", "nvidia.com/gpu.mode": None})
    found = compared(way, told(taints=(TAINT,)))
    assert found.verdict is Verdict.MEND
    assert found.what == (
        "node node-1 has not the labels that it should have: nvidia.com/gpu.count: '4' where '8' belongs; "
        "nvidia.com/gpu.mode: 'compute' is missing; plugin-gateway/unhealthy-device:NoSchedule: 'xid-79' is missing"
    )


def test_a_taint_that_is_there_is_well(server: ApiServer, way: NodePatchWay) -> None:
    taint = {"key": "plugin-gateway/unhealthy-device", "value": "xid-79", "effect": "NoSchedule"}
    server.objects.change(f"{NODES}/node-1", {"spec": {"taints": [taint]}})
    assert compared(way, told(taints=(TAINT,))).verdict is Verdict.WELL


def test_what_is_left_alone_is_no_difference(server: ApiServer, way: NodePatchWay) -> None:
    change(server, {"nvidia.com/gpu.count": "4"})
    labels = told(left_alone={"nvidia.com/gpu.count": "'4' where '8' belongs, and somebody else writes it"})
    assert compared(way, labels).verdict is Verdict.WELL
    (left,) = label_checks.left(labels)
    assert left.what.startswith("somebody else writes labels of the node: nvidia.com/gpu.count: '4' where '8' belongs")
    assert "--node-labels-adopt" in left.todo


def test_of_two_gateways_one_writes(way: NodePatchWay) -> None:
    assert compared(way, told(wanted={"nvidia.com/gpu.count": "3"}), told()).verdict is Verdict.WELL


def test_what_cannot_be_read_is_not_known(
    server: ApiServer, way: NodePatchWay, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.status = 403
    found = compared(way, told())
    assert found.verdict is Verdict.UNSEEN
    assert "cannot be read here: GET /api/v1/nodes/node-1: 403 Forbidden" in found.what
    monkeypatch.setattr(label_checks, "LIMIT", 0)
    assert "could not be read within 0 s" in compared(way, told()).what


def test_a_file_is_compared_in_the_same_way(tmp_path: Path) -> None:
    way = FeatureFileWay(tmp_path / "gfd")
    assert "'8' is missing" in compared(way, told()).what
    write_feature_file(tmp_path / "gfd", feature_text(WANTED))
    assert compared(way, told()).verdict is Verdict.WELL


def test_many_differences_are_counted() -> None:
    wanted = {f"a.b/{number}": "x" for number in range(9)}
    (left,) = label_checks.left(told(left_out=wanted))
    assert left.what.endswith("a.b/4: x; and 4 more")
