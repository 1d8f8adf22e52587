"""Observations that are left for the event loop."""

import threading

from plugin_gateway.adapters.gateway.observation_queue import ObservationQueue
from plugin_gateway.core.devices import DeviceId, Inventory
from plugin_gateway.core.health.faults import Checkup
from plugin_gateway.core.health.observations import (
    DevicesChecked,
    DriverSeen,
    DriverUnavailable,
    EventsAwaited,
    EvidenceReported,
    InventorySeen,
    Observation,
)
from plugin_gateway.nvidia.evidence import DOUBLE_BIT_ECC, xid_kind

INVENTORY = InventorySeen(Inventory(physical=(), devices=(), recipes={}))
GPU = DeviceId("GPU-0")


def test_observations_are_kept_in_order_and_what_says_the_same_again_is_counted() -> None:
    observations = ObservationQueue()
    gone, ecc = DriverUnavailable("gone"), EvidenceReported(DOUBLE_BIT_ECC, GPU)
    for observation in (
        EvidenceReported(xid_kind(79), GPU),
        gone,
        ecc,
        INVENTORY,
        EvidenceReported(xid_kind(79), GPU),
    ):
        observations.put(observation)
    assert observations.take() == [gone, ecc, INVENTORY, EvidenceReported(xid_kind(79), GPU, times=2)]
    assert observations.take() == []


def test_what_is_said_about_the_driver_has_its_place_in_a_story() -> None:
    observations, driver = ObservationQueue(lambda: 0.0), DriverSeen("575", "1")
    well = DevicesChecked({GPU: Checkup({}, asks_for_recovery=False)})
    story: list[Observation] = [
        INVENTORY,
        driver,
        well,
        DriverUnavailable("gone"),
        INVENTORY,
        driver,
        EventsAwaited("deaf"),
    ]
    for observation in story:
        observations.put(observation)
    assert observations.take() == story


def test_a_problem_that_was_there_for_a_moment_is_read_and_the_same_again_needs_no_room() -> None:
    observations = ObservationQueue(lambda: 0.0)
    well, asking = (DevicesChecked({GPU: Checkup({}, asks_for_recovery=asks)}) for asks in (False, True))
    for observation in (well, asking, well, well):
        observations.put(observation)
    assert observations.take() == [asking, well]


def test_the_reader_is_woken_from_any_thread_until_it_goes() -> None:
    observations, woken = ObservationQueue(), list[str]()
    observations.put(INVENTORY)
    observations.attach(lambda: woken.append(threading.current_thread().name))
    assert len(observations.take()) == 1
    thread = threading.Thread(target=observations.put, args=(EvidenceReported(xid_kind(1), None),), name="driver")
    thread.start()
    thread.join(5)
    observations.detach()
    observations.put(EvidenceReported(xid_kind(2), None))
    assert woken == [threading.current_thread().name, "driver"]
    observations.attach(lambda: woken.append("again"))
    assert woken[-1] == "again"
    assert len(observations.take()) == 2


def test_the_reader_is_woken_once_for_all_that_it_has_not_taken_yet() -> None:
    observations, woken = ObservationQueue(), list[str]()
    observations.attach(lambda: woken.append("woken"))
    for _ in range(2):
        for number in (1, 2, 2, 3):
            observations.put(EvidenceReported(xid_kind(number), GPU))
        assert len(observations.take()) == 3
    assert woken == ["woken"] * 2


def test_the_answers_of_a_check_are_older_by_the_time_that_nobody_read_them() -> None:
    times = iter([100.0, 103.0, 107.5])
    observations = ObservationQueue(lambda: next(times))
    well, asking = (DevicesChecked({GPU: Checkup({}, asks_for_recovery=asks)}, age=0.5) for asks in (False, True))
    observations.put(well)
    observations.put(asking)
    assert observations.take() == [well._replace(age=8.0), asking._replace(age=5.0)]
