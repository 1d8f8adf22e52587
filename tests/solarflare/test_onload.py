"""What is said of a Solarflare X2522 when a part of Onload is missing, off, or of another version (tree C)."""

from pathlib import Path

import pytest

from cards.builder import Cards
from cards.faults import Broken
from plugin_gateway.core.health.policy import NOT_ANSWERING
from plugin_gateway.linux.sysfs import HostTree
from plugin_gateway.solarflare.evidence import (
    ACCELERATION_OFF,
    LINK_DOWN,
    ONLOAD_MISMATCH,
    ONLOAD_MISSING,
)
from plugin_gateway.solarflare.library import LibraryCheck
from plugin_gateway.solarflare.model import OnloadModel, onload_model
from plugin_gateway.solarflare.onload import VERSION_FACT, KernelOnload, missing, version_of_kernel

from .looking import DOWN, FIRST, SECOND, Looker, at, host

LIBRARY = "/opt/onload/usr/lib64/libonload.so"
INTERFACE = "0123456789abcdef" * 2


@pytest.fixture
def cards(tmp_path: Path) -> Cards:
    return host(tmp_path / "host")


def install(cards: Cards, version: str, interface: str = INTERFACE) -> None:
    """Install a library that looks like one."""
    content = b"\x7fELF\x02" + b"\0" * 64 + f"\0{version}\0{interface}\0".encode()
    cards.files.at(LIBRARY).write_bytes(content)


def test_with_onload_only_the_interface_without_a_link_is_unhealthy(cards: Cards) -> None:
    look = at(cards).look()
    assert look.ids == [FIRST, SECOND]
    assert look.problems == {FIRST: {}, SECOND: {LINK_DOWN: f"{DOWN} has no link"}}


def test_without_onload_the_cards_are_listed_and_say_which_module_is_missing(tmp_path: Path) -> None:
    look = at(host(tmp_path, loaded=False)).look()
    assert look.ids == [FIRST, SECOND]
    assert look.problems[FIRST] == {ONLOAD_MISSING: "the module onload is not loaded"}
    assert look.problems[SECOND][ONLOAD_MISSING] == "the module onload is not loaded"


@pytest.mark.parametrize("module", ["onload", "sfc_resource", "sfc_char"])
def test_the_module_that_is_missing_is_named(cards: Cards, module: str) -> None:
    cards.files.remove(f"/sys/module/{module}")
    assert at(cards).look().problems[FIRST] == {ONLOAD_MISSING: f"the module {module} is not loaded"}


@pytest.mark.parametrize(("state", "words"), [("coming", "is still being loaded"), ("going", "is being unloaded")])
def test_a_module_that_is_not_ready_is_told(cards: Cards, state: str, words: str) -> None:
    cards.files.write("/sys/module/onload/initstate", state)
    assert at(cards).look().problems[FIRST] == {ONLOAD_MISSING: f"the module onload {words}"}


def test_a_module_that_is_a_part_of_the_kernel_has_no_state(cards: Cards) -> None:
    cards.files.remove("/sys/module/onload/initstate")
    assert at(cards).look().problems[FIRST] == {}


def test_the_module_is_followed_as_it_comes_goes_and_is_loaded_anew(tmp_path: Path) -> None:
    cards = host(tmp_path, loaded=False)
    looker = at(cards)
    told = [looker.look().problems[FIRST].get(ONLOAD_MISSING, "")]
    for change in (cards.load_onload, cards.unload_onload, cards.load_onload):
        change()
        look = looker.look()
        assert look.ids == [FIRST, SECOND]
        told.append(look.problems[FIRST].get(ONLOAD_MISSING, ""))
    assert told == ["the module onload is not loaded", "", "the module onload is not loaded", ""]


@pytest.mark.parametrize("node", ["onload", "onload_epoll", "sfc_char"])
def test_a_node_that_udev_has_not_made_yet_is_named_and_its_coming_seen(cards: Cards, node: str) -> None:
    looker = at(cards)
    cards.files.remove(f"/dev/{node}")
    assert looker.look().problems[FIRST] == {ONLOAD_MISSING: f"/dev/{node} is not there"}
    cards.files.touch(f"/dev/{node}")
    assert looker.look().problems[FIRST] == {}


