"""Which devices a new inventory offers in another form than before, in which somebody may hold them."""

from dataclasses import replace

import pytest

from harness.devices import PART, device, inventory, part
from plugin_gateway.adapters.gateway import forms
from plugin_gateway.adapters.gateway.forms import Forms
from plugin_gateway.core.devices import Device
from plugin_gateway.core.health.state import State
from plugin_gateway.core.resources.assignment import advertise
from plugin_gateway.core.resources.conflicts import find_withheld
from plugin_gateway.core.resources.names import ResourceName
from plugin_gateway.core.resources.rules import ResourceRule, Selector
from plugin_gateway.core.resources.sharing import Sharing

CUT, OTHER = device(0), device(1)
FIRST, SECOND = part(CUT, 0), part(CUT, 1)
NAME = ResourceName("example.com/a")
RULES = (
    ResourceRule(selector=Selector(kinds=(PART,)), name=NAME, has_profile=True),
    ResourceRule(name=NAME, at_most=1, sharing=Sharing(replicas=2)),
    ResourceRule(name=NAME),
)
"""The first whole device is shared, the others are not."""


def after(seen: Forms, *inventories: tuple[Device, ...]) -> set[str]:
    """Return what of the last inventory may be held in another form, as far as it is not known who holds what."""
    states = [State(inventory=inventory(*devices)) for devices in inventories]
    for state in states[:-1]:
        seen.see(state, advertise(state, RULES))
    wanted = advertise(states[-1], RULES)
    return set(find_withheld(wanted, seen.outdated(wanted), seen.parts))


@pytest.mark.parametrize(
    ("inventories", "suspected"),
    [
        ([(CUT, OTHER)], set()),
        ([(CUT, OTHER), (CUT,), (CUT, OTHER)], set()),
        ([(CUT, OTHER), (OTHER,)], {OTHER.id}),
        ([(CUT, OTHER), (CUT,), (), (OTHER,)], {OTHER.id}),
        ([(FIRST, SECOND), (FIRST, SECOND)], set()),
        ([(FIRST,), (FIRST, SECOND)], set()),
        ([(FIRST,), (FIRST,), (OTHER,)], set()),
        ([(CUT,), (FIRST, SECOND, OTHER)], {FIRST.id, SECOND.id}),
        ([(CUT,), (OTHER,), (FIRST, OTHER)], {FIRST.id}),
        ([(CUT,), (FIRST,), (FIRST, SECOND)], set()),
        ([(FIRST,), (OTHER,), (CUT, OTHER)], {CUT.id, OTHER.id}),
        ([(FIRST,), (CUT,), (CUT, OTHER)], set()),
        ([(FIRST, SECOND), (replace(FIRST, profile="2g.20gb"), SECOND)], {FIRST.id}),
        ([(FIRST,), (replace(SECOND, nodes=FIRST.nodes),)], {SECOND.id}),
        ([(FIRST,), (replace(SECOND, nodes=FIRST.nodes),), (replace(SECOND, nodes=FIRST.nodes), OTHER)], set()),
        ([(replace(FIRST, nodes=()),), (replace(SECOND, nodes=()),)], set()),
    ],
    ids=[
        "the first", "away and back", "another number", "away, and back with another number", "the same parts",
        "another part", "a whole one instead", "divided", "away, and back divided", "divided before the last one",
        "away, and back undivided, and another number", "undivided before the last one", "another profile",
        "the same nodes", "the same nodes before the last one", "no nodes",
    ],
)  # fmt: skip
def test_a_device_with_another_form_may_be_held_in_the_one_of_before(
    inventories: list[tuple[Device, ...]], suspected: set[str]
) -> None:
    assert after(Forms(), *inventories) == suspected


def test_parts_without_end_are_not_remembered_without_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(forms, "MAX_PARTS", 3)
    seen = Forms()
    for number in range(10):
        assert after(seen, (FIRST, part(CUT, number + 1)), (FIRST,)) == set()
    assert list(seen.parts) == ["MIG-0-9", FIRST.id, "MIG-0-10"]
    assert len(seen._last) == 3
