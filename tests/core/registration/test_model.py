"""The machine against a model of each family of kubelets, in virtual time: any faults in any order.

`model/checks.py` says what must be true at every step, `model/kubelets.py` what must be true at the kubelet, and
`Node.check` what must be true when it has been quiet. `make soak` draws other faults, for as long as asked.
"""

import os
import time
from collections import Counter
from itertools import count
from types import SimpleNamespace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.registration.model import kubelets
from core.registration.model.checks import Counts, declared
from core.registration.model.kubelets import FAMILIES
from core.registration.model.node import FAULTS, SHARING_SEEDS, Node
from core.registration.model.scripts import MAX_CHOICE, PAUSES, Fault, Script, after, draw, play, problem, shortest
from plugin_gateway.core.registration import pauses
from plugin_gateway.core.registration.failures import Reason
from plugin_gateway.core.registration.states import (
    Accepted,
    Queued,
    Registering,
    StandingBy,
    Streaming,
)
from plugin_gateway.core.registration.values import Renewed, StreamOpened

SECONDS = float(os.environ.get("SOAK_SECONDS", "20"))
FIRST_SEED = int(os.environ.get("SOAK_SEED", "0"))
LENGTH = 40
"""Faults in a script."""
ENOUGH_SEEDS = 1000
"""Scripts that reach every transition. On a slow machine they take longer than the time that was given."""
SELDOM = tuple(
    (state.__name__, StreamOpened.__name__, state.__name__)
    for state in (StandingBy, Queued, Registering, Accepted, Streaming)
)
"""A stream on an endpoint that was given up. A kubelet has to open it in the moment before the endpoint is closed."""
LATE_WORD = [
    Fault("start_gateway", 1, 1.0),
    Fault("break_words", 4, 0.1),
    Fault("slow_streams", 2, 0.0),
    Fault("drop_stream", 0, 0.0003),
    Fault("drop_stream", 0, 0.074),
    Fault("slow_streams", 0, 1.0),
]
"""The word that the younger gateway replaces the older one is on its way when both lose their streams."""
LATE_WORDS = {("Accepted", "Replaced", "Accepted"), ("Accepted", "Replaced", "StandingBy")}
"""What `LATE_WORD` leads to, and hardly anything else."""
HARMLESS = ("start_gateway", "stop_gateway", "change_devices", "break_words", "slow_streams", "slow_answers", "refuse")
"""Faults that end no stream."""
SHARING = st.integers(0, 1000).map(lambda each: 16 * each + SHARING_SEEDS[0])
"""Seeds with which gateways share."""

faults = st.builds(Fault, st.sampled_from(sorted(set(FAULTS))), st.integers(0, MAX_CHOICE), st.sampled_from(PAUSES))


@pytest.mark.timeout(0 if SECONDS > 60 else 300)
def test_no_order_of_faults_breaks_a_rule_and_every_transition_is_reached() -> None:
    counts, began = Counts(Counter()), time.monotonic()
    for seed in count(FIRST_SEED):
        is_enough = seed - FIRST_SEED >= ENOUGH_SEEDS or not not_reached(counts)
        if time.monotonic() - began > SECONDS and is_enough:
            break
        script = draw(seed, LENGTH)
        try:
            play(seed, script, counts)
        except AssertionError:
            pytest.fail(explained(seed, script), pytrace=False)
    taken = time.monotonic() - began
    print(f"{counts.steps} steps in {taken:.0f} s, {counts.steps / taken * 60:.0f} a minute")
    assert not not_reached(counts), "no run leads there"


def not_reached(counts: Counts) -> set[tuple[str, str, str]]:
    """The transitions to which no run has led, although one should."""
    missing = {each for each in declared() - set(counts.reached) if each not in SELDOM}
    return (
        missing - LATE_WORDS - {("Leaving", "Answered", "Leaving")}
    )  # the last one only for an attempt that was abandoned


def explained(seed: int, script: Script) -> str:
    """Return the shortest script that fails, and its story."""
    short = shortest(seed, script)
    return "\n".join([f"seed {seed}", *map(str, short), problem(seed, short) or "it does not fail twice"])


