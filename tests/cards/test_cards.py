"""The made-up cards are what the kernel would show of such cards."""

import os
import re
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from cards.builder import GIVEN_AWAY, Cards
from cards.faults import Broken

PF, VF = "0000:3b:00.0", "0000:3b:00.2"
SYS = "/sys/bus/pci/devices"
LIMIT = 5.0


def dangling(root: Path) -> list[str]:
    """Return the links below a folder that lead nowhere, or out of it."""
    links = [Path(folder) / name for folder, *names in os.walk(root) for each in names for name in each]
    return [str(each) for each in links if each.is_symlink() and root not in each.resolve().parents]


def absolute(root: Path) -> list[str]:
    links = [Path(folder) / name for folder, *names in os.walk(root) for each in names for name in each]
    return [str(each) for each in links if each.is_symlink() and each.readlink().is_absolute()]


@pytest.fixture
def cards(tmp_path: Path) -> Cards:
    return Cards(tmp_path)


def test_the_files_of_a_function_are_those_of_sysfs(cards: Cards) -> None:
    files = cards.connectx6().files
    pf = f"{SYS}/{PF}"
    assert files.text(f"{pf}/vendor") == "0x15b3"
    assert files.text(f"{pf}/class") == "0x020000"
    assert files.text(f"{pf}/modalias") == "pci:v000015B3d0000101Bsv000015B3sd00000006bc02sc00i00"
    assert files.text(f"{pf}/uevent").splitlines()[:2] == ["DRIVER=mlx5_core", "PCI_CLASS=20000"]
    assert files.at(f"{pf}/driver").resolve().name == "mlx5_core"
    assert str(files.at(pf).readlink()) == "../../../devices/pci0000:3a/0000:3a:00.0/0000:3b:00.0"
    assert files.text(f"{pf}/net/ens1f0np0/flags") == "0x1003"
    assert files.text(f"{pf}/infiniband/mlx5_0/ports/1/gid_attrs/types/1") == "RoCE v2"
    assert files.names(f"{pf}/infiniband/mlx5_0/ports/1/gids") == ["0", "1", "2", "3", "4"]
    assert files.names(f"{pf}/infiniband/mlx5_0/ports/1/gid_attrs/ndevs") == ["0", "1", "2", "3"]
    assert files.text("/sys/class/infiniband_verbs/uverbs2/dev") == "231:194"
    assert files.text("/sys/class/infiniband_mad/umad5/ibdev") == "mlx5_5"
    assert files.names("/dev/infiniband") == [
        "rdma_cm",
        *(f"{kind}{n}" for kind in ("umad", "uverbs") for n in range(6)),
    ]


def test_the_idle_virtual_function_is_the_last_one(cards: Cards) -> None:
    files = cards.connectx6().files
    assert [files.at(f"{SYS}/{PF}/virtfn{vf}").resolve().name for vf in range(4)] == [
        f"0000:3b:00.{number}" for number in range(2, 6)
    ]
    states = {
        name: files.text(f"/sys/class/infiniband/{name}/ports/1/state") for name in files.names("/sys/class/infiniband")
    }
    assert [name for name, state in states.items() if state != "4: ACTIVE"] == ["mlx5_5"]
    assert files.text("/sys/class/net/ens1f0v3/flags") == "0x1002"
    assert files.text(f"{SYS}/{VF}/physfn/sriov_numvfs") == "4"


def test_the_hca_has_a_port_that_is_down_and_an_issm(cards: Cards) -> None:
    files = cards.infiniband().files
    port = "/sys/class/infiniband/ibp216s0/ports/1"
    assert [files.text(f"{port}/{name}") for name in ("state", "phys_state", "lid")] == [
        "1: DOWN",
        "2: Polling",
        "0xffff",
    ]
    assert files.names("/dev/infiniband") == ["issm0", "rdma_cm", "umad0", "uverbs0"]
    assert files.text("/sys/class/infiniband_mad/issm0/dev") == "231:64"
    assert files.text("/sys/class/net/ibp216s0/addr_len") == "20"


def test_a_solarflare_card_has_onload_where_it_is_loaded(cards: Cards) -> None:
    files = cards.solarflare(loaded=True).files
    lines = files.text("/proc/devices").splitlines()
    assert lines[0] == "Character devices:"
    assert {"  1 mem", " 10 misc", "236 onload_epoll", "237 onload", "238 sfc_char"} <= set(lines)
    assert lines[-3:] == ["", "Block devices:", "259 blkext"]
    assert files.text("/sys/class/onload/onload/dev") == "237:0"
    assert files.names("/dev") == ["infiniband", "onload", "onload_epoll", "sfc_char"]
    assert files.text("/proc/driver/onload/version").splitlines()[1] == "onload_version: 9.0.2.140"
    assert files.at("/opt/onload/usr/lib64/libonload_ext.so.2").resolve().name == "libonload_ext.so.2.0.0"
    assert files.text("/sys/class/net/enp94s0f1np1/carrier") == "0"
    assert files.text("/sys/class/net/enp94s0f1np1/device/sfc_resource/enable") == "1"


