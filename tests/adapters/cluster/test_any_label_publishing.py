"""Whatever happens to labels, to the API server and to other gateways: what holds of every write, in virtual time."""

import asyncio
import itertools
from collections.abc import Awaitable, Callable, Mapping, Sequence
from enum import Enum
from typing import NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters.cluster.publishing_scene import ERROR, TAINT, Scene, labels
from harness.virtual_time import in_virtual_time, now
from plugin_gateway.adapters.cluster import label_publishing
from plugin_gateway.adapters.cluster.label_publishing import MAX_RETRY, MIN_RETRY, PATIENCE, PAUSE
from plugin_gateway.core.labels.lasting import TAINT_TIME


class Kind(Enum):
    """What can happen."""

    WANTED = "other labels"
    UNKNOWN = "other labels, of which not all is known"
    TAINTED = "other labels and a taint"
    NOTED = "news that changes nothing"
    REFUSED = "the API server refuses"
    TAKEN = "the API server takes it"
    SLOW = "the API server needs its time"
    FAST = "the API server needs none"
    BROKEN = "no labels can be made"
    MADE = "labels can be made"
    FOLLOWS = "another gateway leads"
    LEADS = "this gateway leads"


class Step(NamedTuple):
    """Something happens, and then nothing for some seconds."""

    kind: Kind
    seconds: float


STEPS = st.lists(
    st.builds(Step, st.sampled_from(Kind), st.sampled_from((0.0, 0.1, 1.0, 4.9, 5.1, 30.0, 400.0))), max_size=40
)
SLOW = 7.0
"""Seconds."""
AFTER_ALL = 2 * MAX_RETRY + PATIENCE + TAINT_TIME + SLOW + 2 * PAUSE


class Leading(NamedTuple):
    """From when on this gateway leads, or no longer."""

    at: float
    leads: bool


async def live(scene: Scene, steps: Sequence[Step], led: list[Leading]) -> None:
    """Have all this happen, and afterwards only what is good."""
    number = itertools.count()

    def want(*, is_complete: bool = True, is_tainted: bool = False) -> None:
        value = next(number) % 3
        taints = (TAINT._replace(value=f"code-{value}"),) if is_tainted else ()
        scene.want(labels(str(value), *taints, is_complete=is_complete))

    def lead(*, leads: bool) -> None:
        scene.leads = leads
        led.append(Leading(now(), leads))

    happenings: dict[Kind, Callable[[], None]] = {
        Kind.WANTED: want,
        Kind.UNKNOWN: lambda: want(is_complete=False),
        Kind.TAINTED: lambda: want(is_tainted=True),
        Kind.NOTED: scene.publisher.note,
        Kind.REFUSED: lambda: setattr(scene.way, "problem", ERROR),
        Kind.TAKEN: lambda: setattr(scene.way, "problem", None),
        Kind.SLOW: lambda: setattr(scene.way, "seconds", SLOW),
        Kind.FAST: lambda: setattr(scene.way, "seconds", 0.0),
        Kind.BROKEN: lambda: setattr(scene, "error", KeyError("broken")),
        Kind.MADE: lambda: setattr(scene, "error", None),
        Kind.FOLLOWS: lambda: lead(leads=False),
        Kind.LEADS: lambda: lead(leads=True),
    }
    for step in steps:
        happenings[step.kind]()
        await asyncio.sleep(step.seconds)
    for kind in (Kind.TAKEN, Kind.FAST, Kind.MADE, Kind.LEADS, Kind.WANTED):
        happenings[kind]()
    await asyncio.sleep(AFTER_ALL)


def after(work: Callable[[Scene, list[Leading]], Awaitable[None]]) -> tuple[Scene, list[Leading]]:
    """Return the scene after the work, in which labels were written."""
    led: list[Leading] = []

    async def run() -> Scene:
        scene = Scene()
        async with scene.running():
            await work(scene, led)
        return scene

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(label_publishing, "uptime", now)
        return in_virtual_time(run()), led


@given(steps=STEPS)
def test_whatever_happens_labels_are_written_once_in_five_seconds_and_in_the_end(steps: list[Step]) -> None:
    scene, led = after(lambda scene, led: live(scene, steps, led))
    attempts = scene.way.attempts
    assert scene.way.written[-1].wanted == scene.wanted == scene.publisher.written
    assert scene.publisher.problem is None
    for before, later in itertools.pairwise(attempts):
        assert later.began - before.ended >= (PAUSE if before.succeeded else MIN_RETRY)
    for each in attempts:
        leads = next((change.leads for change in reversed(led) if change.at <= each.began), True)
        assert leads, "another gateway led when it began"


@given(steps=STEPS)
def test_whatever_happens_what_the_node_has_is_not_written_again_soon(steps: list[Step]) -> None:
    scene, led = after(lambda scene, led: live(scene, steps, led))
    for before, later in itertools.pairwise(scene.way.attempts):
        was_led = any(before.began <= change.at <= later.began for change in led)
        is_the_same = before.wanted._replace(why={}) == later.wanted._replace(why={})
        if before.succeeded and is_the_same and not was_led:
            assert later.began - before.ended >= 0.8 * scene.way.look_interval


@given(steps=STEPS)
def test_whatever_happens_no_memory_is_needed_for_it(steps: list[Step]) -> None:
    scene, _ = after(lambda scene, led: live(scene, steps, led))
    assert sum(map(_size, vars(scene.publisher).values())) <= 100


def _size(value: object) -> int:
    """Return how many values there are in it."""
    if isinstance(value, Mapping):
        return sum(map(_size, (*value.keys(), *value.values())))
    return sum(map(_size, value)) if isinstance(value, (tuple, list, set, frozenset)) else 1
