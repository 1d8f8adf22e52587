"""Which devices an event is about."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from driver.driver import XID_CRITICAL, Driver
from plugin_gateway.nvidia import nvml
from plugin_gateway.nvidia.mig_layout import EventScope, MigDevice, MigLayout, scope_of

from .asking import asked
from .conftest import MakeDriver


def layout(*instances: tuple[str, int, int]) -> MigLayout:
    devices = tuple(MigDevice(name, slot, gi, ci, "1g.10gb", 9984) for slot, (name, gi, ci) in enumerate(instances))
    return MigLayout(is_capable=True, is_enabled=True, devices=devices)


LAYOUTS = {"GPU-0": layout(("A", 1, 0), ("B", 1, 1), ("C", 2, 0)), "GPU-1": layout(), "GPU-2": MigLayout(True, False)}
WHOLE = EventScope(is_whole_gpu=True)


def only(*devices: str) -> EventScope:
    return EventScope(is_whole_gpu=False, devices=devices)


@pytest.mark.parametrize(
    ("gpu", "gi", "ci", "scope"),
    [
        ("GPU-0", None, None, WHOLE),
        ("GPU-0", 1, None, only("A", "B")),
        ("GPU-0", 1, 0, only("A")),
        ("GPU-0", 1, 1, only("B")),
        ("GPU-0", 2, 0, only("C")),
        ("GPU-0", None, 0, WHOLE),
        ("GPU-0", 2, 1, EventScope(is_whole_gpu=False, is_unlisted=True)),
        ("GPU-1", 5, 5, EventScope(is_whole_gpu=False, is_unlisted=True)),
        ("GPU-2", None, None, WHOLE),
        ("GPU-2", 0, 0, EventScope(is_whole_gpu=True, is_unlisted=True)),
        ("GPU-9", 1, 0, EventScope(is_whole_gpu=True, is_unlisted=True)),
    ],
)
def test_an_event_is_about_what_its_instances_say(gpu: str, gi: int | None, ci: int | None, scope: EventScope) -> None:
    assert scope_of(gpu, gi, ci, LAYOUTS) == scope


PLACES = st.lists(st.tuples(st.integers(0, 3), st.integers(0, 2)), max_size=7, unique=True)


@given(places=PLACES, gi=st.none() | st.integers(0, 3), ci=st.none() | st.integers(0, 2))
def test_an_event_is_about_the_gpu_or_about_devices_or_about_something_unlisted(
    places: list[tuple[int, int]], gi: int | None, ci: int | None
) -> None:
    names = {(each_gi, each_ci): f"{each_gi}/{each_ci}" for each_gi, each_ci in places}
    scope = scope_of("GPU-0", gi, ci, {"GPU-0": layout(*((name, *place) for place, name in names.items()))})
    assert [scope.is_whole_gpu, bool(scope.devices), scope.is_unlisted].count(True) == 1
    assert scope.is_whole_gpu == (gi is None)
    if gi is not None and ci is not None:
        assert set(scope.devices) == {names[gi, ci]} & set(names.values()) if (gi, ci) in names else not scope.devices


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
