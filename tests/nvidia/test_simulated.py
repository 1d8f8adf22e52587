"""The GPUs that are not there."""

import pytest

from core.resources import machines
from plugin_gateway.core.devices import NO_LINKS, Links
from plugin_gateway.core.errors import InvalidValueError
from plugin_gateway.core.health.faults import Checkup
from plugin_gateway.core.health.observations import (
    DevicesChecked,
    EvidenceReported,
    InventorySeen,
    LinksSeen,
    Observation,
)
from plugin_gateway.core.health.policy import RECOVERY_ACTION
from plugin_gateway.core.resources.links import Scores, pair_score
from plugin_gateway.nvidia.evidence import xid_kind
from plugin_gateway.nvidia.naming import MigStrategy
from plugin_gateway.nvidia.simulated import MODELS, SimulatedBackend, parse_spec


def test_a_spec_makes_distinct_gpus_spread_over_two_numa_nodes() -> None:
    devices = parse_spec("8xH100")
    assert len({device.id for device in devices}) == len({device.pci_address for device in devices}) == 8
    assert [device.numa_node for device in devices] == [0] * 4 + [1] * 4
    assert {device.product for device in devices} == {MODELS["H100"][0]}
    assert devices == parse_spec("8xH100")


def test_several_models_are_one_machine() -> None:
    devices = parse_spec("1xA100+2xT4+1xA100")
    names = [MODELS[model][0] for model in ("A100", "T4", "T4", "A100")]
    assert [device.product for device in devices] == names
    assert [(device.index, device.numa_node) for device in devices] == [(0, 0), (1, 0), (2, 1), (3, 1)]
    assert len({device.id for device in devices}) == 4
    assert parse_spec("25000xT4+25000xL40S")
    assert offered("mixed", "1xT4+1xA100/mig=1:1g.10gb") == [("0", ""), ("1:0", "1g.10gb")]


def test_thousands_of_gpus_are_distinct() -> None:
    devices = parse_spec("8000xT4")
    assert len({device.id for device in devices}) == len({device.pci_address for device in devices}) == 8000


@pytest.mark.parametrize(
    "spec",
    [
        "",
        "8",
        "x",
        "8x",
        "0xH100",
        "-1xH100",
        "50001xH100",
        "8xh100",
        "8 xH100",
        "²xH100",
        "+",
        "1xT4+",
        pytest.param("+".join(["50000xT4"] * 1_000), id="far too many"),
        "1xT4+2",
        "25001xT4+25000xT4",
    ],
)
def test_any_other_spec_is_refused_with_what_is_allowed(spec: str) -> None:
    with pytest.raises(InvalidValueError, match="8xH100") as refused:
        parse_spec(spec)
    assert repr(spec) in str(refused.value)


def test_gpus_fail_vanish_and_appear_as_told() -> None:
    seen: list[Observation] = []
    backend = SimulatedBackend("2xA100")
    backend.fail(0, 79)
    backend.remove(9)
    assert not seen
    backend.start(seen.append)
    first, second = parse_spec("2xA100")
    backend.fail(1, 79)
    backend.fail(5, 79)
    backend.remove(0)
    added = backend.add("T4")
    backend.reset(1)
    assert seen[3:6] == [
        EvidenceReported(xid_kind(79), second.id),
        DevicesChecked(
            {second.id: Checkup({RECOVERY_ACTION: "the driver asks for recovery: GPU reset"}, asks_for_recovery=True)}
        ),
        EvidenceReported(xid_kind(79), None),
    ]
    assert isinstance(seen[8], LinksSeen)
    assert seen[8].links.ids == (second.id, added)
    assert seen[9] == DevicesChecked({second.id: Checkup({}, asks_for_recovery=False)})
    inventories = [each.inventory.physical for each in seen if isinstance(each, InventorySeen)]
    assert [[device.id for device in devices] for devices in inventories] == [
        [first.id, second.id],
        [second.id],
        [second.id, added],
    ]
    backend.stop()
    backend.fail(1, 79)
    assert backend.join(0)
    assert len(seen) == 10


def links_of(spec: str) -> Links:
    seen: list[Observation] = []
    SimulatedBackend(spec).start(seen.append)
    (links,) = (each.links for each in seen if isinstance(each, LinksSeen))
    return links


