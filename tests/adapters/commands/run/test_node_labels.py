"""`--node-labels`: the node has labels and taints as its devices are, whatever becomes of gateway and API server."""

import json
import signal
import sys
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from driver.driver import Driver
from harness.api_objects import NODES
from harness.api_server import ApiServer, api_server
from harness.confined import full, needs_mounts, read_only
from harness.node import RESOURCE
from harness.node import until as until_soon
from harness.process import Process, run_to_end, started
from plugin_gateway.adapters.fake_kubelet import FakeKubelet, release
from plugin_gateway.core.labels.ownership import ANNOTATION

NODE = f"{NODES}/node-1"
COUNT, PRODUCT, REPLICAS = (f"nvidia.com/gpu.{word}" for word in ("count", "product", "replicas"))
SIMULATED = ("--backend", "simulated:2xH100")
SHARED = "version: v1\nsharing: {timeSlicing: {resources: [{name: nvidia.com/gpu, replicas: 3}]}}\n"
IN_A_POD = (
    "import sys\n"
    "from pathlib import Path\n"
    "from plugin_gateway.adapters.cluster import label_publishing\n"
    "from plugin_gateway.adapters.cluster.kubernetes_api import KubernetesApi\n"
    "KubernetesApi.__init__.__defaults__ = (Path(sys.argv[1]),)\n"
    "label_publishing.PAUSE = 0.2\n"
    "label_publishing.MAX_RETRY = 0.5\n"
    "from plugin_gateway.__main__ import main\n"
    "sys.exit(main(sys.argv[3:]))\n"
)
"""Runs the gateway with the service account of the test, and with shorter times."""


async def until(condition: Callable[[], bool], what: str) -> None:
    """Wait for what follows only after the start is over, and pauses, which takes long on a busy machine."""
    await until_soon(condition, what, 30)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[ApiServer]:
    with api_server(tmp_path / "service-account") as server:
        server.objects.put(NODE, metadata={"labels": {"kubernetes.io/os": "linux"}})
        yield server


@pytest.fixture
def file(tmp_path: Path) -> Path:
    (tmp_path / "features.d").mkdir()
    return tmp_path / "features.d/gfd"


def within(account: Path) -> Sequence[str]:
    return (sys.executable, "-c", IN_A_POD, str(account))


@asynccontextmanager
async def labelling(
    kubelet_dir: Path, *arguments: str, account: Path = Path("none"), environment: Mapping[str, str] | None = None,
    mounts: Sequence[str] = (),
) -> AsyncIterator[Process]:  # fmt: skip
    """Run a gateway, and end it in good order."""
    flags = ("--kubelet-dir", str(kubelet_dir), "--node-name=node-1", *arguments)
    async with started(*flags, environment=environment, within=(*mounts, *within(account))) as process:
        yield process
        if not process.has_ended:
            process.send(signal.SIGTERM)
        assert await process.ended() == 0


def in_file(path: Path) -> dict[str, str]:
    lines = path.read_text().splitlines() if path.exists() else []
    return dict(line.split("=", 1) for line in lines if not line.startswith("#"))


def labels(server: ApiServer) -> dict[str, str]:
    return dict((server.objects.find(NODE) or {}).get("metadata", {}).get("labels", {}))


def taints(server: ApiServer) -> list[dict[str, Any]]:
    return list((server.objects.find(NODE) or {}).get("spec", {}).get("taints", []))


async def told_labels() -> Any:
    return json.loads((await run_to_end("status", "--json"))[1])["labels"]


async def test_the_file_follows_the_rules_and_stays_at_the_end(kubelet_dir: Path, tmp_path: Path, file: Path) -> None:
    config = tmp_path / "config.yaml"
    config.write_text("version: v1\n")
    flags = ("--node-labels=file", f"--output-file={file}", "--config-file", str(config))
    async with labelling(kubelet_dir, *SIMULATED, *flags) as process:
        await until(lambda: in_file(file).get(COUNT) == "2", "the labels")
        assert in_file(file)[REPLICAS] == "1"
        config.write_text(SHARED)
        process.send(signal.SIGHUP)
        await until(lambda: in_file(file).get(REPLICAS) == "3", "the labels of shared GPUs")
        assert in_file(file)[PRODUCT].endswith("-SHARED")
        config.write_text(f"{SHARED}flags: {{gfd: {{outputFile: {file}.other, noTimestamp: true}}}}\n")
        flags_alone = [each for each in flags if not each.startswith("--output-file")]
        assert flags_alone, "the flag goes before the file"
        process.send(signal.SIGHUP)
        await until(lambda: "nvidia.com/gfd.timestamp" not in in_file(file), "the labels without the timestamp")
        told = await told_labels()
        assert (told["way"], told["where"], told["is_written"]) == ("file", f"file {file}", True)
    assert in_file(file)[COUNT] == "2"


