"""Files below a root, on disk and in memory: both follow the same rules."""

import errno
import os
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from plugin_gateway.linux import sysfs
from plugin_gateway.linux.card_model import Tree, Unread
from plugin_gateway.linux.made_up_tree import MadeUpTree
from plugin_gateway.linux.sysfs import HostTree, KeptFile

from . import made_up

Make = Callable[[made_up.Files], Tree]


@pytest.fixture(params=["on disk", "in memory"])
def make(request: pytest.FixtureRequest, tmp_path: Path) -> Make:
    """Makes a tree of either kind."""

    def on_disk(files: made_up.Files) -> Tree:
        made_up.write(tmp_path, files)
        return HostTree(str(tmp_path))

    return on_disk if request.param == "on disk" else lambda files: MadeUpTree(files.texts, files.links)


def test_a_text_comes_without_its_newline(make: Make) -> None:
    tree = make(made_up.Files({"/sys/one": "4: ACTIVE\n", "/sys/two": "a\n\n", "/sys/empty": ""}, {}))
    assert [tree.text(f"/sys/{name}") for name in ("one", "two", "empty")] == ["4: ACTIVE", "a\n", ""]


def test_what_cannot_be_read_has_the_kernels_error(make: Make) -> None:
    tree = make(made_up.Files({"/sys/file": "1\n"}, {"/sys/lost": "nowhere", "/sys/loop": "loop"}))
    assert tree.text("/sys/missing") == tree.names("/sys/missing") == Unread(errno.ENOENT, "ENOENT")
    assert tree.link("/sys/missing") == tree.text("/sys/lost") == Unread(errno.ENOENT, "ENOENT")
    assert tree.text("/sys/loop") == tree.names("/sys/loop") == Unread(errno.ELOOP, "ELOOP")
    assert tree.text("/sys") == Unread(errno.EISDIR, "EISDIR")
    assert tree.names("/sys/file") == tree.text("/sys/file/more") == Unread(errno.ENOTDIR, "ENOTDIR")
    assert tree.link("/sys/file") == tree.link("/sys") == Unread(errno.EINVAL, "EINVAL")


def test_names_are_in_order(make: Make) -> None:
    tree = make(made_up.Files({"/sys/b/file": "", "/sys/a": ""}, {"/sys/c": "b"}))
    assert tree.names("/sys") == ("a", "b", "c")
    assert tree.names("/sys/c") == ("file",)


def test_links_lead_to_files_and_folders_below_the_root(make: Make) -> None:
    tree = make(
        made_up.Files(
            {"/sys/devices/a/state": "here\n", "/etc/secret": "of this root\n"},
            {
                "/sys/class/a": "../devices/a",
                "/sys/absolute": "/sys/devices/a",
                "/sys/up": "../../../../../../etc/secret",
                "/sys/class/chain": "a/../a/./state",
            },
        )
    )
    assert tree.text("/sys/class/a/state") == tree.text("/sys/absolute/state") == "here"
    assert tree.text("/sys/class/chain") == "here"
    assert tree.text("/sys/up") == tree.text("/sys/../../etc/secret") == "of this root"
    assert tree.link("/sys/class/a") == "../devices/a"
    assert tree.link("/sys/absolute") == "/sys/devices/a"


def test_no_link_leads_out_of_the_root(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "secret").write_text("of the machine\n")
    root = tmp_path / "host"
    (root / "sys").mkdir(parents=True)
    (root / "sys/file").symlink_to(outside / "secret")
    (root / "sys/folder").symlink_to(outside)
    (root / "sys/up").symlink_to("../../outside")
    tree = HostTree(str(root))
    for path in ("/sys/file", "/sys/folder/secret", "/sys/up/secret", "/../outside/secret"):
        assert tree.text(path) == Unread(errno.ENOENT, "ENOENT")
        assert tree.keep(path).read() == Unread(errno.ENOENT, "ENOENT")
        assert not tree.exists(path)
    assert tree.names("/sys/folder") == tree.names("/sys/up") == Unread(errno.ENOENT, "ENOENT")


def test_something_exists_unless_it_is_a_link_into_nowhere(make: Make) -> None:
    tree = make(made_up.Files({"/dev/a": ""}, {"/dev/b": "a", "/dev/lost": "x", "/dev/loop": "loop"}))
    assert [name for name in ("a", "b", "lost", "loop", "c", "a/d") if tree.exists(f"/dev/{name}")] == ["a", "b"]
    assert tree.exists("/dev")


