"""Several backends offer their devices side by side, each resource has devices of one of them."""

from dataclasses import replace

import pytest

from harness.devices import device as gpu
from harness.devices import inventory
from plugin_gateway.core.devices import Inventory, seen_by
from plugin_gateway.core.errors import InvalidValueError
from plugin_gateway.core.health.state import State
from plugin_gateway.core.resources.names import ResourceName
from plugin_gateway.core.resources.rules import ResourceRule, Selector
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
    with pytest.raises(InvalidValueError, match=f"{X} is given to devices of backend {A} and of backend {B}, allowed"):
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
