"""What the first list of a gateway, and the first one after another gateway, says of devices that pods hold."""

import asyncio
import json
import signal
import socket
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, nullcontext
from pathlib import Path
from typing import Any

import pytest

from adapters.registration.waiting import A100, allocatable
from driver.driver import Driver
from harness.node import RESOURCE, until
from harness.process import Process, started
from plugin_gateway.adapters.fake_kubelet import FakeKubelet, release

CHECKPOINT = "kubelet_internal_checkpoint"
NOT_SEEN = "it is not known yet which pods hold devices"
CANNOT = "it cannot be seen which pods hold devices"


@asynccontextmanager
async def gateway(kubelet_dir: Path, driver: Driver, *more: str) -> AsyncIterator[Process]:
    flags = ("--kubelet-dir", str(kubelet_dir), "--driver-root", str(driver.root))
    async with started(*flags, *more, environment=driver.environment) as process:
        yield process


@contextmanager
def silent_kubelet(kubelet_dir: Path) -> Iterator[None]:
    """A pod-resources socket that takes connections and never answers."""
    path = kubelet_dir.parent / "pod-resources" / "kubelet.sock"
    path.parent.mkdir()
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen(8)
        yield


@pytest.mark.parametrize("hangs", [True, False], ids=["pod-resources hangs", "no pod-resources"])
async def test_without_a_checkpoint_that_can_be_read_no_device_is_given_out_until_the_kubelet_was_asked(
    hangs: bool, kubelet_dir: Path, driver: Driver
) -> None:
    """It does not wait for ever, and says what it could not see."""
    async with FakeKubelet(kubelet_dir, release("1.36")) as kubelet:
        (kubelet_dir / CHECKPOINT).mkdir()
        with silent_kubelet(kubelet_dir) if hangs else nullcontext():
            async with gateway(kubelet_dir, driver) as process:
                line = await process.wait_for_event("device is not given out")
                assert line["what"] == NOT_SEEN
                await kubelet.wait_for(lambda: bool(kubelet.lists), timeout=10, what="a list")
                assert not hangs or set(dict(kubelet.lists[0].devices).values()) == {"Unhealthy"}
                line = await process.wait_for_event(CANNOT)
                assert "Is a directory" in line["problem"]
                assert "can be given to a second pod" in line["hint"]
                await allocatable(kubelet, 8)


async def test_a_start_with_the_forms_of_before_withholds_nothing(kubelet_dir: Path, driver: Driver) -> None:
    """Its first list is the right one, although a pod holds a device, and the kubelet does not say who."""
    async with FakeKubelet(kubelet_dir, release("1.36")) as kubelet:
        async with gateway(kubelet_dir, driver):
            await allocatable(kubelet)
            await kubelet.allocate(RESOURCE, pod="uid-1", ids=[driver.uuid(0)])
        known = len(kubelet.lists)
        with silent_kubelet(kubelet_dir):
            async with gateway(kubelet_dir, driver) as process:
                await kubelet.wait_for(lambda: len(kubelet.lists) > known, what="a list of the second gateway")
                assert set(dict(kubelet.lists[known].devices).values()) == {"Healthy"}
                assert "device is not given out" not in process.events()


async def test_what_an_earlier_gateway_offered_in_another_form_is_given_out_a_moment_later(
    kubelet_dir: Path, driver: Driver
) -> None:
    """It may have been granted when that gateway ended, and the kubelet has stored it a moment later."""
    async with FakeKubelet(kubelet_dir, release("1.36")) as kubelet:
        async with gateway(kubelet_dir, driver):
            await allocatable(kubelet)
        data = {"PodDeviceEntries": None, "RegisteredDevices": {RESOURCE: [driver.uuid(0)]}}
        (kubelet_dir / CHECKPOINT).write_text(json.dumps({"Data": data, "Checksum": 0}))
        async with gateway(kubelet_dir, driver, "--resource-name", A100):
            await kubelet.wait_for(lambda: kubelet.capacity(A100) == 8, timeout=10, what="the new name")
            began = time.monotonic()
            assert dict(kubelet.lists[-1].devices)[driver.uuid(0)] == "Unhealthy"
            assert kubelet.allocatable(A100) == 7
            await kubelet.wait_for(lambda: kubelet.allocatable(A100) == 8, timeout=10, what="all of them")
            assert time.monotonic() - began < 8


@pytest.fixture
def late_driver(tmp_path: Path) -> Iterator[Driver]:
    """A driver with the same devices that is not there yet."""
    (tmp_path / "late").mkdir()
    made = Driver(tmp_path / "late", gpus=8)
    made.uninstall()
    yield made
    made.close()


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGKILL], ids=["stopped", "killed"])
async def test_an_elder_whose_driver_comes_late_waits_for_a_younger_one_with_another_name(
    how: signal.Signals, kubelet_dir: Path, driver: Driver, late_driver: Driver
) -> None:
    """No GPU is healthy under two names at any time."""
    async with (
        FakeKubelet(kubelet_dir, release("1.36")) as kubelet,
        gateway(kubelet_dir, late_driver) as elder,
    ):
        await elder.wait_for_control()
        async with gateway(kubelet_dir, driver, "--resource-name", A100) as younger:
            await younger.wait_for_control()
            await allocatable(kubelet, 8, A100)
            late_driver.install()
            await elder.wait_for_event(
                "another gateway offers devices of this resource under another name, standing by"
            )
            await asyncio.sleep(2)
            assert kubelet.capacity(RESOURCE) is None
            assert kubelet.allocatable(A100) == 8
            await kubelet.allocate(A100, pod="uid-1", container="main", ids=[driver.uuid(3)])
            younger.send(how)
            await younger.ended()
            await kubelet.wait_for(lambda: kubelet.allocatable(RESOURCE) == 7, timeout=10, what="all but one")
            assert all(dict(each.devices)[driver.uuid(3)] == "Unhealthy" for each in of(kubelet, RESOURCE))


def of(kubelet: FakeKubelet, resource: str) -> list[Any]:
    return [each for each in kubelet.lists if each.resource == resource]


async def test_gateways_with_different_devices_serve_side_by_side(
    kubelet_dir: Path, driver: Driver, tmp_path: Path
) -> None:
    """Both have names of their own, and each learns that the other one has none of its devices."""
    (tmp_path / "other").mkdir()
    other = Driver(tmp_path / "other", gpus=0)
    try:
        for index in range(8, 10):
            other.add(index)
        async with FakeKubelet(kubelet_dir, release("1.36")) as kubelet, gateway(kubelet_dir, driver) as elder:
            await elder.wait_for_control()
            await allocatable(kubelet)
            async with gateway(kubelet_dir, other, "--resource-name", A100):
                await kubelet.wait_for(lambda: kubelet.allocatable(A100) == 2, timeout=15, what="the other devices")
                await asyncio.sleep(3)
                assert (kubelet.allocatable(RESOURCE), kubelet.allocatable(A100)) == (8, 2)
                assert len(kubelet.registrations) == 2
                await until(lambda: kubelet.open_streams(RESOURCE) == 1, "one stream each")
    finally:
        other.close()