@pytest.mark.parametrize(
    ("spec", "known"),
    [
        ("8xH100", machines.NVSWITCH),
        ("8xA100", machines.NVSWITCH),
        ("8xB200", machines.NVSWITCH),
        ("8xV100", machines.DGX1_V100),
        ("4xL40S", machines.FOUR_ON_PCIE),
        ("2xT4+2xL40S", machines.FOUR_ON_PCIE),
        ("4xV100+4xT4", machines.machine(8)),
    ],
)
def test_simulated_gpus_are_connected_as_in_a_real_machine(spec: str, known: Scores) -> None:
    links = links_of(spec)
    assert links.ids == tuple(each.id for each in parse_spec(spec))
    table = [[pair_score(*pair) for pair in row] for row in links.pairs]
    off_diagonal = [(one, other) for one in range(len(known)) for other in range(len(known)) if one != other]
    assert [table[one][other] for one, other in off_diagonal] == [known[one][other] for one, other in off_diagonal]


@pytest.mark.parametrize("spec", ["1xH100", "17xH100", "8000xT4"])
def test_nothing_is_known_of_a_machine_that_there_is_not(spec: str) -> None:
    assert links_of(spec) == NO_LINKS


def offered(strategy: str, spec: str) -> list[tuple[str, str]]:
    seen: list[Observation] = []
    SimulatedBackend(spec, mig_strategy=MigStrategy(strategy)).start(seen.append)
    first = seen[0]
    assert isinstance(first, InventorySeen)
    checked = seen[1]
    assert isinstance(checked, DevicesChecked)
    assert checked.checkups.keys() == first.inventory.ids
    return [(each.place_words, each.profile) for each in first.inventory.devices]


def test_mig_devices_are_offered_as_those_of_a_driver_are() -> None:
    spec = "3xH100/mig=0:3g.40gb,1g.10gb;1:"
    assert offered("mixed", spec) == [
        ("0:0", "3g.40gb"),
        ("0:1", "1g.10gb"),
        ("2", ""),
    ]
    assert offered("none", spec) == [("2", "")]
    assert offered("single", "2xA100/mig=0:3g.40gb,3g.40gb;1:3g.40gb") == [
        ("0:0", "3g.40gb"),
        ("0:1", "3g.40gb"),
        ("1:0", "3g.40gb"),
    ]


def test_a_layout_changes_as_told() -> None:
    seen: list[Observation] = []
    backend = SimulatedBackend("2xH200", mig_strategy=MigStrategy.MIXED)
    backend.start(seen.append)
    backend.lay_out("1:3g.71gb,1g.18gb+me")
    latest = seen[-1]
    assert isinstance(latest, InventorySeen)
    assert [each.profile for each in latest.inventory.devices] == ["", "3g.71gb", "1g.18gb+me"]
    with pytest.raises(InvalidValueError, match="expected INDEX:PROFILE"):
        backend.lay_out("2:3g.71gb")
    assert seen[-1] is latest


def test_a_gpu_that_comes_back_has_the_layout_that_it_had() -> None:
    seen: list[Observation] = []
    backend = SimulatedBackend("2xH100/mig=0:7g.80gb;1:3g.40gb", mig_strategy=MigStrategy.MIXED)
    backend.start(seen.append)
    backend.remove(1)
    backend.add("H100")
    backend.remove(0)
    places = [[each.place_words for each in one.inventory.devices] for one in seen if isinstance(one, InventorySeen)]
    assert places == [["0:0", "1:0"], ["0:0"], ["0:0", "1:0"], ["1:0"]]


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        ("2xH100/mig=", "MIG layout ''; expected INDEX:PROFILE,PROFILE once for each GPU, with an index from 0 to 1"),
        ("2xH100/mig=2:3g.40gb", "MIG layout '2:3g.40gb'; expected"),
        ("2xH100/mig=0:3g.40gb;0:3g.40gb", "once for each GPU"),
        ("2xH100/mig=0", "MIG layout '0'; expected"),
        ("2xH100/mig=0:3g.71gb", "MIG profile '3g.71gb' of a simulated NVIDIA H100 80GB HBM3; expected 1g.10gb, "),
        ("2xH100/mig=0:4g.40gb,4g.40gb", "'4g.40gb,4g.40gb' has more than the 7 slices of a GPU"),
        ("2xT4/mig=0:", "MIG profile '' of a simulated Tesla T4; it has no MIG"),
        ("2xL40S/mig=0:1g.6gb", "it has no MIG"),
    ],
)
def test_a_layout_that_cannot_be_is_refused_with_what_is_allowed(spec: str, words: str) -> None:
    with pytest.raises(InvalidValueError) as refused:
        parse_spec(spec)
    assert words in str(refused.value)
