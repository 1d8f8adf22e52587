"""GPUs that are shared through MPS: from the file to what the kubelet gives out, while the daemon comes and goes."""

import asyncio
import json
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from driver.driver import Driver
from harness.devices import device, inventory
from harness.node import RESOURCE, Node, running, until
from harness.process import run_to_end
from harness.sharing_daemon import SharingDaemon
from plugin_gateway.adapters.fake_kubelet import AdmissionError
from plugin_gateway.adapters.gateway import daemon_watch
from plugin_gateway.core.devices import Inventory
from plugin_gateway.core.health.observations import DaemonsSeen, InventorySeen, Observation
from plugin_gateway.core.resources.rules import ResourceRule
from plugin_gateway.core.resources.sharing import Sharing
from plugin_gateway.nvidia.naming import GPU, RECIPES

from .test_shared_by_file import Setup, gateway, sliced

NOTICED = 5.0
"""Seconds within which a daemon that is gone, or is back, is noticed."""
TODO = RECIPES[GPU].daemons["mps"].todo


@pytest.fixture
def driver(tmp_path: Path) -> Iterator[Driver]:
    """A stand-in driver with two GPUs."""
    made = Driver(tmp_path, gpus=2)
    yield made
    made.close()


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    found = tmp_path / "mps"
    monkeypatch.setenv("MPS_ROOT", str(found))
    return found


def shared(replicas: int, others: str = "") -> str:
    return sliced(replicas, others).replace("timeSlicing", "mps")


async def status() -> dict[str, Any]:
    found: dict[str, Any] = json.loads((await run_to_end("status", "--json"))[1])
    return found


async def health_becomes(setup: Setup, unhealthy: set[str]) -> None:
    """Wait for this health of all replicas, with some time for a machine that is busy."""
    began = time.monotonic()
    await setup.kubelet.wait_for(lambda: setup.unhealthy() == unhealthy, timeout=15, what=f"unhealthy {unhealthy}")
    assert time.monotonic() - began < NOTICED


async def test_replicas_follow_their_daemon_and_the_health_of_their_gpu(
    kubelet_dir: Path, driver: Driver, tmp_path: Path, root: Path
) -> None:
    daemon = SharingDaemon(root)
    async with gateway(kubelet_dir, driver, tmp_path, shared(2)) as setup:
        first, second = setup.replicas(0, 2), setup.replicas(1, 2)
        await setup.listed(first | second)
        assert setup.unhealthy() == first | second
        told = await setup.process.wait_for_event(
            "devices are not given out, they are shared through a daemon that is not there"
        )
        missing = f"{daemon.ready_file}, which its daemon makes when it has started, is not there"
        assert (told["resource"], told["problem"]) == (RESOURCE, missing)
        assert "NVIDIA's MPS control daemon" in told["todo"]
        with pytest.raises(AdmissionError):
            await setup.kubelet.allocate(RESOURCE, pod="uid-1")
        with daemon:
            await health_becomes(setup, set())
            await setup.process.wait_for_event("the daemon is there through which devices are shared")
            pod = await setup.kubelet.allocate(RESOURCE, pod="uid-1", ids=[f"{setup.ids[0]}::1"])
            assert pod.environment["CUDA_MPS_PIPE_DIRECTORY"] == f"/mps/{RESOURCE}/pipe"
            assert pod.answer.mounts["/dev/shm"] == (f"{root}/shm", False)
            driver.xid(0, 79)
            await health_becomes(setup, first)
        await health_becomes(setup, first | second)
        await sees_both_reasons(setup, daemon)
        with daemon:
            await health_becomes(setup, first)
            assert (await status())["devices"][0]["waits_for"] is None
        events = setup.process.events()
        assert events.count("resource added") == 1, "it is registered once"
        assert events.count("the daemon is there through which devices are shared") == 2


