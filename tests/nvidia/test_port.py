"""What every backend promises, kept by both of them."""

import time
from collections.abc import Callable

import pytest

from driver.driver import Driver
from plugin_gateway.core.health.observations import DevicesChecked, InventorySeen
from plugin_gateway.core.ports import Backend
from plugin_gateway.nvidia.simulated import SimulatedBackend

from .watcher import Watcher, watch

Make = Callable[[], Backend]


@pytest.fixture(params=["nvml", "simulated"])
def make(request: pytest.FixtureRequest) -> Make:
    if request.param == "simulated":
        return lambda: SimulatedBackend("2xH100")
    driver: Driver = request.getfixturevalue("driver")
    return lambda: watch(driver).backend


def refuse(_thread: object) -> None:
    """Start no thread, as Python does when the process may not have another one."""
    raise RuntimeError("can't start new thread")


def test_the_whole_inventory_is_reported_first(make: Make) -> None:
    with Watcher(make()) as watcher:
        assert len(watcher.next(InventorySeen).inventory.devices) == 2
        assert isinstance(watcher.seen[0], InventorySeen)


def test_a_check_of_every_device_follows_the_inventory(make: Make) -> None:
    """Without one, devices that were taken out with the driver stay out when the driver is there again."""
    with Watcher(make()) as watcher:
        devices = {device.id for device in watcher.next(InventorySeen).inventory.devices}
        assert watcher.next(DevicesChecked).checkups.keys() == devices


def test_start_returns_at_once_and_stop_can_be_said_twice(make: Make) -> None:
    backend = make()
    began = time.monotonic()
    backend.start(lambda _: None)
    backend.stop()
    backend.stop()
    assert time.monotonic() - began < 0.5
    assert backend.join(5)
    assert backend.join()


def test_nothing_is_reported_after_stop(make: Make) -> None:
    watcher = Watcher(make())
    watcher.backend.start(watcher.report)
    watcher.next(InventorySeen)
    watcher.backend.stop()
    seen = list(watcher.seen)
    assert watcher.backend.join(5)
    assert watcher.seen == seen


def test_a_backend_that_never_started_stops_and_joins(make: Make) -> None:
    backend = make()
    backend.stop()
    assert backend.join(0)


def test_a_backend_that_got_no_thread_stops_and_joins(driver: Driver, monkeypatch: pytest.MonkeyPatch) -> None:
    backend = watch(driver).backend
    with monkeypatch.context() as starved:
        starved.setattr("threading.Thread.start", refuse)
        with pytest.raises(RuntimeError):
            backend.start(lambda _: None)
    assert not backend.is_watching()
    backend.stop()
    assert backend.join(0)


def test_the_driver_is_asked_only_after_whoever_asked_it_before(driver: Driver) -> None:
    """The one before may hang for as long as it likes; the next comes alive when it lets go, without anybody's help."""
    first, second = Watcher(watch(driver).backend), Watcher(watch(driver).backend)
    first.backend.start(first.report)
    first.next(InventorySeen)
    driver.hang()
    first.backend.stop()
    assert not first.backend.join(0.3)
    assert first.backend.silent_for() > 0.2
    began = time.monotonic()
    second.backend.start(second.report, after=first.backend.join)
    assert time.monotonic() - began < 0.2
    time.sleep(0.3)
    assert not second.seen
    assert len(driver.threads) == 1
    driver.release()
    second.next(InventorySeen)
    assert len(driver.threads) == 2
    second.backend.stop()
    assert second.backend.join(5)
    assert second.backend.silent_for() == 0
