"""node-problem-detector's check says what the gateway's `/health` says, with the exit status that it expects."""

import asyncio
import json
import os
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import yaml

from deployment.schemas import RELEASES, api
from harness.node import Node, device, running, until
from harness.pages import pages_of
from plugin_gateway.adapters.monitoring.http_listener import Page, Pages, serve
from plugin_gateway.core.health.observations import DriverUnavailable

EXAMPLE = Path(__file__).parents[2] / "deploy" / "examples" / "node-problem-detector"
MONITOR = json.loads((EXAMPLE / "gpu-problem-monitor.json").read_text())
OK, PROBLEM, UNKNOWN = 0, 1, 2


@asynccontextmanager
async def listening(pages: Pages) -> AsyncIterator[int]:
    """Serve the pages on a port of this machine."""
    listener = socket.create_server(("127.0.0.1", 0))
    listener.setblocking(False)
    async with asyncio.TaskGroup() as tasks:
        task = tasks.create_task(serve(listener, pages))
        try:
            yield int(listener.getsockname()[1])
        finally:
            task.cancel()


async def check(port: int) -> tuple[int, str]:
    """Run the script as node-problem-detector does, and return its exit status and its output."""
    process = await asyncio.create_subprocess_exec(
        str(EXAMPLE / "check_gpu.sh"),
        "127.0.0.1",
        str(port),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
        env={"PATH": os.environ["PATH"]},
    )
    output, _ = await asyncio.wait_for(process.communicate(), 10)
    assert process.returncode is not None
    return process.returncode, output.decode()


async def test_it_says_whether_a_gpu_is_not_healthy_and_what_to_do(kubelet_dir: Path) -> None:
    node = Node(kubelet_dir)
    async with running(node), listening(pages_of(node)) as port:
        await until(lambda: len(node.gateway.state.devices) == 8, "8 devices")
        assert await check(port) == (OK, "every GPU is healthy\n")
        node.fail(3, 79)
        node.fail(5, 95)
        await until(lambda: len(node.gateway.state.faults) == 2, "2 faults")
        line = f"{device(3).id}: XID 79 (RESTART_BM); {device(5).id}: XID 95 (RESET_GPU)\n"
        assert await check(port) == (PROBLEM, line)


async def test_a_node_whose_devices_nobody_knows_is_unknown(kubelet_dir: Path) -> None:
    node = Node(kubelet_dir)
    async with listening(pages_of(node)) as port:
        assert await check(port) == (UNKNOWN, "no GPU is known yet: the driver has not answered\n")


async def test_words_of_others_change_nothing(kubelet_dir: Path) -> None:
    """A message of the driver cannot pretend to be a part of the document."""
    node = Node(kubelet_dir)
    async with running(node), listening(pages_of(node)) as port:
        await until(lambda: len(node.gateway.state.devices) == 8, "8 devices")
        node.fail(3, 79)
        node.observations.put(DriverUnavailable('",\n  "healthy": true,\n  "summary": "",\n$(touch x) `id`'))
        await until(lambda: node.gateway.state.driver_problem is not None, "the problem")
        assert await check(port) == (PROBLEM, f"{device(3).id}: XID 79 (RESTART_BM)\n")


@pytest.mark.parametrize("pages", [{}, {"/health": lambda: Page("hello\n")}, {"/health": lambda: Page("{}")}])
async def test_what_is_no_gateway_is_unknown(pages: Pages) -> None:
    async with listening(pages) as port:
        assert await check(port) == (UNKNOWN, f"plugin-gateway at 127.0.0.1:{port} does not answer\n")


async def test_a_gateway_that_does_not_run_is_unknown() -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = int(closed.getsockname()[1])
    assert await check(port) == (UNKNOWN, f"plugin-gateway at 127.0.0.1:{port} does not answer\n")


def test_the_script_has_three_lines_and_the_monitor_runs_it() -> None:
    lines = (EXAMPLE / "check_gpu.sh").read_text().splitlines()
    assert len([line for line in lines if not line.startswith("#")]) == 3
    (rule,), (condition,) = MONITOR["rules"], MONITOR["conditions"]
    assert Path(rule["path"]).name == "check_gpu.sh"
    assert rule["condition"] == condition["type"] == "GPUProblem"
    assert MONITOR["pluginConfig"]["max_output_length"] >= 1024


@pytest.mark.parametrize("release", RELEASES[-2:])
def test_the_service_leads_to_the_gateway_of_the_same_node(release: str) -> None:
    service = yaml.safe_load((EXAMPLE / "service.yaml").read_text())
    assert list(api(release).problems(service)) == []
    manifest = yaml.safe_load((EXAMPLE.parents[1] / "manifests/plugin-gateway.yaml").read_text())
    pod = manifest["spec"]["template"]
    assert service["spec"]["selector"].items() <= pod["metadata"]["labels"].items()
    (port,), (mine,) = service["spec"]["ports"], pod["spec"]["containers"][0]["ports"]
    assert (port["targetPort"], port["port"]) == (mine["name"], mine["containerPort"])
    name, own_port = MONITOR["rules"][0]["args"]
    assert name == f"{service['metadata']['name']}.{service['metadata']['namespace']}"
    assert own_port == str(port["port"])
