"""What the signs of a card mean."""

import errno
from collections.abc import Mapping
from dataclasses import replace

import pytest

from plugin_gateway.core.devices import FaultId, PhysicalId
from plugin_gateway.core.health.faults import Checkup
from plugin_gateway.core.health.policy import NOT_ANSWERING, EvidenceKind
from plugin_gateway.linux.card_model import Signs, Unread
from plugin_gateway.linux.facts import Interface, PciFunction, PortState
from plugin_gateway.rdma.evidence import LINK_DOWN, LINK_ERRORS, PARENT_DOWN, PORT_DOWN, SWITCHED_OFF
from plugin_gateway.rdma.model import RdmaModel
from plugin_gateway.rdma.port_history import MAX_LOSSES, MAX_SYMBOL_ERRORS, WINDOW
from rdma.functions import (
    ADDRESS,
    DOWN,
    FUNCTION,
    LOADED,
    OTHER,
    UP,
    bus,
    checkup,
    interface,
    judged,
    loaded,
    rdma_device,
    signs,
)

VF = replace(FUNCTION, address=OTHER, parent=ADDRESS, vf_number=0, rdma_devices=(rdma_device("mlx5_1", 1),))
SILENT = Unread(None, "no answer for 3 s")


def both(first: Signs, second: Signs) -> Signs:
    return Signs({**first.ports, **second.ports}, {**first.interfaces, **second.interfaces})


def judged_both(pf: Signs, vf: Signs) -> Mapping[FaultId, Checkup]:
    model = RdmaModel()
    model.see(bus(FUNCTION, VF), LOADED)
    return model.judge(both(pf, vf)).checkups


@pytest.mark.parametrize(
    ("state", "words"),
    [
        (PortState("DOWN", "Polling"), "port 1 is DOWN (Polling)"),
        (PortState("DOWN", "Disabled"), "port 1 is DOWN (Disabled)"),
        (PortState("INIT", "LinkUp"), "port 1 is INIT (LinkUp): no subnet manager has set it up"),
        (PortState("ARMED", "LinkUp"), "port 1 is ARMED (LinkUp)"),
        (PortState("NOP", ""), "port 1 is NOP"),
    ],
)
def test_a_port_that_is_not_active_is_told_in_the_kernels_words(state: PortState, words: str) -> None:
    assert checkup(FUNCTION, state).problems == {PORT_DOWN: words}


@pytest.mark.parametrize("state", ["ACTIVE", "ACTIVE_DEFER"])
def test_a_port_that_carries_data_is_no_problem(state: str) -> None:
    found = judged(FUNCTION, PortState(state, "LinkUp", 400.0))
    assert found.checkups[PhysicalId(ADDRESS)] == Checkup({})
    assert (found.ports[0].is_up, found.ports[0].rate_gbps) == (True, 400.0)


@pytest.mark.parametrize("why", [SILENT, Unread(errno.EIO, "EIO"), Unread(errno.EINVAL, "EINVAL")])
def test_a_port_without_an_answer_is_evidence_against_its_device_and_leaves_its_link_open(why: Unread) -> None:
    found = checkup(FUNCTION, why)
    assert found.problems == {NOT_ANSWERING: f"port 1: {why.words}"}
    assert found.unanswered == {PORT_DOWN}


@pytest.mark.parametrize("number", [errno.ENOENT, errno.ENODEV])
def test_a_port_that_has_just_gone_is_no_evidence_before_the_next_scan(number: int) -> None:
    found = judged(FUNCTION, Unread(number, "ENODEV"))
    assert found.checkups[PhysicalId(ADDRESS)] == Checkup({}, unanswered=frozenset({PORT_DOWN}))
    assert not found.ports[0].is_up


def test_a_port_that_a_scan_finds_but_that_cannot_be_read_is_evidence_until_it_answers() -> None:
    model, gone = RdmaModel(), Unread(errno.ENOENT, "ENOENT")
    found = []
    for state in (gone, gone, UP, gone):
        model.see(bus(FUNCTION), LOADED)
        found.append(model.judge(signs(FUNCTION, [state])).checkups[PhysicalId(ADDRESS)].problems)
    assert found == [{}, {NOT_ANSWERING: "port 1: ENOENT"}, {}, {}]


def test_an_interface_without_an_answer_is_evidence_against_its_device() -> None:
    model = RdmaModel()
    model.see(bus(FUNCTION), LOADED)
    found = model.judge(signs(FUNCTION, [UP])._replace(unanswered={ADDRESS: SILENT}))
    assert found.checkups[PhysicalId(ADDRESS)].problems == {NOT_ANSWERING: "its interface: no answer for 3 s"}


