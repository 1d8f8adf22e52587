"""Several gateways on one node whose containers get their GPUs by CDI: only the one that serves the kubelet writes."""

import asyncio
import contextlib
import json
import signal
import sys
from collections.abc import Iterator, Sequence
from contextlib import AbstractAsyncContextManager
from pathlib import Path

import pytest

from driver.driver import Driver
from harness.driver_root import put_libraries
from harness.node import RESOURCE
from harness.process import Process, started
from plugin_gateway.adapters.fake_kubelet import AdmissionError, FakeKubelet, release
from plugin_gateway.adapters.fake_kubelet.events import Event, EventKind

V, KIND = "575.57.08", "k8s.device-plugin.nvidia.com/gpu"
FILE = "k8s.device-plugin.nvidia.com-gpu.json"
SLOW_SEARCH = (
    "import sys, time\n"
    "from plugin_gateway.nvidia import injection\n"
    "find_files = injection.find_files\n"
    "def slowly(*arguments):\n"
    "    time.sleep(2)\n"
    "    return find_files(*arguments)\n"
    "injection.find_files = slowly\n"
    "from plugin_gateway.__main__ import main\n"
    "sys.exit(main(sys.argv[2:]))\n"
)
"""Runs a gateway that takes 2 s to find the files of its driver, as on a slow disk."""


@pytest.fixture
def drivers(tmp_path: Path) -> Iterator[Sequence[Driver]]:
    """Two drivers with the same devices."""
    with contextlib.ExitStack() as made:
        folders = [tmp_path / "first", tmp_path / "second"]
        for each in folders:
            each.mkdir()
        found = [made.enter_context(contextlib.closing(Driver(each, gpus=2))) for each in folders]
        for driver in found:
            put_libraries(Path(driver.root), V)
        yield found


def gateway(
    kubelet_dir: Path, driver: Driver, folder: Path, *more: str, within: Sequence[str] = ()
) -> AbstractAsyncContextManager[Process]:
    return started(
        f"--kubelet-dir={kubelet_dir}",
        f"--driver-root={driver.root}",
        f"--cdi-spec-dir={folder}",
        "--device-list-strategy=cdi-cri",
        *more,
        environment=driver.environment,
        within=within,
    )


def names(folder: Path) -> list[str]:
    return [each["name"] for each in json.loads((folder / FILE).read_text())["devices"]]


async def two(kubelet: FakeKubelet) -> None:
    await kubelet.wait_for(
        lambda: RESOURCE in kubelet.resources and kubelet.allocatable(RESOURCE) == 2, timeout=15, what="2 devices"
    )


async def test_one_that_stands_by_writes_its_spec_when_it_takes_over_and_before_its_list(
    kubelet_dir: Path, drivers: Sequence[Driver], tmp_path: Path
) -> None:
    folder, at_list = tmp_path / "cdi", list[list[str]]()

    def note(event: Event) -> None:
        if event.kind is EventKind.LIST:
            at_list.append(names(folder))

    first, second = drivers
    async with (
        FakeKubelet(kubelet_dir, release("1.36"), on_event=note) as kubelet,
        gateway(kubelet_dir, first, folder) as older,
    ):
        await two(kubelet)
        uuids = names(folder)
        async with gateway(kubelet_dir, second, folder, "--device-id-strategy=index") as younger:
            await younger.wait_for_event("the other gateway will say when it leaves")
            for _ in range(50):
                await asyncio.sleep(0.02)
                assert names(folder) == uuids, "the names that the older one gives out"
            at_list.clear()
            older.send(signal.SIGTERM)
            await younger.wait_for_event("registered")
            await two(kubelet)
            container = await kubelet.allocate(RESOURCE, pod="pod")
            assert at_list[-1] == ["0", "1"]
            assert all(each == ["0", "1"] for each in at_list), "the spec is there before the list"
            assert container.answer.cdi_devices[0].removeprefix(f"{KIND}=") in {"0", "1"}
            await younger.wait_for_event("CDI spec written")
            assert kubelet.allocatable(RESOURCE) == 2


async def test_one_that_has_no_spec_yet_replaces_no_other_one(
    kubelet_dir: Path, drivers: Sequence[Driver], tmp_path: Path
) -> None:
    folder, flag = tmp_path / "cdi", "--kubelet-version=1.37"
    first, second = drivers
    within = (sys.executable, "-c", SLOW_SEARCH)
    async with (
        FakeKubelet(kubelet_dir, release("1.37")) as kubelet,
        gateway(kubelet_dir, first, folder, flag) as older,
    ):
        await two(kubelet)
        await older.wait_for_control()
        async with gateway(kubelet_dir, second, folder, flag, within=within) as younger:
            registered = asyncio.create_task(younger.wait_for_event("registered"))
            refused, number = list[str](), 0
            while not registered.done() or number < 20:
                number += 1
                try:
                    await kubelet.allocate(RESOURCE, pod=f"pod-{number}")
                except AdmissionError as error:
                    refused.append(str(error))
                await kubelet.remove(f"pod-{number}")
                await asyncio.sleep(0.02)
            await registered
            assert refused == []
