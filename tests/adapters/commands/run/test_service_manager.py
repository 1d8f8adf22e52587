"""The service manager that started the gateway starts the kubelet after it: it is told when."""

import asyncio
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from driver.driver import Call, Driver
from harness.process import started


@pytest.fixture
def manager(kubelet_dir: Path) -> Iterator[socket.socket]:
    """What systemd listens on."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK) as made:
        made.bind(str(kubelet_dir.with_suffix(".notify")))
        yield made
    kubelet_dir.with_suffix(".notify").unlink()


def told_by(manager: socket.socket) -> dict[str, str]:
    address = manager.getsockname()
    return {"NOTIFY_SOCKET": f"@{address[1:].decode()}" if isinstance(address, bytes) else address}


async def word(manager: socket.socket, limit: float = 15) -> bytes:
    async with asyncio.timeout(limit):
        return await asyncio.get_running_loop().sock_recv(manager, 1000)


def says_nothing(manager: socket.socket) -> bool:
    try:
        manager.recv(1000)
    except BlockingIOError:
        return True
    return False


async def test_it_is_told_once_when_the_devices_are_known(
    kubelet_dir: Path, driver: Driver, manager: socket.socket
) -> None:
    driver.hang(Call.INIT)
    arguments = ("--kubelet-dir", str(kubelet_dir), "--driver-root", str(driver.root))
    async with started(*arguments, environment={**driver.environment, **told_by(manager)}) as process:
        await process.wait_for_event("started")
        await asyncio.sleep(0.5)
        assert says_nothing(manager)
        driver.release()
        assert await word(manager) == b"READY=1"
        driver.xid(1, 79)
        await process.wait_for_event("device changed its health")
    assert says_nothing(manager)


async def test_a_node_without_a_driver_keeps_no_kubelet_waiting(kubelet_dir: Path, manager: socket.socket) -> None:
    arguments = ("--kubelet-dir", str(kubelet_dir), "--driver-root", "/var/empty")
    async with started(*arguments, environment=told_by(manager)):
        assert await word(manager) == b"READY=1"


async def test_a_driver_that_hangs_keeps_no_kubelet_waiting(
    kubelet_dir: Path, driver: Driver, manager: socket.socket
) -> None:
    driver.hang(Call.INIT)
    arguments = ("--kubelet-dir", str(kubelet_dir), "--driver-root", str(driver.root))
    async with started(*arguments, environment={**driver.environment, **told_by(manager)}) as process:
        assert await word(manager, limit=25) == b"READY=1"
        await process.wait_for_event("the driver does not answer, faults of its devices go unseen")
        driver.release()


async def test_it_may_listen_in_the_abstract(kubelet_dir: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK) as manager:
        manager.bind(f"\0{kubelet_dir.name}")
        arguments = ("--kubelet-dir", str(kubelet_dir), "--backend", "simulated:1xH100")
        async with started(*arguments, environment=told_by(manager)):
            assert await word(manager) == b"READY=1"


async def test_one_that_cannot_be_told_is_said_once_and_does_no_harm(kubelet_dir: Path) -> None:
    arguments = ("--kubelet-dir", str(kubelet_dir), "--backend", "simulated:1xH100")
    async with started(*arguments, environment={"NOTIFY_SOCKET": f"{kubelet_dir}/nobody"}) as process:
        line = await process.wait_for_event("cannot tell the service manager that it may go on")
        assert (line["socket"], line["problem"]) == (f"{kubelet_dir}/nobody", "No such file or directory")
        await process.wait_for_event("resource added")
