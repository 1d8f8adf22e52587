"""Labels and taints of the node itself, on a small API server that can refuse, change and forget."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from harness.api_objects import NODES
from harness.api_server import ApiServer, api_server
from plugin_gateway.adapters.cluster.kubernetes_api import KubernetesApi
from plugin_gateway.adapters.cluster.label_way import LabelError
from plugin_gateway.adapters.cluster.node_patch import NodePatchWay
from plugin_gateway.adapters.cluster.retry_on_conflict import ATTEMPTS
from plugin_gateway.core.labels.making import NodeLabels
from plugin_gateway.core.labels.names import LabelName
from plugin_gateway.core.labels.ownership import ANNOTATION
from plugin_gateway.core.labels.policy import FAULT_TAINT, Effect, Taint

NODE = f"{NODES}/node-1"
COUNT = "nvidia.com/gpu.count"
WANTED = NodeLabels({COUNT: "8"})
FAULTY = Taint(FAULT_TAINT, "xid-79", Effect.NO_SCHEDULE)
OTHERS = {"key": "example.com/kept", "effect": "NoExecute", "timeAdded": "2026-12-01T00:00:00Z"}


@pytest.fixture
def server(tmp_path: Path) -> Iterator[ApiServer]:
    with api_server(tmp_path / "service-account") as server:
        server.objects.put(NODE, metadata={"labels": {"kubernetes.io/os": "linux"}}, spec={"taints": [OTHERS]})
        yield server


@pytest.fixture
def way(server: ApiServer) -> NodePatchWay:
    return made(server)


def made(server: ApiServer, adopts: Callable[[str], bool] = lambda _: False) -> NodePatchWay:
    return NodePatchWay(KubernetesApi(server.environment, server.service_account), "node-1", adopts)


def node(server: ApiServer) -> dict[str, Any]:
    found = server.objects.find(NODE)
    assert found is not None
    return found


def labels(server: ApiServer) -> dict[str, str]:
    found = node(server)["metadata"].get("labels", {})
    return {name: value for name, value in found.items() if name != "kubernetes.io/os"}


async def test_labels_are_written_once_and_listed_in_one_annotation(server: ApiServer, way: NodePatchWay) -> None:
    assert (await way.write(WANTED)).has_changed
    assert not (await way.write(WANTED)).has_changed
    assert labels(server) == {COUNT: "8"}
    assert node(server)["metadata"]["annotations"] == {ANNOTATION: COUNT}
    assert node(server)["metadata"]["labels"]["kubernetes.io/os"] == "linux"
    assert node(server)["spec"]["taints"] == [OTHERS]
    assert len(server.objects.changes) == 1
    assert "spec" not in server.objects.changes[0][2]
    assert (await way.read())[COUNT] == "8"


async def test_the_server_is_told_who_writes(server: ApiServer, way: NodePatchWay) -> None:
    await way.write(WANTED)
    assert server.agents == {"plugin-gateway"}, "which it keeps in managedFields, and in its audit log"


async def test_the_next_gateway_changes_and_removes_what_this_one_wrote(server: ApiServer, way: NodePatchWay) -> None:
    await way.write(NodeLabels({COUNT: "8", "nvidia.com/gpu.mode": "compute"}))
    await made(server).write(NodeLabels({COUNT: "7"}))
    assert labels(server) == {COUNT: "7"}
    await made(server).write(NodeLabels({}))
    assert labels(server) == {}
    assert node(server)["metadata"]["annotations"] == {}


async def test_a_taint_leaves_those_of_others_as_they_are(server: ApiServer, way: NodePatchWay) -> None:
    await way.write(NodeLabels({}, (FAULTY,)))
    taint = {"key": FAULT_TAINT, "value": "xid-79", "effect": "NoSchedule"}
    assert node(server)["spec"]["taints"] == [OTHERS, taint]
    await way.write(NodeLabels({}, (FAULTY._replace(value="xid-95"),)))
    assert node(server)["spec"]["taints"] == [OTHERS, taint | {"value": "xid-95"}]
    await way.write(NodeLabels({}, (Taint(LabelName("a.b/c"), "", Effect.PREFER_NO_SCHEDULE),)))
    assert [each["key"] for each in node(server)["spec"]["taints"]] == ["example.com/kept", "a.b/c"]
    await way.write(NodeLabels({}))
    assert node(server)["spec"]["taints"] == [OTHERS]


async def test_what_changed_since_it_was_read_is_read_again(server: ApiServer, way: NodePatchWay) -> None:
    await way.write(NodeLabels({}, (FAULTY,)))
    other = {"key": "example.com/new", "effect": "NoSchedule"}
    taints = node(server)["spec"]["taints"]
    server.objects.meanwhile = [lambda: server.objects.change(NODE, {"spec": {"taints": [*taints, other]}})]
    await way.write(NodeLabels({}))
    assert node(server)["spec"]["taints"] == [OTHERS, other], "no taint was overwritten that came in between"


async def test_a_node_that_changes_all_the_time_is_an_error_of_the_moment(server: ApiServer, way: NodePatchWay) -> None:
    change: Callable[[], object] = lambda: server.objects.change(NODE, {"metadata": {"labels": {"x": "y"}}})  # noqa: E731
    server.objects.meanwhile = [change] * ATTEMPTS
    with pytest.raises(LabelError, match="409 Conflict"):
        await way.write(WANTED)
    await way.write(WANTED)
    assert labels(server)[COUNT] == "8"


@pytest.mark.parametrize("status", [401, 403, 422, 429, 500, 503])
async def test_what_the_server_refuses_is_named_and_written_later(
    status: int, server: ApiServer, way: NodePatchWay
) -> None:
    server.status = status
    with pytest.raises(LabelError, match=f"GET {NODE}: {status} .*words of the server"):
        await way.write(WANTED)
    server.status = 200
    await way.write(WANTED)
    assert labels(server) == {COUNT: "8"}


async def test_a_value_that_the_server_does_not_take_changes_nothing(server: ApiServer, way: NodePatchWay) -> None:
    with pytest.raises(LabelError, match=f"PATCH {NODE}: 422"):
        await way.write(NodeLabels({COUNT: "8", "a.b/c": server.objects.invalid}))
    assert labels(server) == {}


async def test_a_node_that_is_gone_is_an_error_and_one_that_is_made_anew_gets_all_again(
    server: ApiServer, way: NodePatchWay
) -> None:
    await way.write(WANTED)
    before = server.objects.objects.pop(NODE)
    with pytest.raises(LabelError, match="404 Not Found"):
        await way.write(WANTED)
    assert before["metadata"]["labels"][COUNT] == "8"
    server.objects.put(NODE)
    await way.write(WANTED)
    assert labels(server) == {COUNT: "8"}


async def test_a_node_that_is_made_anew_again_and_again_is_nobody_who_changes_labels_back(
    server: ApiServer, way: NodePatchWay
) -> None:
    for _ in range(4):
        server.objects.put(NODE)
        assert not (await way.write(WANTED)).left_alone
        assert labels(server) == {COUNT: "8"}


@pytest.mark.parametrize(
    "words",
    [b"[]", b"5", b"no JSON", b'{"metadata": 5}', b'{"metadata": {"resourceVersion": 5}}', b"{" * 5000, b"\xff"],
)
async def test_an_answer_that_is_no_node_is_an_error(words: bytes, server: ApiServer, way: NodePatchWay) -> None:
    server.node.words = words
    with pytest.raises(LabelError):
        await way.write(WANTED)


async def test_parts_of_a_node_that_nobody_understands_are_no_obstacle(server: ApiServer, way: NodePatchWay) -> None:
    server.objects.put(NODE, metadata={"labels": [1], "annotations": {ANNOTATION: 5}}, spec={"taints": [5, {"key": 5}]})
    await way.write(WANTED)
    assert labels(server) == {COUNT: "8"}


async def test_a_node_with_thousands_of_labels_is_no_obstacle(server: ApiServer, way: NodePatchWay) -> None:
    server.objects.change(
        NODE, {"metadata": {"labels": {f"example.com/l{number}": "x" * 63 for number in range(5000)}}}
    )
    await way.write(WANTED)
    assert labels(server)[COUNT] == "8"


async def test_labels_that_another_program_has_are_left_alone_or_taken_over(server: ApiServer) -> None:
    server.objects.change(NODE, {"metadata": {"labels": {COUNT: "4", "nvidia.com/gpu.old": "1"}}})
    written = await made(server).write(WANTED)
    assert not written.has_changed
    assert written.left_alone.keys() == {COUNT}
    written = await made(server, lambda name: name.startswith("nvidia.com/gpu.")).write(WANTED)
    assert written.has_changed
    assert labels(server) == {COUNT: "8"}


async def test_somebody_who_changes_a_label_back_twice_has_it(server: ApiServer) -> None:
    way = made(server, lambda _: True)
    for _ in range(3):
        await way.write(WANTED)
        server.objects.change(NODE, {"metadata": {"labels": {COUNT: "4"}}})
    written = await way.write(WANTED)
    assert written.left_alone.keys() == {COUNT}
    assert len([change for change in server.objects.changes if "labels" in change[2]["metadata"]]) == 2


@pytest.mark.parametrize("with_labels", [False, True])
async def test_at_the_end_taints_go_and_labels_if_that_is_asked(
    with_labels: bool, server: ApiServer, way: NodePatchWay
) -> None:
    await way.write(WANTED._replace(taints=(FAULTY,)))
    await way.clear(labels=with_labels)
    assert labels(server) == ({} if with_labels else {COUNT: "8"})
    assert node(server)["spec"]["taints"] == [OTHERS]
    assert node(server)["metadata"]["annotations"] == ({} if with_labels else {ANNOTATION: COUNT})


async def test_without_a_service_account_the_reason_is_named(tmp_path: Path) -> None:
    with pytest.raises(LabelError, match="no API server is known"):
        await NodePatchWay(KubernetesApi({}, tmp_path), "node-1").write(WANTED)
    environment = {"KUBERNETES_SERVICE_HOST": "127.0.0.1", "KUBERNETES_SERVICE_PORT": "1"}
    with pytest.raises(LabelError, match="the service account cannot be used"):
        await NodePatchWay(KubernetesApi(environment, tmp_path), "node-1").clear(labels=True)


async def test_two_gateways_that_take_turns_do_not_give_each_other_up(server: ApiServer) -> None:
    ways = (made(server, lambda _: True), made(server, lambda _: True))
    for turn in range(6):
        way, other = ways[turn % 2], ways[1 - turn % 2]
        other.forget()
        written = await way.write(NodeLabels({COUNT: str(turn % 2)}))
        assert not written.left_alone
        assert labels(server) == {COUNT: str(turn % 2)}


@pytest.mark.parametrize("with_labels", [False, True])
async def test_the_end_takes_nothing_over(with_labels: bool, server: ApiServer) -> None:
    server.objects.change(NODE, {"metadata": {"labels": {COUNT: "4"}}})
    await made(server, lambda _: True).clear(labels=with_labels)
    assert labels(server) == {COUNT: "4"}
