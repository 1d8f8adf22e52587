"""A small API server: TLS, a token, Events, the status of a node, and the node itself."""

import asyncio
import contextlib
import http.server
import json
import ssl
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import trustme

from harness.api_node import ApiNode
from harness.api_objects import ApiObjects
from plugin_gateway.adapters.cluster.kubernetes_api import KubernetesApi
from plugin_gateway.adapters.cluster.reports import ClusterReports
from plugin_gateway.adapters.cluster.target import Target
from plugin_gateway.adapters.cluster.told_states import ToldStates
from plugin_gateway.nvidia.remedies import remedy_for

TOKEN = "secret-of-the-pod"
BOTH = Target("node-1", events=True, condition="GpuProblem", device_word="GPU")


class Call(NamedTuple):
    """A call that was accepted."""

    method: str
    path: str
    content_type: str
    body: dict[str, Any]


class ApiServer:
    """The accepted calls, and what a pod needs to reach the server."""

    def __init__(self, folder: Path, port: int, context: ssl.SSLContext) -> None:
        self.calls: list[Call] = []
        self.status = 200
        """The HTTP status of all answers, except those for `refused`."""
        self.refused: dict[str, int] = {}
        """The HTTP status of answers to calls for a path that ends so."""
        self.refusals = 0
        self.agents: set[str] = set()
        """What the callers called themselves."""
        self.node = ApiNode("node-1")
        self.objects = ApiObjects()
        self.words = json.dumps({"kind": "Status", "message": "words of the server"}).encode()
        """The body of each answer."""
        self.service_account = folder
        self.context = context
        self.environment = {"KUBERNETES_SERVICE_HOST": "127.0.0.1", "KUBERNETES_SERVICE_PORT": str(port)}

    def answer_to(self, path: str) -> int:
        return next((status for end, status in self.refused.items() if path.endswith(end)), self.status)

    def change(self, method: str, path: str, content_type: str, body: dict[str, Any]) -> int:
        """Change one of the objects, and return the status. Events and the node's status are only noted."""
        is_merge = content_type == "application/merge-patch+json"
        if is_merge or method == "DELETE" or (method == "POST" and not path.endswith("/events")):
            return self.objects.answer(method, path, body)
        return self.status

    def events(self) -> list[dict[str, Any]]:
        """The Events that were created."""
        return [call.body for call in self.calls if call.path.endswith("/events")]

    def counts(self) -> dict[str, int]:
        """The count of each Event by its message."""
        return {call.body["message"]: call.body["count"] for call in self.calls if "/events" in call.path}

    def conditions(self) -> list[dict[str, Any]]:
        return [call.body["status"]["conditions"][0] for call in self.calls if call.path.endswith("/status")]


@contextmanager
def api_server(folder: Path) -> Iterator[ApiServer]:
    """Run a server on a free port inside the block."""
    authority = trustme.CA()
    folder.mkdir()
    authority.cert_pem.write_to_path(folder / "ca.crt")
    (folder / "token").write_text(f"{TOKEN}\n")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)

    class Handler(http.server.BaseHTTPRequestHandler):
        def answer(self) -> None:
            server.agents.add(self.headers.get("User-Agent", ""))
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])) or b"{}")
            known = self.headers["Authorization"] == f"Bearer {TOKEN}"
            status = server.answer_to(self.path) if known else 401
            if status < 300:
                status = server.change(self.command, self.path, self.headers.get("Content-Type", ""), body)
            if status >= 300:
                server.refusals += 1
            else:
                server.calls.append(Call(self.command, self.path, self.headers.get("Content-Type", ""), body))
            self.send_response(status)
            self.end_headers()
            self.wfile.write(server.words)

        do_POST = do_PATCH = do_DELETE = answer  # noqa: N815 - as http.server calls them

        def do_GET(self) -> None:
            with contextlib.suppress(OSError):  # the client may leave at any time
                self.answer_get(*self.path.partition("?")[::2])

        def answer_get(self, path: str, query: str) -> None:
            server.agents.add(self.headers.get("User-Agent", ""))
            known = self.headers["Authorization"] == f"Bearer {TOKEN}"
            status = server.answer_to("watch" if query else path) if known else 401
            found = server.objects.find(path)
            if status < 300 and found is None and path not in {server.node.path, "/api/v1/nodes"}:
                status = 404
            if status >= 300:
                server.refusals += 1
                self.send_response(status)
                self.end_headers()
                self.wfile.write(server.words)
                return
            lines = server.node.events(query) if query else iter([server.node.answer(found)])
            server.node.asked.append((self.path, self.headers["Accept"]))  # from now on a test can end this watch
            self.protocol_version = "HTTP/1.1"
            self.close_connection = True
            self.send_response(status)
            self.send_header("Transfer-Encoding", "chunked")
            self.end_headers()
            for line in lines:
                data = line or b"\n"  # a blank line, so that it is noticed when the client has left
                self.wfile.write(b"%x\r\n%b\r\n" % (len(data), data))
                self.wfile.flush()
            self.wfile.write(b"0\r\n\r\n")

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - its name
            """Log nothing."""

    listener = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    listener.socket = context.wrap_socket(listener.socket, server_side=True)
    server = ApiServer(folder, listener.server_address[1], context)
    thread = threading.Thread(target=listener.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield server
    finally:
        server.node.close()
        listener.shutdown()
        thread.join(5)
        listener.server_close()


def told_before(server: ApiServer) -> ToldStates:
    """Return what earlier instances told this server."""
    told = ToldStates(server.service_account.parent / "state")
    told.read()
    return told


@asynccontextmanager
async def reporting(
    server: ApiServer, target: Target = BOTH, told: ToldStates | None = None
) -> AsyncIterator[ClusterReports]:
    """Run reports to this server inside the block."""
    api = KubernetesApi(server.environment, server.service_account)
    reports = ClusterReports(target, api, told or told_before(server), remedy_for)
    async with asyncio.TaskGroup() as tasks:
        task = tasks.create_task(reports.run())
        try:
            yield reports
        finally:
            task.cancel()
