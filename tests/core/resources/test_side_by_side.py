"""Several backends offer their devices side by side, each resource has devices of one of them."""

from dataclasses import replace
from typing import Any

import pytest

from harness.devices import device as gpu
from harness.devices import inventory
from plugin_gateway.core.devices import Inventory, seen_by
from plugin_gateway.core.errors import InvalidValueError
from plugin_gateway.core.health.state import State
from plugin_gateway.core.resources.assignment import advertise, kept_names
from plugin_gateway.core.resources.container_options import ContainerOptions
from plugin_gateway.core.resources.names import ResourceName
from plugin_gateway.core.resources.rule_reasons import doubtful_in_all, without_devices
from plugin_gateway.core.resources.rules import ResourceRule, Selector
from plugin_gateway.core.resources.sharing import Sharing
from plugin_gateway.core.resources.side_by_side import advertise_side_by_side, check_names

A, B = "first", "second"
X, Y = ResourceName("example.com/x"), ResourceName("example.com/y")


def of(backend: str, *indexes: int) -> State:
    return State(inventory=seen_by(backend, _inventory(*indexes)))


def _inventory(*indexes: int) -> Inventory:
    return inventory(*(gpu(index) for index in indexes))


def rule(name: ResourceName | None, *backends: str, product: str = "") -> ResourceRule:
    products = (product,) if product else ()
    return ResourceRule(selector=Selector(backends=backends, products=products), name=name)


def test_each_backend_has_its_own_resources() -> None:
    found = advertise_side_by_side({A: of(A, 0, 1), B: of(B, 2)}, (rule(X, A), rule(Y, B)))
    assert {name: [each.id for each in what.devices] for name, what in found.wanted.items()} == {
        X: [gpu(0).id, gpu(1).id],
        Y: [gpu(2).id],
    }
    assert found.owners == {X: A, Y: B}
    assert found.taken == ()


def always(name: ResourceName, *backends: str, **others: Any) -> ResourceRule:
    return replace(rule(name, *backends), is_always_there=True, **others)


GONE = State(driver_problem="no driver")


@pytest.mark.parametrize(
    ("second", "offered"),
    [(of(B), True), (GONE, True), (State(), False), (State(driver_is_silent=True), False)],
)
def test_a_resource_that_is_always_there_is_offered_without_devices_once_its_backend_has_answered(
    second: State, *, offered: bool
) -> None:
    options = ContainerOptions(environment={"MODE": "fast"})
    rules = (rule(X, A), always(Y, B, options=options, sharing=Sharing(replicas=3, is_pool=True)))
    found = advertise_side_by_side({A: of(A, 0), B: second}, rules, numa_hints=False)
    assert list(found.wanted) == ([X, Y] if offered else [X])
    if offered:
        assert found.wanted[Y].offered == ()
        assert (found.wanted[Y].options, found.wanted[Y].numa_hints) == (options, False)
        assert found.owners[Y] == B
    assert kept_names(rules) == {X, Y}


def test_a_resource_that_is_always_there_belongs_to_the_backend_that_has_devices_for_it() -> None:
    rules = (replace(rule(X, product="*N*"), is_always_there=True),)
    for states in ({A: of(A), B: of(B, 0)}, {B: of(B, 0), A: of(A)}):
        found = advertise_side_by_side(states, rules)
        assert [each.id for each in found.wanted[X].devices] == [gpu(0).id]
        assert (found.owners, found.taken) == ({X: B}, ())


def test_the_only_backend_offers_what_is_always_there_if_the_rule_is_about_it() -> None:
    rules = [always(X), always(Y, B)]
    assert list(advertise(State(inventory=_inventory()), rules)) == [X]
    assert list(advertise(State(inventory=_inventory(0)), rules)) == [X]
    assert list(advertise(GONE, rules)) == [X]
    assert advertise(State(), rules) == {}


def test_rules_without_a_device_are_known_by_the_backends_that_have_answered() -> None:
    rules = [rule(X, A), always(X, A), always(Y, B), rule(Y, B)]
    assert without_devices({A: _inventory(0)}, rules) == (rules[1],)
    assert without_devices({A: _inventory(0), B: _inventory()}, rules) == (rules[1], rules[2])
    assert without_devices({A: _inventory(0), B: seen_by(B, _inventory(1))}, rules) == (rules[1],)
    assert without_devices({"": _inventory(1)}, [always(X), always(Y, B)]) == ()
    assert without_devices({"": _inventory()}, [always(X)]) == (always(X),)