@pytest.mark.parametrize("device", ["onload", "onload_epoll", "sfc_char"])
def test_a_module_without_its_device_is_told(cards: Cards, device: str) -> None:
    text = cards.files.text("/proc/devices")
    cards.files.write("/proc/devices", "\n".join(each for each in text.splitlines() if not each.endswith(f" {device}")))
    words = at(cards).look().problems[FIRST][ONLOAD_MISSING]
    assert words.endswith(f"but the kernel has no device {device} (/proc/devices)")


def test_a_block_device_of_that_name_is_none(cards: Cards) -> None:
    text = cards.files.text("/proc/devices").replace("237 onload\n", "")
    cards.files.write("/proc/devices", f"{text}\n237 onload")
    assert ONLOAD_MISSING in at(cards).look().problems[FIRST]


@pytest.mark.parametrize("how", [Broken.MISSING, Broken.FOLDER, Broken.LOOP, Broken.EMPTY, Broken.GARBAGE])
def test_devices_of_the_kernel_that_cannot_be_read_are_no_evidence(cards: Cards, how: Broken) -> None:
    cards.files.remove("/proc/devices")
    if how is not Broken.MISSING:
        cards.break_file("/proc/devices", how)
    assert at(cards).look().problems[FIRST] == {}


def test_a_pod_that_sees_no_proc_of_the_host_reads_its_own(cards: Cards) -> None:
    cards.files.at("/proc").rename(cards.root.with_name("aside"))
    own = HostTree().text("/proc/devices")
    assert isinstance(own, str)
    assert "onload" not in own
    root = str(cards.root)
    words = Looker(HostTree(root), onload_model(root)).look().problems[FIRST][ONLOAD_MISSING]
    assert words == "the module onload is loaded, but the kernel has no device onload (/proc/devices)"


def test_the_genuine_model_reads_everything_below_the_root_of_the_host(cards: Cards) -> None:
    install(cards, "9.1.0.24")
    root = str(cards.root)
    looker = Looker(HostTree(root), onload_model(root, ("/opt/onload",)))
    words = f"{LIBRARY} seems to be of version 9.1.0.24, the kernel module onload is of version 9.0.2.140"
    assert looker.look().problems[FIRST] == {ONLOAD_MISMATCH: words}


def test_proc_can_be_read_elsewhere_than_the_rest(cards: Cards, tmp_path: Path) -> None:
    aside = tmp_path / "own"
    aside.mkdir()
    cards.files.at("/proc").rename(aside / "proc")
    install(cards, "9.1.0.24")
    root = str(cards.root)
    model = OnloadModel(proc=HostTree(str(aside)), mismatch=LibraryCheck(root).mismatch)
    words = f"{LIBRARY} seems to be of version 9.1.0.24, the kernel module onload is of version 9.0.2.140"
    assert Looker(HostTree(root), model).look().problems[FIRST] == {ONLOAD_MISMATCH: words}


def test_the_library_that_is_missing_is_told_with_its_folder_and_its_coming_seen(cards: Cards) -> None:
    looker = at(cards)
    cards.files.remove(LIBRARY)
    words = "there is no libonload.so in /opt/onload/usr/lib64"
    assert looker.look().problems[FIRST] == {ONLOAD_MISSING: words}
    cards.install_onload()
    assert looker.look().problems[FIRST] == {}


def test_one_of_several_folders_with_the_library_is_enough(cards: Cards) -> None:
    tree = HostTree(str(cards.root))
    assert list(missing(tree, tree, ("/nowhere", "/opt/onload/"))) == []
    assert list(missing(tree, tree, ("/nowhere", "/srv/"))) == [
        "there is no libonload.so in /nowhere/usr/lib64 or /srv/usr/lib64"
    ]
    cards.unload_onload()
    cards.files.remove("/opt")
    assert list(missing(tree, tree, ("/opt/onload",))) == [
        "the module onload is not loaded",
        "the module sfc_resource is not loaded",
        "the module sfc_char is not loaded",
        "there is no libonload.so in /opt/onload/usr/lib64",
    ]


def test_a_library_of_the_modules_version_is_no_problem(cards: Cards) -> None:
    install(cards, "9.0.2.140")
    assert at(cards).look().problems[FIRST] == {}


def test_a_module_of_another_version_than_the_library_is_told(cards: Cards) -> None:
    install(cards, "9.0.2.140")
    looker = at(cards)
    assert looker.look().problems[FIRST] == {}
    cards.onload_version("9.1.0.24")
    words = f"{LIBRARY} seems to be of version 9.0.2.140, the kernel module onload is of version 9.1.0.24"
    assert looker.look().problems[FIRST] == {ONLOAD_MISMATCH: words}
    install(cards, "9.1.0.24")
    assert looker.look().problems[FIRST] == {}


