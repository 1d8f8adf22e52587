"""What NVIDIA's device plugin 0.20.0 was seen to answer about time-slicing, and what this gateway answers.

seen/time-slicing.json has the cases: what went in, and what came out. ``<gpu1>`` is the UUID of GPU 1, which is
``<g1>`` in the steps. NUMA nodes are left out, because this machine tells them and not the driver. The answers
are the same, but for the differences that are listed here with their reason.
"""

import asyncio
import contextlib
import json
import signal
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from driver.driver import Driver
from harness.process import Process, run_to_end, started
from plugin_gateway.adapters.commands.inspect.plugin_client import InspectionError, PluginClient
from plugin_gateway.adapters.fake_kubelet import FakeKubelet, release
from plugin_gateway.core.resources.allocation import ContainerEdits
from plugin_gateway.core.resources.assignment import Health

Seen = Mapping[str, Any]
CASES: list[Seen] = json.loads(Path(__file__).with_name("seen").joinpath("time-slicing.json").read_text())
REFUSED: Seen = {"outcome": "refuses"}


FOUR = [[f"<gpu{index}>", "Healthy"] for index in range(4)]


def shared(*indexes: int) -> list[Any]:
    return [[f"<gpu{index}>::{number}", "Healthy"] for index in indexes for number in range(2)]


class Difference(NamedTuple):
    """What this gateway answers instead, on purpose."""

    reason: str
    seen: Seen


DIFFERENCES = {
    "time-slicing/volume-mounts": Difference("mounts are not supported, and that is said at the start", REFUSED),
    "time-slicing/rename-key": Difference(
        "rename is honoured, and not ignored with a warning",
        {
            "outcome": "serves",
            "resources": {"nvidia.com/shiny": shared(0, 1, 2, 3)},
            "steps": [{"error": "the resource is not there"}],
        },
    ),
    "time-slicing/devices-key": Difference(
        "devices is honoured, and not ignored with a warning",
        {
            "outcome": "serves",
            "resources": {"nvidia.com/gpu": [*shared(0, 1), *FOUR[2:]]},
            "steps": [{"error": "it is not shared"}],
        },
    ),
    "config/other-domain": Difference(
        "a name may have any domain; one that no rule gives is said",
        {
            "outcome": "serves",
            "resources": {"nvidia.com/gpu": FOUR},
            "steps": [[{"envs": {"NVIDIA_VISIBLE_DEVICES": "<gpu1>"}}]],
        },
    ),
    "config/resource-pattern": Difference(
        "resources.gpus is honoured, and not ignored with a warning",
        {
            "outcome": "serves",
            "resources": {"nvidia.com/hopper": FOUR},
            "steps": [{"error": "the resource is not there"}],
        },
    ),
}


class Player:
    """Plays one case to a gateway."""

    def __init__(self, case: Seen, driver: Driver, kubelet: FakeKubelet, process: Process, file: Path) -> None:
        self._ids = {f"<g{index}>": driver.uuid(index) for index in range(case["gpus"])}
        self._kubelet = kubelet
        self._process = process
        self._file = file

    def plain(self, text: str) -> str:
        """Return a text with the ids of the GPUs instead of their names."""
        for name, uuid in self._ids.items():
            text = text.replace(name, uuid).replace(name.replace("<g", "<gpu"), uuid)
        return text

    async def first_lists(self, names: Sequence[str]) -> Mapping[str, list[Any]]:
        """Return the first list of each resource, in the form of the cases."""
        await self._kubelet.wait_for(
            lambda: all(self._kubelet.devices(name) for name in names if name in self._kubelet.resources)
            and set(names) <= set(self._kubelet.resources),
            timeout=10, what=f"lists of {names}",
        )  # fmt: skip
        return {name: await asyncio.to_thread(self._listed, name) for name in self._kubelet.resources}

    def _listed(self, name: str) -> list[Any]:
        with self._client(name) as client:
            return [[each.id, each.health] for each in client.snapshot(client.services(client.reflected())[0])]

    @contextlib.contextmanager
    def _client(self, name: str) -> Any:
        endpoint = [call.endpoint for call in self._kubelet.registrations if call.resource == name][-1]
        client = PluginClient(self._kubelet.directory / endpoint)
        try:
            yield client
        finally:
            client.close()

    async def play(self, step: Sequence[Any]) -> Any:
        if step[0] == "allocate":
            name, *containers = step[1:]
            return await asyncio.to_thread(self._allocate, name, [tuple(map(self.plain, ids)) for ids in containers])
        before = self._process.events().count("configuration changed")
        self._file.write_text(step[1])
        self._process.send(signal.SIGHUP)
        await self._process.wait_for_event("configuration changed", before + 1)
        return None

    def _allocate(self, name: str, containers: Sequence[tuple[str, ...]]) -> Any:
        if name not in self._kubelet.resources:
            return {"error": "the resource is not there"}
        with self._client(name) as client:
            service = client.services(client.reflected())[0]
            method = service.dialect.allocation
            try:
                answers = client.ask(service, method, method.write_request(containers))
            except InspectionError as error:
                return {"error": str(error)}
        assert answers is not None
        return [answer_of(each) for each in answers]

    async def is_listed(self, expected: Mapping[str, Sequence[str]]) -> None:
        """Wait until the lists have these ids, all healthy. What was granted a moment ago may take 10 s."""
        for name, ids in expected.items():
            await self._kubelet.wait_for(
                lambda name=name, ids=ids: dict(self._kubelet.devices(name))  # type: ignore[misc]
                == dict.fromkeys(map(self.plain, ids), Health.HEALTHY.value),
                timeout=20, what=f"the list {ids} of {name}",
            )  # fmt: skip


