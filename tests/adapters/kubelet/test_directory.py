"""The kubelet's directory: identities, wake-ups, names of our own, and other gateways."""

import asyncio
import contextlib
import os
import shutil
import socket
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from plugin_gateway.adapters.configuration.options import DEFAULT_RESOURCE
from plugin_gateway.adapters.kubelet.directory import KubeletDirectory
from plugin_gateway.adapters.kubelet.plugin_sockets import (
    _FORM,
    MAX_DIRECTORY_LENGTH,
    PREFIX,
    STREAM_OPEN,
    OwnSockets,
    checksum,
)
from plugin_gateway.adapters.support.unix_files import MAX_PATH, find_listener, identify_directory, identify_socket
from plugin_gateway.core.resources.names import ResourceName

NAMES = st.from_regex(r"[a-z]{1,10}(\.[a-z]{1,30}){1,4}/[A-Za-z]{1,63}", fullmatch=True).map(ResourceName)


@contextmanager
def listening(path: Path) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(path))
        server.listen()
        yield server


def leftover(path: Path) -> None:
    with listening(path):
        pass


@pytest.fixture
async def directory(kubelet_dir: Path) -> AsyncIterator[tuple[KubeletDirectory, asyncio.Event]]:
    woken = asyncio.Event()
    watched = KubeletDirectory(kubelet_dir)
    watched.open(PREFIX, wake=woken.set, look_soon=lambda: None)
    assert watched.exists()
    yield watched, woken
    watched.close()
    watched.close()


Watched = tuple[KubeletDirectory, asyncio.Event]


async def test_a_kubelet_is_known_by_more_than_the_name_of_its_socket(directory: Watched) -> None:
    watched, woken = directory
    assert watched.kubelet() is None
    leftover(watched.kubelet_socket)
    first = watched.kubelet()
    assert first is not None
    assert watched.kubelet() == first
    watched.kubelet_socket.rename(watched.path / "first.sock")
    leftover(watched.kubelet_socket)
    second = watched.kubelet()
    assert second is not None
    assert not second.shares_inode(first)
    os.utime(watched.kubelet_socket)
    touched = watched.kubelet()
    assert touched is not None
    assert touched != second
    assert touched.shares_inode(second)
    await asyncio.wait_for(woken.wait(), 5)


async def test_a_kubelet_behind_a_link_changes_the_directory(directory: Watched, tmp_path: Path) -> None:
    """Its socket lies in another directory, which nobody watches."""
    watched, _ = directory
    real = tmp_path / "kubelet.sock"
    leftover(real)
    watched.kubelet_socket.symlink_to(real)
    assert not watched.is_watched()
    long_ago = time.time() - 60
    os.utime(watched.path, (long_ago, long_ago))
    assert watched.has_changed()
    assert not watched.has_changed()
    real.unlink()
    assert watched.has_changed()
    assert not watched.has_changed()
    leftover(real)
    assert watched.has_changed()
    assert not watched.has_changed()


async def test_a_file_with_the_kubelets_name_is_no_kubelet(directory: Watched) -> None:
    watched, _ = directory
    watched.kubelet_socket.touch()
    assert watched.kubelet() is None


async def test_only_the_kubelet_and_our_own_files_wake_and_others_are_looked_at_soon(kubelet_dir: Path) -> None:
    woken, looked = asyncio.Event(), asyncio.Event()
    watched = KubeletDirectory(kubelet_dir)
    watched.open(PREFIX, wake=woken.set, look_soon=looked.set)
    assert not watched.is_watched()
    assert watched.exists()
    assert watched.is_watched()
    (watched.path / "other.sock").touch()
    await asyncio.wait_for(looked.wait(), 5)
    assert not woken.is_set()
    (watched.path / f"{PREFIX}x.sock").touch()
    await asyncio.wait_for(woken.wait(), 5)
    woken.clear()
    leftover(watched.kubelet_socket)
    await asyncio.wait_for(woken.wait(), 5)
    watched.close()


