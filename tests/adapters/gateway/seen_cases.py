"""Plays a case that NVIDIA's device plugin was seen to answer to a gateway. The cases are in seen/."""

import asyncio
import contextlib
import json
import signal
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, NamedTuple

from driver.driver import Driver
from harness.process import Process, run_to_end, started
from plugin_gateway.adapters.commands.inspect.plugin_client import InspectionError, PluginClient
from plugin_gateway.adapters.fake_kubelet import FakeKubelet, release
from plugin_gateway.core.resources.allocation import ContainerEdits
from plugin_gateway.core.resources.assignment import Health

Seen = Mapping[str, Any]
REFUSED: Seen = {"outcome": "refuses"}


class Difference(NamedTuple):
    """What this gateway answers instead, on purpose."""

    reason: str
    seen: Seen


def cases(name: str) -> list[Seen]:
    """Return the cases of a file in seen/."""
    found: list[Seen] = json.loads(Path(__file__).with_name("seen").joinpath(name).read_text())
    return found


class Player:
    """Plays one case to a gateway."""

    def __init__(self, case: Seen, driver: Driver, kubelet: FakeKubelet, process: Process, file: Path) -> None:
        self._ids = {f"<g{index}>": driver.uuid(index) for index in range(case["gpus"])}
        self._root = str(file.parent / "mps")
        self._driver_root = str(driver.root)
        self._kubelet = kubelet
        self.process = process
        self._file = file

    def plain(self, text: str) -> str:
        """Return a text with the ids of the GPUs instead of their names."""
        for name, uuid in self._ids.items():
            text = text.replace(name, uuid).replace(name.replace("<g", "<gpu"), uuid)
        return text.replace("<root>", self._root)

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
        before = self.process.events().count("configuration changed")
        self._file.write_text(step[1])
        self.process.send(signal.SIGHUP)
        await self.process.wait_for_event("configuration changed", before + 1)
        return None

    async def follows(self, case: Seen, seen: Seen) -> None:
        """Play the steps of a case. The first lists and each answer have to be those that were seen."""
        expected = json.loads(self.plain(json.dumps(seen)))
        assert await self.first_lists(list(expected["resources"])) == expected["resources"]
        for step, answer in zip(case["steps"], expected["steps"], strict=True):
            played = await self.play(step)
            if step[0] == "config":
                await self.is_listed(answer)
            else:
                assert comparable(played) == comparable(answer), step

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
        return [answer_of(each, self._driver_root) for each in answers]

    async def is_listed(self, expected: Mapping[str, Sequence[str]], *, health: str = Health.HEALTHY.value) -> None:
        """Wait until the lists have these ids, all with this health. What was granted a moment ago may take 10 s."""
        for name, ids in expected.items():
            await self._kubelet.wait_for(
                lambda name=name, ids=ids: dict(self._kubelet.devices(name))  # type: ignore[misc]
                == dict.fromkeys(map(self.plain, ids), health),
                timeout=20, what=f"the list {ids} of {name}",
            )  # fmt: skip


def answer_of(edits: ContainerEdits, driver_root: str) -> Any:
    """Return what a container gets, as the cases have it. The root of their driver is that of the host."""
    devices = [[each.host_path.removeprefix(driver_root), *each[::2]] for each in edits.device_nodes]
    nodes = {"devices": devices} if devices else {}
    mounts = [[each.host_path, each.container_path, "ro" if each.read_only else "rw"] for each in edits.mounts]
    return {"envs": dict(edits.environment), **nodes, **({"mounts": mounts} if mounts else {})}


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
            sorted(set(map(tuple, container.get("devices", ())))),
            sorted(container.get("mounts", ())),
        )
        for container in answer
    ]


@asynccontextmanager
async def playing(case: Seen, kubelet_dir: Path, tmp_path: Path) -> AsyncIterator[Player]:
    with contextlib.closing(Driver(tmp_path, gpus=0)) as driver:
        for index in range(case["gpus"]):
            driver.add(index, memory=81559 << 20)
        for name in case.get("nodes", ()):
            node = driver.root / "dev" / name
            node.parent.mkdir(exist_ok=True)
            node.touch()
        file = tmp_path / "config.yaml"
        flags = case.get("flags", ())
        has_root = any(flag.startswith("--nvidia-driver-root=") for flag in flags)
        root_flag = "--driver-root-ctr-path" if has_root else "--driver-root"
        arguments = ("--kubelet-dir", str(kubelet_dir), root_flag, str(driver.root), *flags)
        if "config" in case:
            file.write_text(case["config"])
            arguments += ("--config-file", str(file))
        root = {"MPS_ROOT": str(tmp_path / "mps")} if case.get("has_root") else {}
        specs = {} if "passDeviceSpecs" in case.get("config", "") else {"PASS_DEVICE_SPECS": "false"}
        environment = {**specs, **driver.environment, **root, **case.get("env", {})}
        async with (
            FakeKubelet(kubelet_dir, release("1.37")) as kubelet,
            started(*arguments, environment=environment) as process,
        ):
            yield Player(case, driver, kubelet, process, file)


async def refused(case: Seen, kubelet_dir: Path, tmp_path: Path) -> None:
    """A start like this ends with exit status 2, and a line that begins with the place of the mistake."""
    file = tmp_path / "config.yaml"
    arguments = ("run", "--kubelet-dir", str(kubelet_dir), *case.get("flags", ()))
    if "config" in case:
        file.write_text(case["config"])
        arguments += ("--config-file", str(file))
    status, _, errors = await run_to_end(*arguments, environment=case.get("env", {}))
    assert status == 2
    lines = errors.splitlines()
    assert lines
    places = [f"{file}:", "environment"]
    for name, _, value in (flag.partition("=") for flag in case.get("flags", ())):
        places += [name, f"unknown flag {name}", f"configuration file {value}:"]
    assert all(line.startswith(tuple(f"plugin-gateway: {place}" for place in places)) for line in lines)


async def plays_as_seen(case: Seen, seen: Seen, kubelet_dir: Path, tmp_path: Path) -> None:
    """Play a case, which has to end, or to be answered, as ``seen`` has it."""
    if seen["outcome"] == "refuses":
        await refused(case, kubelet_dir, tmp_path)
        return
    async with playing(case, kubelet_dir, tmp_path) as player:
        await player.follows(case, seen)
