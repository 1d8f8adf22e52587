"""A resource that is renamed while pods hold its devices: nobody gets a device that somebody has."""

import asyncio
import json
import signal
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters.builders import advertisement
from adapters.registration.waiting import A100, allocatable
from driver.driver import Driver
from harness.devices import GPU, part
from harness.node import EVERYTHING, RESOURCE, Node, device, running, until
from harness.process import Process, run_to_end, started
from plugin_gateway.adapters.fake_kubelet import FakeKubelet, release
from plugin_gateway.adapters.gateway import held_elsewhere
from plugin_gateway.adapters.gateway.gateway import Gateway
from plugin_gateway.adapters.gateway.held_elsewhere import held_devices, look_for_holders
from plugin_gateway.adapters.kubelet.checkpoint import CheckpointError, Holder
from plugin_gateway.adapters.kubelet.holders import MAX_NAMES
from plugin_gateway.core.resources.assignment import Health
from plugin_gateway.core.resources.conflicts import find_withheld, holding_of
from plugin_gateway.core.resources.names import ResourceName
from plugin_gateway.core.resources.rules import ResourceRule, Selector
from plugin_gateway.core.resources.sharing import Sharing

OTHER = A100
RENAMED = (ResourceRule(name=OTHER),)


def holder(pod: str, resource: str, *devices: str, is_gone: bool = False) -> Holder:
    return Holder(pod, "main", resource, frozenset(devices), is_gone=is_gone)


def test_a_limited_number_of_pods_is_named_for_a_device_that_many_share() -> None:
    (words,) = held_devices(holder(f"pod-{number}", RESOURCE, f"GPU-0::{number}") for number in range(1024)).values()
    assert words.startswith("pod-0 main, pod-1 main, ")
    assert words.endswith(f", and {1024 - MAX_NAMES} more")
    assert len(words) < 200


def test_who_holds_a_device_under_another_name_is_named() -> None:
    held = held_devices(
        [
            holder("ns/a", "x/old", "GPU-0", "GPU-1"),
            holder("ns/b", "x/old", "GPU-0"),
            holder("ns/c", "x/new", "GPU-2"),
            holder("ns/d\x1b[31m", "x/shared", "GPU-3::1"),
            holder("ns/e", "x/old", "GPU-2", is_gone=True),
        ]
    )
    assert find_withheld({ResourceName("x/new"): advertisement(4)}, held) == {
        "GPU-0": "held as x/old by ns/a main, ns/b main",
        "GPU-1": "held as x/old by ns/a main",
        "GPU-3": r"held as x/shared by ns/d\x1b[31m main",
    }


@given(st.lists(st.tuples(st.sampled_from(["x/a", "x/b"]), st.integers(0, 5), st.booleans())))
def test_a_device_is_withheld_if_and_only_if_a_living_pod_has_it_under_another_name(
    holdings: list[tuple[str, int, bool]],
) -> None:
    held = held_devices(holder("p", name, f"GPU-{number}", is_gone=gone) for name, number, gone in holdings)
    withheld = find_withheld({ResourceName("x/b"): advertisement(4)}, held)
    assert set(withheld) == {
        f"GPU-{number}" for name, number, gone in holdings if name == "x/a" and number < 4 and not gone
    }


async def test_devices_that_pods_hold_are_unhealthy_under_the_new_name_until_they_end(
    kubelet_dir: Path, monkeypatch: pytest.MonkeyPatch, told: list[dict[str, Any]]
) -> None:
    monkeypatch.setattr(held_elsewhere, "LOOK_INTERVAL", 0.05)
    node = Node(kubelet_dir)
    async with FakeKubelet(kubelet_dir, release("1.37")) as kubelet, running(node, devices=2):
        await allocatable(kubelet, 2)
        await kubelet.allocate(RESOURCE, pod="uid-1", container="main", ids=[device(0).id])
        node.gateway.see_holders(await held_elsewhere.read_holders(kubelet_dir))
        assert not node.gateway.withheld, "it is held under the name under which it is offered"
        assert held_elsewhere.changes_form(node.gateway, RENAMED)
        assert not held_elsewhere.changes_form(node.gateway, EVERYTHING)
        node.gateway.apply(node.serving_policy._replace(rules=RENAMED))
        await kubelet.wait_for(lambda: kubelet.capacity(OTHER) == 2, what="the new name")
        assert kubelet.allocatable(OTHER) == 1
        (line,) = [line for line in told if line["event"] == "device is not given out"]
        assert (line["devices"], line["what"]) == ([device(0).id], f"held as {RESOURCE} by uid-1 main")
        await kubelet.remove("uid-1")
        await kubelet.allocate(OTHER, pod="uid-2", ids=[device(1).id])  # only now its checkpoint forgets the other pod
        assert kubelet.allocatable(OTHER) == 1
        async with looking(node, kubelet_dir):
            await allocatable(kubelet, 2, OTHER)


