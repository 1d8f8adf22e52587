"""Rules: which one takes a device, why the others do not, and which may be a mistake."""

from collections.abc import Sequence
from dataclasses import fields
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.strategies import ONE_RULE
from harness.devices import GPU, PART, device, inventory, part
from plugin_gateway.core.devices import Device, DeviceId, Inventory
from plugin_gateway.core.errors import InvalidValueError
from plugin_gateway.core.health.state import State
from plugin_gateway.core.resources.assignment import advertise, kept_names
from plugin_gateway.core.resources.names import ResourceName
from plugin_gateway.core.resources.rule_reasons import (
    Doubt,
    DoubtfulRule,
    Full,
    Later,
    Missed,
    doubtful,
    explain,
    missed,
)
from plugin_gateway.core.resources.rules import CONDITIONS, ResourceRule, Selector, excluded, takers, unmatched
from plugin_gateway.core.resources.sharing import Sharing

NAME, OTHER = ResourceName("example.com/a"), ResourceName("example.com/b")
T4, H100, IN_PARTS = device(0, product="Tesla T4"), device(1), device(2)
PARTS = (part(IN_PARTS, 0), part(IN_PARTS, 1, "3g.40gb+me"))
DEVICES = (T4, H100, *PARTS)
MACHINE = inventory(*DEVICES)


def rule(selector: Selector, name: ResourceName | None = NAME, at_most: int | None = None) -> ResourceRule:
    return ResourceRule(selector=selector, name=name, at_most=at_most, origin="line 1")


@pytest.mark.parametrize(
    ("selector", "matched"),
    [
        (Selector(), DEVICES),
        (Selector(ids=(DeviceId("GPU-0"), DeviceId("GPU-9"))), (T4,)),
        (Selector(ids=(DeviceId("GPU-2"),)), PARTS),
        (Selector(ids=(DeviceId("MIG-2-1"),)), PARTS[1:]),
        (Selector(places=((1,), (2, 0))), (H100, PARTS[0])),
        (Selector(places=((2,),)), PARTS),
        (Selector(addresses=("0000:01:00.0",)), (T4,)),
        (Selector(products=("*H100*", "x")), (H100, *PARTS)),
        (Selector(products=("*h100*",)), ()),
        (Selector(profiles=("3g.*",)), PARTS[1:]),
        (Selector(profiles=("*",)), PARTS),
        (Selector(kinds=(GPU,)), (T4, H100)),
        (Selector(kinds=(GPU, PART), places=((0,), (2,)), profiles=("1g.10gb",)), PARTS[:1]),
    ],
)
def test_a_device_has_to_fulfil_each_condition_with_one_of_the_values(
    selector: Selector, matched: tuple[Device, ...]
) -> None:
    assert tuple(each for each in DEVICES if selector.unfulfilled(each) is None) == matched


def test_a_selector_with_a_value_that_nothing_has_is_refused() -> None:
    for name in ("ids", "addresses", "products", "profiles", "kinds"):
        wrong: dict[str, Any] = {name: ("",)}
        with pytest.raises(InvalidValueError, match=f"selector: '' in {name} matches no device"):
            Selector(**wrong)


@pytest.mark.parametrize("at_most", [0, -1])
def test_a_rule_that_takes_no_device_is_refused(at_most: int) -> None:
    with pytest.raises(InvalidValueError, match=f"a rule takes {at_most} devices; expected 1 or more"):
        rule(Selector(), at_most=at_most)