def test_on_this_machine_a_link_into_nowhere_is_nothing_too(tmp_path: Path) -> None:
    (tmp_path / "lost").symlink_to("nowhere")
    assert not HostTree().exists(str(tmp_path / "lost"))
    assert HostTree().exists(str(tmp_path))


def test_a_path_that_no_file_can_have_is_an_invalid_argument(tmp_path: Path) -> None:
    tree = HostTree(str(tmp_path))
    for path in ("/sys/\0", "/sys/\ud800", "/\0/file"):
        assert tree.text(path) == tree.names(path) == tree.link(path) == Unread(errno.EINVAL, "EINVAL")
        assert not tree.exists(path)
    assert tree.text("/" + "a/" * 5000) == Unread(errno.ENAMETOOLONG, "ENAMETOOLONG")


def test_text_that_is_not_utf_8_can_be_printed_and_names_can_be_read(tmp_path: Path) -> None:
    folder = os.fsencode(tmp_path) + b"/\xff"
    os.mkdir(folder)  # noqa: PTH102 - a name that is no text
    (tmp_path / "text").write_bytes(b"\xff\xfeA\n")
    tree = HostTree(str(tmp_path))
    assert tree.text("/text") == "\ufffd\ufffdA"
    assert tree.names("/") == ("text", "\udcff")
    assert tree.names("/\udcff") == ()


def test_what_is_too_long_is_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "most").write_text("a" * sysfs.MAX_TEXT)
    (tmp_path / "more").write_text("a" * (sysfs.MAX_TEXT + 1))
    tree = HostTree(str(tmp_path))
    assert tree.text("/most") == "a" * sysfs.MAX_TEXT
    assert tree.text("/more") == Unread(errno.EFBIG, "more than 65536 bytes")
    assert tree.text("/../../dev/zero") == Unread(errno.ENOENT, "ENOENT")
    assert HostTree().text("/dev/zero") == Unread(errno.EFBIG, "more than 65536 bytes")
    monkeypatch.setattr(sysfs, "MAX_NAMES", 2)
    assert tree.names("/") == ("more", "most")
    (tmp_path / "third").write_text("")
    assert tree.names("/") == Unread(errno.EFBIG, "more than 2 names")


def test_a_bus_with_every_function_of_sixteen_cards_is_listed_with_what_else_is_on_it(tmp_path: Path) -> None:
    for number in range(4096 + 400):
        (tmp_path / f"0000:{number >> 8:02x}:{number >> 3 & 31:02x}.{number & 7}").touch()
    names = HostTree(str(tmp_path)).names("/")
    assert not isinstance(names, Unread)
    assert len(names) == 4496


def test_a_read_error_of_the_kernel_is_told(tmp_path: Path) -> None:
    (tmp_path / "proc/self").mkdir(parents=True)
    assert HostTree("/").text("/proc/self/mem") == Unread(errno.EIO, "EIO")
    assert HostTree("/").keep("/proc/self/mem").read() == Unread(errno.EIO, "EIO")


def test_the_root_of_this_machine_is_read_as_it_is() -> None:
    tree = HostTree()
    assert tree.text("/sys/class/net/lo/type") == "772"
    assert isinstance(tree.link("/sys/class/net/lo"), str)
    assert "lo" in tree.names("/sys/class/net")


def test_a_link_that_was_changed_is_followed_anew(tmp_path: Path) -> None:
    made_up.write(tmp_path, made_up.Files({"/a/file": "a\n", "/b/file": "b\n"}, {"/link": "a"}))
    tree = HostTree(str(tmp_path))
    assert tree.text("/link/file") == "a"
    (tmp_path / "link").unlink()
    (tmp_path / "link").symlink_to("b")
    time.sleep(2 * sysfs.KNOWN_FOR)
    assert tree.text("/link/file") == "b"


def test_a_kept_file_shows_each_change(make: Make, tmp_path: Path) -> None:
    tree = make(made_up.Files({"/sys/state": "1: DOWN\n"}, {}))
    assert isinstance(tree, HostTree | MadeUpTree)
    kept = tree.keep("/sys/state")
    assert kept.read() == "1: DOWN"
    if isinstance(tree, MadeUpTree):
        tree.write("/sys/state", "4: ACTIVE\n")
    else:
        (tmp_path / "sys/state").write_text("4: ACTIVE\n")
    assert kept.read() == "4: ACTIVE"
    kept.close()