@settings(max_examples=100, derandomize=True, deadline=None, database=None)
@given(st.integers(0, 100), st.lists(faults, max_size=12))
def test_few_faults_break_no_rule(seed: int, script: Script) -> None:
    play(seed, script)


@settings(max_examples=200, derandomize=True, deadline=None, database=None)
@given(
    SHARING, st.lists(st.builds(Fault, st.sampled_from(HARMLESS), st.integers(0, MAX_CHOICE), st.sampled_from(PAUSES)))
)
def test_a_kubelet_that_holds_several_streams_is_never_without_one(seed: int, script: Script) -> None:
    node = after(seed, [Fault("change_devices", 0, 1.0), *script])
    assert node.kubelet is not None
    assert node.kubelet.gaps == 0, node.time.story()


def test_an_older_gateway_that_is_replaced_does_not_have_the_last_word() -> None:
    """Its connection to the younger one breaks, so it sends a list. It has not seen what the younger one has listed."""
    replaced = [Fault("start_gateway", 1, 0.1), Fault("change_devices", 2, 0.1), Fault("break_words", 1, 1.5)]
    node = after(SHARING_SEEDS[0], replaced)
    assert node.kubelet is not None
    (stream,) = node.kubelet.streams("two")
    assert stream.call.plugin is node.gateways[-1]
    assert node.kubelet.gaps == 0


def test_a_word_that_arrives_when_both_gateways_have_lost_their_streams_breaks_no_rule() -> None:
    counts = Counts(Counter())
    for number in range(500):
        if counts.reached.keys() >= LATE_WORDS:
            return
        play(48 * number + 33, LATE_WORD, counts)
    pytest.fail("the word never arrives between Register and the stream")


@pytest.mark.parametrize("seed", [104, 106, 262])
def test_a_run_can_be_repeated_exactly(seed: int) -> None:
    """Many sockets and calls end at the same moment in these runs."""
    script = draw(seed, LENGTH)
    assert play(seed, script) == play(seed, script)


def test_a_connection_that_is_lost_because_kubelet_sock_was_touched_is_restored() -> None:
    """The gateway takes the kubelet for another one, and leaves out the pause after the stream that has ended."""
    script = [
        Fault("drop_stream", 25, 0.1),
        Fault("drop_stream", 3, 0.0003),
        Fault("stop_kubelet", 32, 0.004),
        Fault("touch_kubelet", 47, 0.3),
    ]
    assert str(Renewed(Reason.DEVICES_LOST)) in play(431, script)


def test_a_kubelet_sock_that_is_moved_away_and_back_during_register_shortens_no_pause() -> None:
    """The kubelet of 1.25 reaches no endpoint for a while, and goes on dialing."""
    play(13, [Fault("slow_dials", 4, 0.0), Fault("add_or_withdraw", 2, 1.0), Fault("move_kubelet_socket", 0, 0.3)])


def test_a_kubelet_sock_that_is_touched_during_a_withdrawal_shortens_no_pause() -> None:
    """The stream has ended by then, because the gateway ended it. It does not show that the kubelet is another one."""
    play(
        32975,
        [
            Fault("start_kubelet", 22, 0.004),
            Fault("touch_kubelet", 0, 0.0),
            Fault("withdraw_for_a_moment", 6, 0.004),
        ],
    )


@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.name)
def test_every_family_gets_its_registration_at_once(family: object) -> None:
    node = Node(0)
    node.start_kubelet(FAMILIES.index(family))
    node.wanted = ["one", "two", "three"]
    node.start_gateway(1)
    node.time.run(0.5)
    node.check()


def test_a_fault_of_the_machine_is_found_and_told_as_a_short_story(monkeypatch: pytest.MonkeyPatch) -> None:
    """The pause after a stream is left out."""
    monkeypatch.setattr(kubelets, "pauses", SimpleNamespace(**pauses.PAUSES))
    monkeypatch.setattr(pauses, "CLOSED_STREAM", pauses.CLOSED_STREAM._replace(seconds=0.0))
    script = [Fault("start_kubelet", 4, 1.0), Fault("jump", 0, 0.0), Fault("renew", 0, 1.0), Fault("jump", 1, 0.0)]
    story = explained(0, script)
    assert "is registered 0.0" in story
    assert "Fault(name='renew'" in story
    assert "name='jump'" not in story, "it is not needed"
