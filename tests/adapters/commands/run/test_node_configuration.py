"""`--config-dir`: each node uses one file of a folder, and goes on with the last good one, whatever happens."""

import json
import os
import sys
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from harness.api_server import ApiServer, api_server
from harness.node import RESOURCE, until
from harness.process import Process, run_to_end, started
from plugin_gateway.adapters.fake_kubelet import FakeKubelet, release

LABEL = "nvidia.com/device-plugin.config"
SIMULATED = ("--backend", "simulated:2xH100")
SHARED = "version: v1\nsharing: {timeSlicing: {resources: [{name: gpu, replicas: %s}]}}\n"
PLAIN = "version: v1\nflags: {logLevel: info}\n"
LOUD = "version: v1\nflags: {logLevel: loud}\n"
DEBUG = "version: v1\nflags: {logLevel: debug}\n"
IN_A_POD = (
    "import sys\n"
    "from pathlib import Path\n"
    "from plugin_gateway.adapters.cluster import node_label\n"
    "from plugin_gateway.adapters.cluster.kubernetes_api import KubernetesApi\n"
    "KubernetesApi.__init__.__defaults__ = (Path(sys.argv[1]),)\n"
    "node_label.START_JITTER = float(sys.argv[2])\n"
    "from plugin_gateway.adapters.commands.run import node_configuration\n"
    "node_configuration.ASK_TIME = 0.5\n"
    "from plugin_gateway.__main__ import main\n"
    "sys.exit(main(sys.argv[4:]))\n"
)
"""Runs the gateway with the service account of the test, and with shorter times."""


