"""When labels are written, and what becomes of errors, of other gateways and of the end. All of it in virtual time."""

import asyncio
from typing import Any

import pytest

from adapters.cluster.publishing_scene import ERROR, NAME, TAINT, Scene, gaps, labels, storm
from harness.virtual_time import in_virtual_time, now
from plugin_gateway.adapters.cluster import label_publishing
from plugin_gateway.adapters.cluster.label_publishing import CLEAR_TIME, MAX_RETRY, PATIENCE, PAUSE, SETTLE, SOON
from plugin_gateway.core.labels.lasting import TAINT_TIME
from plugin_gateway.core.labels.making import NodeLabels

HOUR = 3600.0


@pytest.fixture(autouse=True)
def virtual_uptime(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(label_publishing, "uptime", now)


def numbered(number: int) -> NodeLabels:
    return labels(str(number))


def test_labels_are_written_at_the_start_and_when_they_change_and_not_otherwise() -> None:
    async def work() -> None:
        scene = Scene()
        async with scene.running() as publisher:
            await asyncio.sleep(60)
            assert scene.way.times == [SETTLE]
            for _ in range(100):
                publisher.note()
                await asyncio.sleep(1)
            assert scene.way.times == [SETTLE]
            scene.want(labels("2"))
            await asyncio.sleep(2 * SETTLE)
            assert [each.wanted.labels[NAME] for each in scene.way.written] == ["1", "2"]
            assert (publisher.written, publisher.wanted) == (scene.wanted, scene.wanted)

    in_virtual_time(work())


def test_why_a_node_has_a_label_can_change_without_a_write() -> None:
    async def work() -> None:
        scene = Scene()
        async with scene.running():
            await asyncio.sleep(60)
            scene.want(scene.wanted._replace(why={NAME: "another reason"}))
            await asyncio.sleep(60)
            assert len(scene.way.attempts) == 1

    in_virtual_time(work())


def test_what_changes_together_is_one_write() -> None:
    async def work() -> None:
        scene = Scene()
        async with scene.running():
            await asyncio.sleep(60)
            await storm(scene, SETTLE / 2, numbered, SETTLE / 20)
            await asyncio.sleep(60)
            assert len(scene.way.written) == 2

    in_virtual_time(work())


def test_a_storm_is_written_once_in_five_seconds_and_its_end_is_written() -> None:
    async def work() -> None:
        scene = Scene()
        async with scene.running():
            await storm(scene, 600.0, numbered, 0.02)
            await asyncio.sleep(2 * PAUSE)
            assert min(gaps(scene.way.times)) >= PAUSE
            assert 100 <= len(scene.way.times) <= 120
            assert scene.way.written[-1].wanted == scene.wanted
            assert scene.looks <= 2 * len(scene.way.attempts)

    in_virtual_time(work())


def test_what_others_undid_is_written_again_after_a_while() -> None:
    async def work() -> None:
        scene = Scene()
        async with scene.running():
            await asyncio.sleep(HOUR)
            interval = scene.way.look_interval
            assert all(0.8 * interval <= gap <= 1.2 * interval + PAUSE for gap in gaps(scene.way.times))
            assert 9 <= len(scene.way.times) <= 16

    in_virtual_time(work())


def test_what_others_undo_as_they_leave_is_seen_soon_after_the_write() -> None:
    async def work() -> None:
        scene = Scene()
        scene.way.has_changed = True
        async with scene.running():
            await asyncio.sleep(HOUR)
            assert all(0.8 * SOON <= gap <= 1.2 * SOON + PAUSE for gap in gaps(scene.way.times))
            scene.way.has_changed = False
            await asyncio.sleep(1.2 * SOON + PAUSE)
            count = len(scene.way.times)
            await asyncio.sleep(HOUR)
            assert min(gaps(scene.way.times[count - 1 :])) >= 0.8 * scene.way.look_interval

    in_virtual_time(work())


def test_labels_are_made_again_when_time_alone_changes_them() -> None:
    async def work() -> None:
        scene = Scene()
        scene.until = 100.0
        async with scene.running():
            await asyncio.sleep(99)
            scene.wanted, looks = labels("2"), scene.looks
            await asyncio.sleep(2)
            assert scene.looks == looks + 1
            assert scene.way.written[-1].wanted == labels("2")
            scene.until = None

    in_virtual_time(work())


def test_labels_of_which_not_all_is_known_wait_for_the_rest_but_not_for_ever() -> None:
    async def work() -> None:
        scene = Scene()
        scene.wanted = labels("1", is_complete=False)
        async with scene.running():
            await asyncio.sleep(PATIENCE / 2)
            scene.want(labels("2", is_complete=False))
            await asyncio.sleep(PATIENCE / 2)
            assert not scene.way.attempts
            await asyncio.sleep(3 * SETTLE)
            assert [each.wanted for each in scene.way.written] == [labels("2", is_complete=False)]
            await asyncio.sleep(60)
            scene.want(labels("3"))
            await asyncio.sleep(2 * SETTLE)
            scene.want(labels("", is_complete=False))
            await asyncio.sleep(2)
            scene.want(labels("4"))
            await asyncio.sleep(2 * PAUSE)
            assert [each.wanted.labels[NAME] for each in scene.way.written] == ["2", "3", "4"]

    in_virtual_time(work())


def test_what_is_known_better_is_written_though_the_labels_are_the_same() -> None:
    async def work() -> None:
        scene = Scene()
        scene.wanted = labels("1", is_complete=False)
        async with scene.running():
            await asyncio.sleep(60)
            scene.want(scene.wanted._replace(knows_faults=True))
            await asyncio.sleep(2 * SETTLE)
            scene.want(labels("1"))
            await asyncio.sleep(PAUSE + 2 * SETTLE)
            known = [(each.wanted.is_complete, each.wanted.knows_faults) for each in scene.way.written]
            assert known == [(False, False), (False, True), (True, False)]

    in_virtual_time(work())


def test_an_api_server_that_is_away_for_an_hour_is_asked_less_and_less_and_said_once(
    told: list[dict[str, Any]],
) -> None:
    async def work() -> None:
        scene = Scene()
        scene.way.problem = ERROR
        async with scene.running() as publisher:
            await asyncio.sleep(HOUR)
            times = [each.began for each in scene.way.attempts]
            assert gaps(times)[0] >= 1.0
            assert max(gaps(times)) <= MAX_RETRY + 2 * SETTLE
            assert len(times) <= 25
            assert (publisher.problem, publisher.written) == (str(ERROR), None)
            scene.way.problem = None
            await asyncio.sleep(MAX_RETRY + 2 * SETTLE)
            assert publisher.written == scene.wanted
            scene.way.problem = ERROR
            scene.want(labels("2"))
            await asyncio.sleep(PAUSE + SETTLE)
            scene.way.problem = None
            await asyncio.sleep(10)  # the pauses have begun again
            assert publisher.written == labels("2")

    in_virtual_time(work())
    assert [line["level"] for line in told] == ["warning", "info"] * 2
    assert told[0]["problem"] == "403 Forbidden"


def test_after_an_error_nobody_knows_what_the_node_has() -> None:
    async def work() -> None:
        scene = Scene()
        async with scene.running():
            await asyncio.sleep(60)
            scene.way.problem = ERROR
            scene.want(labels("2"))
            await asyncio.sleep(2 * SETTLE)
            scene.way.problem = None
            scene.want(labels("1"))
            await asyncio.sleep(PAUSE)
            assert [each.wanted.labels[NAME] for each in scene.way.attempts] == ["1", "2", "1"]

    in_virtual_time(work())


def test_an_error_of_any_kind_is_tried_again_and_ends_nothing(told: list[dict[str, Any]]) -> None:
    async def work() -> None:
        scene = Scene()
        scene.error, scene.way.look_interval = KeyError("nvidia"), 10 * MAX_RETRY
        async with scene.running() as publisher:
            await asyncio.sleep(600)
            assert publisher.problem == "KeyError: 'nvidia'"
            scene.error, scene.way.problem = None, AttributeError("no status")
            await asyncio.sleep(2 * MAX_RETRY)
            assert publisher.problem == "AttributeError: no status"
            scene.way.problem = None
            await asyncio.sleep(MAX_RETRY + 2 * SETTLE)
            assert publisher.written == scene.wanted
            scene.error = ValueError("nonsense")
            publisher.note()
            await asyncio.sleep(PAUSE + 2 * SETTLE)  # a write can have been just before
            assert publisher.problem == "ValueError: nonsense"
            scene.error, count = None, len(scene.way.attempts)
            await asyncio.sleep(10)
            assert (publisher.status("patch").problem, len(scene.way.attempts)) == (None, count)

    in_virtual_time(work())
    kinds = [type(line["exc_info"]) for line in told if line["level"] == "error"]
    assert kinds == [KeyError, AttributeError, ValueError]  # each has its traceback once


def test_what_somebody_else_writes_is_said_once(told: list[dict[str, Any]]) -> None:
    async def work() -> None:
        scene = Scene()
        scene.way.left_alone = {NAME: "'9' where '1' belongs"}
        async with scene.running() as publisher:
            await asyncio.sleep(HOUR)
            assert publisher.left_alone == scene.way.left_alone
            scene.way.left_alone = {}
            await asyncio.sleep(HOUR)
            assert publisher.left_alone == {}

    in_virtual_time(work())
    assert [line["level"] for line in told] == ["warning", "info"]
    assert told[0]["problem"] == f"{NAME}: '9' where '1' belongs"


def test_only_the_gateway_that_leads_writes_and_one_that_takes_over_writes_at_once() -> None:
    async def work() -> None:
        scene = Scene()
        scene.leads = False
        async with scene.running() as publisher:
            await asyncio.sleep(HOUR)
            assert not scene.way.attempts
            assert publisher.wanted == scene.wanted
            scene.leads = True
            await asyncio.sleep(PAUSE + SETTLE)
            assert len(scene.way.attempts) == 1
            scene.leads = False
            await asyncio.sleep(2 * PAUSE)
            scene.leads = True
            await asyncio.sleep(PAUSE + SETTLE)
            assert len(scene.way.attempts) == 2  # the same labels: the other one can have written others
            assert scene.way.forgotten > 0

    in_virtual_time(work())


def test_a_taint_whose_cause_comes_and_goes_is_one_taint() -> None:
    async def work() -> None:
        scene = Scene()
        async with scene.running():
            for _ in range(100):
                scene.want(labels("1", TAINT))
                await asyncio.sleep(TAINT_TIME / 3)
                scene.want(labels("1"))
                await asyncio.sleep(TAINT_TIME / 2)
            assert {each.wanted.taints for each in scene.way.written} == {(TAINT,)}
            await asyncio.sleep(TAINT_TIME)
            assert scene.way.written[-1].wanted.taints == ()

    in_virtual_time(work())


@pytest.mark.parametrize(
    ("taints", "clears_labels", "is_alone", "cleared"),
    [
        ((TAINT,), False, True, [False]),
        ((TAINT,), True, True, [True]),
        ((), True, True, [True]),
        ((), False, True, []),
        ((TAINT,), True, False, []),
    ],
)
def test_the_last_gateway_of_the_node_removes_taints_at_its_end_and_labels_if_that_is_wanted(
    taints: tuple[Any, ...], clears_labels: bool, is_alone: bool, cleared: list[bool]
) -> None:
    async def work() -> list[bool]:
        scene = Scene()
        scene.new(clears_labels=clears_labels)
        scene.wanted, scene.is_alone = labels("1", *taints), is_alone
        async with scene.running():
            await asyncio.sleep(60)
        return scene.way.cleared

    assert in_virtual_time(work()) == cleared


def test_taints_are_removed_at_the_end_when_it_is_not_known_whether_there_are_any() -> None:
    async def work() -> None:
        unwritten, failed = Scene(), Scene()
        async with unwritten.running():
            await asyncio.sleep(0)
        assert unwritten.way.cleared == [False]  # an earlier gateway can have left some
        async with failed.running():
            await asyncio.sleep(60)
            failed.way.problem = ERROR
            failed.want(labels("1", TAINT))
            await asyncio.sleep(60)
            failed.way.problem = None
        assert failed.way.cleared == [False]

    in_virtual_time(work())


@pytest.mark.parametrize("problem", [None, ERROR, ValueError("nonsense")])
def test_the_end_waits_a_second_at_most_and_says_what_stays(
    problem: Exception | None, told: list[dict[str, Any]]
) -> None:
    async def work() -> None:
        scene = Scene()
        scene.wanted = labels("1", TAINT)
        async with scene.running():
            await asyncio.sleep(60)
            scene.way.problem = problem
            scene.way.seconds = HOUR if problem is None else 0
            began = now()
        assert now() - began <= CLEAR_TIME

    in_virtual_time(work())
    assert [line["event"] for line in told] == ["labels or taints can have stayed on the node"]


def test_an_end_in_the_middle_of_a_write_ends_that_first() -> None:
    async def work() -> None:
        scene = Scene()
        scene.wanted, scene.way.seconds = labels("1", TAINT), CLEAR_TIME / 2
        async with scene.running():
            await asyncio.sleep(SETTLE + CLEAR_TIME / 4)
            assert scene.way.is_busy
        assert (scene.way.attempts, scene.way.cleared) == ([], [False])

    in_virtual_time(work())
