"""What the doctor says of a node with RDMA devices: modules, modes, drivers, and what pods need besides."""

from collections.abc import Sequence
from pathlib import Path

import pytest

from cards.builder import Cards
from plugin_gateway.core.devices import seen_by
from plugin_gateway.core.findings import Finding, Verdict
from plugin_gateway.core.resources.container_options import ContainerOptions
from plugin_gateway.core.resources.names import ResourceName
from plugin_gateway.core.resources.rules import ResourceRule, Selector
from plugin_gateway.core.resources.sharing import ALONE, Sharing
from plugin_gateway.linux.card_findings import HostView
from plugin_gateway.linux.made_up_tree import MadeUpTree
from plugin_gateway.linux.pci_scan import scan
from plugin_gateway.linux.sysfs import HostTree
from plugin_gateway.rdma.checkup import CNI_FOLDER, UNLIMITED, check, own_memory_limit, rdma_is_exclusive
from plugin_gateway.rdma.model import RdmaModel

PF, OTHER_PF, VF = "0000:3b:00.0", "0000:3b:00.1", "0000:3b:00.2"
SHARED = Sharing(replicas=100)


@pytest.fixture
def cards(tmp_path: Path) -> Cards:
    cards = Cards(tmp_path).connectx6()
    cards.files.write(f"{CNI_FOLDER}/00-multus.conf", "{}")
    return cards


def rule(sharing: Sharing = ALONE, function: str = "vf", options: ContainerOptions | None = None) -> ResourceRule:
    return ResourceRule(
        selector=Selector(backends=("rdma",), attributes={"function": (function,)}),
        name=ResourceName(f"example.com/{function}"),
        sharing=sharing,
        is_always_there=True,
        options=options or ContainerOptions(),
    )


def found(cards: Cards, *rules: ResourceRule, limit: int = UNLIMITED) -> list[Finding]:
    tree = HostTree(str(cards.root))
    inventory = RdmaModel().see(scan(tree), tree).inventory
    view = HostView(tree, str(cards.root), frozenset({"ens1f0np0"}))
    return list(check(view, seen_by("rdma", inventory), rules, limit))


def told(findings: Sequence[Finding], verdict: Verdict = Verdict.MEND) -> list[str]:
    return [each.what for each in findings if each.verdict is verdict]


def test_a_node_with_all_that_is_needed_is_well(cards: Cards) -> None:
    findings = found(cards, rule(), rule(SHARED, "pf"))
    assert told(findings) == told(findings, Verdict.HINT) == []
    assert told(findings, Verdict.WELL) == [
        "every device node of a network card is there: 7",
        f"Multus is in {cards.root}{CNI_FOLDER}",
        "a process may lock as much memory as it needs for RDMA here",
    ]


def test_the_module_that_makes_rdma_devices_is_named(cards: Cards) -> None:
    cards.unload_mlx5_ib()
    findings = found(cards, rule())
    assert told(findings) == ["the module mlx5_ib is not loaded: 6 functions of mlx5_core have no RDMA device"]
    assert [each.todo for each in findings if each.verdict is Verdict.MEND] == [
        "run modprobe mlx5_ib on the host; where a container brings the drivers, the gateway waits for it"
    ]


def test_the_modules_for_device_nodes_are_named(cards: Cards) -> None:
    cards.unload_ib_uverbs()
    cards.files.remove("/sys/class/infiniband_verbs")
    cards.unload_rdma_ucm()
    assert told(found(cards, rule())) == [
        "the module ib_uverbs is not loaded: programs can use no RDMA device",
        "the module rdma_ucm is not loaded: programs cannot find each other by IP addresses",
    ]


def test_the_module_for_nodes_that_a_rule_asks_for_is_named_only_then(cards: Cards) -> None:
    cards.files.remove("/sys/class/infiniband_mad")
    assert told(found(cards, rule())) == []
    asking = rule(options=ContainerOptions(requested_nodes=("umad",)))
    assert told(found(cards, asking)) == [
        "the module ib_umad is not loaded: a rule asks for device nodes that nothing has"
    ]


def test_a_module_that_is_missing_on_a_node_without_cards_is_no_matter(tmp_path: Path) -> None:
    cards = Cards(tmp_path)
    cards.files.write(f"{CNI_FOLDER}/00-multus.conf", "{}")
    assert told(found_without_cards(cards)) == []


def found_without_cards(cards: Cards) -> list[Finding]:
    tree = HostTree(str(cards.root))
    return list(check(HostView(tree), RdmaModel().see(scan(tree), tree).inventory, [rule()], UNLIMITED))