def test_a_library_that_nobody_compares_is_no_problem(cards: Cards) -> None:
    install(cards, "9.1.0.24")
    assert Looker(HostTree(str(cards.root)), OnloadModel()).look().problems[FIRST] == {}


def test_a_library_that_is_no_library_is_not_judged(cards: Cards) -> None:
    cards.onload_version("9.1.0.24")
    assert at(cards).look().problems[FIRST] == {}


@pytest.mark.parametrize("how", list(Broken))
def test_a_version_that_cannot_be_read_is_no_evidence(cards: Cards, how: Broken) -> None:
    install(cards, "9.0.2.140")
    cards.files.remove("/proc/driver/onload/version")
    if how is not Broken.MISSING:
        cards.break_file("/proc/driver/onload/version", how)
    assert at(cards).look().problems[FIRST] == {}


def test_the_version_of_the_module_is_read_with_its_interface(cards: Cards) -> None:
    tree = HostTree(str(cards.root))
    assert version_of_kernel(tree) == KernelOnload("9.0.2.140", INTERFACE)
    cards.files.write("/proc/driver/onload/version", "onload_version: 201811")
    assert version_of_kernel(tree) == KernelOnload("201811", "")


def test_a_card_that_onload_may_not_use_is_unhealthy_alone(cards: Cards) -> None:
    looker = at(cards)
    cards.accelerate(FIRST, is_on=False)
    path = f"/sys/bus/pci/devices/{FIRST}/sfc_resource/enable"
    look = looker.look()
    assert look.problems[FIRST] == {ACCELERATION_OFF: f"Onload may not use it: {path} is 0"}
    assert ACCELERATION_OFF not in look.problems[SECOND]
    cards.accelerate(FIRST, is_on=True)
    assert looker.look().problems[FIRST] == {}


def test_newer_builds_have_the_switch_at_the_auxiliary_device(cards: Cards) -> None:
    folder = cards.functions[FIRST].folder
    cards.files.remove(f"{folder}/sfc_resource")
    cards.files.write(f"{folder}/sfc.onload.0/sfc_resource/enable", 0)
    words = at(cards).look().problems[FIRST][ACCELERATION_OFF]
    assert words.endswith("/sfc.onload.0/sfc_resource/enable is 0")
    cards.files.write(f"{folder}/sfc.onload.0/sfc_resource/enable", 1)
    assert at(cards).look().problems[FIRST] == {}


def test_without_a_switch_the_parameter_of_the_module_decides(cards: Cards) -> None:
    cards.files.remove(f"{cards.functions[FIRST].folder}/sfc_resource")
    assert at(cards).look().problems[FIRST] == {}
    parameter = "/sys/module/sfc_resource/parameters/enable_accel_by_default"
    cards.files.write(parameter, 0)
    look = at(cards).look()
    assert look.problems[FIRST] == {ACCELERATION_OFF: f"Onload may not use it: {parameter} is 0"}
    assert ACCELERATION_OFF not in look.problems[SECOND]


@pytest.mark.parametrize("how", list(Broken))
def test_a_switch_that_cannot_be_read_is_no_evidence(cards: Cards, how: Broken) -> None:
    path = f"{cards.functions[FIRST].folder}/sfc_resource/enable"
    cards.files.remove(path)
    if how is not Broken.MISSING:
        cards.break_file(path, how)
    problems = at(cards).look().problems[FIRST]
    assert not problems.keys() - {NOT_ANSWERING}


def test_what_is_missing_is_said_before_what_follows_from_it(cards: Cards) -> None:
    cards.accelerate(FIRST, is_on=False)
    cards.onload_version("9.1.0.24")
    install(cards, "9.0.2.140")
    cards.files.remove("/dev/onload")
    assert at(cards).look().problems[FIRST] == {ONLOAD_MISSING: "/dev/onload is not there"}


def test_the_version_of_the_module_is_told_for_labels_while_onload_is_there(tmp_path: Path) -> None:
    cards = host(tmp_path)
    looker = at(cards)
    kernel = version_of_kernel(looker.tree)
    assert kernel is not None
    assert looker.look().facts == {VERSION_FACT: kernel.version}
    cards.unload_onload()
    assert looker.look().facts == {}
