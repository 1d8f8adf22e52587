"""Which devices an event is about."""

import pytest

from driver.driver import XID_CRITICAL, Driver
from plugin_gateway.nvidia import nvml
from plugin_gateway.nvidia.mig_layout import MigDevice, MigLayout

from .asking import asked
from .conftest import MakeDriver


def layout(*instances: tuple[str, int, int]) -> MigLayout:
    return MigLayout(
        tuple(MigDevice(name, slot, gi, ci, "1g.10gb", 9984) for slot, (name, gi, ci) in enumerate(instances))
    )


LAYOUT = layout(("A", 1, 0), ("B", 1, 1), ("C", 2, 0))


@pytest.mark.parametrize(
    ("gi", "ci", "devices"),
    [(1, None, ["A", "B"]), (1, 0, ["A"]), (1, 1, ["B"]), (2, 0, ["C"]), (2, 1, []), (5, None, [])],
)
def test_an_instance_has_the_devices_in_it(gi: int, ci: int | None, devices: list[str]) -> None:
    assert LAYOUT.in_instance(gi, ci) == devices


def test_a_gpu_without_devices_has_none_in_any_instance() -> None:
    assert not MigLayout().in_instance(0, None)


def heard(driver: Driver) -> tuple[int | None, int | None]:
    """Return the instances of the next event of the first GPU."""
    events = nvml.make_event_set()
    assert events is not None
    try:
        assert nvml.watch_events(nvml.handle_by_index(0), events)
        driver.xid(0, 79, XID_CRITICAL, gi=7, ci=0)
        event = nvml.wait_for_event(events, 1000)
    finally:
        nvml.free_event_set(events)
    assert event is not None
    return event.gpu_instance, event.compute_instance


def test_an_event_has_the_instances_that_the_driver_says(driver: Driver) -> None:
    with asked(driver):
        assert heard(driver) == (7, 0)


def test_an_event_of_a_driver_from_before_mig_names_no_instance(make_driver: MakeDriver) -> None:
    driver = make_driver(old=True)
    with asked(driver):
        assert heard(driver) == (None, None)


def test_an_event_of_the_whole_gpu_names_no_instance(driver: Driver) -> None:
    with asked(driver) as (gpu, _):
        events = nvml.make_event_set()
        assert events is not None
        nvml.watch_events(gpu, events)
        driver.xid(0, 79)
        event = nvml.wait_for_event(events, 1000)
        nvml.free_event_set(events)
    assert event is not None
    assert (event.gpu_instance, event.compute_instance) == (None, None)
