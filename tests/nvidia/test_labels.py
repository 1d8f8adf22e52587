"""What the labels say of nodes on which NVIDIA's GPU feature discovery was not seen, and for any order of the GPUs."""

import random
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.devices import altered, device, inventory, part
from plugin_gateway.adapters.configuration.label_options import OWN_LABELS
from plugin_gateway.core.devices import Device, FaultId
from plugin_gateway.core.health.faults import Evidence, Fault, Moment
from plugin_gateway.core.health.observations import DriverSeen, DriverUnavailable, FactsSeen
from plugin_gateway.core.health.policy import Needs
from plugin_gateway.core.health.state import RequirementState, State
from plugin_gateway.core.health.state_function import advance, wait
from plugin_gateway.core.labels.making import Labelled, NodeLabels, node_labels
from plugin_gateway.core.labels.names import is_value, is_word
from plugin_gateway.core.labels.policy import LabelPolicy
from plugin_gateway.core.resources.names import ResourceName
from plugin_gateway.core.resources.rules import ResourceRule, Selector
from plugin_gateway.core.resources.sharing import Sharing
from plugin_gateway.nvidia import labels as of_nvidia
from plugin_gateway.nvidia.evidence import HEALTH_POLICY
from plugin_gateway.nvidia.labels import HEALTHY, family_of, is_of_discovery, make_labels
from plugin_gateway.rdma import labels as of_rdma
from plugin_gateway.solarflare import labels as of_solarflare

PREFIX = "nvidia.com/"
GPUS = ResourceRule(name=ResourceName("nvidia.com/gpu"))
PRODUCTS = ("NVIDIA H100 80GB HBM3", "NVIDIA A100-SXM4-80GB", "Tesla T4", "(odd)", "N" * 80, "N" * 79 + "x", "")
LONG = "NVIDIA RTX PRO 6000 Blackwell Max-Q Workstation Edition (a+b/c)"
PROFILES = ("1g.10gb", "1g.10gb+me", "1c.3g.40gb", "3g.40gb")


def facts(devices: Iterable[Device], **of_gpu: str) -> FactsSeen:
    known: dict[FaultId, Mapping[str, str]] = {}
    for each in devices:
        known[each.physical.id] = {"capability": "9.0", **of_gpu}
        if not each.is_whole:
            known[each.id] = {"multiprocessors": "18"}
    return FactsSeen({"cuda": "12.9", "vgpu": "false"}, known)


def state(*devices: Device, **of_gpu: str) -> State:
    known = inventory(*sorted(devices, key=lambda each: each.place))
    return State(inventory=known, facts=facts(devices, **of_gpu), driver=DriverSeen("575.57.08", None))


def made(known: State, *rules: ResourceRule, **policy: object) -> NodeLabels:
    asked = replace(LabelPolicy(), **policy)  # type: ignore[arg-type]
    return node_labels([Labelled(known, make_labels, tells_facts=True)], rules or (GPUS,), asked)


def of(known: State, *rules: ResourceRule, **policy: object) -> Mapping[str, str]:
    found = made(known, *rules, **policy)
    assert not found.left_out
    return {name.removeprefix(PREFIX): value for name, value in found.labels.items()}


def node_of(products: Sequence[str], divided: Sequence[Sequence[str]]) -> list[Device]:
    """GPUs of these products, those of which have MIG devices that have profiles."""
    devices: list[Device] = []
    for index, product in enumerate(products):
        gpu = device(index, product=product)
        profiles = divided[index] if index < len(divided) else ()
        devices += [part(gpu, slot, profile) for slot, profile in enumerate(profiles)] or [gpu]
    return devices


NODES = st.builds(
    node_of,
    st.lists(st.sampled_from(PRODUCTS), min_size=1, max_size=6),
    st.lists(st.lists(st.sampled_from(PROFILES), max_size=3), max_size=6),
)


@given(devices=NODES, strategy=st.sampled_from(("none", "single", "mixed")), replicas=st.integers(1, 4))
def test_whatever_the_node_has_the_api_server_takes_each_label(
    devices: list[Device], strategy: str, replicas: int
) -> None:
    rule = replace(GPUS, has_profile=strategy == "mixed", sharing=Sharing(replicas=replicas))
    found = made(state(*devices), rule, strategy=strategy, own=frozenset({HEALTHY}), machine="A/B " * 40)
    assert not found.left_out
    assert all(is_word(name.partition("/")[2]) and is_value(value) for name, value in found.labels.items())
    assert found.is_complete


@given(
    products=st.lists(st.sampled_from(PRODUCTS), min_size=1, max_size=6),
    strategy=st.sampled_from(("none", "single", "mixed")),
    seed=st.integers(),
)
def test_the_labels_of_several_products_do_not_depend_on_their_order(
    products: list[str], strategy: str, seed: int
) -> None:
    shuffled = random.Random(seed).sample(products, len(products))
    one, other = (of(state(*node_of(each, ())), strategy=strategy) for each in (products, shuffled))
    assert one == other