def test_a_kept_file_costs_one_descriptor_until_it_is_closed(tmp_path: Path) -> None:
    (tmp_path / "state").write_text("1\n")
    before = len(os.listdir("/proc/self/fd"))  # noqa: PTH208 - a count
    kept = KeptFile(HostTree(str(tmp_path)), "/state")
    for _ in range(100):
        assert kept.read() == "1"
    assert len(os.listdir("/proc/self/fd")) == before + 1  # noqa: PTH208 - a count
    kept.close()
    kept.close()
    assert len(os.listdir("/proc/self/fd")) == before  # noqa: PTH208 - a count


def test_a_kept_file_that_was_replaced_is_found_after_some_reads(tmp_path: Path) -> None:
    """In sysfs a read fails then. A renamed interface is found so as well."""
    (tmp_path / "state").write_text("old\n")
    kept = HostTree(str(tmp_path)).keep("/state")
    assert kept.read() == "old"
    (tmp_path / "state").rename(tmp_path / "away")
    assert Unread(errno.ENOENT, "ENOENT") in {kept.read() for _ in range(20)}
    (tmp_path / "state").write_text("new\n")
    assert kept.read() == "new"
    kept.close()


def test_a_kept_file_whose_device_is_gone_is_opened_anew_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "state").write_text("1\n")
    kept, read = HostTree(str(tmp_path)).keep("/state"), os.pread
    assert kept.read() == "1"
    answers = [OSError(errno.ENODEV, "gone")]

    def pread(file: int, count: int, offset: int) -> bytes:
        if answers:
            raise answers.pop()
        return read(file, count, offset)

    monkeypatch.setattr(os, "pread", pread)
    assert kept.read() == "1"
    answers += [OSError(errno.ENODEV, "gone"), OSError(errno.ENODEV, "gone")]
    assert kept.read() == Unread(errno.ENODEV, "ENODEV")
    assert kept.read() == "1"
    answers += [OSError(errno.EINVAL, "not now")]
    assert kept.read() == Unread(errno.EINVAL, "EINVAL")
    kept.close()


def test_a_file_that_hangs_holds_up_who_reads_it_and_nobody_else(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "state")
    (tmp_path / "other").write_text("1\n")
    tree, found = HostTree(str(tmp_path)), list[object]()
    reader = threading.Thread(target=lambda: found.append(tree.text("/state")), daemon=True)
    reader.start()
    reader.join(0.1)
    assert reader.is_alive()
    assert tree.text("/other") == "1"
    (tmp_path / "state").write_text("4: ACTIVE\n")
    reader.join(5)
    assert found == ["4: ACTIVE"]


def test_a_made_up_tree_can_be_changed() -> None:
    tree, changes = MadeUpTree({"/sys/devices/a/state": "1\n"}, {"/sys/class/a": "../devices/a"}), list[int]()
    tree.on_change(lambda: changes.append(1))
    tree.write("/sys/class/a/state", "2\n")
    assert tree.text("/sys/devices/a/state") == "2", "a change goes through links"
    tree.remove("/sys/class/a/state")
    assert tree.names("/sys/devices/a") == (), "the folder stays"
    tree.fail("/sys/devices/a/carrier", errno.EIO)
    assert tree.text("/sys/class/a/carrier") == Unread(errno.EIO, "EIO")
    assert tree.exists("/sys/class/a/carrier")
    tree.remove("/sys/class/a")
    assert not tree.exists("/sys/class/a")
    assert tree.exists("/sys/devices/a"), "a link is removed, not what it leads to"
    tree.make_folder("/sys/devices")
    assert tree.names("/sys/devices") == ()
    assert len(changes) == 5
    tree.remove("/sys/devices/nothing/here")
    assert len(changes) == 5


def test_a_made_up_file_is_no_folder() -> None:
    tree = MadeUpTree({"/sys/file": "1\n"})
    with pytest.raises(NotADirectoryError):
        tree.write("/sys/file/more", "")
    with pytest.raises(IsADirectoryError):
        tree.write("/", "")