async def test_a_directory_that_is_replaced_is_watched_again(directory: Watched) -> None:
    watched, woken = directory
    old = watched.path.rename(watched.path.with_name(f"{watched.path.name}-old"))
    assert not watched.exists()
    watched.path.mkdir()
    assert watched.has_changed()
    assert watched.exists()
    await asyncio.wait_for(woken.wait(), 5)
    woken.clear()
    leftover(old / "kubelet.sock")
    (old / "kubelet.sock").unlink()
    leftover(watched.kubelet_socket)
    await asyncio.wait_for(woken.wait(), 5)
    assert watched.kubelet() is not None
    old.rmdir()


def watches() -> int:
    """Count the inotify watches of this process."""
    infos = [path.read_text() for path in Path("/proc/self/fdinfo").iterdir() if _is_inotify(path.name)]
    return sum(info.count("inotify wd") for info in infos)


def _is_inotify(number: str) -> bool:
    with contextlib.suppress(OSError):
        return "inotify" in str(Path(f"/proc/self/fd/{number}").readlink())
    return False


async def test_a_parent_that_is_replaced_again_and_again_is_watched_once(kubelet_dir: Path) -> None:
    parent = kubelet_dir / "parent"
    (parent / "plugins").mkdir(parents=True)
    watched = KubeletDirectory(parent / "plugins")
    watched.open(PREFIX, wake=lambda: None, look_soon=lambda: None)
    assert watched.exists()
    before = watches()
    for number in range(5):
        parent.rename(kubelet_dir / f"old{number}")
        (parent / "plugins").mkdir(parents=True)
        assert watched.exists()
    assert watches() == before
    watched.close()
    shutil.rmtree(kubelet_dir)
    kubelet_dir.mkdir()


async def test_what_is_waited_for_is_told_as_it_is(directory: Watched) -> None:
    watched, _ = directory
    assert watched.explain_absence() == "waiting for the kubelet: no kubelet.sock"
    watched.kubelet_socket.symlink_to(watched.kubelet_socket)
    assert watched.explain_absence() == "waiting for the kubelet: kubelet.sock is no socket"
    watched.kubelet_socket.unlink()
    watched.path.rmdir()
    assert watched.explain_absence() == "waiting for the kubelet directory"
    watched.path.touch()
    assert watched.explain_absence() == "waiting for the kubelet directory: what has its name is none"
    watched.path.unlink()
    watched.path.mkdir()


