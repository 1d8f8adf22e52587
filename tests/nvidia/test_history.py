"""What the fabric, the links and the slowdowns of a GPU mean over time."""

from collections.abc import Mapping, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as some

from plugin_gateway.nvidia.evidence import FABRIC, FABRIC_DEGRADED, HARDWARE_SLOWDOWN, NVLINK_DOWN
from plugin_gateway.nvidia.fabric import FabricInfo, FabricView, view
from plugin_gateway.nvidia.history import SLOWDOWN_MEMORY, FabricHistory, Finding, LinkHistory, SlowdownHistory
from plugin_gateway.nvidia.later_calls import Slowdown

TRAINING = 180.0
INTERVAL = 15.0
NOTHING = Finding({})
NOT_STARTED, IN_PROGRESS, COMPLETED = 1, 2, 3
WELL = 0x1AA
"""The health mask in which every field says that nothing is wrong."""
ROUTE_RECOVERY = WELL & ~(3 << 2) | 1 << 2
LINKS = range(18)
LinkStates = Mapping[int, bool]


def fabric(info: FabricInfo) -> FabricView:
    seen = view(info)
    assert seen is not None
    return seen


@pytest.mark.parametrize(
    ("info", "words"),
    [
        (FabricInfo(COMPLETED, 999, "Unknown Error"), "the registration of the GPU failed: Unknown Error"),
        (FabricInfo(COMPLETED, health=WELL & ~(3 << 4) | 1 << 4), "a route is unhealthy"),
        (FabricInfo(COMPLETED, health=4 << 8), "the configuration is wrong: the GPU is in no partition"),
        (FabricInfo(COMPLETED, health=WELL, summary=2), "the driver calls it unhealthy"),
    ],
)
def test_a_gpu_that_cannot_use_the_fabric_is_a_problem_at_once(info: FabricInfo, words: str) -> None:
    assert FabricHistory(TRAINING).find(fabric(info), 0) == Finding({FABRIC: f"NVLink fabric: {words}"})


@pytest.mark.parametrize(
    ("info", "words"),
    [
        (FabricInfo(COMPLETED, health=WELL & ~3 | 1), "the bandwidth is degraded"),
        (FabricInfo(COMPLETED, health=1, summary=3), "the bandwidth is degraded"),
        (FabricInfo(COMPLETED, health=WELL, summary=3), "the capacity is limited"),
    ],
)
def test_less_bandwidth_is_another_problem(info: FabricInfo, words: str) -> None:
    assert FabricHistory(TRAINING).find(fabric(info), 0) == Finding({FABRIC_DEGRADED: f"NVLink fabric: {words}"})


@pytest.mark.parametrize(
    "info",
    [
        FabricInfo(0),
        FabricInfo(0, 999, "not valid in this state", 1 << 4, 2),
        FabricInfo(COMPLETED),
        FabricInfo(COMPLETED, health=WELL, summary=1),
        FabricInfo(COMPLETED, 3, "Not Supported"),
        FabricInfo(COMPLETED, health=0x2 << 12 | 0x2 << 14 | 0xFF << 16),
        FabricInfo(COMPLETED, health=15 << 8, summary=99),
    ],
)
def test_a_gpu_without_fabric_or_with_a_good_one_has_no_problem(info: FabricInfo) -> None:
    assert FabricHistory(TRAINING).find(fabric(info), 0) == NOTHING


@pytest.mark.parametrize(
    "info",
    [FabricInfo(NOT_STARTED), FabricInfo(IN_PROGRESS), FabricInfo(COMPLETED, health=ROUTE_RECOVERY, summary=2)],
)
def test_what_takes_a_time_is_a_problem_only_if_it_takes_too_long(info: FabricInfo) -> None:
    history = FabricHistory(TRAINING)
    open_question = Finding({}, frozenset({FABRIC}))
    assert history.find(fabric(info), 1000) == open_question
    assert history.find(fabric(info), 1000 + TRAINING - 1) == open_question
    assert set(history.find(fabric(info), 1000 + TRAINING).problems) == {FABRIC}
    assert history.find(fabric(FabricInfo(COMPLETED)), 1181) == NOTHING
    assert history.find(fabric(info), 1182) == open_question, "it starts again"


def test_a_gpu_that_was_not_watched_may_take_its_time_again() -> None:
    history = FabricHistory(TRAINING)
    history.find(fabric(FabricInfo(IN_PROGRESS)), 0)
    history.restart()
    assert not history.find(fabric(FabricInfo(IN_PROGRESS)), TRAINING).problems


def test_a_state_that_nobody_knows_is_no_answer() -> None:
    assert view(FabricInfo(77)) is None
    assert FabricHistory(TRAINING).find(None, 0) == Finding({}, frozenset({FABRIC, FABRIC_DEGRADED}))


@given(
    some.builds(
        FabricInfo,
        state=some.integers(0, 255),
        status=some.integers(0, 2**32 - 1),
        status_words=some.text(max_size=5),
        health=some.integers(0, 2**32 - 1),
        summary=some.integers(0, 255),
    )
)
def test_every_report_of_a_driver_has_a_meaning(info: FabricInfo) -> None:
    finding = FabricHistory(TRAINING).find(view(info), 0)
    assert set(finding.problems) <= {FABRIC, FABRIC_DEGRADED}
    assert not (finding.problems and info.state != COMPLETED)
    assert all(words.startswith("NVLink fabric: ") for words in finding.problems.values())


def up(*down: int) -> LinkStates:
    """Return the states of all links, of which these are down."""
    return {link: link not in down for link in LINKS}


