"""The doctor's words about the control plane server, which the kernel starts on the host."""

from pathlib import Path

import pytest

from cards.builder import Cards
from plugin_gateway.linux.sysfs import HostTree
from plugin_gateway.solarflare.control_plane import control_plane_problem

from .looking import host

PARAMETERS = "/sys/module/onload/parameters"


@pytest.fixture
def cards(tmp_path: Path) -> Cards:
    return host(tmp_path)


def problem(cards: Cards) -> str:
    return control_plane_problem(HostTree(str(cards.root)))


def test_a_server_that_is_not_where_the_module_looks_is_told(cards: Cards) -> None:
    cards.files.folder("/sbin")
    assert problem(cards) == (
        "/sbin/onload_cp_server, which the default of the module onload says is Onload's control plane server, "
        "is not there: no stack is accelerated"
    )
    cards.files.touch("/sbin/onload_cp_server")
    assert problem(cards) == ""


def test_the_path_of_the_parameter_is_looked_at(cards: Cards) -> None:
    cards.files.folder("/usr/bin")
    cards.files.write(f"{PARAMETERS}/cplane_server_path", "/usr/bin/crictl")
    assert problem(cards).startswith(f"/usr/bin/crictl, which {PARAMETERS}/cplane_server_path says")
    cards.files.touch("/usr/bin/crictl")
    assert problem(cards) == ""


def test_the_folder_can_be_a_link(cards: Cards) -> None:
    cards.files.touch("/usr/sbin/onload_cp_server")
    cards.files.link("/sbin", "/usr/sbin")
    assert problem(cards) == ""


def test_what_a_pod_does_not_see_is_not_said_to_be_missing(cards: Cards) -> None:
    assert problem(cards) == ""


def test_a_kernel_that_starts_none_needs_none(cards: Cards) -> None:
    cards.files.folder("/sbin")
    cards.files.write(f"{PARAMETERS}/cplane_spawn_server", "N")
    assert problem(cards) == ""
    cards.files.remove(f"{PARAMETERS}/cplane_spawn_server")
    assert problem(cards)


def test_without_the_module_there_is_nothing_to_say(cards: Cards) -> None:
    cards.files.folder("/sbin")
    cards.unload_onload()
    assert problem(cards) == ""
