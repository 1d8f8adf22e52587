"""What the doctor says of a node with Onload, with and without each part of it."""

from collections.abc import Callable
from pathlib import Path

import pytest

from cards.builder import Cards
from plugin_gateway.core.findings import Finding, Verdict
from plugin_gateway.linux.card_findings import HostView
from plugin_gateway.linux.pci_scan import scan
from plugin_gateway.linux.sysfs import HostTree
from plugin_gateway.solarflare.checkup import check, check_host
from plugin_gateway.solarflare.library import LibraryCheck
from plugin_gateway.solarflare.model import OnloadModel
from plugin_gateway.solarflare.onload import HOST_PATH, KernelOnload

from .looking import FIRST, SECOND, UP, host


@pytest.fixture
def cards(tmp_path: Path) -> Cards:
    return host(tmp_path)


def found(cards: Cards) -> list[Finding]:
    root = str(cards.root)
    tree = HostTree(root)
    inventory = OnloadModel().see(scan(tree), tree).inventory
    view = HostView(tree, root, frozenset({UP}))
    return list(check(view, tree, inventory, (HOST_PATH,), LibraryCheck(root).mismatch))


def told(findings: list[Finding], verdict: Verdict = Verdict.MEND) -> list[str]:
    assert all(each.todo for each in findings if each.verdict is Verdict.MEND)
    return [each.what for each in findings if each.verdict is verdict]


def test_where_all_is_there_it_says_which_version(cards: Cards) -> None:
    assert told(found(cards), Verdict.WELL) == ["Onload 9.0.2.140 is loaded, with its device nodes and its library"]


def test_where_it_is_not_loaded_each_module_is_named(tmp_path: Path) -> None:
    (wrong,) = told(found(host(tmp_path, loaded=False)))
    modules = "; ".join(f"the module {name} is not loaded" for name in ("onload", "sfc_resource", "sfc_char"))
    assert wrong.startswith(f"Onload cannot be used: {modules}")


def test_a_node_without_such_a_card_needs_no_onload(tmp_path: Path) -> None:
    assert found(Cards(tmp_path)) == []


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda cards: cards.remove_onload_node("onload_epoll"), "/dev/onload_epoll is not there"),
        (lambda cards: cards.files.remove("/opt/onload"), "there is no libonload.so in /opt/onload/usr/lib64"),
    ],
)
def test_what_is_missing_is_named(cards: Cards, change: Callable[[Cards], None], words: str) -> None:
    change(cards)
    assert told(found(cards)) == [f"Onload cannot be used: {words}"]


def test_a_control_plane_server_that_is_not_there_is_named(cards: Cards) -> None:
    cards.files.folder("/sbin")
    (wrong,) = told(found(cards))
    assert wrong.startswith("/sbin/onload_cp_server, which the default of the module onload says")


def test_cards_without_a_driver_and_those_that_onload_may_not_use_are_named(cards: Cards) -> None:
    cards.accelerate(FIRST, is_on=False)
    cards.no_driver(SECOND)
    findings = found(cards)
    assert told(findings) == [f"no kernel driver has {SECOND}"]
    assert told(findings, Verdict.HINT) == [f"Onload may not use {FIRST}"]


def test_a_host_that_is_not_seen_is_the_only_finding(cards: Cards, tmp_path: Path) -> None:
    tree = HostTree(str(cards.root))
    inventory = OnloadModel().see(scan(tree), tree).inventory
    nothing = HostTree(str(tmp_path / "nothing"))
    findings = list(check(HostView(nothing), nothing, inventory, (HOST_PATH,), lambda *_: ""))
    assert [each.what[:28] for each in findings] == ["network cards are not seen: "]


def test_a_library_of_another_version_is_to_be_mended(cards: Cards) -> None:
    cards.onload_version("9.1.0.24")
    tree = HostTree(str(cards.root))
    inventory = OnloadModel().see(scan(tree), tree).inventory
    view = HostView(tree, str(cards.root), frozenset({UP}))
    said: list[tuple[str, str]] = []

    def mismatch(path: str, kernel: KernelOnload) -> str:
        said.append((path, kernel.version))
        return "the library is another one"

    findings = list(check(view, tree, inventory, (HOST_PATH,), mismatch))
    assert said == [(HOST_PATH, "9.1.0.24")]
    assert told(findings) == ["the library is another one"]


def test_a_genuine_host_is_looked_at_with_its_own_proc(cards: Cards) -> None:
    tree = HostTree(str(cards.root))
    inventory = OnloadModel().see(scan(tree), tree).inventory
    view = HostView(tree, str(cards.root), frozenset({UP}))
    assert told(list(check_host(view, inventory, (HOST_PATH,))), Verdict.WELL)
    cards.files.remove("/proc")
    (wrong,) = told(list(check_host(view, inventory, (HOST_PATH,))))
    assert "(/proc/devices)" in wrong, "the /proc of this machine is read, which has no Onload"
