"""Devices that several containers share, and a change of how they are shared while pods hold them."""

from pathlib import Path
from typing import Any

import pytest

from adapters.registration.waiting import A100, allocatable
from harness.node import RESOURCE, Node, device, running
from plugin_gateway.adapters.fake_kubelet import AdmissionError, FakeKubelet, release
from plugin_gateway.adapters.gateway import held_elsewhere
from plugin_gateway.adapters.serving import resource as served
from plugin_gateway.core.resources.assignment import Health
from plugin_gateway.core.resources.names import ResourceName
from plugin_gateway.core.resources.rules import ResourceRule, Selector
from plugin_gateway.core.resources.sharing import Sharing

Rules = tuple[ResourceRule, ...]
FIRST, SECOND = device(0).id, device(1).id


def shared(replicas: int, name: ResourceName = RESOURCE, *, one: bool = False) -> Rules:
    return (ResourceRule(name=name, sharing=Sharing(replicas=replicas, one_per_request=one)),)


async def test_replicas_are_given_to_pods_one_by_one(kubelet_dir: Path) -> None:
    async with (
        FakeKubelet(kubelet_dir, release("1.37")) as kubelet,
        running(Node(kubelet_dir, rules=shared(3)), devices=2) as node,
    ):
        await allocatable(kubelet, 6)
        ids = [f"{FIRST}::0", f"{FIRST}::2", f"{SECOND}::1"]
        both = await kubelet.allocate(RESOURCE, pod="uid-1", ids=ids)
        assert both.environment == {"NVIDIA_VISIBLE_DEVICES": f"{FIRST},{SECOND}"}
        again = await kubelet.allocate(RESOURCE, pod="uid-2", ids=[f"{FIRST}::1"])
        assert again.environment == {"NVIDIA_VISIBLE_DEVICES": FIRST}
        node.fail(0)
        await allocatable(kubelet, 3)
        assert {each for each, health in kubelet.devices(RESOURCE).items() if health == Health.UNHEALTHY.value} == {
            f"{FIRST}::{replica}" for replica in range(3)
        }


@pytest.mark.parametrize("name", ["1.8", "1.9", "1.37"])
async def test_a_pod_that_asks_for_two_shares_is_told_which_option_forbids_it(name: str, kubelet_dir: Path) -> None:
    node = Node(kubelet_dir, rules=shared(2, one=True))
    async with FakeKubelet(kubelet_dir, release(name)) as kubelet, running(node, devices=1):
        await allocatable(kubelet, 2)
        with pytest.raises(
            AdmissionError, match=r"at most 1 shared device, 2 were asked for \(failRequestsGreaterThan"
        ):
            await kubelet.allocate(RESOURCE, 2, pod="uid-1")


FORMS: list[tuple[Rules, str, Rules, ResourceName, int, int]] = [
    (shared(1), FIRST, shared(3), RESOURCE, 6, 3),
    (shared(3), f"{FIRST}::1", shared(1), RESOURCE, 2, 1),
    (shared(3), f"{FIRST}::2", shared(2), RESOURCE, 4, 4),
    (shared(2), f"{FIRST}::1", shared(4), RESOURCE, 8, 8),
    (shared(2), f"{FIRST}::1", shared(2, A100), A100, 4, 2),
    (shared(2), f"{FIRST}::1", shared(1, A100), A100, 2, 1),
    (shared(1), FIRST, shared(2, A100), A100, 4, 2),
]


@pytest.mark.parametrize(
    ("before", "held", "after", "name", "capacity", "left"),
    FORMS,
    ids=[
        "alone, then shared",
        "shared, then alone",
        "fewer replicas",
        "more replicas",
        "shared, another name",
        "shared, then alone under another name",
        "alone, then shared under another name",
    ],
)
async def test_nobody_gets_a_device_that_a_pod_holds_in_another_form(
    before: Rules, held: str, after: Rules, name: ResourceName, capacity: int, left: int,
    kubelet_dir: Path, monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setattr(served, "GRANT_GRACE", 0.05)
    node = Node(kubelet_dir, rules=before)
    async with FakeKubelet(kubelet_dir, release("1.37")) as kubelet, running(node, devices=2):
        await allocatable(kubelet, 2 * before[0].sharing.replicas)
        await kubelet.allocate(RESOURCE, pod="uid-1", container="main", ids=[held])
        is_another_form = left < capacity
        assert held_elsewhere.changes_form(node.gateway, after) is is_another_form
        node.gateway.see_holders(await held_elsewhere.read_holders(kubelet_dir))
        node.gateway.apply(node.serving_policy._replace(rules=after))
        await kubelet.wait_for(lambda: kubelet.capacity(name) == capacity, what="the new form")
        assert kubelet.allocatable(name) == left
        if is_another_form:
            (why,) = node.gateway.withheld.values()
            assert why.reason.startswith(f"held as {RESOURCE}")
            assert why.reason.endswith(" by uid-1 main")
            assert list(node.gateway.withheld) == [FIRST]
            node.gateway.overrule(FIRST)
            await allocatable(kubelet, capacity, name)


async def test_a_replica_that_was_granted_a_moment_ago_is_unhealthy_before_it_leaves(
    kubelet_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(served, "GRANT_GRACE", 0.3)
    node = Node(kubelet_dir, rules=shared(3))
    async with FakeKubelet(kubelet_dir, release("1.37")) as kubelet, running(node, devices=1):
        await allocatable(kubelet, 3)
        await kubelet.allocate(RESOURCE, pod="uid-1", ids=[f"{FIRST}::2"])
        node.gateway.apply(node.serving_policy._replace(rules=shared(2)))
        await allocatable(kubelet, 2)
        assert dict(kubelet.lists[-1].devices) == {
            f"{FIRST}::0": Health.HEALTHY.value,
            f"{FIRST}::1": Health.HEALTHY.value,
            f"{FIRST}::2": Health.UNHEALTHY.value,
        }
        await kubelet.wait_for(lambda: len(kubelet.lists[-1].devices) == 2, what="a list without it")


async def test_rules_that_may_be_a_mistake_and_devices_that_one_excludes_are_logged_once(
    kubelet_dir: Path, told: list[dict[str, Any]]
) -> None:
    def said(event: str, field: str) -> list[Any]:
        return [line[field] for line in told if line["event"] == event]

    rules = (
        ResourceRule(selector=Selector(places=((0,),)), name=None, origin="line 1"),
        ResourceRule(selector=Selector(products=("*A100*",)), name=A100, origin="line 2"),
        ResourceRule(name=RESOURCE),
    )
    node = Node(kubelet_dir, rules=rules)
    async with FakeKubelet(kubelet_dir, release("1.37")) as kubelet, running(node, devices=3):
        await allocatable(kubelet, 2)
        node.see([device(0), device(1)])
        await allocatable(kubelet, 1)
        assert said("a rule for resources may be a mistake", "problem") == [
            "the rule *A100*=nvidia.com/a100 (line 2) matches no device of this machine"
        ]
        node.gateway.apply(node.serving_policy._replace(rules=rules[1:]))
        await allocatable(kubelet, 2)
        assert said("devices that a rule excludes are not offered", "devices") == [[FIRST], []]
        node.gateway.apply(node.serving_policy._replace(rules=rules))
        assert said("devices that a rule excludes are not offered", "devices") == [[FIRST], [], [FIRST]]
        assert len(said("a rule for resources may be a mistake", "problem")) == 1