def test_each_product_has_a_label_where_there_are_several() -> None:
    labels = of(state(*node_of(("Tesla T4", "NVIDIA L4", "NVIDIA L4"), ())))
    own = {name: value for name, value in labels.items() if name.startswith("plugin-gateway/")}
    assert own == {"plugin-gateway/gpu.model.NVIDIA-L4": "2", "plugin-gateway/gpu.model.Tesla-T4": "1"}
    assert not any("gpu.model" in name for name in of(state(*node_of(("Tesla T4", "Tesla T4"), ()))))


def test_products_whose_names_are_cut_alike_are_counted_together() -> None:
    labels = of(state(*node_of(("N" * 80, "N" * 79 + "x", "N" * 79 + "x"), ())))
    assert labels[f"plugin-gateway/gpu.model.{'N' * 53}"] == "3"
    assert labels["gpu.count"] == "2"


def test_a_long_name_is_cut_and_says_that_it_is_shared() -> None:
    labels = of(state(device(0, product=LONG)), replace(GPUS, sharing=Sharing(replicas=3)))
    assert labels["gpu.product"] == "NVIDIA-RTX-PRO-6000-Blackwell-Max-Q-Workstation-Edition-SHARED"
    assert (labels["gpu.replicas"], labels["gpu.sharing-strategy"]) == ("3", "time-slicing")


def test_a_resource_that_is_renamed_leaves_the_product_as_it_is() -> None:
    rule = replace(GPUS, name=ResourceName("nvidia.com/gpu.shared"), sharing=Sharing(replicas=3))
    labels = of(state(device(0)), rule)
    assert labels["gpu.product"] == "NVIDIA-H100-80GB-HBM3"
    assert labels["gpu.replicas"] == "3"


def test_most_devices_decide_what_is_said_of_sharing() -> None:
    few = ResourceRule(selector=Selector(places=((0,),)), name=GPUS.name, sharing=Sharing(replicas=2))
    labels = of(state(device(0), device(1), device(2)), few, GPUS)
    assert (labels["gpu.replicas"], labels["gpu.product"]) == ("1", "NVIDIA-H100-80GB-HBM3")


def test_single_says_what_is_offered_and_that_nothing_is() -> None:
    empty = inventory(physical=[device(0).physical, device(1).physical])
    known = State(inventory=empty, facts=facts([device(0), device(1)], mig="true"))
    labels = of(known, strategy="single")
    assert {name: labels[f"gpu.{name}"] for name in ("product", "count", "replicas", "memory", "sharing-strategy")} == {
        "product": "NVIDIA-H100-80GB-HBM3-MIG-INVALID", "count": "0", "replicas": "0", "memory": "0",
        "sharing-strategy": "",
    }  # fmt: skip
    assert labels["gpu.family"] == "hopper"
    partly = State(
        inventory=inventory(device(1), physical=[device(0).physical]),
        facts=FactsSeen({}, {device(0).physical.id: {"mig": "true"}, device(1).physical.id: {"mig": "false"}}),
    )
    labels = of(partly, strategy="single")
    assert (labels["gpu.count"], labels["gpu.product"]) == ("1", "NVIDIA-H100-80GB-HBM3")


def test_mps_is_not_said_to_be_possible_where_a_gpu_is_in_mig_mode() -> None:
    rule = replace(GPUS, sharing=Sharing(replicas=2, through="mps"))
    assert of(state(device(0), mig="false"), rule)["mps.capable"] == "true"
    assert of(state(device(0), mig="true"), rule)["mps.capable"] == "false"
    assert of(state(device(0), mig="false"))["mps.capable"] == "false"


def test_a_profile_with_a_part_of_the_slices_has_labels_too() -> None:
    labels = of(state(part(device(0), 0, "1c.3g.40gb+me")), replace(GPUS, has_profile=True), strategy="mixed")
    assert labels["mig-1c.3g.40gb.me.count"] == "1"
    assert labels["mig-1c.3g.40gb.me.product"] == "NVIDIA-H100-80GB-HBM3-MIG-1c.3g.40gb.me"


def test_cliques_that_differ_are_no_label() -> None:
    one, other = device(0), device(1)
    known = FactsSeen({}, {one.physical.id: {"clique": "a.1"}, other.physical.id: {"clique": "a.2"}})
    assert "gpu.clique" not in of(State(inventory=inventory(one, other), facts=known))
    alike = FactsSeen({}, {one.physical.id: {"clique": "a.1"}, other.physical.id: {}})
    assert of(State(inventory=inventory(one, other), facts=alike))["gpu.clique"] == "a.1"