class Folder:
    """The files of a ConfigMap, as the kubelet mounts them: links behind a link that it replaces."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._number = 0

    def write(self, **files: str) -> None:
        self._number += 1
        made = self.path / f"..{self._number}"
        made.mkdir(parents=True)
        for name, text in files.items():
            (made / name).write_text(text)
        (self.path / "..next").symlink_to(made.name)
        (self.path / "..next").rename(self.path / "..data")
        for link in self.path.iterdir():
            if not link.name.startswith("..") and link.name not in files:
                link.unlink()
        for name in files:
            if not (self.path / name).is_symlink():
                (self.path / name).symlink_to(f"..data/{name}")


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    folder = Folder(tmp_path / "available-configs")
    folder.write(default=PLAIN, shared=SHARED % 4)
    return folder


@pytest.fixture
def server(tmp_path: Path) -> Iterator[ApiServer]:
    with api_server(tmp_path / "service-account") as server:
        yield server


def within(server: ApiServer, jitter: float = 0) -> Sequence[str]:
    return (sys.executable, "-c", IN_A_POD, str(server.service_account), str(jitter))


@asynccontextmanager
async def node(
    kubelet_dir: Path, folder: Folder, server: ApiServer, *more: str, jitter: float = 0
) -> AsyncIterator[Process]:
    """Run a gateway that follows the label of its node."""
    arguments = ("--kubelet-dir", str(kubelet_dir), *SIMULATED, "--config-dir", str(folder.path), "--node-name=node-1")
    async with started(*arguments, *more, environment=server.environment, within=within(server, jitter)) as process:
        yield process


async def offers(kubelet: FakeKubelet, resource: str, number: int) -> None:
    await kubelet.wait_for(lambda: kubelet.allocatable(resource) == number, timeout=20, what=f"{number} {resource}")


def kept(state_dir: Path) -> object:
    try:
        return json.loads((state_dir / "node-label.json").read_text())
    except (OSError, ValueError):
        return None


def kept_value(state_dir: Path) -> object:
    found = kept(state_dir)
    return found.get("value") if isinstance(found, dict) else None


async def status() -> dict[str, object]:
    told: dict[str, object] = json.loads((await run_to_end("status", "--json"))[1])
    return told


async def test_the_label_chooses_and_each_change_takes_effect(
    kubelet_dir: Path, folder: Folder, server: ApiServer
) -> None:
    server.node.label(**{"nvidia_com__device-plugin_config": "shared"})
    async with FakeKubelet(kubelet_dir, release("1.36")) as kubelet, node(kubelet_dir, folder, server) as process:
        await offers(kubelet, RESOURCE, 8)
        assert not process.events().count("configuration changed"), "the first list is the right one"
        await process.wait_for_control()
        text = (await run_to_end("status"))[1]
        assert f"config_file {folder.path}/shared, by label {LABEL}" in text
        server.node.label(**{"nvidia_com__device-plugin_config": None})
        await offers(kubelet, RESOURCE, 2)
        folder.write(default=PLAIN, shared=SHARED % 3)
        server.node.label(**{"nvidia_com__device-plugin_config": "shared"})
        await offers(kubelet, RESOURCE, 6)
        folder.write(default=PLAIN, shared=SHARED % 2)
        await offers(kubelet, RESOURCE, 4)
    assert len(server.node.watches) == 1


async def test_a_name_that_is_not_there_keeps_the_last_good_one_and_says_so(
    kubelet_dir: Path, folder: Folder, server: ApiServer
) -> None:
    server.node.label(**{"nvidia_com__device-plugin_config": "shared"})
    more = ("--kubernetes-events",)
    async with FakeKubelet(kubelet_dir, release("1.36")) as kubelet:
        async with node(kubelet_dir, folder, server, *more) as process:
            await offers(kubelet, RESOURCE, 8)
            await process.wait_for_control()
            server.node.label(**{"nvidia_com__device-plugin_config": "a100"})
            line = await process.wait_for_event("configuration refused, the old one stays")
            problem = f"label {LABEL}: 'a100' is no file of {folder.path}; expected default, shared"
            assert line["problem"] == problem
            assert (await status())["configuration_problem"] == problem
            assert problem in (await run_to_end("doctor"))[1]
            await until(lambda: len(server.events()) == 1, "an Event", 10)
            assert (server.events()[0]["reason"], server.events()[0]["message"]) == ("ConfigurationRefused", problem)
            assert kubelet.allocatable(RESOURCE) == 8
        async with node(kubelet_dir, folder, server, *more) as process:
            line = await process.wait_for_event("configuration refused, the last good one holds")
            assert line["problem"] == problem
            await offers(kubelet, RESOURCE, 8)
            await process.wait_for_control()
            told = await status()
            assert (told["configuration_problem"], told["configurations_refused"]) == (problem, 1)
            folder.write(a100=PLAIN, shared=SHARED % 4)
            await offers(kubelet, RESOURCE, 2)
            assert (await status())["configuration_problem"] is None
            await until(lambda: len(server.events()) == 2, "another Event", 10)
    assert server.events()[1]["reason"] == "ConfigurationAccepted"


async def test_a_broken_file_keeps_the_last_good_one_also_over_a_restart(
    kubelet_dir: Path, folder: Folder, server: ApiServer
) -> None:
    more = ("--config-default", "shared")
    async with FakeKubelet(kubelet_dir, release("1.36")) as kubelet:
        async with node(kubelet_dir, folder, server, *more) as process:
            await offers(kubelet, RESOURCE, 8)
            folder.write(shared=LOUD)
            await process.wait_for_event("configuration refused, the old one stays")
        async with node(kubelet_dir, folder, server, *more) as process:
            await offers(kubelet, RESOURCE, 8)
            line = await process.wait_for_event("configuration refused, the last good one holds")
            assert line["problem"].startswith(f"{folder.path}/shared:2:19: flags.logLevel: invalid value 'loud'")
            folder.write(shared=SHARED % 2)
            await offers(kubelet, RESOURCE, 4)


async def test_without_an_api_server_the_last_choice_holds_and_without_one_the_default(
    kubelet_dir: Path, folder: Folder, server: ApiServer
) -> None:
    server.node.label(**{"nvidia_com__device-plugin_config": "shared"})
    server.status = 503
    async with FakeKubelet(kubelet_dir, release("1.36")) as kubelet:
        async with node(kubelet_dir, folder, server) as process:
            await process.wait_for_event("the label of the node is not known, so the default holds")
            await offers(kubelet, RESOURCE, 2)
            await process.wait_for_control()
            assert "503 Service Unavailable" in str((await status())["label_problem"])
            words = "the label of the node that chooses the configuration cannot be read: GET /api/v1/nodes/node-1: 503"
            assert words in (await run_to_end("status"))[1]
            assert f"mend  {words}" in (await run_to_end("doctor"))[1]
            server.status = 200
            await offers(kubelet, RESOURCE, 8)
        server.status = 503
        async with node(kubelet_dir, folder, server, jitter=60) as process:
            await offers(kubelet, RESOURCE, 8)
            assert "the label of the node is not known, so the default holds" not in process.events()


async def test_with_a_name_nobody_is_asked(kubelet_dir: Path, folder: Folder, server: ApiServer) -> None:
    more = ("--config-name", "shared")
    async with (
        FakeKubelet(kubelet_dir, release("1.36")) as kubelet,
        node(kubelet_dir, folder, server, *more) as process,
    ):
        await offers(kubelet, RESOURCE, 8)
        folder.write(shared=SHARED % 2)
        await offers(kubelet, RESOURCE, 4)
        await process.wait_for_control()
        assert "by --config-name" in (await run_to_end("status"))[1]
    assert not server.node.asked
    assert server.refusals == 0


async def test_a_start_with_nothing_good_says_why(kubelet_dir: Path, folder: Folder) -> None:
    arguments = ("run", "--kubelet-dir", str(kubelet_dir), *SIMULATED, "--config-dir", str(folder.path))
    status, _, errors = await run_to_end(*arguments, "--config-name=a100")
    problem = f"--config-name: 'a100' is no file of {folder.path}; expected default, shared"
    assert (status, errors) == (2, f"plugin-gateway: {problem}\n")
    status, _, errors = await run_to_end(*arguments)
    assert (status, errors.partition(" [")[0]) == (2, "plugin-gateway: --node-name is needed with --config-dir")


async def test_the_files_of_the_state_directory_may_say_anything(
    kubelet_dir: Path, folder: Folder, server: ApiServer, state_dir: Path
) -> None:
    state_dir.mkdir(exist_ok=True)
    key = f'"label": "{LABEL}"'
    for text in ("", "[]", f'{{{key}, "value": 3}}', f'{{{key}, "value": "\\u001b[31m/../x"}}'):
        (state_dir / "node-label.json").write_text(text)
        (state_dir / "last-good-configuration.yaml").write_text(DEBUG)
        async with FakeKubelet(kubelet_dir, release("1.36")) as kubelet, node(kubelet_dir, folder, server):
            await offers(kubelet, RESOURCE, 2)
            await until(lambda: kept_value(state_dir) == "", "the label of the node", 10)
            copy = state_dir / "last-good-configuration.yaml"
            await until(lambda copy=copy: copy.read_text() == PLAIN, "the copy", 10)  # type: ignore[misc]
    assert kept(state_dir) == {"version": 1, "label": LABEL, "value": ""}


async def test_pipes_in_the_state_directory_are_not_waited_for(
    kubelet_dir: Path, folder: Folder, server: ApiServer, state_dir: Path
) -> None:
    state_dir.mkdir(exist_ok=True)
    places = [state_dir / name for name in ("node-label.json", "last-good-configuration.yaml")]
    for place in places:
        os.mkfifo(place)
    async with FakeKubelet(kubelet_dir, release("1.36")) as kubelet, node(kubelet_dir, folder, server):
        await offers(kubelet, RESOURCE, 2)
        await until(lambda: all(place.is_file() for place in places), "files in place of the pipes")


async def test_what_another_label_said_is_not_taken_for_this_one(
    kubelet_dir: Path, folder: Folder, server: ApiServer, state_dir: Path
) -> None:
    state_dir.mkdir()
    (state_dir / "node-label.json").write_text('{"version": 1, "label": "other", "value": "shared"}')
    async with FakeKubelet(kubelet_dir, release("1.36")) as kubelet, node(kubelet_dir, folder, server, jitter=60):
        await offers(kubelet, RESOURCE, 2)


RENAMED = "version: v1\nresources: {gpus: [{pattern: '*', name: h100}]}\n"
POD = "5b8a1a60-9f9d-4c46-8cf0-3c1e7f7a2d10"


async def test_a_gpu_that_a_pod_holds_is_not_given_out_in_the_form_of_another_label(
    kubelet_dir: Path, folder: Folder, server: ApiServer
) -> None:
    folder.write(default=PLAIN, renamed=RENAMED)
    folder_of_pod = kubelet_dir.parent / "pods" / POD
    async with FakeKubelet(kubelet_dir, release("1.36")) as kubelet, node(kubelet_dir, folder, server) as process:
        await offers(kubelet, RESOURCE, 2)
        held, free = sorted(kubelet.devices(RESOURCE))
        await kubelet.allocate(RESOURCE, pod=POD, container="main", ids=[held])
        folder_of_pod.mkdir(parents=True)
        server.node.label(**{"nvidia_com__device-plugin_config": "renamed"})
        await kubelet.wait_for(
            lambda: kubelet.devices("nvidia.com/h100") == {held: "Unhealthy", free: "Healthy"},
            timeout=20,
            what="the free GPU alone",
        )
        assert "configuration changed" in process.events()
        listed = [dict(sent.devices) for sent in kubelet.lists if sent.resource == "nvidia.com/h100"]
        assert all(each.get(held, "Unhealthy") == "Unhealthy" for each in listed)
        await kubelet.remove(POD)
        folder_of_pod.rmdir()
        await kubelet.wait_for(
            lambda: kubelet.devices("nvidia.com/h100") == {held: "Healthy", free: "Healthy"},
            timeout=30,
            what="both GPUs",
        )


async def test_what_cannot_be_kept_is_said_once_and_costs_nothing_else(
    kubelet_dir: Path, folder: Folder, server: ApiServer, state_dir: Path
) -> None:
    (state_dir / "node-label.json").mkdir(parents=True)
    async with FakeKubelet(kubelet_dir, release("1.36")) as kubelet, node(kubelet_dir, folder, server) as process:
        line = await process.wait_for_event("a restart will not know the configuration of the node")
        assert line["problem"] == f"{state_dir}: Is a directory"
        await offers(kubelet, RESOURCE, 2)
        (state_dir / "node-label.json").rmdir()
        server.node.label(**{"nvidia_com__device-plugin_config": "shared"})
        await process.wait_for_event("the configuration of the node is kept again")
        await offers(kubelet, RESOURCE, 8)
    assert kept_value(state_dir) == "shared"