def test_a_virtual_function_that_hangs_is_out_itself_and_does_not_blind_the_others() -> None:
    found = judged_both(signs(FUNCTION, [UP]), signs(VF, [SILENT], ()))
    assert found[PhysicalId(ADDRESS)].problems == {}
    assert list(found[PhysicalId(OTHER)].problems) == [NOT_ANSWERING]


def test_a_virtual_function_of_one_that_hangs_keeps_what_was_known_of_its_link() -> None:
    found = judged_both(signs(FUNCTION, [SILENT]), signs(VF, [UP], ()))
    assert found[PhysicalId(OTHER)] == Checkup({}, unanswered=frozenset({PARENT_DOWN}))


@pytest.mark.parametrize("state", [DOWN, PortState("DOWN", "Disabled"), PortState("INIT", "LinkUp")])
def test_a_virtual_function_that_is_idle_is_healthy_whatever_its_own_link_does(state: PortState) -> None:
    off = (interface(is_on=False, carrier=None),)
    assert judged_both(signs(FUNCTION, [UP]), signs(VF, [state], off))[PhysicalId(OTHER)] == Checkup({})


def test_a_physical_function_without_rdma_speaks_for_its_virtual_ones_too() -> None:
    model = RdmaModel()
    model.see(bus(replace(FUNCTION, rdma_devices=(), rdma_drivers=()), VF), LOADED)
    down = Signs({}, {ADDRESS: (interface(carrier=False),)})
    found = model.judge(both(down, signs(VF, [UP], ()))).checkups
    assert list(found[PhysicalId(OTHER)].problems) == [PARENT_DOWN]
    assert list(found) == [OTHER]


def test_a_virtual_function_whose_parent_was_not_seen_is_judged_by_itself() -> None:
    assert checkup(VF, UP, interfaces=()) == Checkup({})


def test_a_device_with_two_ports_needs_one_of_them() -> None:
    two = replace(FUNCTION, rdma_devices=(rdma_device(ports=2),))
    found = judged(two, UP, DOWN)
    assert found.checkups[PhysicalId(ADDRESS)] == Checkup({})
    assert [(each.number, each.is_up) for each in found.ports] == [(1, True), (2, False)]
    assert checkup(two, DOWN, DOWN).problems == {PORT_DOWN: "port 1 is DOWN (Polling), port 2 is DOWN (Polling)"}
    assert checkup(two, DOWN, SILENT).unanswered == {PORT_DOWN}
    assert checkup(two, UP, SILENT) == Checkup({NOT_ANSWERING: "port 2: no answer for 3 s"})


def test_a_function_with_two_rdma_devices_says_which_port_it_means() -> None:
    two = replace(FUNCTION, rdma_devices=(rdma_device(), rdma_device("mlx5_9", 9)))
    assert checkup(two, DOWN, DOWN).problems[PORT_DOWN] == (
        "mlx5_0 port 1 is DOWN (Polling), mlx5_9 port 1 is DOWN (Polling)"
    )


LINKS: list[tuple[tuple[Interface, ...], Mapping[EvidenceKind, str]]] = [
    ((interface(),), {}),
    ((), {}),
    ((interface(carrier=False),), {LINK_DOWN: "ens1np0 has no link"}),
    ((interface(is_on=False, carrier=None),), {SWITCHED_OFF: "ens1np0 is switched off"}),
    ((interface(is_on=False, carrier=False),), {SWITCHED_OFF: "ens1np0 is switched off"}),
    ((interface(), interface("rep0", carrier=False)), {}),
    ((interface(), interface("rep0", is_on=False)), {}),
    ((interface(carrier=False), interface("rep0", is_on=False)), {LINK_DOWN: "ens1np0 has no link"}),
    ((Interface("ib0", 32, is_switched_on=True, carrier=False),), {}),
]


@pytest.mark.parametrize(("interfaces", "problems"), LINKS)
def test_one_interface_of_a_physical_function_with_a_link_is_enough(
    interfaces: tuple[Interface, ...], problems: Mapping[EvidenceKind, str]
) -> None:
    """In switchdev mode a physical function has an interface for each of its virtual ones beside its own."""
    assert checkup(FUNCTION, UP, interfaces=interfaces) == Checkup(problems)


def test_a_carrier_that_the_kernel_does_not_tell_is_no_evidence() -> None:
    assert checkup(FUNCTION, UP, interfaces=(interface(carrier=None),)) == Checkup(
        {}, unanswered=frozenset({LINK_DOWN})
    )