def answer_of(edits: ContainerEdits) -> Any:
    """Return what a container gets, as the cases have it."""
    nodes = {"devices": [[each.container_path] for each in edits.device_nodes]} if edits.device_nodes else {}
    return {"envs": dict(edits.environment), **nodes}


def comparable(answer: Any) -> Any:
    """Return what has to be the same. Of an error that is only that there is one, because each has its own words.

    This gateway names GPUs in the order of their index, and gives each device node once. NVIDIA's plugin names them in
    the order of the request, and gives the node of a GPU once for each of its replicas.
    """
    if isinstance(answer, dict) and "error" in answer:
        return "error"
    return [
        (
            {name: sorted(value.split(",")) for name, value in container["envs"].items()},
            sorted({path for path, *_ in container.get("devices", ())}),
        )
        for container in answer
    ]


@asynccontextmanager
async def playing(case: Seen, kubelet_dir: Path, tmp_path: Path) -> AsyncIterator[Player]:
    with contextlib.closing(Driver(tmp_path, gpus=0)) as driver:
        for index in range(case["gpus"]):
            driver.add(index)
        file = tmp_path / "config.yaml"
        file.write_text(case["config"])
        arguments = ("--kubelet-dir", str(kubelet_dir), "--driver-root", str(driver.root), "--config-file", str(file))
        environment = {"PASS_DEVICE_SPECS": "false", **driver.environment, **case.get("env", {})}
        async with (
            FakeKubelet(kubelet_dir, release("1.37")) as kubelet,
            started(*arguments, environment=environment) as process,
        ):
            yield Player(case, driver, kubelet, process, file)


@pytest.mark.parametrize("case", CASES, ids=[case["name"] for case in CASES])
async def test_the_answers_are_those_that_were_seen_or_a_listed_difference(
    case: Seen, kubelet_dir: Path, tmp_path: Path
) -> None:
    seen = DIFFERENCES[case["name"]].seen if case["name"] in DIFFERENCES else case["seen"]
    if seen["outcome"] == "refuses":
        await refused(case, kubelet_dir, tmp_path)
        return
    async with playing(case, kubelet_dir, tmp_path) as player:
        expected = json.loads(player.plain(json.dumps(seen)))
        assert await player.first_lists(list(expected["resources"])) == expected["resources"]
        for step, answer in zip(case["steps"], expected["steps"], strict=True):
            if step[0] == "config":
                await player.play(step)
                await player.is_listed(answer)
            else:
                assert comparable(await player.play(step)) == comparable(answer), step


async def refused(case: Seen, kubelet_dir: Path, tmp_path: Path) -> None:
    """A start with this file ends with exit status 2, and a line that begins with the place of the mistake."""
    file = tmp_path / "config.yaml"
    file.write_text(case["config"])
    arguments = ("run", "--kubelet-dir", str(kubelet_dir), "--config-file", str(file))
    status, _, errors = await run_to_end(*arguments, environment=case.get("env", {}))
    assert status == 2
    lines = errors.splitlines()
    assert lines
    assert all(line.startswith((f"plugin-gateway: {file}:", "plugin-gateway: environment")) for line in lines)


def test_every_difference_is_about_a_case_and_a_real_one() -> None:
    cases = {case["name"]: case["seen"] for case in CASES}
    for name, difference in DIFFERENCES.items():
        theirs = {each: cases[name].get(each) for each in difference.seen}
        assert theirs != difference.seen, name
        assert difference.reason