def links(*looks: LinkStates, every: float = INTERVAL) -> tuple[LinkHistory, float]:
    """Return the history after these looks, and the time of the last one."""
    history, now = LinkHistory(TRAINING, INTERVAL), 0.0
    for number, states in enumerate(looks):
        now = number * every
        assert history.is_due(now)
        history.see(states, now)
    return history, now


@pytest.mark.parametrize(
    ("down", "words"),
    [
        ((3,), "NVLink 3 was up and is down"),
        ((0, 17), "NVLinks 0, 17 were up and are down"),
        (range(1, 5), "NVLinks 1, 2, 3, 4 were up and are down"),
        (LINKS, "NVLinks 0, 1, 2, 3 and 14 more were up and are down"),
    ],
)
def test_a_link_that_was_up_and_stays_down_is_a_problem(down: Sequence[int], words: str) -> None:
    history, now = links(up(), up(*down))
    assert history.find(now + TRAINING - 1) == Finding({}, frozenset({NVLINK_DOWN}))
    assert history.find(now + TRAINING) == Finding({NVLINK_DOWN: words})
    history.see(up(), now + TRAINING + 1)
    assert history.find(now + TRAINING + 1) == NOTHING


def test_a_link_that_was_never_up_is_no_problem_but_an_old_problem_is_not_over_either() -> None:
    history, now = links(up(5), up(5))
    assert history.find(now + 10 * TRAINING) == Finding({}, frozenset({NVLINK_DOWN}))


def test_a_link_that_was_never_up_keeps_no_problem_of_another_link() -> None:
    history, now = links(up(17), up(3, 17))
    assert set(history.find(now + TRAINING).problems) == {NVLINK_DOWN}
    history.see(up(17), now + TRAINING + 1)
    assert history.find(now + TRAINING + 1) == NOTHING


def test_a_link_that_comes_up_for_a_moment_may_train_again() -> None:
    history, _ = links(up(), up(1))
    history.see(up(), 100)
    history.see(up(1), 200)
    assert not history.find(200 + TRAINING - 1).problems


def test_links_that_were_not_watched_may_train_again_and_are_remembered() -> None:
    history, now = links(up(), up(1))
    history.begin_session()
    assert history.links is None
    assert history.is_due(now)
    history.see(up(1), now + 1000)
    assert not history.find(now + 1000).problems
    assert set(history.find(now + 1000 + TRAINING).problems) == {NVLINK_DOWN}


def test_links_out_of_use_are_forgotten() -> None:
    history, now = links(up(), up(1))
    history.rest(now + 1)
    assert history.find(now + 10 * TRAINING) == NOTHING
    assert not history.is_due(now + 1)
    history.see(up(*LINKS), now + 20)
    assert not history.find(now + 10 * TRAINING).problems


def test_links_are_looked_at_now_and_then_and_not_at_all_where_there_are_none() -> None:
    history, now = links(up())
    assert not history.is_due(now + INTERVAL - 1)
    assert history.is_due(now + INTERVAL)
    history.see({}, now + INTERVAL)
    assert not history.is_due(now + 100 * INTERVAL)
    history.begin_session()
    assert history.is_due(now + 100 * INTERVAL)


@given(some.lists(some.frozensets(some.integers(0, 3)), max_size=40))
def test_a_link_is_a_problem_exactly_if_it_was_up_once_and_down_at_each_look_for_so_long(
    looks: Sequence[frozenset[int]],
) -> None:
    history, looks_until = LinkHistory(TRAINING, INTERVAL), int(TRAINING / INTERVAL)
    for number, down in enumerate(looks):
        history.see({link: link not in down for link in range(4)}, number * INTERVAL)
        expected = {
            link
            for link in range(4)
            if number >= looks_until
            and all(link in each for each in looks[number - looks_until : number + 1])
            and any(link not in each for each in looks[:number])
        }
        finding = history.find(number * INTERVAL)
        assert bool(finding.problems) == bool(expected)
        named = finding.problems.get(NVLINK_DOWN, "").split(" w")[0]
        assert all(str(link) in named for link in expected)


@pytest.mark.parametrize(
    ("reasons", "words"),
    [
        (Slowdown.TEMPERATURE, "it is too hot"),
        (Slowdown.TEMPERATURE | Slowdown.OTHER, "it is too hot"),
        (Slowdown.TEMPERATURE | Slowdown.POWER_BRAKE, "it is too hot, the power supply asks for it"),
    ],
)
def test_a_slowdown_with_a_reason_counts_at_once(reasons: Slowdown, words: str) -> None:
    history = SlowdownHistory()
    history.see(reasons, 0)
    assert history.find(0) == Finding({HARDWARE_SLOWDOWN: f"its hardware slows it down: {words}"})


def test_a_slowdown_without_a_reason_counts_only_if_it_is_seen_twice_in_a_row() -> None:
    history = SlowdownHistory()
    for now, reasons in enumerate((Slowdown.OTHER, Slowdown(0), Slowdown.OTHER)):
        history.see(reasons, now)
    history.see(Slowdown.OTHER, 2)
    assert history.find(2) == NOTHING, "it was asked twice at the same time"
    history.see(Slowdown.OTHER, 3)
    assert history.find(3).problems[HARDWARE_SLOWDOWN].endswith("the driver does not tell why")


def test_a_slowdown_that_comes_and_goes_is_one_problem_until_it_was_away_for_long() -> None:
    history, found = SlowdownHistory(), []
    for number in range(200):
        history.see(Slowdown.TEMPERATURE if number % 2 else Slowdown(0), number * 15.0)
        found.append(bool(history.find(number * 15.0).problems))
    assert found == [False, *[True] * 199]
    last = 199 * 15.0
    assert history.find(last + SLOWDOWN_MEMORY - 1).problems
    assert history.find(last + SLOWDOWN_MEMORY) == NOTHING