class Looks:
    """A model that looks at one function again and again, on a clock of its own."""

    def __init__(self, function: PciFunction = FUNCTION) -> None:
        self.now = 0.0
        self.function = function
        self.model = RdmaModel(clock=lambda: self.now)
        self.model.see(bus(function), LOADED)

    def look(self, state: PortState | Unread, changes: int = 0, after: float = 1.0) -> tuple[dict[str, str], int]:
        """Return the problems that are only reported, and how often the link changed."""
        self.now += after
        found = self.model.judge(signs(self.function, [state], (interface(changes=changes),)))
        checkup = found.checkups[PhysicalId(ADDRESS)]
        reported = {str(kind): words for kind, words in checkup.problems.items() if kind == LINK_ERRORS}
        return reported, found.ports[0].changes


def test_each_change_of_a_link_is_counted_even_between_two_looks() -> None:
    looks = Looks()
    assert looks.look(UP, 2)[1] == 0
    assert looks.look(DOWN, 3)[1] == 1
    assert looks.look(SILENT, 3)[1] == 1
    assert looks.look(UP, 4)[1] == 2
    assert looks.look(UP, 6)[1] == 4
    assert looks.look(UP, 0)[1] == 4, "the interface is a new one, which counts from 0"


def test_a_port_that_follows_its_interface_a_moment_later_has_changed_once() -> None:
    looks = Looks()
    assert [looks.look(state, changes)[1] for state, changes in ((UP, 2), (UP, 3), (DOWN, 3), (UP, 4))] == [0, 1, 1, 2]


def test_a_port_without_an_interface_is_counted_by_its_own_state() -> None:
    looks = Looks(replace(FUNCTION, rdma_devices=(rdma_device(layer="InfiniBand"),)))
    assert [looks.look(state, 9)[1] for state in (UP, DOWN, DOWN, UP)] == [0, 1, 1, 2]


def test_a_link_that_is_lost_again_and_again_is_reported_until_it_stays() -> None:
    looks = Looks()
    looks.look(UP)
    for lost in range(1, MAX_LOSSES + 1):
        assert looks.look(DOWN, 2 * lost - 1)[0] == {} or lost == MAX_LOSSES
        looks.look(UP, 2 * lost)
    words = {LINK_ERRORS: "port 1 lost its link 3 times or more within 10 minutes"}
    assert looks.look(UP, 2 * MAX_LOSSES)[0] == words
    assert looks.look(UP, 2 * MAX_LOSSES, after=WINDOW)[0] == {}


def test_losses_that_only_the_kernel_saw_count_too() -> None:
    looks = Looks()
    looks.look(UP, 2)
    assert looks.look(UP, 2 + 2 * MAX_LOSSES)[0]
    counted = Looks()
    counted.look(UP._replace(link_downed=5))
    assert not counted.look(UP)[0], "it was not asked this time"
    assert counted.look(UP._replace(link_downed=5 + MAX_LOSSES))[0]


def test_many_symbol_errors_in_a_short_time_are_reported() -> None:
    looks = Looks()
    assert looks.look(UP._replace(symbol_errors=1_000))[0] == {}
    assert looks.look(UP._replace(symbol_errors=1_000 + MAX_SYMBOL_ERRORS - 1))[0] == {}
    assert looks.look(UP._replace(symbol_errors=1_000 + MAX_SYMBOL_ERRORS))[0] == {
        LINK_ERRORS: "port 1 has 20 symbol errors or more within 10 minutes"
    }
    slow = Looks()
    for errors in range(5):
        assert slow.look(UP._replace(symbol_errors=errors * (MAX_SYMBOL_ERRORS - 1)), after=WINDOW + 1)[0] == {}


def test_errors_of_a_virtual_function_are_those_of_nobody() -> None:
    looks = Looks(replace(VF, address=ADDRESS, parent=OTHER))
    looks.look(UP, 2)
    assert looks.look(UP, 100)[0] == {}


def test_a_port_that_comes_back_after_a_scan_without_it_is_counted_anew() -> None:
    looks = Looks()
    looks.look(UP, 2)
    looks.look(UP, 9)
    looks.model.see(bus(replace(FUNCTION, rdma_devices=())), loaded("mlx5_ib"))
    looks.model.see(bus(FUNCTION), LOADED)
    assert looks.look(UP, 9)[1] == 0


def test_a_device_without_a_driver_is_judged_by_nothing_else() -> None:
    model = RdmaModel()
    model.see(bus(FUNCTION), LOADED)
    model.see(bus(replace(FUNCTION, driver=None, rdma_devices=())), LOADED)
    assert list(
        model.judge(Signs({}, {ADDRESS: (interface(carrier=False),)})).checkups[PhysicalId(ADDRESS)].problems
    ) == ["no-driver"]
