"""Several backends side by side: each has its own state, and what happens to one touches no device of another."""

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from harness.node import until
from harness.several import FIRST, GPUS, OTHER, OTHERS, Several, several
from plugin_gateway.adapters.fake_kubelet import FakeKubelet, release
from plugin_gateway.adapters.gateway import driver_access, watched_backend
from plugin_gateway.adapters.gateway.status_document import decode, encode
from plugin_gateway.core.health.faults import Stage
from plugin_gateway.core.health.observations import DriverSilence
from plugin_gateway.core.resources.names import ResourceName
from plugin_gateway.core.resources.rules import ResourceRule


async def offered(kubelet: FakeKubelet, gpus: int | None = 2, others: int | None = 3) -> None:
    def is_offered() -> bool:
        return (kubelet.allocatable(GPUS), kubelet.allocatable(OTHERS)) == (gpus, others)

    await kubelet.wait_for(is_offered, timeout=10, what=f"{gpus} and {others} devices")


async def test_each_backend_has_its_own_resource(kubelet_dir: Path, state_dir: Path) -> None:
    async with FakeKubelet(kubelet_dir, release("1.36")) as kubelet, several(Several(kubelet_dir, state_dir)) as node:
        await offered(kubelet)
        container = await kubelet.allocate(OTHERS, 2, pod="p")
        ids = {device.id for device in node.state(OTHER).devices}
        assert {device.physical.backend for device in node.state(OTHER).devices} == {OTHER}
        assert set(container.environment["NVIDIA_VISIBLE_DEVICES"].split(",")) < ids
        assert not ids & {device.id for device in node.state(FIRST).devices}


@pytest.mark.parametrize("hanging", [FIRST, OTHER])
async def test_a_backend_that_hangs_takes_none_of_the_others_devices_out(
    hanging: str, kubelet_dir: Path, state_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watched_backend, "LISTEN_INTERVAL", 0.05)
    going, resource = (OTHER, OTHERS) if hanging == FIRST else (FIRST, GPUS)
    async with FakeKubelet(kubelet_dir, release("1.36")) as kubelet, several(Several(kubelet_dir, state_dir)) as node:
        await offered(kubelet)
        node.drivers[hanging].silence = 31.0
        gpus, others = (0, 3) if hanging == FIRST else (2, 0)
        await offered(kubelet, gpus, others)
        assert (await kubelet.allocate(resource, 1, pod="p")).environment
        node.drivers[going].fail(0, 79)
        await until(lambda: len(node.unhealthy(going)) == 1, "the fault of the other backend")
        await kubelet.wait_for(
            lambda: list(kubelet.devices(resource).values()).count("Unhealthy") == 1, what="an unhealthy device"
        )
        assert len(node.unhealthy(hanging)) == len(node.state(hanging).devices)
        ready, metrics = await node.shown("/readyz"), await node.shown("/metrics")
        assert ready.startswith("200"), ready
        assert f'plugin_gateway_backend_up{{backend="{hanging}"}} 0.0' in metrics
        assert f'plugin_gateway_backend_up{{backend="{going}"}} 1.0' in metrics
        assert "plugin_gateway_driver_up 0.0" in metrics
        health = json.loads((await node.shown("/health")).partition(" ")[2])
        assert health["healthy"] is False
        assert [each["name"] for each in health["backends"]] == [FIRST, OTHER]
        assert (health["device_count"], len(health["devices"])) == (5, 5)


