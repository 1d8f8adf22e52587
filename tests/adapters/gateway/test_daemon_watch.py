"""Whether a daemon is there through which containers share devices: what is looked at, and what is said."""

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from harness.sharing_daemon import SharingDaemon
from plugin_gateway.adapters.gateway.daemon_watch import CONNECT_TIMEOUT, Daemon, look_at
from plugin_gateway.core.resources.names import ResourceName

NAME = ResourceName("nvidia.com/gpu")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path


@pytest.fixture(params=[socket.SOCK_SEQPACKET, socket.SOCK_STREAM], ids=["packets", "stream"])
def daemon(root: Path, request: pytest.FixtureRequest) -> Iterator[SharingDaemon]:
    made = SharingDaemon(root, NAME, request.param)
    yield made
    made.kill()


def problem(daemon: SharingDaemon) -> str:
    looked_at = Daemon("nvidia", str(daemon.ready_file), str(daemon.socket), "")
    return look_at({NAME: looked_at})[NAME]


def test_a_daemon_that_has_started_and_takes_connections_is_there(daemon: SharingDaemon) -> None:
    daemon.start()
    assert not problem(daemon)
    assert not problem(daemon)


def test_the_file_that_is_missing_is_named(daemon: SharingDaemon) -> None:
    assert problem(daemon) == f"{daemon.ready_file}, which its daemon makes when it has started, is not there"
    daemon.listen()
    assert "is not there" in problem(daemon)
    assert daemon.taken == 0, "a daemon that has not started yet is left alone"


def test_the_socket_that_is_missing_is_named(daemon: SharingDaemon) -> None:
    daemon.start()
    daemon.socket.unlink()
    assert problem(daemon) == f"{daemon.socket}, the socket of its daemon, is not there"


def test_a_killed_daemon_leaves_its_files_and_takes_no_connection(daemon: SharingDaemon) -> None:
    daemon.start()
    daemon.kill()
    assert daemon.ready_file.exists()
    assert daemon.socket.exists()
    assert problem(daemon) == (f"{daemon.socket}, the socket of its daemon, takes no connection: nobody listens on it")
    daemon.start()
    assert not problem(daemon)


def test_a_daemon_that_hangs_takes_no_connection_in_time(daemon: SharingDaemon) -> None:
    daemon.listen(takes=False, backlog=0)
    daemon.ready_file.touch()
    said = [problem(daemon) for _ in range(3)][-1]  # the kernel holds the first ones
    assert said == f"{daemon.socket}, the socket of its daemon, took no connection within {CONNECT_TIMEOUT:g} s"


@pytest.mark.parametrize("other", ["folder", "file"])
def test_what_is_something_else_is_said(other: str, root: Path) -> None:
    daemon = SharingDaemon(root, NAME)
    if other == "folder":
        daemon.ready_file.mkdir(parents=True)
        assert problem(daemon).endswith("when it has started, is no file")
        return
    daemon.socket.parent.mkdir(parents=True)
    daemon.ready_file.touch()
    daemon.socket.touch()
    assert problem(daemon).endswith("takes no connection: nobody listens on it")


def test_a_path_that_no_socket_can_have_is_said(root: Path) -> None:
    daemon = SharingDaemon(root, "a" * 60 + "/" + "b" * 60)
    daemon.folder.mkdir(parents=True)
    daemon.ready_file.touch()
    assert problem(daemon).endswith("has a longer path than the 107 bytes that a socket can have")


def test_a_look_leaves_no_descriptor(daemon: SharingDaemon) -> None:
    daemon.start()
    problem(daemon)
    before = len(list(Path("/proc/self/fd").iterdir()))
    for _ in range(5):
        problem(daemon)
    after = len(list(Path("/proc/self/fd").iterdir()))
    assert after <= before + 1, "the last connection may still be open on the other side"