def test_each_condition_says_what_it_allows_and_what_the_device_has() -> None:
    selectors = {
        Selector(ids=(DeviceId("GPU-0"),)): "its id is 'GPU-1', and not 'GPU-0'",
        Selector(places=((0,), (2, 1))): "its index is '1', and not '0' or '2:1'",
        Selector(addresses=("0000:01:00.0",)): "its PCI address is '0000:02:00.0', and not '0000:01:00.0'",
        Selector(products=("*T4",)): "its product is 'NVIDIA H100 80GB HBM3', and not '*T4'",
        Selector(profiles=("1g.*",)): "its profile is none, and not '1g.*'",
        Selector(kinds=(PART,)): "its kind is 'gpu', and not 'mig'",
    }
    assert {selector: str(missed(selector, H100)) for selector in selectors} == selectors
    assert missed(Selector(ids=(DeviceId("GPU-0"),)), H100) == Missed("id", ("GPU-0",), "GPU-1")


def test_the_first_rule_that_matches_takes_a_device_and_the_others_say_why_not() -> None:
    rules = [rule(Selector(products=("*T4",))), rule(Selector(kinds=(GPU,)), at_most=1), rule(Selector())]
    t4, h100, first, _ = explain(DEVICES, rules)
    assert t4 == (T4, 0, {1: Later(), 2: Later()})
    why = Missed("product", ("*T4",), H100.physical.product)
    assert h100 == (H100, 1, {0: why, 2: Later()})
    assert first == (PARTS[0], 2, {0: why, 1: Missed("kind", ("gpu",), "mig")})


def test_a_rule_takes_no_more_than_it_may() -> None:
    rules = [rule(Selector(), at_most=2), rule(Selector(kinds=(PART,)), OTHER)]
    assert takers(DEVICES, rules) == (0, 0, 1, 1)
    assert explain(DEVICES, rules[:1])[3] == (PARTS[1], None, {0: Full(2)})
    assert str(Full(2)) == "it has taken 2 already, and may take no more"
    assert str(Later()) == "it comes later"


def test_each_field_of_a_selector_is_a_condition() -> None:
    assert {each.name for each in fields(Selector)} == {*CONDITIONS, "attributes"}


def test_a_device_that_a_rule_excludes_is_not_offered_and_is_not_one_that_no_rule_matches() -> None:
    rules = [rule(Selector(places=((1,),)), None), rule(Selector(kinds=(GPU,)))]
    state = State(inventory=MACHINE)
    assert {name: each.devices for name, each in advertise(state, rules).items()} == {NAME: (T4,)}
    assert excluded(DEVICES, rules) == (H100,)
    assert unmatched(DEVICES, rules) == PARTS
    assert excluded((), rules) == ()


def test_a_name_with_the_profile_has_a_dot_for_what_no_name_may_have() -> None:
    rules = [ResourceRule(name=OTHER, has_profile=True, selector=Selector(kinds=(PART,))), rule(Selector())]
    offered = advertise(State(inventory=MACHINE), rules)
    assert {name: each.devices for name, each in offered.items()} == {
        NAME: (T4, H100),
        f"{OTHER}-1g.10gb": PARTS[:1],
        f"{OTHER}-3g.40gb.me": PARTS[1:],
    }
    assert kept_names(rules) == {NAME}
    assert kept_names([*rules, rule(Selector(), None)]) == {NAME}


def test_a_rule_is_said_in_one_line() -> None:
    assert rule(Selector()).words == "*=example.com/a"
    shared = ResourceRule(
        selector=Selector(products=("*T4", "*L4"), places=((0,), (1, 2))), name=OTHER, sharing=Sharing(replicas=4),
        at_most=2,
    )  # fmt: skip
    assert shared.words == "2 of *T4 or *L4 and index 0 or 1:2=example.com/b x4"
    assert rule(Selector(kinds=(PART,), profiles=("1g*",)), None).words == "profile 1g* and kind mig=never offered"
    named = ResourceRule(name=OTHER, has_profile=True, selector=Selector(ids=(DeviceId("GPU-2"),)))
    assert named.words == "id GPU-2=example.com/b-PROFILE"