async def test_a_backend_that_never_starts_holds_up_no_other(
    kubelet_dir: Path, state_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(driver_access, "RETRY", 0.05)
    node = Several(kubelet_dir, state_dir)
    node.drivers[FIRST].starts_missing = 10**6
    async with FakeKubelet(kubelet_dir, release("1.36")) as kubelet, several(node):
        await offered(kubelet, None, 3)
        await until(lambda: node.state(FIRST).driver_problem is not None, "the problem")
        assert (await node.shown("/healthz")) == f"503 backend {FIRST}: nobody watches the driver\n"
        page = await node.shown("/")
        assert f"backend {FIRST}: the driver: no thread can be started for it" in page
        assert f"<p>backend {OTHER}, 3 GPUs</p>" in page
        status = node.commands().status()
        assert [(each.name, each.has_answered, each.device_count) for each in status.backends] == [
            (FIRST, False, 0),
            (OTHER, True, 3),
        ]
        assert status.backends[0].driver.problem == "no thread can be started for it"
        assert decode(encode(status)) == status
        node.drivers[FIRST].starts_missing = 0
        await offered(kubelet)


async def test_one_that_says_nothing_holds_up_no_other(kubelet_dir: Path, state_dir: Path) -> None:
    node = Several(kubelet_dir, state_dir)
    node.drivers[OTHER].silence = 5.0
    async with FakeKubelet(kubelet_dir, release("1.36")) as kubelet, several(node):
        await offered(kubelet, 2, None)
        assert (await node.shown("/readyz")).startswith("200")


async def test_after_a_restart_the_faults_of_both_are_known(kubelet_dir: Path, state_dir: Path) -> None:
    async with several(Several(kubelet_dir, state_dir)) as node:
        await until(lambda: node.state(OTHER).is_settled, "the devices")
        node.drivers[FIRST].fail(0, 79)
        node.drivers[OTHER].fail(2, 79)
        await until(lambda: len(node.unhealthy(FIRST)) == len(node.unhealthy(OTHER)) == 1, "both faults")
        before = {name: node.unhealthy(name) for name in (FIRST, OTHER)}
    assert sorted(path.name for path in state_dir.glob("health*")) == ["health-other.json", "health.json"]
    async with several(Several(kubelet_dir, state_dir)) as node:
        assert {name: sorted(node.state(name).faults) for name in (FIRST, OTHER)} == before


async def test_an_operator_clears_devices_of_each(kubelet_dir: Path, state_dir: Path) -> None:
    async with several(Several(kubelet_dir, state_dir, quiet_time="3600")) as node:
        await until(lambda: node.state(OTHER).is_settled, "the devices")
        for driver in node.drivers.values():
            driver.fail(0, 79)
        await until(lambda: len(node.unhealthy(FIRST)) == len(node.unhealthy(OTHER)) == 1, "both faults")
        (ours,), (theirs,) = node.unhealthy(FIRST), node.unhealthy(OTHER)
        for driver in node.drivers.values():
            driver.reset(0)
        await until(lambda: node.state(OTHER).stage_of(theirs) is Stage.PROBATION, "probation")  # type: ignore[arg-type]
        answer = node.commands().answer({"command": "clear", "devices": [theirs]})
        assert isinstance(answer, dict)
        assert [(each["id"], each["health"]) for each in answer["devices"]] == [(theirs, "healthy")]
        assert node.state(OTHER).stage_of(theirs) is Stage.HEALTHY  # type: ignore[arg-type]
        assert {each.id: each.backend for each in node.commands().status().devices}[theirs] == OTHER
        assert node.unhealthy(FIRST) == [ours]


async def test_the_driver_of_one_backend_is_released(kubelet_dir: Path, state_dir: Path) -> None:
    async with FakeKubelet(kubelet_dir, release("1.36")) as kubelet, several(Several(kubelet_dir, state_dir)) as node:
        await offered(kubelet)
        operator = node.commands()
        operator.answer({"command": "release", "seconds": 60, "backend": OTHER})
        await offered(kubelet, 2, 0)
        assert [each.driver.released is not None for each in operator.status().backends] == [False, True]
        with pytest.raises(Exception, match=f"there is no backend 'b', there are: {FIRST}, {OTHER}"):
            operator.answer({"command": "release", "seconds": 60, "backend": "b"})
        assert operator.answer({"command": "take"}) == {"was_released": True}
        assert operator.answer({"command": "take", "backend": OTHER}) == {"was_released": False}
        await until(lambda: not node.unhealthy(OTHER), "healthy devices")
        operator.answer({"command": "release", "seconds": 60})
        await offered(kubelet, 0, 0)


async def test_a_name_that_both_have_stays_with_the_first(
    kubelet_dir: Path, state_dir: Path, told: list[dict[str, Any]]
) -> None:
    """No rule says it: a pattern matches devices of both."""
    node = Several(kubelet_dir, state_dir)
    async with FakeKubelet(kubelet_dir, release("1.36")) as kubelet, several(node):
        await offered(kubelet)
        policy = node.gateway._serving_policy
        rules = (ResourceRule(name=ResourceName(GPUS)),)
        node.gateway.apply(policy._replace(rules=rules))
        await kubelet.wait_for(lambda: not kubelet.allocatable(OTHERS), what="no devices of the other")
        assert set(kubelet.devices(GPUS)) == {device.id for device in node.state(FIRST).devices}
        (rejected,) = node.commands().status().rejected
        assert rejected.problem == (f"backend {FIRST} offers {GPUS}, and a resource has devices of one backend only")
        assert {each.resource for each in node.commands().status().devices if each.backend == OTHER} == {None}
        node.gateway.apply(policy)
        await offered(kubelet)
        assert not node.commands().status().rejected
    assert len([line for line in told if line["event"] == "devices are not offered"]) == 1


async def test_lines_about_a_driver_say_which_it_is(
    kubelet_dir: Path, state_dir: Path, told: list[dict[str, Any]]
) -> None:
    async with several(Several(kubelet_dir, state_dir)) as node:
        await until(lambda: node.state(OTHER).is_settled, "the devices")
        node.running[OTHER].watched._advance(DriverSilence(12.0))
        await asyncio.sleep(0)
    (line,) = [line for line in told if "does not answer" in line["event"]]
    assert line["backend"] == OTHER