@asynccontextmanager
async def looking(node: Node, kubelet_dir: Path) -> AsyncIterator[None]:
    task = asyncio.create_task(look_for_holders(node.gateway, kubelet_dir))
    try:
        yield
    finally:
        task.cancel()


async def test_nothing_wakes_the_look_at_the_pods_until_a_device_is_withheld(
    kubelet_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks: list[Path] = []
    waits: list[float] = []
    wait = held_elsewhere._wait

    async def look(folder: Path) -> tuple[Holder, ...]:
        looks.append(folder)
        return ()

    async def counted(gateway: Gateway, before: float) -> None:
        waits.append(before)
        await wait(gateway, before)

    monkeypatch.setattr(held_elsewhere, "LOOK_INTERVAL", 0.02)
    monkeypatch.setattr(held_elsewhere, "read_holders", look)
    monkeypatch.setattr(held_elsewhere, "_wait", counted)
    node = Node(kubelet_dir)
    async with running(node, devices=2):
        await until(lambda: bool(node.gateway.offered), what="the devices")
        async with looking(node, kubelet_dir):
            await until(lambda: bool(waits), what="a look")
            await asyncio.sleep(0.3)
            assert (len(looks), len(waits)) == (1, 1)
            node.gateway._held = {holding_of(device(0).id, OTHER): "a pod"}
            node.gateway._publish()
            assert list(node.gateway.withheld) == [device(0).id]
            await until(lambda: not node.gateway.withheld, what="another look")


@pytest.mark.parametrize("is_waiting", [True, False])
async def test_pods_that_nobody_can_see_are_not_looked_for_without_pause(
    is_waiting: bool, kubelet_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks: list[Path] = []

    async def fail(folder: Path) -> tuple[Holder, ...]:
        looks.append(folder)
        await asyncio.sleep(0)
        raise CheckpointError("it is cut")

    monkeypatch.setattr(held_elsewhere, "read_holders", fail)
    node = Node(kubelet_dir)
    async with running(node, devices=2):
        await until(lambda: bool(node.gateway.offered), what="the devices")
        if is_waiting:
            node.gateway.suspect(node.gateway.forms.suspect([holding_of(device(0).id, OTHER)], time.monotonic()))
        else:
            node.gateway.forms.is_unknown = True
        async with looking(node, kubelet_dir):
            await asyncio.sleep(0.3)
    assert 1 <= len(looks) <= 2, "the next one comes two seconds later"


async def test_a_device_that_is_not_offered_now_may_be_held_from_before(kubelet_dir: Path) -> None:
    never = ResourceRule(selector=Selector(places=((0,),)), name=None)
    node = Node(kubelet_dir, rules=(never, *EVERYTHING))
    async with FakeKubelet(kubelet_dir, release("1.37")) as kubelet, running(node, devices=2):
        await allocatable(kubelet, 1)
        shared = replace(never, name=RESOURCE, sharing=Sharing(replicas=2))
        assert held_elsewhere.changes_form(node.gateway, (shared, *EVERYTHING))
        assert held_elsewhere.changes_form(node.gateway, EVERYTHING)
        assert not held_elsewhere.changes_form(node.gateway, (replace(never, origin="line 9"), *EVERYTHING))


FIRST_IS_SHARED = (
    ResourceRule(name=RESOURCE, sharing=Sharing(replicas=2), at_most=1),
    ResourceRule(name=RESOURCE),
)


@pytest.mark.parametrize("is_held", [True, False])
async def test_a_device_that_changes_its_form_because_another_vanished_waits_until_its_pods_are_known(
    is_held: bool, kubelet_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first device is shared. When it vanishes, the second one is the first."""
    monkeypatch.setattr(held_elsewhere, "LOOK_INTERVAL", 0.05)
    node, second = Node(kubelet_dir, rules=FIRST_IS_SHARED), device(1).id
    async with FakeKubelet(kubelet_dir, release("1.37")) as kubelet, running(node, devices=2):
        await allocatable(kubelet, 3)
        if is_held:
            await kubelet.allocate(RESOURCE, pod="uid-1", container="main", ids=[second])
        node.see([device(1)])
        await kubelet.wait_for(lambda: f"{second}::1" in kubelet.devices(RESOURCE), what="the new form")
        assert kubelet.allocatable(RESOURCE) == 0
        assert node.gateway.withheld[second].reason.startswith("held as nvidia.com/gpu (not shared) by a pod")
        async with looking(node, kubelet_dir):
            if is_held:
                await until(lambda: node.gateway.withheld[second].reason.endswith("by uid-1 main"), "the pod's name")
                assert kubelet.allocatable(RESOURCE) == 0
                await kubelet.remove("uid-1")
            else:
                await allocatable(kubelet, 2)


async def test_a_device_that_comes_back_in_another_form_waits_until_its_pods_are_known(kubelet_dir: Path) -> None:
    node, second = Node(kubelet_dir, rules=FIRST_IS_SHARED), device(1).id
    async with FakeKubelet(kubelet_dir, release("1.37")) as kubelet, running(node, devices=2):
        await allocatable(kubelet, 3)
        for seen, count in (([device(0)], 2), ([device(0), device(1)], 3), ([device(0)], 2), ([], 0)):
            node.see(seen)
            await allocatable(kubelet, count)
        node.see([device(1)])
        await kubelet.wait_for(lambda: kubelet.capacity(RESOURCE) == 2, what="the second device")
        assert list(node.gateway.withheld) == [second]
        node.gateway.see_holders(())
        await allocatable(kubelet, 2)


async def test_a_device_that_was_offered_as_a_whole_under_earlier_rules_waits_when_it_is_divided(
    kubelet_dir: Path,
) -> None:
    """Nobody looked who holds it when the rules stopped to offer it, because nothing had another form."""
    node, parts = Node(kubelet_dir), [part(device(0), number) for number in range(3)]
    never_whole = (ResourceRule(selector=Selector(kinds=(GPU,)), name=None), *EVERYTHING)
    async with FakeKubelet(kubelet_dir, release("1.37")) as kubelet, running(node, devices=1):
        await allocatable(kubelet, 1)
        assert not held_elsewhere.changes_form(node.gateway, never_whole)
        node.gateway.apply(node.serving_policy._replace(rules=never_whole))
        node.see(parts[:1])
        await kubelet.wait_for(lambda: parts[0].id in kubelet.devices(RESOURCE), what="the part")
        assert node.gateway.forms_changed.is_set()
        node.see(parts[:2])
        await kubelet.wait_for(lambda: kubelet.capacity(RESOURCE) == 2, what="both parts")
        assert set(node.gateway.withheld) == {each.id for each in parts[:2]}
        node.gateway.see_holders(())
        await allocatable(kubelet, 2)
        node.see(parts)
        await allocatable(kubelet, 3)


async def test_a_device_that_was_granted_a_moment_ago_counts_as_held(kubelet_dir: Path) -> None:
    """The kubelet has not stored yet what it was told."""
    node = Node(kubelet_dir)
    async with FakeKubelet(kubelet_dir, release("1.37")) as kubelet, running(node, devices=2):
        await allocatable(kubelet, 2)
        await kubelet.allocate(RESOURCE, pod="uid-1", ids=[device(1).id])
        node.gateway.see_holders(())
        node.gateway.apply(node.serving_policy._replace(rules=RENAMED))
        assert node.gateway.withheld[device(1).id].reason == f"held as {RESOURCE} by a new pod"
        offered = node.gateway._served[OTHER].advertisement.value
        healths = [offered.health_of(each.id) for each in offered.offered]
        assert healths == [Health.HEALTHY, Health.UNHEALTHY]
        node.gateway.see_holders((), looked=time.monotonic() - 1)
        assert list(node.gateway.withheld) == [device(1).id], "this look was too early"
        node.gateway.see_holders((), looked=time.monotonic() + held_elsewhere.STORED_WITHIN)
        assert not node.gateway.withheld


async def test_an_answer_from_before_the_new_name_is_too_old(
    kubelet_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The kubelet can take seconds to answer. In them, a pod can get a device, and the device another name."""
    answers: list[asyncio.Future[tuple[Holder, ...]]] = []

    async def asked(_directory: Path) -> tuple[Holder, ...]:
        answers.append(asyncio.get_running_loop().create_future())
        return await answers[-1]

    monkeypatch.setattr(held_elsewhere, "read_holders", asked)
    node = Node(kubelet_dir)
    async with FakeKubelet(kubelet_dir, release("1.37")) as kubelet, running(node, devices=2):
        await allocatable(kubelet, 2)
        async with looking(node, kubelet_dir):
            await until(lambda: len(answers) == 1, "the first question")
            node.gateway.see_holders([holder("uid-1", RESOURCE, device(1).id)])
            node.gateway.apply(node.serving_policy._replace(rules=RENAMED))
            answers[0].set_result(())
            await until(lambda: len(answers) == 2, "another question")
            assert list(node.gateway.withheld) == [device(1).id]
            answers[1].set_result(())
            await until(lambda: not node.gateway.withheld, "the end of the pod")


def write_rules(folder: Path, name: str) -> str:
    path = folder / "config.yaml"
    path.write_text(f'version: v1\nresources:\n  gpus:\n    - {{pattern: "*", name: {name}}}\n')
    return str(path)


@asynccontextmanager
async def renamed(
    kubelet_dir: Path, driver: Driver, folder: Path, spoil: bool = False
) -> AsyncIterator[tuple[FakeKubelet, Process]]:
    """A gateway that is told another name while a pod has its first device."""
    driver_flags = ("--driver-root", str(driver.root))
    arguments = ("--kubelet-dir", str(kubelet_dir), *driver_flags, "--config-file", write_rules(folder, RESOURCE))
    async with (
        FakeKubelet(kubelet_dir, release("1.37")) as kubelet,
        started(*arguments, environment=driver.environment) as process,
    ):
        await allocatable(kubelet)
        await kubelet.allocate(RESOURCE, pod="uid-1", container="main", ids=[driver.uuid(0)])
        await process.wait_for_control()
        if spoil:
            (kubelet_dir / "kubelet_internal_checkpoint").write_text("{")
        write_rules(folder, OTHER)
        process.send(signal.SIGHUP)
        yield kubelet, process


async def test_at_sighup_the_pods_are_named_and_an_operator_can_overrule(
    kubelet_dir: Path, driver: Driver, tmp_path: Path
) -> None:
    async with renamed(kubelet_dir, driver, tmp_path) as (kubelet, process):
        line = await process.wait_for_event("device is not given out")
        assert line["what"] == f"held as {RESOURCE} by uid-1 main"
        await allocatable(kubelet, 7, OTHER)
        assert kubelet.capacity(OTHER) == 8
        _, output, _ = await run_to_end("status", "--json")
        first = json.loads(output)["devices"][0]
        assert (first["id"], first["health"]) == (driver.uuid(0), "unhealthy")
        assert (first["reason"], first["resource"]) == (line["what"], OTHER)
        _, output, _ = await run_to_end("status")
        assert f"{driver.uuid(0)}, unhealthy; it needs the end of these pods, or an operator's word" in output
        assert line["what"] in output
        status, output, _ = await run_to_end("health", "clear", driver.uuid(0))
        assert (status, output.startswith(f"{driver.uuid(0)} is healthy: held as")) == (0, True)
        await allocatable(kubelet, 8, OTHER)


async def test_a_gateway_that_starts_under_another_name_looks_who_holds_what(kubelet_dir: Path, driver: Driver) -> None:
    async with FakeKubelet(kubelet_dir, release("1.37")) as kubelet:
        at = ("--kubelet-dir", str(kubelet_dir), "--driver-root", str(driver.root))
        async with started(*at, environment=driver.environment):
            await allocatable(kubelet)
            await kubelet.allocate(RESOURCE, pod="uid-1", container="main", ids=[driver.uuid(5)])
        async with started(*at, "--resource-name", OTHER, environment=driver.environment) as process:
            await allocatable(kubelet, 7, OTHER)
            lines = [line for line in process.lines if line["event"] == "device is not given out"]
            named = [line["devices"] for line in lines if line["what"] == f"held as {RESOURCE} by uid-1 main"]
            assert named == [[driver.uuid(5)]]


async def test_a_new_name_is_refused_where_nobody_tells_who_holds_the_devices(
    kubelet_dir: Path, driver: Driver, tmp_path: Path
) -> None:
    async with renamed(kubelet_dir, driver, tmp_path, spoil=True) as (kubelet, process):
        line = await process.wait_for_event("configuration refused, the old one stays")
        assert (
            "the resources are renamed, shared or divided in another way, and it cannot be seen which pods hold their "
            "devices: " in line["problem"]
        )
        assert "kubelet_internal_checkpoint: it is cut" in line["problem"]
        assert kubelet.capacity(OTHER) is None
        await until(lambda: kubelet.allocatable(RESOURCE) == 8, "the old name")