def test_without_onload_nothing_of_it_is_there(cards: Cards, tmp_path: Path) -> None:
    cards.solarflare(loaded=False)
    assert not [each for each in tmp_path.rglob("*") if re.search("onload|sfc_", str(each.relative_to(tmp_path)))]
    cards.load_onload().unload_onload()
    assert sorted(cards.files.names("/sys/module")) == ["sfc"]
    assert "onload" not in cards.files.text("/proc/devices")


def test_all_three_cards_are_one_host_and_no_link_leads_out(cards: Cards) -> None:
    cards.connectx6().infiniband().solarflare()
    assert len(cards.files.names(SYS)) == 9
    assert cards.files.names("/sys/class/infiniband_verbs")[-1] == "uverbs6"
    assert not dangling(cards.root)
    assert not absolute(cards.root)
    files = [each for each in (cards.root / "sys").rglob("*") if each.is_file()]
    assert not [str(each) for each in files if not each.read_bytes().endswith(b"\n")]


def test_many_cards_are_136_functions(cards: Cards) -> None:
    files = cards.many().files
    assert len(files.names(SYS)) == len(files.names("/sys/class/infiniband")) == 136
    assert len({files.text(f"/sys/class/infiniband_verbs/uverbs{n}/dev") for n in range(136)}) == 136
    assert {files.text(f"{SYS}/{each}/numa_node") for each in files.names(SYS)} == {"0", "1"}
    assert files.at(f"{SYS}/0000:11:02.0/physfn").resolve().name == "0000:11:00.0"


def test_a_function_in_a_pod_has_empty_folders_and_keeps_its_parts(cards: Cards) -> None:
    files = cards.connectx6().files
    cards.give_away("0000:3b:00.4")
    folder = f"{SYS}/0000:3b:00.4"
    assert [files.names(f"{folder}/{each}") for each in GIVEN_AWAY] == [[]] * 4
    assert all(files.at(f"{folder}/{each}").is_dir() for each in GIVEN_AWAY)
    assert files.at(f"{folder}/mlx5_core.rdma.4").is_dir()
    assert "ens1f0v2" not in files.names("/sys/class/net")
    cards.take_back("0000:3b:00.4", 9)
    assert files.names(f"{folder}/infiniband_verbs") == ["uverbs9"]
    assert files.text(f"{folder}/infiniband_verbs/uverbs9/ibdev") == "mlx5_4"
    assert "uverbs4" not in files.names("/dev/infiniband")
    cards.give_away("0000:3b:00.4", with_rdma=False)
    assert files.names(f"{folder}/net") == []
    assert files.names(f"{folder}/infiniband") == ["mlx5_4"]


def test_an_unplugged_function_leaves_nothing_and_comes_back_whole(cards: Cards) -> None:
    cards.connectx6()
    before = sorted(map(str, cards.root.rglob("*")))
    cards.unplug(VF)
    assert not [
        each for each in cards.root.rglob("*") if re.search(r"3b:00\.2|virtfn0|mlx5_2|uverbs2|ens1f0v0", str(each))
    ]
    assert not dangling(cards.root)
    cards.plug(VF)
    assert sorted(map(str, cards.root.rglob("*"))) == before
    cards.unplug(PF)
    assert cards.files.names(SYS) == ["0000:3b:00.1"]


def test_virtual_functions_come_and_go_with_other_numbers(cards: Cards) -> None:
    files = cards.connectx6().files
    cards.numvfs(PF, 0)
    assert files.names(SYS) == ["0000:3b:00.0", "0000:3b:00.1"]
    assert files.text(f"{SYS}/{PF}/sriov_numvfs") == "0"
    cards.numvfs(PF, 4, first_uverbs=6)
    assert [files.names(f"{SYS}/0000:3b:00.{n}/infiniband_verbs") for n in (2, 5)] == [["uverbs6"], ["uverbs9"]]
    cards.numvfs(PF, 8)
    assert len(files.names(SYS)) == 10
    assert not dangling(cards.root)


