"""The NodeFeature object of the node, on a small API server that can refuse, change and forget."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from harness.api_server import ApiServer, api_server
from plugin_gateway.adapters.cluster.kubernetes_api import KubernetesApi
from plugin_gateway.adapters.cluster.label_way import LabelError
from plugin_gateway.adapters.cluster.node_feature import NODE_LABEL, NodeFeatureWay
from plugin_gateway.core.labels.making import NodeLabels

FOLDER = "/apis/nfd.k8s-sigs.io/v1alpha1/namespaces/gpus/nodefeatures"
OBJECT = f"{FOLDER}/plugin-gateway-for-node-1"
POD = "/api/v1/namespaces/gpus/pods/plugin-gateway-x7k2p"
DAEMON_SET = {"apiVersion": "apps/v1", "kind": "DaemonSet", "name": "plugin-gateway", "uid": "abc"}
WANTED = NodeLabels({"nvidia.com/gpu.count": "8", "nvidia.com/gpu.mode": "compute"})


@pytest.fixture
def server(tmp_path: Path) -> Iterator[ApiServer]:
    with api_server(tmp_path / "service-account") as server:
        (server.service_account / "namespace").write_text("gpus\n")
        server.objects.folders.add(FOLDER)
        owner = {**DAEMON_SET, "controller": True, "blockOwnerDeletion": True}
        server.objects.put(POD, metadata={"ownerReferences": [owner]})
        yield server


def made(server: ApiServer, pod: str = "plugin-gateway-x7k2p") -> NodeFeatureWay:
    return NodeFeatureWay(KubernetesApi(server.environment, server.service_account), "node-1", pod)


def found(server: ApiServer) -> dict[str, Any]:
    feature = server.objects.find(OBJECT)
    assert feature is not None
    return feature


async def test_the_object_has_the_labels_the_node_and_the_owner_of_the_pod(server: ApiServer) -> None:
    way = made(server)
    assert (await way.write(WANTED)).has_changed
    assert not (await way.write(WANTED)).has_changed
    feature = found(server)
    assert (feature["apiVersion"], feature["kind"]) == ("nfd.k8s-sigs.io/v1alpha1", "NodeFeature")
    assert feature["metadata"]["labels"] == {NODE_LABEL: "node-1"}
    assert feature["metadata"]["ownerReferences"] == [DAEMON_SET]
    assert feature["spec"]["labels"] == WANTED.labels
    assert feature["spec"]["features"] == {"flags": {}, "attributes": {}, "instances": {}}
    assert await way.read() == WANTED.labels
    assert len(server.objects.changes) == 1


async def test_a_label_that_is_not_wanted_any_more_goes_if_all_is_known(server: ApiServer) -> None:
    way, fewer = made(server), NodeLabels({"nvidia.com/gpu.count": "7"})
    await way.write(WANTED)
    await way.write(fewer._replace(is_complete=False))
    assert found(server)["spec"]["labels"] == {**WANTED.labels, **fewer.labels}
    await made(server).write(fewer)
    assert found(server)["spec"]["labels"] == fewer.labels


async def test_what_others_change_of_it_is_mended(server: ApiServer) -> None:
    way = made(server)
    await way.write(WANTED)
    server.objects.change(OBJECT, {"metadata": {"labels": None, "ownerReferences": None}, "spec": None})
    await way.write(WANTED)
    assert found(server)["metadata"]["labels"] == {NODE_LABEL: "node-1"}
    assert found(server)["metadata"]["ownerReferences"] == [DAEMON_SET]
    assert found(server)["spec"]["labels"] == WANTED.labels
    del server.objects.objects[OBJECT]
    assert await way.read() == {}
    await way.write(WANTED)
    assert found(server)["spec"]["labels"] == WANTED.labels


async def test_the_owner_is_asked_for_again_when_the_object_has_lost_it(server: ApiServer) -> None:
    way = made(server)
    await way.write(WANTED)
    for uid in ("taken over", "taken over again"):
        server.objects.put(POD, metadata={"ownerReferences": [{**DAEMON_SET, "uid": uid}]})
        server.objects.change(OBJECT, {"metadata": {"ownerReferences": None}})  # as with --cascade=orphan
        await way.write(WANTED)
        assert found(server)["metadata"]["ownerReferences"] == [{**DAEMON_SET, "uid": uid}]
    server.objects.put(POD, metadata={"ownerReferences": [DAEMON_SET]})
    del server.objects.objects[OBJECT]
    await way.write(WANTED)
    assert found(server)["metadata"]["ownerReferences"] == [DAEMON_SET]


async def test_a_pod_without_an_owner_owns_the_object_itself(server: ApiServer) -> None:
    server.objects.put(POD, metadata={"uid": "123"})
    await made(server).write(WANTED)
    (owner,) = found(server)["metadata"]["ownerReferences"]
    assert owner == {"apiVersion": "v1", "kind": "Pod", "name": "plugin-gateway-x7k2p", "uid": "123"}


@pytest.mark.parametrize(
    ("pod", "status", "reason"),
    [
        ("", 200, "--pod-name is not set [POD_NAME]"),
        ("plugin-gateway-x7k2p", 403, f"GET {POD}: 403 Forbidden: words of the server"),
        ("plugin-gateway-gone", 200, f"GET {POD.replace('x7k2p', 'gone')}: 404 Not Found: words of the server"),
    ],
)
async def test_without_an_owner_the_object_is_written_and_the_reason_told_once(
    pod: str, status: int, reason: str, server: ApiServer, told: list[dict[str, Any]]
) -> None:
    server.refused[pod or "nobody"] = status
    way = made(server, pod)
    for _ in range(2):
        await way.write(WANTED)
    assert found(server)["metadata"]["ownerReferences"] == []
    assert [line["problem"] for line in told] == [reason]


async def test_an_owner_that_is_known_later_is_written_then(server: ApiServer) -> None:
    server.refused["x7k2p"] = 503
    way = made(server)
    await way.write(WANTED)
    del server.refused["x7k2p"]
    await way.write(WANTED)
    assert found(server)["metadata"]["ownerReferences"] == [DAEMON_SET]


async def test_without_node_feature_discovery_the_answer_of_the_server_is_named(server: ApiServer) -> None:
    server.objects.folders.discard(FOLDER)
    with pytest.raises(LabelError, match=f"POST {FOLDER}: 404 Not Found"):
        await made(server).write(WANTED)


@pytest.mark.parametrize("status", [403, 429, 500])
async def test_what_the_server_refuses_is_an_error(status: int, server: ApiServer) -> None:
    way = made(server)
    await way.write(WANTED)
    server.status = status
    for call in (lambda: way.write(NodeLabels({})), way.read, lambda: way.clear(labels=True)):
        with pytest.raises(LabelError, match=str(status)):
            await call()


async def test_an_object_that_changed_or_came_since_it_was_read_is_read_again(server: ApiServer) -> None:
    way = made(server)
    create: Callable[[], object] = lambda: server.objects.put(OBJECT, spec={"labels": {"x": "y"}})  # noqa: E731
    server.objects.meanwhile = [create]
    await way.write(WANTED)
    assert found(server)["spec"]["labels"] == WANTED.labels
    server.objects.meanwhile = [create]
    await way.write(NodeLabels({}))
    assert found(server)["spec"]["labels"] == {}


async def test_a_value_that_the_server_does_not_take_is_an_error(server: ApiServer) -> None:
    way = made(server)
    await way.write(WANTED)
    with pytest.raises(LabelError, match=r"PATCH .*: 422"):
        await way.write(NodeLabels({"a.b/c": server.objects.invalid}))


@pytest.mark.parametrize("words", [b"[]", b'{"metadata": {}}', b"no JSON"])
async def test_an_answer_that_is_no_object_is_an_error(words: bytes, server: ApiServer) -> None:
    way = made(server)
    await way.write(WANTED)
    server.node.words = words
    with pytest.raises(LabelError):
        await way.write(NodeLabels({}))


async def test_the_object_is_deleted_only_if_its_labels_are_to_go(server: ApiServer) -> None:
    way = made(server)
    await way.write(WANTED)
    await way.clear(labels=False)
    assert found(server)["spec"]["labels"] == WANTED.labels
    for _ in range(2):
        await way.clear(labels=True)
    assert server.objects.find(OBJECT) is None


@pytest.mark.parametrize("content", [None, "", "two\nlines"])
async def test_a_namespace_that_is_not_known_is_an_error(content: str | None, server: ApiServer) -> None:
    path = server.service_account / "namespace"
    path.unlink()
    if content is not None:
        path.write_text(content)
    with pytest.raises(LabelError, match="the namespace of the pod is not known"):
        await made(server).write(WANTED)