async def test_another_file_is_written_from_the_reload_on(kubelet_dir: Path, tmp_path: Path, file: Path) -> None:
    config, other = tmp_path / "config.yaml", file.with_name("other")
    config.write_text(f"version: v1\nflags: {{gfd: {{outputFile: {file}}}}}\n")
    flags = ("--node-labels=file", "--node-labels-remove=true", "--config-file", str(config))
    async with labelling(kubelet_dir, *SIMULATED, *flags) as process:
        await until(file.exists, "the file")
        config.write_text(f"version: v1\nflags: {{gfd: {{outputFile: {other}}}}}\n")
        process.send(signal.SIGHUP)
        await until(lambda: in_file(other).get(COUNT) == "2", "the other file")
        assert not file.exists()
    assert not other.exists()


@needs_mounts
@pytest.mark.parametrize(("mount", "reason"), [(read_only, "Read-only file system"), (full, "No space left on device")])
async def test_a_folder_that_cannot_be_written_is_named_and_the_kubelet_does_not_notice(
    mount: Callable[[Path], tuple[str, ...]], reason: str, kubelet_dir: Path, file: Path
) -> None:
    flags = ("--node-labels=file", f"--output-file={file}")
    async with FakeKubelet(kubelet_dir, release("1.36")) as kubelet:
        async with labelling(kubelet_dir, *SIMULATED, *flags, mounts=mount(file.parent)) as process:
            told = await process.wait_for_event("the labels of the node cannot be written")
            assert told["problem"] == f"{file} cannot be written: {reason}"
            await kubelet.wait_for(lambda: kubelet.allocatable(RESOURCE) == 2, timeout=10, what="2 GPUs")
            await process.wait_for_control()
            assert (await told_labels())["problem"] == told["problem"]
            assert f"cannot be written: {told['problem']}" in (await run_to_end("status"))[1]
        assert process.events().count("the labels of the node cannot be written") == 1


async def test_the_node_follows_a_fault_and_has_no_taint_after_the_end(
    kubelet_dir: Path, driver: Driver, server: ApiServer
) -> None:
    flags = ("--node-labels=patch", "--node-labels-own=gpu.healthy", "--node-taint-by-cause=*=NoSchedule")
    environment = {**driver.environment, **server.environment}
    root = f"--driver-root={driver.root}"
    async with labelling(kubelet_dir, root, *flags, account=server.service_account, environment=environment):
        await until(lambda: labels(server).get("plugin-gateway/gpu.healthy") == "8", "the labels")
        assert not taints(server)
        driver.xid(0, 79)
        await until(lambda: labels(server).get("plugin-gateway/gpu.healthy") == "7", "the label after the fault")
        taint = {"key": "plugin-gateway/unhealthy-device", "value": "xid-79", "effect": "NoSchedule"}
        assert taints(server) == [taint]
    assert not taints(server)
    assert labels(server)[COUNT] == "8"
    assert labels(server)["kubernetes.io/os"] == "linux"


async def test_a_reload_takes_no_label_and_no_taint_away_in_between(
    kubelet_dir: Path, driver: Driver, server: ApiServer, tmp_path: Path
) -> None:
    config, model = tmp_path / "config.yaml", tmp_path / "model"
    model.write_text("other model\n")
    config.write_text("version: v1\n")
    flags = ("--node-labels=patch", "--node-labels-remove=true", "--node-taint-by-cause=*=NoSchedule")
    given = (f"--driver-root={driver.root}", *flags, "--config-file", str(config))
    environment = {**driver.environment, **server.environment}
    async with labelling(kubelet_dir, *given, account=server.service_account, environment=environment) as process:
        await until(lambda: labels(server).get(COUNT) == "8", "the labels")
        driver.xid(0, 79)
        await until(lambda: bool(taints(server)), "the taint")
        before = len(server.objects.changes)
        config.write_text(f"version: v1\nflags: {{gfd: {{machineTypeFile: {model}, outputFile: {tmp_path}/other}}}}\n")
        process.send(signal.SIGHUP)
        await until(lambda: labels(server).get("nvidia.com/gpu.machine") == "other-model", "the label of the machine")
        changed = [body["metadata"].get("labels") for _, _, body in server.objects.changes[before:]]
        assert changed == [{"nvidia.com/gpu.machine": "other-model"}]
        assert taints(server)
    assert not taints(server)