CHANGES: dict[str, Callable[[Cards], object]] = {
    "no driver": lambda cards: cards.no_driver(VF),
    "no module": lambda cards: cards.unload_mlx5_ib(),
    "no nodes": lambda cards: cards.unload_ib_uverbs(),
    "no rdma_cm": lambda cards: cards.unload_rdma_ucm(),
    "another name": lambda cards: cards.rename_interface("ens1f0v0", "eth_a.b-c"),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES.keys())
def test_no_change_leaves_a_link_that_leads_nowhere(cards: Cards, change: Callable[[Cards], object]) -> None:
    cards.connectx6()
    before = set(map(str, cards.root.rglob("*")))
    change(cards)
    assert set(map(str, cards.root.rglob("*"))) != before
    assert not dangling(cards.root)


def test_a_driver_and_a_module_come_back(cards: Cards) -> None:
    cards.connectx6()
    before = sorted(map(str, cards.root.rglob("*")))
    cards.no_driver(VF)
    assert cards.files.names(f"{SYS}/{VF}/net") == []
    assert not cards.files.text(f"{SYS}/{VF}/uevent").startswith("DRIVER")
    cards.bind(VF)
    cards.unload_mlx5_ib()
    assert cards.files.names("/sys/class/infiniband") == []
    assert "mlx5_core.rdma.0" in cards.files.names(f"{SYS}/{PF}")
    cards.load_mlx5_ib()
    cards.unload_rdma_ucm()
    cards.load_rdma_ucm()
    assert sorted(map(str, cards.root.rglob("*"))) == before


def test_links_fall_and_rise(cards: Cards) -> None:
    files = cards.connectx6().files
    cards.port_down(PF)
    assert files.text("/sys/class/infiniband/mlx5_0/ports/1/phys_state") == "3: Disabled"
    cards.port_up(PF)
    assert files.text("/sys/class/infiniband/mlx5_0/ports/1/rate") == "100 Gb/sec (4X EDR)"
    cards.carrier("ens1f0np0", is_up=False)
    assert [files.text(f"/sys/class/net/ens1f0np0/{name}") for name in ("operstate", "carrier_changes")] == [
        "down",
        "3",
    ]
    cards.switch_on("ens1f0np0")
    cards.switch_off("ens1f0np0")
    assert files.text("/sys/class/net/ens1f0np0/flags") == "0x1002"
    cards.count(PF, "link_downed", 7)
    assert files.text("/sys/class/infiniband/mlx5_0/ports/1/counters/link_downed") == "7"


def test_a_wired_interface_is_the_one_of_its_name_among_the_virtual_ones(cards: Cards) -> None:
    cards.connectx6()
    cards.wire("ens1f0np0")
    cards.files.write("/sys/devices/virtual/net/ens1f0np0/carrier", 1)
    assert cards.files.text(f"{SYS}/{PF}/net/ens1f0np0/carrier") == "1"
    assert cards.files.text("/sys/class/net/ens1f0np0/carrier") == "1"


def test_a_file_hangs_its_reader_until_it_answers(cards: Cards) -> None:
    cards.connectx6()
    path = f"{cards.port_folder(PF)}/state"
    cards.hang(path)
    found: list[str] = []
    reader = threading.Thread(target=lambda: found.append(cards.files.text(path)), daemon=True)
    reader.start()
    reader.join(0.05)
    assert reader.is_alive()
    cards.answer(path, "4: ACTIVE")
    reader.join(LIMIT)
    assert found == ["4: ACTIVE"]
    assert cards.files.text(path) == "4: ACTIVE"


@pytest.mark.parametrize(
    ("how", "error"),
    [
        (Broken.MISSING, FileNotFoundError),
        (Broken.FOLDER, IsADirectoryError),
        (Broken.LOOP, OSError),
        (Broken.MEMORY, OSError),
        (Broken.NOT_UTF8, UnicodeDecodeError),
    ],
)
def test_a_broken_file_cannot_be_read(cards: Cards, how: Broken, error: type[Exception]) -> None:
    cards.connectx6()
    path = f"{cards.port_folder(PF)}/state"
    cards.break_file(path, how)
    with pytest.raises(error):
        cards.files.text(path)


@pytest.mark.parametrize(("how", "size"), [(Broken.EMPTY, 0), (Broken.GARBAGE, 34), (Broken.HUGE, 1_000_000)])
def test_a_broken_file_says_nothing_of_use(cards: Cards, how: Broken, size: int) -> None:
    cards.connectx6()
    path = f"{SYS}/{PF}/numa_node"
    cards.break_file(path, how)
    assert cards.files.at(path).stat().st_size == size
