"""With many replicas, the work grows as the number of ids does, and no faster."""

from collections.abc import Callable
from typing import NamedTuple

import pytest

from harness.devices import device, inventory, part
from harness.work import CountedId, calls_of
from plugin_gateway.adapters.dialects import load_dialects
from plugin_gateway.adapters.dialects.dialect import Dialect
from plugin_gateway.adapters.gateway.forms import Forms
from plugin_gateway.adapters.gateway.held_elsewhere import held_devices
from plugin_gateway.adapters.kubelet.checkpoint import Holder
from plugin_gateway.adapters.kubelet.holders import held_twice, names_by_device, not_told
from plugin_gateway.core.devices import NO_LINKS, Device, DeviceId, PhysicalId
from plugin_gateway.core.health.faults import Evidence, add_evidence
from plugin_gateway.core.health.policy import EvidenceKind, Needs
from plugin_gateway.core.health.state import State
from plugin_gateway.core.resources.assignment import Advertisement, advertise, keep_granted
from plugin_gateway.core.resources.choice import Known, known_of, preferred
from plugin_gateway.core.resources.conflicts import Sockets, find_conflicts, find_withheld
from plugin_gateway.core.resources.names import ResourceName
from plugin_gateway.core.resources.policy import Preferences, SharedPolicy
from plugin_gateway.core.resources.preference import PreferenceRequest
from plugin_gateway.core.resources.rules import ResourceRule
from plugin_gateway.core.resources.sharing import Sharing

NAME, OTHER = ResourceName("nvidia.com/gpu"), ResourceName("nvidia.com/gpu.shared")
REPLICAS = 64
GROWTH = 8
"""So many times as many ids. Sorting may cost a little more; a comparison of each with each would cost 64 times."""


class Machine(NamedTuple):
    """GPUs with replicas, all that is offered of them, and pods that hold one replica each."""

    state: State
    sick: State
    rules: tuple[ResourceRule, ...]
    offered: Advertisement
    known: Known
    available: tuple[str, ...]
    holders: tuple[Holder, ...]

    @property
    def told(self) -> tuple[Holder, ...]:
        """The same as the kubelet tells it: with names, not UIDs."""
        return tuple(each._replace(pod=f"default/{each.pod}") for each in self.holders)

    @property
    def former(self) -> Forms:
        """The forms of before a change of names."""
        forms = Forms()
        forms.see(self.state, {OTHER: self.offered})
        return forms


def machine(gpus: int) -> Machine:
    rules = (ResourceRule(name=NAME, sharing=Sharing(replicas=REPLICAS)),)
    devices = [device(number, numa_node=number % 2) for number in range(gpus)]
    state = State(inventory=inventory(*devices))
    evidence = Evidence("XID 79", 0.0, EvidenceKind("xid-79"))
    fault = add_evidence(None, evidence, Needs.REBOOT, 0.0)
    sick = state.with_faults({each.physical.id: fault for each in devices[::2]})
    offered = advertise(state, rules)[NAME]
    ids = tuple(CountedId(each.id) for each in offered.offered)
    holders = tuple(Holder(f"uid-{n}", "main", NAME, frozenset({each})) for n, each in enumerate(ids))
    return Machine(state, sick, rules, offered, known_of(offered, NO_LINKS), ids, holders)


def prefer(policy: SharedPolicy) -> Callable[[Machine], object]:
    preferences = Preferences(shared=policy)
    return lambda known: preferred(
        known.known, PreferenceRequest(known.available[1:], known.available[1:2], 8), preferences
    )


def conflicts(known: Machine) -> object:
    ids: dict[str, PhysicalId] = {CountedId(each.id): each.device.physical.id for each in known.offered.offered}
    return find_conflicts({NAME: ids}, {NAME}, {NAME: frozenset(known.available), OTHER: known.available}, Sockets())


def encode(dialect: Dialect) -> Callable[[Machine], object]:
    return lambda known: dialect.fitting_list(known.offered)


WORK: dict[str, Callable[[Machine], object]] = {
    "advertise": lambda known: advertise(known.state, known.rules),
    "advertise with faults": lambda known: advertise(known.sick, known.rules),
    "all unhealthy": lambda known: known.offered.with_all_unhealthy(),
    "withhold": lambda known: known.offered.withholding([DeviceId("GPU-0"), DeviceId("GPU-1")]),
    "keep granted": lambda known: keep_granted(
        known.offered.without_devices(), known.offered, dict.fromkeys(known.available, 9.0), 0.0
    ),
    "known": lambda known: known_of(known.offered, NO_LINKS),
    **{f"prefer {policy.value}": prefer(policy) for policy in SharedPolicy},
    "withheld": lambda known: find_withheld({OTHER: known.offered}, held_devices(known.holders)),
    "forms": lambda known: known.former.outdated({NAME: known.offered}),
    "conflicts": conflicts,
    "holders": lambda known: names_by_device(known.holders),
    "held twice": lambda known: held_twice(known.told),
    "not told": lambda known: not_told(known.holders, known.told),
    **{f"list in {dialect.version}": encode(dialect) for dialect in load_dialects()},
}


@pytest.mark.parametrize("name", WORK)
def test_work_grows_with_the_number_of_ids_and_no_faster(name: str) -> None:
    few, many = machine(2), machine(2 * GROWTH)
    WORK[name](few)  # what is imported or made at the first call is no work for each id
    once = calls_of(lambda: WORK[name](few))
    assert once
    assert calls_of(lambda: WORK[name](many)) <= 1.5 * GROWTH * once


def test_a_list_of_8960_ids_is_complete_in_each_dialect() -> None:
    """140 GPUs with 64 replicas each. Messages of the kubelet have at most 4 MiB."""
    offered = machine(140).offered
    for dialect in load_dialects():
        data, missing = dialect.fitting_list(offered)
        assert not missing
        assert len(data) < 4 * 2**20
        assert [each.id for each in dialect.read_list(data)] == [each.id for each in offered.offered]


def test_the_work_is_counted() -> None:
    """A comparison of each id with each other one is more than the test above allows."""
    ids = [CountedId(number) for number in range(8)]
    assert calls_of(lambda: [one == other for one in ids for other in ids]) >= 64


def parts(gpus: int) -> tuple[Device, ...]:
    return tuple(part(device(gpu), number) for gpu in range(gpus) for number in range(7))


def test_a_change_of_all_layouts_costs_what_the_devices_do() -> None:
    """Each GPU is divided in seven, each part has 64 replicas, and each is wanted under another name."""

    def outdated(gpus: int) -> int:
        state = State(inventory=inventory(*parts(gpus)))
        before = advertise(state, (ResourceRule(name=NAME, sharing=Sharing(replicas=REPLICAS)),))
        after = advertise(state, (ResourceRule(name=OTHER, sharing=Sharing(replicas=REPLICAS)),))

        def see() -> None:
            forms = Forms()
            forms.see(state, before)
            assert len(forms.outdated(after)) == 7 * gpus

        return calls_of(see)

    assert outdated(2 * GROWTH) <= 1.5 * GROWTH * outdated(2)