async def test_what_the_server_refuses_is_told_once_and_written_when_it_takes_it(
    kubelet_dir: Path, server: ApiServer
) -> None:
    server.status = 403
    flags = (*SIMULATED, "--node-labels=patch", "--node-labels-remove=true")
    async with FakeKubelet(kubelet_dir, release("1.36")) as kubelet:
        async with labelling(
            kubelet_dir, *flags, account=server.service_account, environment=server.environment
        ) as process:
            await until(lambda: server.refusals >= 3, "refusals")
            await kubelet.wait_for(lambda: kubelet.allocatable(RESOURCE) == 2, timeout=10, what="2 GPUs")
            server.status = 200
            await until(lambda: labels(server).get(COUNT) == "2", "the labels")
            await process.wait_for_event("the labels of the node are written again")
        assert process.events().count("the labels of the node cannot be written") == 1
    assert labels(server) == {"kubernetes.io/os": "linux"}
    assert ANNOTATION not in (server.objects.find(NODE) or {})["metadata"]["annotations"]


async def test_a_server_that_does_not_answer_does_not_keep_the_process_from_its_end(
    kubelet_dir: Path, server: ApiServer
) -> None:
    flags = (*SIMULATED, "--node-labels=patch", "--node-labels-remove=true")
    async with labelling(
        kubelet_dir, *flags, account=server.service_account, environment=server.environment
    ) as process:
        await until(lambda: labels(server).get(COUNT) == "2", "the labels")
        server.status = 503
    assert [line for line in process.lines if line["event"] == "labels or taints can have stayed on the node"]


async def test_the_labels_stay_for_the_gateway_that_goes_on(kubelet_dir: Path, file: Path) -> None:
    flags = (*SIMULATED, "--node-labels=file", f"--output-file={file}", "--node-labels-remove=true")
    async with labelling(kubelet_dir, *flags) as elder:
        await until(file.exists, "the file")
        await elder.wait_for_control()
        async with labelling(kubelet_dir, *flags) as younger:
            await younger.wait_for_control()
            file.unlink()  # so that it is seen who writes it
            elder.send(signal.SIGTERM)
            await elder.ended()
            await until(file.exists, "the file of the gateway that goes on")
    assert not file.exists()


async def test_of_two_gateways_that_end_at_once_no_labels_stay(kubelet_dir: Path, file: Path) -> None:
    flags = (*SIMULATED, "--node-labels=file", f"--output-file={file}", "--node-labels-remove=true")
    async with labelling(kubelet_dir, *flags) as elder:
        await until(file.exists, "the file")
        async with labelling(kubelet_dir, *flags) as younger:
            for each in (elder, younger):
                await each.wait_for_control()
            for each in (elder, younger):
                each.send(signal.SIGTERM)
            for each in (elder, younger):
                await each.ended()
    assert not file.exists()


async def test_labels_outlive_a_driver_that_goes_until_the_grace_time_is_over(kubelet_dir: Path, file: Path) -> None:
    flags = (*SIMULATED, "--node-labels=file", f"--output-file={file}", "--node-labels-grace=3s")
    async with labelling(kubelet_dir, *flags) as process:
        await until(lambda: in_file(file).get(COUNT) == "2", "the labels")
        await process.wait_for_control()
        assert (await run_to_end("driver", "release", "--for=60s"))[0] == 0
        assert in_file(file).get(COUNT) == "2"
        await until(lambda: not in_file(file), "no labels")
        assert (await run_to_end("driver", "take"))[0] == 0
        await until(lambda: in_file(file).get(COUNT) == "2", "the labels again")