def test_an_empty_backend_does_not_hide_mistakes_in_rules() -> None:
    rules = [replace(rule(X, product="no such"), origin="line 3"), always(Y, B), rule(X)]
    found = doubtful_in_all([_inventory(0), _inventory()], rules)
    assert [each.words(rules) for each in found] == [
        f"the rule no such={X} (line 3) matches no device of this machine",
        f"the rule backend {B}={Y} matches no device of this machine",
    ]


def test_rules_that_ask_for_attributes_leave_devices_for_later_rules() -> None:
    asks = ResourceRule(selector=Selector(backends=(B,), attributes={"function": ("vf",)}), name=Y)
    check_names((asks, rule(X, A), rule(Y, B)), (A, B))
    with pytest.raises(InvalidValueError, match=f"{Y} is given to devices of backend {B} and of backend {A}"):
        check_names((asks, rule(Y, A)), (A, B))
    takes_all = replace(asks, selector=Selector(backends=(B,), attributes={"function": ()}))
    check_names((takes_all, rule(Y, B), rule(X, A), rule(X)), (A, B))


def test_a_name_that_two_backends_have_stays_with_the_first() -> None:
    states = {A: of(A, 0), B: of(B, 1, 2)}
    found = advertise_side_by_side(states, (rule(X, product="*H100*"), rule(X, product="*N*")))
    assert [each.id for each in found.wanted[X].devices] == [gpu(0).id]
    (taken,) = found.taken
    assert (taken.backend, taken.owner, taken.devices) == (B, A, (gpu(1).id, gpu(2).id))
    assert str(taken) == f"backend {A} offers {X}, and a resource has devices of one backend only"
    turned = advertise_side_by_side(dict(reversed(states.items())), (rule(X),))
    assert turned.owners == {X: B}


def test_a_backend_that_has_not_answered_takes_no_name() -> None:
    found = advertise_side_by_side({A: State(), B: of(B, 1)}, (rule(X),))
    assert found.owners == {X: B}


@pytest.mark.parametrize(
    "rules",
    [
        (rule(X),),
        (rule(X, product="*"),),
        (rule(X, A, B, product="*H100*"),),
        (rule(X, A, product="*H100*"), rule(None, product="*V100*"), rule(X, B, product="*A100*")),
    ],
)
def test_a_name_for_two_backends_is_refused(rules: tuple[ResourceRule, ...]) -> None:
    with pytest.raises(InvalidValueError, match=f"{X} is given to devices of backend {A} and of backend {B}; expected"):
        check_names(rules, (A, B))
    check_names(rules, (A,))


def test_a_rule_of_which_no_device_is_left_gives_no_name() -> None:
    check_names((rule(X, A), rule(Y, B), rule(X, B)), (A, B))
    check_names((rule(X, A), rule(None, B), rule(X, B)), (A, B))
    with pytest.raises(InvalidValueError):
        check_names((rule(X, A), rule(Y, B, product="*H100*"), rule(X, B)), (A, B))


def test_other_rules_are_followed() -> None:
    check_names((rule(X, A), rule(X, A, product="*H100*"), rule(Y, B), rule(X, product="*A100*"), rule(None)), (A, B))


def test_a_rule_says_which_backend_it_is_about() -> None:
    assert rule(X, A).words == f"backend {A}={X}"
    (device,) = of(A, 0).devices
    assert rule(X, A).selector.unfulfilled(device) is None
    assert rule(X, B).selector.unfulfilled(device) == "backends"
    with pytest.raises(InvalidValueError, match="'' in backends matches no device"):
        Selector(backends=("",))


def test_an_inventory_is_the_same_but_for_the_name() -> None:
    before = _inventory(0, 1)
    after = seen_by(A, before)
    assert {each.backend for each in after.physical} == {device.physical.backend for device in after.devices} == {A}
    assert [replace(each, backend="") for each in after.physical] == list(before.physical)
