"""Which of two gateways of one resource registers."""

import pytest

from plugin_gateway.core.registration import pauses
from plugin_gateway.core.registration.failures import Reason
from plugin_gateway.core.registration.precedence import OtherGateway, Precedence

TAKE_OVER, ELDER, YIELD = pauses.TAKE_OVER.seconds, pauses.ELDER.seconds, pauses.YIELD.seconds


def other(instance: str, *, has_stream: bool = False) -> OtherGateway:
    return OtherGateway(instance, f"{instance}.sock", 1, has_stream)


class Gateway:
    """One gateway over time."""

    def __init__(self, instance: str) -> None:
        self.precedence = Precedence(instance)

    def wait(self, now: float, *others: OtherGateway) -> float:
        self.precedence, wait = self.precedence.before_register(others, now)
        return wait

    def reason_to_end(self, now: float, *others: OtherGateway) -> Reason | None:
        self.precedence, reason = self.precedence.while_open(others, now)
        return reason


def test_the_elder_goes_on_and_the_younger_waits_until_it_is_gone_for_a_while() -> None:
    younger = Gateway("b")
    assert younger.wait(100.0, other("a")) == TAKE_OVER
    assert younger.wait(200.5) == TAKE_OVER
    assert younger.wait(201.0) == pytest.approx(TAKE_OVER - 0.5)
    assert younger.wait(200.5 + TAKE_OVER) == 0
    assert younger.precedence.takes_over
    assert Gateway("a").wait(100.0, other("b")) == 0


def test_whoever_holds_the_stream_goes_on_and_of_two_the_elder() -> None:
    assert Gateway("a").wait(100.0, other("b", has_stream=True)) == TAKE_OVER
    younger = Gateway("b")
    assert younger.reason_to_end(100.0, other("a")) is None
    assert younger.reason_to_end(110.0, other("a")) is None
    assert younger.reason_to_end(120.0, other("a", has_stream=True)) is None
    assert younger.reason_to_end(120.0 + YIELD, other("a", has_stream=True)) is Reason.OTHER_GATEWAY_CAME


def test_an_elder_that_never_gets_a_stream_goes_first_for_a_while_only() -> None:
    younger = Gateway("b")
    assert younger.wait(100.0, other("a")) == TAKE_OVER
    assert younger.wait(99.0 + ELDER, other("a")) == TAKE_OVER
    younger.precedence = younger.precedence.start_over()
    assert younger.wait(101.0 + ELDER, other("a")) == TAKE_OVER
    assert younger.wait(101.0 + 2 * ELDER, other("a")) == TAKE_OVER
    assert younger.wait(101.0 + 2 * ELDER + TAKE_OVER, other("a")) == 0
    assert younger.precedence.takes_over


def test_an_elder_registers_again_once_the_younger_gave_up_the_stream_that_it_held() -> None:
    elder, holding, idle = Gateway("a"), other("b", has_stream=True), other("b")
    assert elder.reason_to_end(100.0, holding) is None
    assert elder.reason_to_end(110.0, holding) is None
    assert elder.reason_to_end(111.0, idle) is Reason.OTHER_GATEWAY_LEFT
    assert elder.reason_to_end(112.0, idle) is None
    assert elder.reason_to_end(113.0, holding) is None
    assert elder.reason_to_end(114.0) is Reason.OTHER_GATEWAY_LEFT


def test_a_registration_that_another_one_may_have_replaced_is_made_again() -> None:
    seen, reason = Precedence("a").while_expected([other("b")], 100.0)
    assert reason is None
    assert seen.while_expected([], 101.0)[1] is Reason.OTHER_GATEWAY_LEFT


def test_a_gateway_that_is_known_to_have_left_is_not_waited_for() -> None:
    younger = Gateway("b")
    assert younger.wait(100.0, other("a", has_stream=True)) == TAKE_OVER
    younger.precedence = younger.precedence.hear_left("a", 101.0)
    assert younger.wait(101.07) == 0
    assert younger.precedence.takes_over


def test_a_word_that_comes_after_the_sockets_are_gone_ends_the_wait_too() -> None:
    younger = Gateway("b")
    assert younger.wait(100.0, other("a", has_stream=True)) == TAKE_OVER
    assert younger.wait(101.0) == TAKE_OVER
    younger.precedence = younger.precedence.hear_left("a", 101.01)
    assert younger.wait(101.08) == 0


def test_the_last_sockets_of_a_gateway_that_left_are_waited_for_a_moment_and_then_believed() -> None:
    younger, holding = Gateway("b"), other("a", has_stream=True)
    younger.wait(100.0, holding)
    younger.precedence = younger.precedence.hear_left("a", 101.0)
    assert younger.wait(101.07, holding) == pauses.LAST_SOCKETS_LOOK.seconds
    assert younger.wait(101.0 + pauses.LAST_SOCKETS.seconds, holding) == TAKE_OVER
    assert younger.wait(102.0) == TAKE_OVER


def test_of_several_gateways_each_has_to_leave() -> None:
    youngest = Gateway("c")
    assert youngest.wait(100.0, other("a", has_stream=True), other("b")) == TAKE_OVER
    youngest.precedence = youngest.precedence.hear_left("a", 101.0)
    assert youngest.wait(101.07, other("b")) == TAKE_OVER
    assert youngest.wait(102.0) == TAKE_OVER
    youngest.precedence = youngest.precedence.hear_left("b", 102.1)
    assert youngest.wait(102.2) == 0


def test_the_word_of_a_gateway_that_has_no_precedence_changes_nothing() -> None:
    elder = Gateway("a")
    assert elder.wait(100.0, other("b")) == 0
    assert elder.precedence.hear_left("b", 101.0) is elder.precedence
