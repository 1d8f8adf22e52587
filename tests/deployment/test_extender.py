"""The example of a scheduler extender keeps its quota, for schedulers of both spellings, whatever comes at once."""

import contextlib
import importlib.util
import json
import re
import socket
import subprocess
import sys
import threading
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from fractions import Fraction
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from deployment.schemas import RELEASES, api

EXAMPLE = Path(__file__).parents[2] / "deploy" / "examples" / "scheduler-extender"
LICENSE = "example.com/license"
_spec = importlib.util.spec_from_file_location("extender", EXAMPLE / "extender.py")
assert _spec is not None
assert _spec.loader is not None
extender = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(extender)


def pod(name: str, wanted: object = 1, node: str = "", phase: str = "Pending") -> dict[str, Any]:
    return {
        "metadata": {"name": name, "namespace": "ns", "uid": f"uid-{name}"},
        "spec": {
            "containers": [{"resources": {"limits": {LICENSE: str(wanted)}}}],
            **({"nodeName": node} if node else {}),
        },
        "status": {"phase": phase},
    }


class Cluster:
    """As much of an API server as the extender asks; what is bound shows as late as the test wants."""

    def __init__(self) -> None:
        self.pods: dict[str, dict[str, Any]] = {}
        self.bindings: list[dict[str, Any]] = []
        self.shows_bindings = True
        self.address = ""

    def add(self, *pods: dict[str, Any]) -> None:
        self.pods |= {each["metadata"]["name"]: each for each in pods}

    def get(self, path: str) -> object:
        return (
            {"items": list(self.pods.values())}
            if path == "/api/v1/pods"
            else self.pods.get(path.rsplit("/", maxsplit=1)[-1])
        )

    def bind(self, binding: dict[str, Any]) -> None:
        self.bindings.append(binding)
        if self.shows_bindings:
            self.pods[binding["metadata"]["name"]]["spec"]["nodeName"] = binding["target"]["name"]


@contextmanager
def serving(server: ThreadingHTTPServer) -> Iterator[str]:
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        thread.join(5)
        server.server_close()


