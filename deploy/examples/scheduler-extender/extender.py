#!/usr/bin/env python3
"""A scheduler extender that keeps a quota of a cluster-wide resource, such as floating licenses.

No node has the resource; the scheduler leaves it to this program (``ignoredByScheduler``), which answers ``/filter``,
``/prioritize`` and ``/bind``. What is in use is what the cluster's pods ask for that have a node and have not ended;
a pod that was bound a moment ago counts although the API server does not show it yet. Needs Python alone:

    python3 extender.py --resource example.com/license --quota 5 --api http://127.0.0.1:8001

where ``kubectl proxy`` listens at that address. In a pod the API server is found by itself. The keys of a request are
lower case to 1.12 and capitalised later; both are read, and what is answered Go reads in any case.
"""

import argparse
import http.client
import json
import math
import os
import re
import signal
import ssl
import sys
import threading
import urllib.parse
from collections import Counter
from collections.abc import Mapping, Sequence
from fractions import Fraction
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

SERVICE_ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")
PATIENCE = 5.0
"""Seconds for a step of a call of the API server, and for a scheduler to send its request."""
MAX_REQUEST = 64 * 1024 * 1024
"""A scheduler that caches no nodes sends all of them."""
MOST_POINTS = 10
MAX_PORT = 65535
BACKLOG = 1024
"""Connections that wait until they are accepted; the kernel allows 4096 by default."""
QUANTITY = re.compile(r"\+?(\d+\.?\d*|\.\d+)([KMGTPE]i|[numkMGTPE]|[eE][+-]?\d+)?", re.ASCII)
SUFFIXES = {
    **{suffix: Fraction(1000) ** power for power, suffix in enumerate("num", -3)},
    **{suffix: Fraction(1000) ** power for power, suffix in enumerate("kMGTPE", 1)},
    **{f"{suffix}i": Fraction(1024) ** power for power, suffix in enumerate("KMGTPE", 1)},
}
MOST_CHARACTERS = 100
"""Characters of a quantity; the API server writes far fewer."""
MOST_DIGITS = 3 * MOST_CHARACTERS
"""An exponent beyond it changes nothing more: the amount is the largest or the smallest there is."""
MOST = 2**63 - 1
"""The largest quantity that the API server counts."""


class RefusedError(Exception):
    """A request that makes no sense, or what the API server says against it."""


class Api:
    """The API server."""

    def __init__(self, address: str | None) -> None:
        """``address`` is that of a proxy that logs in; without, the service account of this pod is used."""
        self._proxy = urllib.parse.urlsplit(address) if address else None

    def call(self, method: str, path: str, body: object = None) -> Any:
        """Make one call.

        Raises:
            RefusedError: it failed.
        """
        connection, headers = self._connect()
        try:
            data = None if body is None else json.dumps(body)
            connection.request(method, path, data, {"Content-Type": "application/json", **headers})
            answer = connection.getresponse()
            text = answer.read()
        except (OSError, http.client.HTTPException) as error:
            raise RefusedError(f"{method} {path}: {str(error) or type(error).__name__}") from error
        finally:
            connection.close()
        if answer.status >= http.client.BAD_REQUEST:
            raise RefusedError(f"{method} {path}: {answer.status} {answer.reason}")
        try:
            return json.loads(text)
        except (ValueError, RecursionError) as error:
            raise RefusedError(f"{method} {path}: the answer is not JSON: {error}") from error

    def _connect(self) -> tuple[http.client.HTTPConnection, Mapping[str, str]]:
        if self._proxy is not None:
            return http.client.HTTPConnection(self._proxy.netloc, timeout=PATIENCE), {}
        try:
            context = ssl.create_default_context(cafile=str(SERVICE_ACCOUNT / "ca.crt"))
            token = (SERVICE_ACCOUNT / "token").read_text().strip()
            address = os.environ["KUBERNETES_SERVICE_HOST"], int(os.environ["KUBERNETES_SERVICE_PORT"])
        except (OSError, KeyError, ValueError) as error:
            raise RefusedError(f"this is no pod with a service account ({error}); give --api") from error
        connection = http.client.HTTPSConnection(*address, timeout=PATIENCE, context=context)
        return connection, {"Authorization": f"Bearer {token}"}