def test_a_rule_that_matches_nothing_or_comes_too_late_or_names_what_is_absent_is_doubtful() -> None:
    rules = [
        rule(Selector(products=("*A100*",))),
        rule(Selector(ids=(DeviceId("GPU-0"), DeviceId("GPU-7")), kinds=(GPU,))),
        rule(Selector(places=((7,), (2, 0), (2, 5)), addresses=("0000:01:00.0", "0000:99:00.0"))),
        rule(Selector(kinds=(GPU,))),
        rule(Selector(products=("*T4", "*H100*"), kinds=(GPU,)), OTHER),
        ResourceRule(selector=Selector(products=("x",)), name=NAME),
    ]
    assert doubtful(MACHINE, rules) == (
        DoubtfulRule(0, Doubt.MATCHES_NOTHING),
        DoubtfulRule(1, Doubt.NAMES_ABSENT, absent=("GPU-7",)),
        DoubtfulRule(2, Doubt.NAMES_ABSENT, absent=("7", "2:5", "0000:99:00.0")),
        DoubtfulRule(4, Doubt.IS_SHADOWED, takers=(1, 3)),
    )
    assert [each.words(rules) for each in doubtful(MACHINE, rules)] == [
        "the rule *A100*=example.com/a (line 1) matches no device of this machine",
        "the rule id GPU-0 or GPU-7 and kind gpu=example.com/a (line 1) names what this machine does not have: GPU-7",
        (
            "the rule index 7 or 2:0 or 2:5 and PCI address 0000:01:00.0 or 0000:99:00.0=example.com/a (line 1) "
            "names what this machine does not have: 7, 2:5, 0000:99:00.0"
        ),
        (
            "the rule *T4 or *H100* and kind gpu=example.com/b (line 1) gets no device, because earlier rules take all "
            "that match it: id GPU-0 or GPU-7 and kind gpu=example.com/a, kind gpu=example.com/a"
        ),
    ]
    assert doubtful(inventory(), rules) == (), "a machine without devices says nothing about rules"


RULES = st.lists(ONE_RULE, max_size=5)
MACHINES = st.sets(st.sampled_from(range(len(DEVICES)))).map(
    lambda kept: inventory(*(DEVICES[each] for each in sorted(kept)))
)


@given(MACHINES, RULES)
def test_every_device_is_offered_once_excluded_or_unmatched_and_is_explained_so(
    machine: Inventory, rules: Sequence[ResourceRule]
) -> None:
    state = State(inventory=machine)
    offered = {each.id: name for name, offer in advertise(state, rules).items() for each in offer.devices}
    assert sum(len(offer.devices) for offer in advertise(state, rules).values()) == len(offered)
    for known, taker, others in explain(machine.devices, rules):
        assert others.keys() == set(range(len(rules))) - {taker}
        assert all(
            not isinstance(others[number], Later) for number in range(taker if taker is not None else len(rules))
        )
        assert (known in unmatched(machine.devices, rules)) == (taker is None)
        assert (known in excluded(machine.devices, rules)) == (taker is not None and rules[taker].name is None)
        assert offered.get(known.id) == (None if taker is None else rules[taker].name)
        for number, why in others.items():
            assert isinstance(why, Missed) == (missed(rules[number].selector, known) is not None)


@given(MACHINES, RULES)
def test_a_rule_is_shadowed_or_matches_nothing_exactly_if_it_takes_nothing(
    machine: Inventory, rules: Sequence[ResourceRule]
) -> None:
    idle = set(range(len(rules))) - set(takers(machine.devices, rules)) if machine.physical else set()
    found = doubtful(machine, rules)
    assert {each.number for each in found if each.doubt is not Doubt.NAMES_ABSENT} <= idle
    assert idle <= {each.number for each in found}
    for each in found:
        matched = [known for known in machine.devices if missed(rules[each.number].selector, known) is None]
        assert (each.doubt is Doubt.IS_SHADOWED) <= bool(matched)
        assert (each.doubt is Doubt.MATCHES_NOTHING) <= (not matched)
        assert all(number < each.number for number in each.takers)