@pytest.fixture
def cluster() -> Iterator[Cluster]:
    made = Cluster()

    class Handler(BaseHTTPRequestHandler):
        def answer(self, found: object) -> None:
            self.send_response(200 if found is not None else 404)
            self.end_headers()
            self.wfile.write(json.dumps(found).encode())

        def do_GET(self) -> None:
            self.answer(made.get(self.path))

        def do_POST(self) -> None:
            made.bind(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.answer({})

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - its name
            """Say nothing."""

    with serving(ThreadingHTTPServer(("127.0.0.1", 0), Handler)) as made.address:
        yield made


@contextmanager
def extending(cluster: Cluster, quota: int) -> Iterator[str]:
    kept = extender.Quota(LICENSE, quota, extender.Api(cluster.address))
    with serving(extender.make_server(("127.0.0.1", 0), kept)) as address:
        yield address


def ask(address: str, verb: str, request: object) -> Any:
    data = request if isinstance(request, bytes) else json.dumps(request).encode()
    with urllib.request.urlopen(f"{address}/{verb}", data, timeout=10) as answer:
        return json.load(answer)


def spelled(request: dict[str, Any], *, capitals: bool) -> dict[str, Any]:
    return {key if capitals else key.lower(): value for key, value in request.items()}


def bind(address: str, name: str, node: str = "n1", *, capitals: bool = True) -> Any:
    request = {"PodName": name, "PodNamespace": "ns", "PodUID": f"uid-{name}", "Node": node}
    return ask(address, "bind", spelled(request, capitals=capitals))


@pytest.mark.parametrize("capitals", [False, True])
def test_nodes_pass_while_enough_is_left(cluster: Cluster, capitals: bool) -> None:
    cluster.add(pod("a", node="n1"), pod("b", 5, node="n1", phase="Succeeded"), pod("c", 2))
    with extending(cluster, 3) as address:
        request = spelled({"Pod": pod("c", 2), "NodeNames": ["n1", "n2"]}, capitals=capitals)
        assert ask(address, "filter", request)["NodeNames"] == ["n1", "n2"]
        request = spelled({"Pod": pod("d", 3), "NodeNames": ["n1", "n2"]}, capitals=capitals)
        answer = ask(address, "filter", request)
        assert answer["NodeNames"] == []
        assert answer["FailedNodes"]["n2"] == f"{LICENSE}: 3 wanted, 2 of 3 left in the cluster"


@pytest.mark.parametrize("capitals", [False, True])
def test_a_scheduler_that_sends_whole_nodes_gets_them_back(cluster: Cluster, capitals: bool) -> None:
    nodes = {"items": [{"metadata": {"name": "n1"}}], "metadata": {}}
    with extending(cluster, 1) as address:
        request = spelled({"Pod": pod("a"), "Nodes": nodes, "NodeNames": None}, capitals=capitals)
        assert ask(address, "filter", request)["Nodes"] == nodes
        request = spelled({"Pod": pod("a", "1k"), "Nodes": nodes}, capitals=capitals)
        assert ask(address, "filter", request)["Nodes"]["items"] == []


def test_nodes_that_have_less_of_it_are_better(cluster: Cluster) -> None:
    cluster.add(pod("a", 2, node="n1"), pod("b", 1, node="n2"))
    with extending(cluster, 9) as address:
        scores = ask(address, "prioritize", {"Pod": pod("c"), "NodeNames": ["n1", "n2", "n3"]})
    assert [each["Score"] for each in sorted(scores, key=lambda each: each["Host"])] == [0, 5, 10]


@pytest.mark.parametrize("capitals", [False, True])
@pytest.mark.parametrize("shows_bindings", [True, False])
def test_of_many_pods_at_once_no_more_are_bound_than_there_is(
    cluster: Cluster, capitals: bool, shows_bindings: bool
) -> None:
    cluster.shows_bindings = shows_bindings
    cluster.add(*(pod(f"p{number}") for number in range(50)))
    with extending(cluster, 7) as address, ThreadPoolExecutor(16) as callers:
        answers = list(callers.map(lambda number: bind(address, f"p{number}", capitals=capitals), range(50)))
    assert sum(answer["Error"] == "" for answer in answers) == len(cluster.bindings) == 7
    assert {answer["Error"] for answer in answers} == {"", f"{LICENSE}: 1 wanted, 0 of 7 left in the cluster"}
    first = cluster.bindings[0]
    assert (first["target"]["name"], first["metadata"]["namespace"]) == ("n1", "ns")


def test_what_was_bound_and_is_gone_is_free_again(cluster: Cluster) -> None:
    cluster.add(pod("a"), pod("b"))
    with extending(cluster, 1) as address:
        assert bind(address, "a")["Error"] == ""
        assert bind(address, "b")["Error"] != ""
        del cluster.pods["a"]
        assert bind(address, "b")["Error"] == ""


@pytest.mark.parametrize(
    ("request_", "words"),
    [
        (b"{", "JSONDecodeError"),
        (b"[]", "no names with values"),
        (b"{}", "has neither nodes|no 'pod'|nothing"),
        ({"Pod": {}, "NodeNames": []}, "KeyError"),
        ({"Pod": pod("a", "many"), "NodeNames": []}, "'many' is no quantity"),
        (b'{"Pod":' * 100_000, "RecursionError|JSONDecodeError"),
        (b"[" * 100_000, "RecursionError"),
    ],
)
def test_a_request_that_makes_no_sense_is_an_error_and_it_goes_on(
    cluster: Cluster, request_: object, words: str
) -> None:
    with extending(cluster, 1) as address:
        assert re.search(words, ask(address, "filter", request_)["Error"])
        assert ask(address, "filter", {"Pod": pod("a"), "NodeNames": ["n"]})["Error"] == ""


@pytest.mark.parametrize(
    ("quantity", "amount"),
    [
        ("0", 0),
        ("1", 1),
        ("+1", 1),
        ("1.", 1),
        ("1.0", 1),
        ("1k", 1000),
        ("1Ki", 1024),
        ("0.5Ki", 512),
        ("1e0", 1),
        ("1e3", 1000),
        ("1E3", 1000),
        ("5e-1", 1),
        ("1T", 10**12),
        ("1Ti", 2**40),
        ("1P", 10**15),
        ("1E", 10**18),
        ("1Ei", 2**60),
        ("9e999999999", 2**63 - 1),
        ("1e-999999999", 1),
        ("1000m", 1),
        ("1000000000n", 1),
        ("100u", 1),
    ],
)
def test_every_quantity_of_the_api_is_read(quantity: str, amount: int) -> None:
    """https://kubernetes.io/docs/reference/kubernetes-api/common-definitions/quantity/; parts of one are rounded up."""
    assert extender.read_quantity(quantity) == amount


@pytest.mark.parametrize(
    "quantity", ["", "-1", "1 ", "Ki", "1K", "1ki", "e3", "1e", "1e1.5", "1_0", "\u0661", "1" * 1000]
)
def test_what_is_no_quantity_is_refused(quantity: str) -> None:
    with pytest.raises(extender.RefusedError):
        extender.read_quantity(quantity)


@given(st.fractions(min_value=0, max_value=10**6), st.sampled_from(["", "k", "M", "Ki", "Mi", "m", "e2"]))
def test_a_larger_number_is_no_smaller_quantity(number: Fraction, suffix: str) -> None:
    low, high = (f"{float(each):.6f}{suffix}" for each in (number, number + 1))
    assert 0 <= extender.read_quantity(low) <= extender.read_quantity(high)


@pytest.mark.parametrize(
    ("init", "containers", "overhead", "wanted"),
    [
        ([], [1, 2], 0, 3),
        ([(5, False)], [1], 0, 5),
        ([(1, True)], [1], 0, 2),
        ([(1, True), (2, True)], [1], 0, 4),
        ([(1, True), (5, False)], [1], 0, 6),
        ([(5, False), (1, True)], [1], 0, 5),
        ([(3, False), (1, True)], [1], 1, 4),
    ],
)
def test_sidecars_run_beside_containers_and_later_init_containers(
    init: list[tuple[int, bool]], containers: list[int], overhead: int, wanted: int, cluster: Cluster
) -> None:
    """As k8s.io/component-helpers/resource PodRequests sums."""

    def container(amount: int, *, sidecar: bool = False) -> dict[str, Any]:
        return {"resources": {"limits": {LICENSE: str(amount)}}, **({"restartPolicy": "Always"} if sidecar else {})}

    wanting = pod("a")
    wanting["spec"] = {
        "initContainers": [container(amount, sidecar=sidecar) for amount, sidecar in init],
        "containers": [container(amount) for amount in containers],
        "overhead": {LICENSE: str(overhead)},
    }
    with extending(cluster, wanted) as address:
        assert ask(address, "filter", {"Pod": wanting, "NodeNames": ["n"]})["NodeNames"] == ["n"]
    with extending(cluster, wanted - 1) as address:
        reason = ask(address, "filter", {"Pod": wanting, "NodeNames": ["n"]})["FailedNodes"]["n"]
    assert reason == f"{LICENSE}: {wanted} wanted, {wanted - 1} of {wanted - 1} left in the cluster"


@pytest.mark.parametrize(
    "broken",
    [pod("x", "many", node="n9"), {}, {"metadata": {"uid": "x"}}, {"metadata": {"uid": "x"}, "spec": []}, None, "pod"],
)
def test_a_pod_that_cannot_be_read_stops_no_other(
    broken: Any, cluster: Cluster, capfd: pytest.CaptureFixture[str]
) -> None:
    cluster.add(pod("a", node="n1"), pod("b"))
    cluster.pods["broken"] = broken
    with extending(cluster, 2) as address:
        assert ask(address, "filter", {"Pod": pod("b"), "NodeNames": ["n"]})["NodeNames"] == ["n"]
        assert [each["Score"] for each in ask(address, "prioritize", {"Pod": pod("b"), "NodeNames": ["n1", "n2"]})] == [
            0,
            10,
        ]
        assert bind(address, "b")["Error"] == ""
    assert capfd.readouterr().err.count("does not count") == 1, "it is said once"


def test_names_are_quoted_wholly(cluster: Cluster) -> None:
    asked: list[str] = []
    get = cluster.get

    def noting(path: str) -> object:
        asked.append(path)
        return get(path)

    cluster.get = noting  # type: ignore[method-assign]
    with extending(cluster, 1) as address:
        request = {"PodName": "a/../b?x#y", "PodNamespace": "n/s", "PodUID": "u", "Node": "n"}
        assert "404" in ask(address, "bind", request)["Error"]
        assert asked == ["/api/v1/namespaces/n%2Fs/pods/a%2F..%2Fb%3Fx%23y"]
        for name in ("", ".", ".."):
            assert "is no name" in ask(address, "bind", {**request, "PodNamespace": name})["Error"]
    assert len(asked) == 1


def test_a_burst_waits_for_an_answer() -> None:
    """Connections wait in the queue of the socket although nobody has accepted one yet."""
    server = extender.make_server(("127.0.0.1", 0), extender.Quota(LICENSE, 1, extender.Api("http://127.0.0.1:1")))
    with contextlib.ExitStack() as waiting:
        waiting.callback(server.server_close)
        for _ in range(100):
            waiting.enter_context(socket.create_connection(server.server_address, timeout=0.5))


def test_an_api_server_that_is_away_is_an_error() -> None:
    quota = extender.Quota(LICENSE, 1, extender.Api("http://127.0.0.1:1"))
    with serving(extender.make_server(("127.0.0.1", 0), quota)) as address:
        assert "Connection refused" in ask(address, "filter", {"Pod": pod("a"), "NodeNames": ["n"]})["Error"]
        assert "Connection refused" in bind(address, "a")["Error"]


def test_it_is_started_by_one_command_and_ends_when_it_is_told_to(cluster: Cluster) -> None:
    command = (sys.executable, str(EXAMPLE / "extender.py"), f"--resource={LICENSE}", "--quota=1", "--port=0")
    with subprocess.Popen(
        (*command, f"--api={cluster.address}", "--listen=127.0.0.1"), stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stderr is not None
        address = process.stderr.readline().split()[-1]
        assert ask(address, "filter", {"Pod": pod("a"), "NodeNames": ["n"]})["NodeNames"] == ["n"]
        process.terminate()
        assert process.wait(10) == 0


@pytest.mark.parametrize("wrong", ["--port=99999", "--port=-1", "--api=localhost:8001"])
def test_an_address_that_cannot_be_is_refused_in_a_line(wrong: str) -> None:
    command = (sys.executable, str(EXAMPLE / "extender.py"), f"--resource={LICENSE}", "--quota=1", wrong)
    done = subprocess.run(command, capture_output=True, text=True, timeout=10, check=False)
    assert done.returncode == 2
    assert f"error: {wrong.replace('=', ' ')}: allowed are " in done.stderr


def test_more_in_use_than_there_is_leaves_nothing(cluster: Cluster) -> None:
    cluster.add(pod("a", "1Ki", node="n1"))
    with extending(cluster, 5) as address:
        reason = ask(address, "filter", {"Pod": pod("b"), "NodeNames": ["n"]})["FailedNodes"]["n"]
        assert reason == f"{LICENSE}: 1 wanted, 0 of 5 left in the cluster"


def test_both_configurations_name_what_it_serves() -> None:
    (old,) = json.loads((EXAMPLE / "policy.json").read_text())["extenders"]
    (new,) = yaml.safe_load((EXAMPLE / "scheduler-config.yaml").read_text())["extenders"]
    same = ("urlPrefix", "filterVerb", "prioritizeVerb", "bindVerb", "weight", "nodeCacheCapable", "managedResources")
    assert {key: old[key] for key in same} == {key: new[key] for key in same}
    assert (old["httpTimeout"], new["httpTimeout"]) == (10 * 10**9, "10s")
    assert {old["filterVerb"], old["prioritizeVerb"], old["bindVerb"]} == {"filter", "prioritize", "bind"}


@pytest.mark.parametrize("release", RELEASES[1:])
def test_what_runs_it_in_a_cluster_is_taken_and_may_do_what_it_does(release: str) -> None:
    objects = list(yaml.safe_load_all((EXAMPLE / "in-cluster.yaml").read_text()))
    assert [problem for each in objects for problem in api(release).problems(each)] == []
    (role,) = (each for each in objects if each["kind"] == "ClusterRole")
    allowed = {(resource, verb) for rule in role["rules"] for resource in rule["resources"] for verb in rule["verbs"]}
    assert allowed == {("pods", "get"), ("pods", "list"), ("pods/binding", "create")}
    (runs,) = (each for each in objects if each["kind"] == "Deployment")
    assert runs["spec"]["replicas"] == 1, "two would count apart from each other"
    command = runs["spec"]["template"]["spec"]["containers"][0]["command"]
    assert command[-4:] == ["--resource", LICENSE, "--quota", "5"]


@pytest.mark.parametrize("release", RELEASES)
def test_its_pod_is_taken_and_wants_what_is_managed(release: str) -> None:
    wanting = yaml.safe_load((EXAMPLE / "pod.yaml").read_text())
    assert list(api(release).problems(wanting)) == []
    assert LICENSE in wanting["spec"]["containers"][0]["resources"]["limits"]
