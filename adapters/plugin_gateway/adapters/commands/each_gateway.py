"""Gives a command to every gateway of this node. What becomes of it at one of them keeps it from no other."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

from plugin_gateway.adapters.commands.command_line import complain
from plugin_gateway.adapters.control.control_client import Asked, ControlError
from plugin_gateway.adapters.support.terminal import print_lines


class Outcome(NamedTuple):
    """What a gateway did."""

    lines: Sequence[str] = ()
    problems: Sequence[str] = ()
    """Why it did not do all of it. For standard error."""
    is_well: bool = True
    """Whether what it did was enough."""


def attempt(gateway: Asked, tell: Callable[[Asked], Outcome]) -> Outcome:
    """Return what the gateway did. That it does not answer or refuses is a problem of this one alone."""
    try:
        return tell(gateway)
    except ControlError as error:
        return Outcome(problems=[str(error)])


def show(gateways: Sequence[Asked], outcomes: Sequence[Outcome]) -> int:
    """Print what each gateway did, with its name if there are several. Return 1 if one did not do it."""
    for gateway, outcome in zip(gateways, outcomes, strict=True):
        name = f"{gateway.words}: " if len(gateways) > 1 else ""
        print_lines([f"{name}{line}" for line in outcome.lines])
        for problem in outcome.problems:
            complain(f"{name}{problem}")
    return 0 if all(each.is_well and not each.problems for each in outcomes) else 1