class Quota:
    """How much of the resource there is, and who has some."""

    def __init__(self, resource: str, most: int, api: Api) -> None:
        self.resource = resource
        self.most = most
        self._api = api
        self._binding = threading.Lock()
        """Held from the count to the end of the binding: two pods at once cannot both get the last one."""
        self._bound: dict[str, tuple[str, int]] = {}
        """Node and amount of pods that were bound here and are not shown with a node yet, by uid."""
        self._complained: set[str] = set()
        """What was said about pods that cannot be read."""

    def filter(self, request: Mapping[str, Any]) -> Mapping[str, Any]:
        """Let every node pass, or none while too little is left."""
        names, nodes = _nodes(request)
        wanted = self._wanted(_field(request, "pod"))
        left = self.most - sum(self._used().values())
        if wanted <= left:
            return {"NodeNames": names, "Nodes": nodes, "FailedNodes": {}, "Error": ""}
        reason = f"{self.resource}: {wanted} wanted, {max(left, 0)} of {self.most} left in the cluster"
        kept = None if nodes is None else {**nodes, "items": []}
        return {"NodeNames": [], "Nodes": kept, "FailedNodes": dict.fromkeys(names, reason), "Error": ""}

    def prioritize(self, request: Mapping[str, Any]) -> Sequence[Mapping[str, Any]]:
        """Prefer nodes that have less of it in use already."""
        names, _ = _nodes(request)
        used = self._used()
        most = max(used.values(), default=0)
        return [
            {"Host": name, "Score": MOST_POINTS - (used[name] * MOST_POINTS // most if most else 0)} for name in names
        ]

    def bind(self, request: Mapping[str, Any]) -> Mapping[str, Any]:
        """Bind a pod to the node that the scheduler chose, unless that was more than the quota."""
        namespace, name, uid, node = (
            str(_field(request, key)) for key in ("podnamespace", "podname", "poduid", "node")
        )
        path = f"/api/v1/namespaces/{_quoted(namespace)}/pods/{_quoted(name)}"
        with self._binding:
            wanted = self._wanted(self._api.call("GET", path))
            left = self.most - sum(self._used().values())
            if wanted > left:
                raise RefusedError(
                    f"{self.resource}: {wanted} wanted, {max(left, 0)} of {self.most} left in the cluster"
                )
            binding = {
                "apiVersion": "v1",
                "kind": "Binding",
                "metadata": {"namespace": namespace, "name": name, "uid": uid},
                "target": {"apiVersion": "v1", "kind": "Node", "name": node},
            }
            self._api.call("POST", f"{path}/binding", binding)
            self._bound[uid] = (node, wanted)
        return {"Error": ""}

    def _used(self) -> Counter[str]:
        """Count what is in use on each node.

        Pods that were bound here are looked up before the list is asked for: one that is shown in it without a node, or
        not at all, was not yet bound when the list was made, or is gone.
        """
        before = dict(self._bound)
        pods = self._api.call("GET", "/api/v1/pods")["items"]
        used: Counter[str] = Counter()
        waiting: set[str] = set()
        complaints = set()
        for pod in pods:
            try:
                self._count(pod, used, waiting)
            except (RefusedError, KeyError, TypeError, ValueError, AttributeError) as error:
                complaints.add(f"a pod that cannot be read does not count: {_words(error)}: {str(pod)[:200]!r}")
        for complaint in complaints - self._complained:
            sys.stderr.write(f"extender: {complaint}\n")
        self._complained = complaints
        for uid, (node, wanted) in before.items():
            if uid in waiting:
                used[node] += wanted
            else:
                self._bound.pop(uid, None)
        return used

    def _count(self, pod: Mapping[str, Any], used: Counter[str], waiting: set[str]) -> None:
        """Add what one pod has to that of its node, or its uid to the pods without a node."""
        uid, node = pod["metadata"]["uid"], pod["spec"].get("nodeName")
        if node and (pod.get("status") or {}).get("phase") not in {"Succeeded", "Failed"}:
            used[node] += self._wanted(pod)
        elif not node:
            waiting.add(uid)

    def _wanted(self, pod: Mapping[str, Any]) -> int:
        """Tell how much a pod has at most at a time, as Kubernetes sums it.

        Its containers and sidecars (init containers that are always restarted) run together. The other init containers
        run one after the other before, each beside the sidecars that were started before it.
        """
        spec = pod["spec"]
        sidecars, most = 0, 0
        for container in spec.get("initContainers") or ():
            if container.get("restartPolicy") == "Always":
                sidecars += self._limit(container)
                most = max(most, sidecars)
            else:
                most = max(most, sidecars + self._limit(container))
        together = sidecars + sum(self._limit(container) for container in spec.get("containers") or ())
        return max(most, together) + self._amount(spec.get("overhead"))

    def _limit(self, container: Mapping[str, Any]) -> int:
        return self._amount((container.get("resources") or {}).get("limits"))

    def _amount(self, amounts: Mapping[str, Any] | None) -> int:
        return read_quantity(str((amounts or {}).get(self.resource, "0")))


def read_quantity(text: str) -> int:
    """Read a quantity in any form that the API server takes. Parts of one are rounded up, as it does.

    Raises:
        RefusedError: it is none, or it is negative.
    """
    found = QUANTITY.fullmatch(text) if len(text) <= MOST_CHARACTERS else None
    if found is None:
        raise RefusedError(f"{text[:MOST_CHARACTERS]!r} is no quantity")
    number, suffix = found[1], found[2] or ""
    if suffix in SUFFIXES or not suffix:
        factor = SUFFIXES.get(suffix, Fraction(1))
    else:
        factor = Fraction(10) ** max(-MOST_DIGITS, min(int(suffix[1:]), MOST_DIGITS))
    return min(math.ceil(Fraction(number.rstrip(".")) * factor), MOST)


def _quoted(name: str) -> str:
    """Return a name as one part of a path.

    Raises:
        RefusedError: it would be another part.
    """
    if name in {"", ".", ".."}:
        raise RefusedError(f"{name!r} is no name")
    return urllib.parse.quote(name, safe="")


def _words(error: Exception) -> str:
    return str(error) if isinstance(error, RefusedError) else f"{type(error).__name__}: {error}"


def _field(request: Mapping[str, Any], name: str) -> Any:
    """Take a field out of a request, whose keys may be written in two ways."""
    for key, value in request.items():
        if key.lower() == name:
            return value
    raise RefusedError(f"the request has no {name!r}, only {', '.join(request) or 'nothing'}")


def _nodes(request: Mapping[str, Any]) -> tuple[list[str], Mapping[str, Any] | None]:
    """Name the nodes; a scheduler that caches none sends them whole, and wants them back so."""
    found = {key.lower(): value for key, value in request.items()}
    if found.get("nodenames") is not None:
        return list(found["nodenames"]), None
    nodes = found.get("nodes")
    if not isinstance(nodes, dict):
        raise RefusedError("the request has neither nodes nor their names")
    return [node["metadata"]["name"] for node in nodes.get("items") or ()], nodes


class Handler(BaseHTTPRequestHandler):
    """Answers the scheduler."""

    quota: Quota
    timeout = PATIENCE

    def do_GET(self) -> None:
        """Say that this lives; for a probe."""
        self._answer(200 if self.path == "/healthz" else 404, {"resource": self.quota.resource})

    def do_POST(self) -> None:
        """Answer one question; what is wrong with it is said in the way that the scheduler logs."""
        verbs = {"/filter": self.quota.filter, "/prioritize": self.quota.prioritize, "/bind": self.quota.bind}
        verb = verbs.get(self.path)
        if verb is None:
            self._answer(404, {"Error": f"there are {', '.join(verbs)}"})
            return
        try:
            self._answer(200, verb(self._request()))
        except (RefusedError, KeyError, TypeError, ValueError, AttributeError, RecursionError) as error:
            # For prioritize there is no place for an error in the answer.
            self._answer(500 if self.path == "/prioritize" else 200, {"Error": _words(error)})

    def _request(self) -> Mapping[str, Any]:
        length = self.headers.get("Content-Length", "")
        if not length.isdigit() or int(length) > MAX_REQUEST:
            raise RefusedError(f"a request of {length or 'unknown'} bytes; expected at most {MAX_REQUEST}")
        request = json.loads(self.rfile.read(int(length)))
        if not isinstance(request, dict):
            raise RefusedError("the request has no names with values")
        return request

    def _answer(self, status: int, answer: object) -> None:
        body = json.dumps(answer).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


class Server(ThreadingHTTPServer):
    """Lets connections of a burst wait, and says in one line which one broke."""

    request_queue_size = BACKLOG

    def handle_error(self, request: object, client_address: object) -> None:  # noqa: ARG002 - its name in the library
        """Say what happened to a connection; most often the scheduler did not wait for the answer."""
        sys.stderr.write(f"extender: the connection of {client_address} broke: {sys.exception()!r}\n")


def make_server(address: tuple[str, int], quota: Quota) -> Server:
    """Listen; the caller serves."""
    handler = type("QuotaHandler", (Handler,), {"quota": quota})
    return Server(address, handler)


def main() -> int:
    """Serve until a signal ends it."""
    parser = argparse.ArgumentParser(description="a scheduler extender that keeps a quota of a cluster-wide resource")
    parser.add_argument("--resource", required=True, metavar="DOMAIN/NAME")
    parser.add_argument("--quota", required=True, type=int, metavar="COUNT", help="how much the cluster has")
    parser.add_argument("--api", metavar="URL", help="a proxy of the API server; without, the pod's service account")
    parser.add_argument("--listen", default="0.0.0.0", metavar="HOST")  # noqa: S104 - the scheduler is elsewhere
    parser.add_argument("--port", default=8888, type=int)
    given = parser.parse_args()
    if given.quota < 0 or "/" not in given.resource:
        parser.error(f"--quota {given.quota} --resource {given.resource}: a count, and a name with its domain")
    if not 0 <= given.port <= MAX_PORT:
        parser.error(f"--port {given.port}: allowed are 0 to {MAX_PORT}")
    if given.api and not given.api.startswith("http://"):
        parser.error(f"--api {given.api}: allowed are addresses such as http://127.0.0.1:8001")
    try:
        server = make_server((given.listen, given.port), Quota(given.resource, given.quota, Api(given.api)))
    except OSError as error:
        sys.stderr.write(f"extender: cannot listen on {given.listen}:{given.port}: {error.strerror}\n")
        return 1
    sys.stderr.write(f"extender: {given.quota} of {given.resource}, at http://{given.listen}:{server.server_port}\n")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))  # as the first process of a container it has none by default
    with server:
        try:
            server.serve_forever()
        except KeyboardInterrupt:
            return 0
    return 0


if __name__ == "__main__":
    sys.exit(main())
