"""Which devices NVIDIA's device plugin 0.20.0 was seen to take out, and which this gateway does.

seen/health.json has the cases: what went in, and the devices that were unhealthy after each step. Where a step changes
the layout of MIG devices, it is the healthy ones. ``<gpu1>`` is the UUID of GPU 1, ``<mig0.2.gi3.ci0>`` that of the MIG
device in slot 2 of GPU 0. The answers are the same, but for the differences that are listed here with their reason.
"""

import asyncio
import contextlib
import json
import re
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from adapters.gateway.test_mig_cases import MEMORY, id_of
from driver.driver import Call, Driver
from driver.mig import CARDS
from harness.driven import DrivenNode
from harness.process import run_to_end, started
from plugin_gateway.adapters.fake_kubelet import FakeKubelet, release
from plugin_gateway.core.resources.assignment import Health

Devices = Mapping[str, Sequence[str]]
CASES: list[dict[str, Any]] = json.loads(Path(__file__).with_name("seen").joinpath("health.json").read_text())
H100, GPU, SMALL, LARGE = "NVIDIA H100 80GB HBM3", "nvidia.com/gpu", "nvidia.com/mig-1g.10gb", "nvidia.com/mig-3g.40gb"
_PARTS = {SMALL: ["<mig0.0>", "<mig0.1>"], LARGE: ["<mig0.2>"]}
QUIET = 0.3
"""Seconds for which nothing may happen after an XID that takes nothing out."""


class Difference(NamedTuple):
    """What this gateway answers instead, on purpose."""

    reason: str
    outcome: str = "serves"
    resources: Devices | None = None
    """None: the same as seen."""
    steps: Sequence[Devices] | None = None
    """None: the same as seen."""


DIFFERENCES = {
    "health/enabled-one": Difference(
        "an XID that is enabled counts, although all others are disabled", steps=[{}, {GPU: ["<gpu1>"]}]
    ),
    "health/replicas": Difference(
        "a GPU is unhealthy in each of its replicas, because any pod with one uses that GPU",
        steps=[{GPU: [f"<gpu1>::{number}" for number in range(4)]}],
    ),
    "health/mig-mixed-gpu": Difference("a fault of a GPU is one of all its MIG devices", steps=[_PARTS]),
    "health/mig-none-gpu": Difference(
        "a GPU in MIG mode cannot be used as a whole, so it is not offered", resources={}, steps=[{}]
    ),
    "health/mig-layout-changes": Difference(
        "a layout is followed, and not only at the next start",
        steps=[{GPU: ["<gpu1>"], "nvidia.com/mig-2g.20gb": ["<mig0.0>"], LARGE: ["<mig0.1>"]}],
    ),
    "node/driver-not-loaded": Difference(
        "the gateway waits for the driver, and says so; with --fail-on-init-error it ends", outcome="idle"
    ),
}


def prepare(folder: Path, case: Mapping[str, Any]) -> Driver:
    driver, stub = Driver(folder, gpus=0), case.get("stub", {})
    models: dict[int, str] = dict.fromkeys(range(case["gpus"]), H100)
    others: str = stub.get("MODELS", "")
    for part in filter(None, others.split(";")):
        indexes, _, model = part.partition("=")
        first, _, last = indexes.partition("-")
        models.update(dict.fromkeys(range(int(first), int(last or first) + 1), model))
    for index, model in models.items():
        driver.add(index, name=model, memory=MEMORY.get(model, 15360) << 20)
    if H100 in CARDS:
        driver.mig(case.get("layout", ""))
    if "INIT_ERROR" in stub:
        driver.fail(Call.INIT, int(stub["INIT_ERROR"]))
    return driver


class Player:
    """A gateway with a kubelet, to which the steps of a case happen."""

    def __init__(self, driver: Driver, kubelet: FakeKubelet) -> None:
        self.driver = driver
        self.kubelet = kubelet

    def ids(self, devices: Devices) -> Mapping[str, list[str]]:
        """Return devices with their ids instead of their marks."""
        return {name: sorted(id_of(self.driver, mark) for mark in marks) for name, marks in devices.items() if marks}

    def known(self, health: Health | None = None) -> Mapping[str, list[str]]:
        """Return the devices that the kubelet has, or those of one health. A resource without one is left out."""
        found = {
            name: sorted(
                each for each, said in self.kubelet.devices(name).items() if health is None or said == health.value
            )
            for name in self.kubelet.resources
        }
        return {name: ids for name, ids in found.items() if ids}

    async def play(self, step: Sequence[Any], seen: Any) -> None:
        if step[0] == "mig":
            self.driver.mig(step[1])
            await self.sees(lambda: self.known(Health.HEALTHY) == self.ids(seen), step)
        elif step[0] == "allocate":
            _, resource, marks = step
            container = await self.kubelet.allocate(
                resource, pod="pod", ids=[id_of(self.driver, each) for each in marks]
            )
            (answer,) = seen
            variables = {name: id_of(self.driver, mark) for name, mark in answer["envs"].items()}
            assert dict(container.environment) == variables
        else:
            numbers = [int(each) for each in step[1].split()]
            before = self.known(Health.UNHEALTHY)
            self.driver.xid(*numbers[:2], **dict(zip(("gi", "ci"), numbers[2:], strict=False)))
            await self.sees(lambda: self.known(Health.UNHEALTHY) == self.ids(seen), step)
            if self.ids(seen) == before:
                await asyncio.sleep(QUIET)
                assert self.known(Health.UNHEALTHY) == before, step

    async def sees(self, is_so: Any, what: object) -> None:
        await self.kubelet.wait_for(is_so, timeout=15, what=f"{what}: {self.known(Health.UNHEALTHY)}")