async def sees_both_reasons(setup: Setup, daemon: SharingDaemon) -> None:
    """The XID and the missing daemon are told side by side: in JSON, in the text, and by doctor."""
    broken, well = (await status())["devices"]
    gone = f"{daemon.socket}, the socket of its daemon, takes no connection: nobody listens on it"
    assert (broken["health"], broken["waits_for"]["reason"], well["health"]) == ("unhealthy", gone, "healthy")
    assert well["waits_for"] == broken["waits_for"]
    assert (well["replicas"], well["shared_through"]) == (2, "mps")
    _, text, _ = await run_to_end("status")
    assert f"{RESOURCE} is not given out: {gone} since " in text
    assert "XID 79" in text
    assert f"{RESOURCE} x2 through mps" in text
    assert "healthy, not given out" in text
    _, doctor, _ = await run_to_end("doctor")
    flat = " ".join(doctor.split())
    assert f"{RESOURCE} is not given out: {gone}" in flat
    assert "run NVIDIA's MPS control daemon" in flat
    assert f"{setup.ids[0]} is not given out: XID 79" in flat


async def test_mps_can_be_turned_on_and_off_by_a_reload_and_played_again(
    kubelet_dir: Path, driver: Driver, tmp_path: Path, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recording = tmp_path / "recording"
    monkeypatch.setenv("RECORD", str(recording))
    with SharingDaemon(root):
        async with gateway(kubelet_dir, driver, tmp_path, "") as setup:
            await setup.listed(set(setup.ids))
            changed = await setup.reload(shared(4))
            assert changed == ["resources: *=nvidia.com/gpu -> *=nvidia.com/gpu x4 through mps"]
            await setup.listed(setup.replicas(0, 4) | setup.replicas(1, 4))
            await health_becomes(setup, set())
            await setup.kubelet.allocate(RESOURCE, pod="uid-1", ids=[f"{setup.ids[0]}::3"])
            await setup.kubelet.remove("uid-1")
            await setup.reload("")
            await setup.listed(set(setup.ids), limit=10)
    ended, said, errors = await run_to_end("replay", str(recording))
    assert (ended, errors) == (0, ""), said


async def test_a_folder_that_hangs_delays_nothing_and_counts_as_no_daemon(
    kubelet_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A look that never ends blocks a thread alone: it is told, and no second one is begun meanwhile."""
    node = Node(kubelet_dir, rules=(ResourceRule(name=RESOURCE, sharing=Sharing(replicas=2, through="mps")),))
    whole, ending, looks = inventory(device(0)), threading.Event(), []

    def hang(daemons: Any) -> dict[str, str]:
        looks.append(daemons)
        ending.wait(30)
        return dict.fromkeys(daemons, "")

    seen: list[Observation] = []

    def put(_backend: str, observation: Observation) -> None:
        seen.append(observation)
        node.observations.put(observation)

    for name, seconds in (("LOOK_TIMEOUT", 0.05), ("LOOK_INTERVAL", 0.05), ("EARLY_INTERVAL", 0.01)):
        monkeypatch.setattr(daemon_watch, name, seconds)
    monkeypatch.setattr(daemon_watch, "look_at", hang)
    async with running(node, devices=0):
        seen_now = Inventory(physical=whole.physical, devices=whole.devices, recipes=RECIPES)
        node.observations.put(InventorySeen(seen_now))
        await until(lambda: RESOURCE in node.gateway.offered, "the list")
        watching = asyncio.create_task(daemon_watch.watch_daemons(node.gateway, lambda: str(tmp_path), put))
        await until(lambda: bool(seen), "a word about the daemon")
        await asyncio.sleep(0.3)
        assert len(looks) == 1
        assert seen == [DaemonsSeen({RESOURCE: f"a look at {tmp_path} takes too long"}, TODO)]
        assert node.gateway.offered[RESOURCE].unhealthy
        ending.set()
        await until(lambda: not node.gateway.offered[RESOURCE].unhealthy, "the daemon")
        watching.cancel()
        await asyncio.wait([watching])
