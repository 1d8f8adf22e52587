"""What `--listen` serves, and that nobody who misuses it disturbs the kubelet."""

import asyncio
import json
import re
import signal
import socket
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager, closing
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import NamedTuple

import pytest
from prometheus_client.parser import text_string_to_metric_families

from driver.driver import Driver
from harness.node import RESOURCE
from harness.process import Process, run_to_end, started
from plugin_gateway.adapters.fake_kubelet import FakeKubelet, release
from plugin_gateway.adapters.monitoring.http_listener import MAX_CLIENTS, Page, serve


class Answer(NamedTuple):
    status: int
    headers: str
    body: str


def free_port() -> int:
    with closing(socket.socket()) as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


async def exchanged(port: int, request: bytes) -> bytes:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        async with asyncio.timeout(10):
            writer.write(request)
            return await reader.read()
    finally:
        writer.close()
        await writer.wait_closed()


async def get(port: int, path: str, method: str = "GET") -> Answer:
    data = await exchanged(port, f"{method} {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
    head, _, body = data.decode().partition("\r\n\r\n")
    return Answer(int(head.split()[1]), head.lower(), body)


async def metrics(port: int) -> dict[str, float]:
    """By name and labels, as they are written."""
    text = (await get(port, "/metrics")).body
    return {
        sample.name + "".join(f"|{value}" for _, value in sorted(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


@asynccontextmanager
async def listening(kubelet_dir: Path, driver: Driver, *more: str) -> AsyncIterator[tuple[int, Process]]:
    port = free_port()
    arguments = ("--kubelet-dir", str(kubelet_dir), "--driver-root", str(driver.root), f"--listen={port}", *more)
    async with started(*arguments, environment=driver.environment) as process:
        yield port, process


async def test_probes_tell_ready_from_alive(kubelet_dir: Path, driver: Driver) -> None:
    async with listening(kubelet_dir, driver) as (port, process):
        await process.wait_for_event("resource added")
        assert (await get(port, "/healthz"))[::2] == (200, "ok\n")
        assert (await get(port, "/readyz"))[::2] == (503, f"{RESOURCE} is not registered\n")
        async with FakeKubelet(kubelet_dir, release("1.36")):
            await process.wait_for_event("registered")
            assert (await get(port, "/readyz"))[::2] == (200, "ok\n")
        await process.wait_for_event("the kubelet ended the stream")
        assert (await get(port, "/readyz")).status == 503
        assert (await get(port, "/healthz")).status == 200


async def test_one_that_stands_by_is_ready_if_the_other_gateway_can_be_asked(
    kubelet_dir: Path, driver: Driver, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    standing_by = "another gateway offers this resource, standing by"
    async with FakeKubelet(kubelet_dir, release("1.36")), listening(kubelet_dir, driver) as (_, first):
        await first.wait_for_event("registered")
        await first.wait_for_control()
        async with listening(kubelet_dir, driver) as (port, process):
            await process.wait_for_event(standing_by)
            await process.wait_for_event("the other gateway will say when it leaves")
            assert (await get(port, "/readyz"))[::2] == (200, "ok\n")
        monkeypatch.setenv("STATE_DIR", str(tmp_path / "own"))
        async with listening(kubelet_dir, driver) as (port, process):
            await process.wait_for_event(standing_by)
            status, _, body = await get(port, "/readyz")
            assert status == 503
            assert body == (
                f"{RESOURCE} is not registered: another gateway of this node has it, and does not answer at a control "
                "socket in this state directory\n"
            )


async def test_a_node_without_a_driver_is_alive_and_has_nothing_to_be_ready_for(
    kubelet_dir: Path, driver: Driver
) -> None:
    driver.uninstall()
    async with listening(kubelet_dir, driver) as (port, process):
        await process.wait_for_event("waiting for the driver")
        assert (await get(port, "/healthz")).status == 200
        assert (await get(port, "/readyz")).status == 200
        found = await metrics(port)
        assert found["plugin_gateway_driver_up"] == 0
        assert "plugin_gateway_devices_present" not in found


async def test_metrics_follow_what_happens(kubelet_dir: Path, driver: Driver) -> None:
    async with (
        FakeKubelet(kubelet_dir, release("1.36")) as kubelet,
        listening(kubelet_dir, driver) as (port, process),
    ):
        await process.wait_for_event("registered")
        await kubelet.wait_for(lambda: kubelet.allocatable(RESOURCE) == 8, what="8 devices")
        await kubelet.allocate(RESOURCE, 2, pod="p")
        driver.xid(3, 79)
        driver.xid(4, 31)
        await kubelet.wait_for(lambda: kubelet.allocatable(RESOURCE) == 7, what="7 devices")
        await process.wait_for_event("evidence")
        found = await metrics(port)
        assert found[f"plugin_gateway_devices|healthy|{RESOURCE}"] == 7
        assert found[f"plugin_gateway_devices|unhealthy|{RESOURCE}"] == 1
        assert found["plugin_gateway_health_transitions_total|unhealthy|xid_79"] == 1
        assert found["plugin_gateway_evidence_total|xid_31|reported"] == 1
        assert found[f"plugin_gateway_stream_open|v1beta1|{RESOURCE}"] == 1
        assert found["plugin_gateway_devices_expected"] == 8
        assert found["plugin_gateway_devices_present"] == 8
        assert found["plugin_gateway_driver_up"] == 1
        assert found["plugin_gateway_kubelets_seen_total"] == 1
        assert found[f"plugin_gateway_call_seconds_count|Allocate|{RESOURCE}"] == 1
        assert found[f"plugin_gateway_call_seconds_bucket|1.0|Allocate|{RESOURCE}"] == 1
        await kubelet.restart(release("1.9"))
        await process.wait_for_event("registered", times=2)
        found = await metrics(port)
        assert found["plugin_gateway_kubelets_seen_total"] == 2
        assert found[f"plugin_gateway_stream_open|v1alpha2|{RESOURCE}"] == 1
        counts = {name: value for name, value in found.items() if name.startswith("plugin_gateway_registrations_total")}
        assert sum(counts.values()) == 2
        assert any("|v1alpha2|" in name for name in counts)


async def test_the_page_about_metrics_names_every_metric_and_no_other(kubelet_dir: Path, driver: Driver) -> None:
    async with listening(kubelet_dir, driver) as (port, process):
        await process.wait_for_event("resource added")
        text = (await get(port, "/metrics")).body
    served = {line.split()[2] for line in text.splitlines() if line.startswith("# TYPE")}
    page = (Path(__file__).parents[3] / "docs" / "observe.md").read_text()
    assert set(re.findall(r"`((?:plugin_gateway|process)_\w+)`", page)) == served


async def test_failed_registrations_are_counted_by_cause(kubelet_dir: Path, driver: Driver) -> None:
    async with (
        FakeKubelet(kubelet_dir, release("1.36")),
        listening(kubelet_dir, driver, "--api-version=v1alpha2") as (port, process),
    ):
        await process.wait_for_event("registration failed")
        found = await metrics(port)
        failures = {name: value for name, value in found.items() if "registration_failures_total" in name}
        (cause,) = (name.split("|")[1] for name, count in failures.items() if count)
        failed = await process.wait_for_event("registration failed")
        assert (failed["cause"], failed["what"].partition(":")[0]) == (
            cause,
            "the kubelet knows no device plugin registration",
        )
        status = json.loads((await get(port, "/status")).body)
        (resource,) = status["resources"]
        assert resource["failures"][-1]["words"]


async def test_a_configuration_that_is_refused_is_counted_until_one_is_taken(
    kubelet_dir: Path, driver: Driver, tmp_path: Path
) -> None:
    config = tmp_path / "config.yaml"
    config.write_text("version: v1\n")
    async with listening(kubelet_dir, driver, f"--config-file={config}") as (port, process):
        await process.wait_for_event("resource added")
        for number, (text, event) in enumerate(
            (
                ("version: v0\n", "configuration refused, the old one stays"),
                ("version: v1\n", "configuration read again, nothing changed"),
            )
        ):
            config.write_text(text)
            process.send(signal.SIGHUP)
            await process.wait_for_event(event)
            found = await metrics(port)
            assert found["plugin_gateway_configuration_refused_total"] == 1
            assert found["plugin_gateway_configuration_last_reload_successful"] == number


async def test_the_page_shows_devices_with_reasons_and_the_history(kubelet_dir: Path, driver: Driver) -> None:
    driver.add(1, name="<b>NVIDIA</b> & co")
    async with (
        FakeKubelet(kubelet_dir, release("1.36")) as kubelet,
        listening(kubelet_dir, driver) as (port, process),
    ):
        await process.wait_for_event("registered")
        driver.xid(3, 79)
        await kubelet.wait_for(lambda: kubelet.allocatable(RESOURCE) == 7, what="7 devices")
        page = await get(port, "/")
    assert page.status == 200
    assert "content-type: text/html" in page.headers
    assert "content-security-policy: default-src 'none'" in page.headers
    assert "XID 79; needs a reboot of the node" in page.body
    assert "registered as v1beta1, stream open since" in page.body
    assert "&lt;b&gt;NVIDIA&lt;/b&gt; &amp; co" in page.body
    assert "<b>NVIDIA" not in page.body
    assert "http" not in page.body.replace("http-equiv", ""), "nothing from elsewhere"


@pytest.mark.parametrize(
    ("request_bytes", "status"),
    [
        (b"GET /nothing HTTP/1.1\r\nHost: x\r\n\r\n", 404),
        (b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n", 405),
        (b"GET /" + b"x" * 40_000 + b" HTTP/1.1\r\nHost: x\r\n\r\n", 431),
        (b"GET / HTTP/1.1\r\n" + b"X: y\r\n" * 10_000 + b"\r\n", 431),
        (b"hello\r\n\r\n", 400),
        (b"\xff\xfe\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\n\r\n", 400),
        (b"HEAD /x HTTP/1.1\r\nHost: x\r\n\r\n", 200),
    ],
)
async def test_what_is_no_request_for_a_page_is_answered_with_its_status(request_bytes: bytes, status: int) -> None:
    listener = socket.create_server(("127.0.0.1", 0))
    listener.setblocking(False)
    port = int(listener.getsockname()[1])
    async with asyncio.TaskGroup() as tasks:
        task = tasks.create_task(serve(listener, {"/x": lambda: Page("body\n")}))
        answer = (await exchanged(port, request_bytes)).decode()
        assert answer.startswith(f"HTTP/1.1 {status} ")
        assert ("body" in answer) is False
        task.cancel()


@asynccontextmanager
async def one_page() -> AsyncIterator[int]:
    listener = socket.create_server(("127.0.0.1", 0))
    listener.setblocking(False)
    async with asyncio.TaskGroup() as tasks:
        task = tasks.create_task(serve(listener, {"/x": lambda: Page("body\n"), "/": lambda: Page("root\n")}))
        yield int(listener.getsockname()[1])
        task.cancel()


@pytest.mark.parametrize("method", ["POST", "PUT", "OPTIONS", "TRACE"])
async def test_a_method_that_no_page_has_is_answered_with_those_it_has(method: str) -> None:
    async with one_page() as port:
        answer = await get(port, "/x", method)
    assert (answer.status, "\r\nallow: get, head" in answer.headers) == (405, True)


async def test_every_answer_has_the_date_of_now() -> None:
    async with one_page() as port:
        for path in ("/x", "/nothing"):
            lines = (await get(port, path)).headers.splitlines()
            (date,) = [line.removeprefix("date: ") for line in lines if line.startswith("date: ")]
            assert abs(parsedate_to_datetime(date).timestamp() - time.time()) < 10


@pytest.mark.parametrize(
    ("target", "body"),
    [
        ("http://node:9400/x", "body\n"),
        ("HTTP://node/x?y=1", "body\n"),
        ("http://node", "root\n"),
        ("http://node?/x", "root\n"),
        ("https://[::1]:9400/", "root\n"),
    ],
)
async def test_a_target_with_a_host_is_that_page(target: str, body: str) -> None:
    async with one_page() as port:
        answer = await get(port, target)
    assert (answer.status, answer.body) == (200, body)


async def test_a_page_that_fails_is_not_the_end_of_the_others() -> None:
    def fail() -> Page:
        raise ZeroDivisionError

    listener = socket.create_server(("127.0.0.1", 0))
    listener.setblocking(False)
    port = int(listener.getsockname()[1])
    async with asyncio.TaskGroup() as tasks:
        task = tasks.create_task(serve(listener, {"/x": fail, "/y": lambda: Page("well\n")}))
        assert await exchanged(port, b"GET /x HTTP/1.1\r\nHost: x\r\n\r\n") == b""
        assert (await get(port, "/y")).body == "well\n"
        task.cancel()


async def test_five_hundred_stuck_clients_do_not_disturb_the_kubelet(kubelet_dir: Path, driver: Driver) -> None:
    async with (
        FakeKubelet(kubelet_dir, release("1.36")) as kubelet,
        listening(kubelet_dir, driver) as (port, process),
        AsyncExitStack() as stuck,
    ):
        await process.wait_for_event("registered")
        await kubelet.wait_for(lambda: kubelet.allocatable(RESOURCE) == 8, what="8 devices")
        for number in range(500):
            client = socket.create_connection(("127.0.0.1", port))
            stuck.callback(client.close)
            if number % 2:
                client.send(b"GET / HT")
        began = time.monotonic()
        for number in range(50):
            await kubelet.allocate(RESOURCE, 8, pod=f"p{number}")
            await kubelet.remove(f"p{number}")
        assert time.monotonic() - began < 5
        open_files = len(list(Path(f"/proc/{process.pid}/fd").iterdir()))
        assert open_files < 64 + MAX_CLIENTS
        driver.xid(3, 79)
        await kubelet.wait_for(lambda: kubelet.allocatable(RESOURCE) == 7, what="7 devices")


async def test_a_probe_is_answered_while_stuck_clients_hold_every_place(kubelet_dir: Path, driver: Driver) -> None:
    async with listening(kubelet_dir, driver) as (port, process):
        await process.wait_for_event("resource added")
        with ExitStack() as stuck:
            for _ in range(2 * MAX_CLIENTS):
                stuck.callback(socket.create_connection(("127.0.0.1", port)).close)
            assert (await get(port, "/healthz")).status == 200


async def test_the_listener_is_there_again_once_the_stuck_clients_are_gone(kubelet_dir: Path, driver: Driver) -> None:
    async with listening(kubelet_dir, driver) as (port, process):
        await process.wait_for_event("resource added")
        clients = [socket.create_connection(("127.0.0.1", port)) for _ in range(2 * MAX_CLIENTS)]
        for client in clients:
            client.close()

        async def answers() -> bool:
            try:
                return (await get(port, "/healthz")).status == 200
            except (OSError, IndexError):
                return False

        async with asyncio.timeout(10):
            while not await answers():  # noqa: ASYNC110 - another process answers
                await asyncio.sleep(0.05)


async def test_an_address_that_is_taken_is_one_line_and_status_1(kubelet_dir: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        status, _, errors = await run_to_end(
            "run", "--kubelet-dir", str(kubelet_dir), "--backend=simulated:1xT4", f"--listen={port}"
        )
    assert (status, errors) == (
        1,
        f"plugin-gateway: --listen: cannot listen on 127.0.0.1:{port}: Address already in use\n",
    )


@pytest.mark.parametrize("text", ["x", "99999", "0", "host:", "a b:80", "-1", "1.2.3.4:٣"])
async def test_what_is_no_address_is_refused(text: str) -> None:
    status, _, errors = await run_to_end("run", "--backend=simulated:1xT4", f"--listen={text}")
    assert status == 2
    assert errors == f"plugin-gateway: --listen: invalid value {text!r}; expected PORT or HOST:PORT, such as 9400\n"