@asynccontextmanager
async def playing(case: Mapping[str, Any], kubelet_dir: Path, tmp_path: Path) -> AsyncIterator[Player]:
    """Run the gateway as a process. MIG devices need the files of the driver's machine, which no process is shown."""
    with contextlib.closing(prepare(tmp_path, case)) as driver:
        async with FakeKubelet(kubelet_dir, release("1.37")) as kubelet, AsyncExitStack() as running:
            if "layout" in case:
                strategy = next((each.partition("=")[2] for each in case.get("flags", ())), "none")
                await running.enter_async_context(DrivenNode(kubelet_dir, driver, strategy).running())
            else:
                environment = {"PASS_DEVICE_SPECS": "false", **driver.environment, **case.get("env", {})}
                arguments = arguments_of(case, kubelet_dir, tmp_path, driver)
                process = await running.enter_async_context(started(*arguments, environment=environment))
                await process.wait_for_event("started")
            yield Player(driver, kubelet)


def arguments_of(case: Mapping[str, Any], kubelet_dir: Path, folder: Path, driver: Driver) -> Sequence[str]:
    arguments = ["--kubelet-dir", str(kubelet_dir), "--driver-root", str(driver.root), *case.get("flags", ())]
    if "config" in case:
        file = folder / "config.yaml"
        file.write_text(case["config"])
        arguments += ["--config-file", str(file)]
    return arguments


@pytest.mark.parametrize("case", CASES, ids=[case["name"] for case in CASES])
async def test_the_same_devices_are_unhealthy_or_a_listed_difference(
    case: Mapping[str, Any], kubelet_dir: Path, tmp_path: Path
) -> None:
    seen, other = case["seen"], DIFFERENCES.get(case["name"], Difference(""))
    outcome = other.outcome if other.reason else seen["outcome"]
    if outcome == "refuses":
        await refused(case, kubelet_dir, tmp_path)
        return
    offered = seen.get("resources", {}) if other.resources is None else other.resources
    steps = steps_seen(seen) if other.steps is None else other.steps
    async with playing(case, kubelet_dir, tmp_path) as player:
        await asyncio.sleep(0 if offered else QUIET)
        await player.sees(lambda: player.known() == player.ids(offered), "the first lists")
        for step, expected in zip(case["steps"], steps, strict=True):
            await player.play(step, expected)


async def refused(case: Mapping[str, Any], kubelet_dir: Path, tmp_path: Path) -> None:
    """The start ends with exit status 2, and one line that says what is allowed."""
    with contextlib.closing(prepare(tmp_path, case)) as driver:
        arguments = arguments_of(case, kubelet_dir, tmp_path, driver)
        status, _, errors = await run_to_end("run", *arguments, environment=driver.environment)
    assert status == 2
    (line,) = errors.splitlines()
    assert line.startswith("plugin-gateway: ")
    assert "; expected " in line


def steps_seen(seen: Mapping[str, Any]) -> Sequence[Devices]:
    """Return what was answered to the steps, most often where it was not the same each time."""
    runs = seen.get("runs")
    steps: Sequence[Devices] = max(runs)[1] if runs else seen.get("steps", ())
    return steps


def test_every_difference_is_about_a_case_and_a_real_one() -> None:
    plain = re.sub(r"\.gi\d+\.ci\d+", "", json.dumps(CASES))
    cases = {case["name"]: case["seen"] for case in json.loads(plain)}
    for name, other in DIFFERENCES.items():
        seen = cases[name]
        assert other.reason
        answers = [steps for _, steps in seen.get("runs", ())] or [seen.get("steps")]
        is_other = other.outcome != seen["outcome"] or other.resources not in (None, seen.get("resources"))
        assert is_other or other.steps not in answers, name
