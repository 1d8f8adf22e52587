"""Files of sysfs that cannot be read or say nothing of use: a card is the worse for it, and the others are not."""

from pathlib import Path

import pytest

from cards.builder import Cards
from cards.faults import Broken
from plugin_gateway.core.health.policy import NOT_ANSWERING
from rdma.watching import Look, Watched

PF, OTHER_PF, VF, OTHER_VF = (f"0000:3b:00.{number}" for number in range(4))
ALL = [f"0000:3b:00.{number}" for number in range(6)]
FILES = (
    "class",
    "vendor",
    "numa_node",
    "driver",
    "physfn",
    "max_link_speed",
    "current_link_width",
    "net",
    "net/ens1f0v0/flags",
    "net/ens1f0v0/carrier",
    "infiniband",
    "infiniband/mlx5_2/ports",
    "infiniband/mlx5_2/ports/1/state",
    "infiniband/mlx5_2/ports/1/phys_state",
    "infiniband/mlx5_2/ports/1/rate",
    "infiniband/mlx5_2/ports/1/link_layer",
    "infiniband/mlx5_2/hca_type",
    "infiniband_verbs",
    "infiniband_verbs/uverbs2/ibdev",
    "infiniband_mad/umad2/ibdev",
)


def others(look: Look) -> dict[str, object]:
    return {address: (look.device(address), look.problems(address)) for address in look.addresses if address != VF}


@pytest.mark.parametrize("how", Broken, ids=lambda how: how.value)
def test_a_file_that_lies_harms_nobody_but_its_own_device(watched: Watched, cards: Cards, how: Broken) -> None:
    folder = cards.connectx6().functions[VF].folder
    before = watched.look()
    for path in FILES:
        kept = cards.files.at(f"{folder}/{path}")
        aside = Path(f"{kept}.kept")
        kept.rename(aside)
        cards.files.at(f"{folder}/{path}").unlink(missing_ok=True)
        cards.break_file(f"{folder}/{path}", how)
        look = watched.look()
        assert others(look) == others(before), path
        assert VF in look.addresses or look.inventory.rejected or path in {"class", "vendor"}, path
        cards.files.remove(f"{folder}/{path}")
        aside.rename(kept)
        assert others(watched.look()) == others(before), path
    assert watched.look().inventory == before.inventory


def test_a_function_that_cannot_be_read_is_said_with_the_reason(watched: Watched, cards: Cards) -> None:
    folder = cards.connectx6().functions[VF].folder
    watched.look()
    cards.break_file(f"{folder}/vendor", Broken.FOLDER)
    look = watched.look()
    assert VF not in look.addresses
    assert [(each.place, each.problem) for each in look.inventory.rejected] == [(f"card at {VF}", "vendor: EISDIR")]


@pytest.mark.parametrize(
    ("how", "words"), [(Broken.FOLDER, "EISDIR"), (Broken.LOOP, "ELOOP"), (Broken.EMPTY, "cannot be")]
)
def test_a_state_that_cannot_be_read_is_evidence_against_its_device(
    watched: Watched, cards: Cards, how: Broken, words: str
) -> None:
    cards.connectx6()
    watched.look()
    cards.break_file(f"{cards.port_folder(VF)}/state", how)
    look = watched.look()
    assert look.unhealthy() == [VF]
    assert words in look.problems(VF)[NOT_ANSWERING]


def test_a_state_that_is_missing_is_evidence_as_soon_as_another_scan_has_found_its_device(
    watched: Watched, cards: Cards
) -> None:
    cards.connectx6()
    watched.look()
    cards.break_file(f"{cards.port_folder(VF)}/state", Broken.MISSING)
    assert [watched.look().unhealthy() for _ in range(2)] == [[], [VF]]


def test_folders_of_a_device_that_cannot_be_read_are_evidence_against_it(watched: Watched, cards: Cards) -> None:
    folder = cards.connectx6().functions[VF].folder
    before = watched.look()
    cards.break_file(f"{folder}/infiniband", Broken.LOOP)
    look = watched.look()
    assert look.unhealthy() == [VF]
    assert "cannot be read: infiniband: ELOOP" in look.problems(VF)[NOT_ANSWERING]
    assert look.attribute(VF, "rdmaDevice") == before.attribute(VF, "rdmaDevice")


def test_a_virtual_function_is_none_of_the_physical_ones_even_if_its_parent_cannot_be_read(
    watched: Watched, cards: Cards
) -> None:
    folder = cards.connectx6().functions[VF].folder
    cards.break_file(f"{folder}/physfn", Broken.FOLDER)
    cards.port_down(VF)
    look = watched.look()
    assert look.with_attribute("function", "pf") == [PF, OTHER_PF]
    assert look.unhealthy() == []


def test_devices_with_the_same_identity_are_told_apart_by_their_addresses(watched: Watched, cards: Cards) -> None:
    cards.connectx6()
    for address in ALL:
        rdma = cards.functions[address].rdma
        assert rdma is not None
        cards.files.write(f"/sys/class/infiniband/{rdma.name}/node_guid", "0000:0000:0000:0000")
    assert watched.look().addresses == ALL


def test_names_that_no_text_can_have_are_survived(watched: Watched, cards: Cards) -> None:
    folder = cards.connectx6().functions[PF].folder
    odd = b"\xff\xfe\n,;$(x)"
    for inside in ("net", "infiniband", "infiniband_verbs"):
        Path(f"{cards.files.at(folder)}/{inside}".encode().decode()).joinpath(
            odd.decode(errors="surrogateescape")
        ).mkdir()
    look = watched.look()
    assert look.addresses == ALL
    assert look.unhealthy() == []
    assert "ens1f0np0" in look.attribute(PF, "interface")