async def test_without_inotify_or_watches_looking_still_tells(
    kubelet_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def none_left(*_: object) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("plugin_gateway.adapters.kubelet.directory.INotify.add_watch", none_left)
    watched = KubeletDirectory(kubelet_dir)
    watched.open(PREFIX, wake=lambda: None, look_soon=lambda: None)
    assert watched.exists()
    assert not watched.is_watched()
    leftover(watched.kubelet_socket)
    assert watched.kubelet() is not None
    watched.close()


def test_what_is_no_socket_or_no_directory_has_no_identity(kubelet_dir: Path) -> None:
    (kubelet_dir / "file").touch()
    assert identify_socket(kubelet_dir / "file") is None
    assert identify_directory(kubelet_dir / "file") is None
    assert identify_directory(kubelet_dir / "nothing") is None


def test_who_listens_is_told_with_its_pid(kubelet_dir: Path) -> None:
    with listening(kubelet_dir / "a.sock") as server:
        found = find_listener(kubelet_dir / "a.sock")
        assert found is not None
        assert found.pid == os.getpid()
        server.listen(0)
        crowd = [socket.socket(socket.AF_UNIX) for _ in range(5)]
        for client in crowd:
            client.setblocking(False)
            client.connect_ex(str(kubelet_dir / "a.sock"))
        full = find_listener(kubelet_dir / "a.sock")
        assert full is not None
        assert full.pid == 0
        for client in crowd:
            client.close()
    assert find_listener(kubelet_dir / "a.sock") is None
    assert find_listener(kubelet_dir / "b.sock") is None


@given(NAMES, st.integers(1, MAX_DIRECTORY_LENGTH))
def test_names_fit_and_lead_back_to_their_resource(resource: ResourceName, length: int) -> None:
    sockets = OwnSockets(Path("/" + "d" * (length - 1)))
    paths = [sockets.fresh_path(resource) for _ in range(3)]
    assert len(set(paths)) == 3
    assert all(len(os.fsencode(path)) <= MAX_PATH for path in paths)
    assert all(len(path.name) <= 75 for path in paths)
    form = _FORM.fullmatch(paths[0].name)
    assert form is not None
    assert form.groups() == (checksum(resource), sockets.instance)


@given(NAMES, NAMES)
def test_different_resources_have_different_names(one: ResourceName, other: ResourceName) -> None:
    assert (checksum(one) == checksum(other)) == (one == other)


def test_leftovers_of_our_own_form_are_removed_and_others_are_never_touched(kubelet_dir: Path) -> None:
    sockets, dead = OwnSockets(kubelet_dir), OwnSockets(kubelet_dir)
    mine, gone = sockets.fresh_path(DEFAULT_RESOURCE), dead.fresh_path(DEFAULT_RESOURCE)
    strangers = [kubelet_dir / name for name in ("nvidia.sock", "kubelet.sock", f"{PREFIX}note.txt")]
    for path in (mine, gone, *strangers):
        leftover(path)
    assert sockets.has_newcomers()
    assert sockets.look_for_others(DEFAULT_RESOURCE) == []
    assert gone.exists(), "it may be bound by now and listen in a moment"
    assert sockets.has_newcomers(), "so it is looked at again"
    os.utime(gone, (time.time() - 2, time.time() - 2))
    assert sockets.look_for_others(DEFAULT_RESOURCE) == []
    assert sorted(kubelet_dir.iterdir()) == sorted([mine, *strangers])
    assert not sockets.has_newcomers()
    leftover(gone)
    os.utime(gone, (time.time() + 3600, time.time() + 3600))
    assert sockets.look_for_others(DEFAULT_RESOURCE) == []
    assert not gone.exists(), "the clock was set back since it was made"


def test_a_living_gateway_of_the_same_resource_is_found_and_of_another_is_not(kubelet_dir: Path) -> None:
    sockets, theirs = OwnSockets(kubelet_dir), OwnSockets(kubelet_dir)
    path = theirs.fresh_path(DEFAULT_RESOURCE)
    with listening(path):
        (other,) = sockets.find_others(DEFAULT_RESOURCE)
        assert other == (theirs.instance, path.name, os.getpid(), False)
        path.chmod(0o755 | STREAM_OPEN)
        assert sockets.find_others(DEFAULT_RESOURCE)[0].has_stream
        assert sockets.find_others(ResourceName("nvidia.com/other")) == []


def test_who_looks_for_one_resource_still_has_the_newcomers_of_another(kubelet_dir: Path) -> None:
    sockets, theirs, other = OwnSockets(kubelet_dir), OwnSockets(kubelet_dir), ResourceName("nvidia.com/other")
    with listening(theirs.fresh_path(DEFAULT_RESOURCE)), listening(theirs.fresh_path(other)):
        assert len(sockets.find_others(other)) == 1
        assert sockets.has_newcomers(), "who only asks does not take note"
        assert len(sockets.look_for_others(DEFAULT_RESOURCE)) == 1
        assert sockets.has_newcomers()
        assert len(sockets.look_for_strangers(DEFAULT_RESOURCE)) == 1
        assert not sockets.has_newcomers()


def test_two_containers_that_see_the_directory_under_different_paths_know_each_other() -> None:
    short, long = OwnSockets(Path("/d")), OwnSockets(Path("/" + "d" * (MAX_DIRECTORY_LENGTH - 1)))
    forms = [_FORM.fullmatch(sockets.fresh_path(DEFAULT_RESOURCE).name) for sockets in (short, long)]
    assert [form.group(1) for form in forms if form] == [checksum(DEFAULT_RESOURCE)] * 2


def test_a_directory_that_cannot_be_read_has_no_rivals(tmp_path: Path) -> None:
    assert OwnSockets(tmp_path / "gone").find_others(DEFAULT_RESOURCE) == []