def test_a_function_without_a_driver_is_named(cards: Cards) -> None:
    cards.no_driver(OTHER_PF)
    assert told(found(cards, rule())) == [f"no kernel driver has {OTHER_PF}"]


def test_a_rule_that_shares_does_not_go_with_exclusive_mode(cards: Cards) -> None:
    cards.make_exclusive()
    pool = rule(Sharing(replicas=63, is_pool=True), "pf")
    findings = found(cards, rule(), pool)
    what = "a pod in a network namespace of its own sees none of its devices"
    assert told(findings) == [f"example.com/pf is shared, and RDMA is in exclusive mode: {what}"]
    assert told(findings, Verdict.HINT) == [
        "RDMA is in exclusive mode: a device reaches a pod only if a CNI plugin moves it there"
    ]
    assert told(found(cards, pool), Verdict.HINT) == []


@pytest.mark.parametrize("unknown", ["", "perhaps", None])
def test_a_mode_that_the_kernel_does_not_say_is_no_finding(cards: Cards, unknown: str | None) -> None:
    path = "/sys/module/ib_core/parameters/netns_mode"
    cards.files.remove(path) if unknown is None else cards.files.write(path, unknown)
    assert told(found(cards, rule(SHARED, "pf"))) == []


def test_a_physical_function_with_virtual_ones_is_not_for_one_pod_alone(cards: Cards) -> None:
    findings = found(cards, rule(function="pf"))
    (hint,) = told(findings, Verdict.HINT)
    assert hint.startswith(f"physical functions with virtual ones are offered as a whole: {PF}; a pod")
    assert told(found(cards, rule(SHARED, "pf")), Verdict.HINT) == [], "every pod gets the same of it"
    cards.numvfs(PF, 0)
    assert told(found(cards, rule(function="pf")), Verdict.HINT) == []


def test_virtual_functions_need_multus_where_it_can_be_seen(cards: Cards) -> None:
    cards.files.remove(f"{CNI_FOLDER}/00-multus.conf")
    cards.files.write(f"{CNI_FOLDER}/10-flannel.conflist", "{}")
    (wrong,) = told(found(cards, rule()))
    assert wrong.startswith(f"virtual functions are offered, and there is no Multus in {cards.root}{CNI_FOLDER}: a pod")
    assert told(found(cards, rule(SHARED, "vf"))) == []
    cards.files.remove(CNI_FOLDER)
    findings = found(cards, rule())
    assert told(findings) == []
    assert told(findings, Verdict.HINT) == [
        f"whether the node has Multus is not seen: {cards.root}{CNI_FOLDER} is not there"
    ]


@pytest.mark.parametrize(("limit", "words"), [(64 * 1024, "64 KiB"), (8 << 20, "8 MiB")])
def test_a_limit_of_locked_memory_is_told_with_what_pods_need(cards: Cards, limit: int, words: str) -> None:
    findings = found(cards, rule(), limit=limit)
    (hint,) = [each for each in findings if each.verdict is Verdict.HINT]
    assert hint.what.startswith(f"a process may lock {words} of memory here")
    assert "IPC_LOCK" in hint.todo
    assert told(found(cards, limit=limit), Verdict.HINT) == [], "nothing is offered"


def test_the_limit_of_this_process_is_the_one_of_the_kernel() -> None:
    lines = Path("/proc/self/limits").read_text().splitlines()
    (line,) = [line for line in lines if line.startswith("Max locked memory")]
    soft = line.removeprefix("Max locked memory").split()[0]
    assert own_memory_limit() == (UNLIMITED if soft == "unlimited" else int(soft))


def test_a_host_that_is_not_seen_is_the_only_finding(tmp_path: Path) -> None:
    tree = HostTree(str(tmp_path))
    cards = Cards(tmp_path / "host")
    inventory = RdmaModel().see(scan(HostTree(str(cards.root))), HostTree(str(cards.root))).inventory
    findings = list(check(HostView(tree), inventory, [rule()], 0))
    assert len(findings) == 1
    assert findings[0].what.startswith("network cards are not seen")


@pytest.mark.parametrize(("text", "expected"), [("Y", False), ("N", True), ("", None), ("perhaps", None)])
def test_the_kernel_says_whether_an_rdma_device_is_in_one_namespace_only(text: str, expected: bool | None) -> None:
    assert rdma_is_exclusive(MadeUpTree({"/sys/module/ib_core/parameters/netns_mode": f"{text}\n"})) is expected
    assert rdma_is_exclusive(MadeUpTree()) is None