def test_deprecated_labels_can_be_left_out() -> None:
    with_them, without = of(state(device(0))), of(state(device(0)), has_deprecated=False)
    assert {name for name in with_them if name not in without} == {
        "cuda.driver.major", "cuda.driver.minor", "cuda.driver.rev", "cuda.runtime.major", "cuda.runtime.minor",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("word", "expected"),
    [
        *((word, True) for word in ("gpu.product", "mig-1c.3g.40gb.me.count", "cuda.driver.rev", "gfd.timestamp")),
        ("gpu.imex-domain", True),  # by release 0.17.0 alone
        *((word, False) for word in ("gpu.present", "gpu.deploy.dcgm", "mig.config", "device-plugin.config")),
    ],
)
def test_a_label_is_known_as_one_of_nvidias_feature_discovery(word: str, *, expected: bool) -> None:
    assert is_of_discovery(PREFIX + word) is expected
    assert not is_of_discovery(f"example.com/{word}")


def test_the_time_of_the_start_is_a_label_where_it_is_told() -> None:
    assert of(state(device(0)), started_at=17)["gfd.timestamp"] == "17"
    assert "gfd.timestamp" not in of(state(device(0)))


def test_what_is_not_known_is_left_out() -> None:
    unknown = altered(device(0, product=""), memory_bytes=0)
    labels = of(State(inventory=inventory(unknown), facts=FactsSeen({}, {unknown.physical.id: {}})))
    assert labels.keys() == {
        "gpu.machine", "gpu.mode", "gpu.count", "gpu.replicas", "gpu.sharing-strategy", "mig.capable", "mps.capable",
    }  # fmt: skip
    assert (labels["gpu.machine"], labels["gpu.mode"]) == ("unknown", "unknown")


def test_the_healthy_gpus_are_counted_where_somebody_asks() -> None:
    parts = (part(device(0), 0), part(device(0), 1))
    fault = Fault(since=1.0, evidence=(Evidence("x", 1.0),), needs=Needs.CHECK)
    known = replace(state(*parts, device(1), device(2)), faults={parts[0].id: fault, parts[1].id: fault})
    assert of(known, own=frozenset({HEALTHY}))["plugin-gateway/gpu.healthy"] == "2"
    assert "plugin-gateway/gpu.healthy" not in of(known)


LACKS = RequirementState("there is no channel", "", 1.0)


@pytest.mark.parametrize(
    ("known", "healthy"),
    [
        (State(), None),  # nothing is known yet
        (State(driver_problem="no driver"), "no GPU is known: no driver"),
        (State(driver_is_silent=True), "no GPU is known: it does not answer"),
        (State(inventory=inventory()), "0 of 0 GPUs are healthy"),
        (replace(state(device(0)), requirement=LACKS), "no GPU is given out: there is no channel"),
        (replace(state(device(0)), requirement=LACKS._replace(problem="")), "1 of 1 GPUs are healthy"),
    ],
)
def test_no_gpu_is_healthy_as_long_as_none_can_be_given_out(known: State, healthy: str | None) -> None:
    found = made(known, own=frozenset({HEALTHY}))
    name = "plugin-gateway/gpu.healthy"
    assert found.why.get(name) == healthy
    assert found.labels.get(name) == (None if healthy is None else str(int(healthy.startswith("1 of"))))
    assert name not in made(known).labels


def test_no_gpu_is_healthy_when_its_driver_has_gone() -> None:
    known = state(device(0), device(1))
    for observation in (DriverUnavailable("no driver"), DriverUnavailable("released", is_released=True)):
        gone, _ = advance(known, observation, Moment(1.0, 1.0), HEALTH_POLICY)
        gone, _ = wait(gone, Moment(40.0, 40.0), HEALTH_POLICY)
        assert of(gone, own=frozenset({HEALTHY}))["plugin-gateway/gpu.healthy"] == "0"


@pytest.mark.parametrize(
    ("capability", "family"),
    [
        ((1, 3), "tesla"), ((2, 0), "fermi"), ((3, 5), "kepler"), ((4, 0), "undefined"), ((5, 2), "maxwell"),
        ((6, 1), "pascal"), ((7, 0), "volta"), ((7, 2), "volta"), ((7, 5), "turing"), ((8, 0), "ampere"),
        ((8, 7), "ampere"), ((8, 9), "ada-lovelace"), ((9, 0), "hopper"), ((10, 3), "blackwell"),
        ((11, 0), "undefined"), ((12, 0), "blackwell"), ((13, 0), "rubin"),
    ],
)  # fmt: skip
def test_the_family_follows_from_the_compute_capability(capability: tuple[int, int], family: str) -> None:
    assert family_of(capability) == family


def test_each_label_that_can_be_asked_for_has_somebody_who_makes_it() -> None:
    assert (*of_nvidia.OWN_LABELS, *of_rdma.OWN_LABELS, *of_solarflare.OWN_LABELS) == OWN_LABELS
