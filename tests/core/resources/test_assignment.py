"""Resource names, and which device belongs to which resource."""

import re
from collections.abc import Sequence
from fnmatch import fnmatchcase

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.strategies import IDS, INVENTORIES
from harness.devices import VARIABLE, advertised, device, inventory
from plugin_gateway.core.devices import FaultId, Inventory, OfferedId, Recipe
from plugin_gateway.core.errors import InvalidValueError
from plugin_gateway.core.health.faults import Evidence, Fault, add_evidence
from plugin_gateway.core.health.policy import Needs
from plugin_gateway.core.health.state import State
from plugin_gateway.core.resources.assignment import Health, advertise, keep_granted
from plugin_gateway.core.resources.names import parse_resource_name
from plugin_gateway.core.resources.rules import ResourceRule, Selector, unmatched

MAX_DOMAIN_LENGTH = "d" * (253 - len("requests."))


@pytest.mark.parametrize(
    "text",
    [
        "nvidia.com/gpu",
        "nvidia.com/gpu.shared",
        "nvidia.com/mig-1g.5gb",
        "a/B",
        "1.2/3_4",
        "x-y.example.com/A-b_c.D",
        "example.com/" + "n" * 63,
        MAX_DOMAIN_LENGTH + "/gpu",
        "d" * 64 + ".example/gpu",
        "kubernetes.io.example.com/gpu",
        "requests/gpu",
    ],
)
def test_a_name_that_every_release_takes(text: str) -> None:
    assert parse_resource_name(text) == text


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        ("", "it must have the form DOMAIN/NAME"),
        ("gpu", "it must have the form DOMAIN/NAME"),
        ("kubernetes.io/gpu", "kubelets refuse every name that contains kubernetes.io/"),
        ("foo.kubernetes.io/gpu", "kubelets refuse every name that contains kubernetes.io/"),
        ("mykubernetes.io/gpu", "kubelets refuse every name that contains kubernetes.io/"),
        ("pod.alpha.kubernetes.io/opaque-int-resource-x", "kubelets refuse every name that contains kubernetes.io/"),
        ("requests.nvidia.com/gpu", "it must not start with requests."),
        (MAX_DOMAIN_LENGTH + "d/gpu", "the domain has 245 characters; expected at most 244"),
        ("/gpu", "the domain must be lower-case DNS labels"),
        ("NVIDIA.com/gpu", "the domain must be lower-case DNS labels"),
        ("nvidia..com/gpu", "the domain must be lower-case DNS labels"),
        (".nvidia.com/gpu", "the domain must be lower-case DNS labels"),
        ("nvidia.com./gpu", "the domain must be lower-case DNS labels"),
        ("-nvidia.com/gpu", "the domain must be lower-case DNS labels"),
        ("nvidia-.com/gpu", "the domain must be lower-case DNS labels"),
        ("nvidia_x.com/gpu", "the domain must be lower-case DNS labels"),
        ("nvidia com/gpu", "the domain must be lower-case DNS labels"),
        ("nvidiä.com/gpu", "the domain must be lower-case DNS labels"),
        ("nvidia.com\n/gpu", "the domain must be lower-case DNS labels"),
        ("nvidia.com/" + "n" * 64, "the part after / has 64 characters; expected at most 63"),
        ("nvidia.com/", "the part after / must be letters, digits, - _ . and start and end with"),
        ("nvidia.com/-gpu", "the part after / must be letters, digits, - _ . and start and end with"),
        ("nvidia.com/gpu.", "the part after / must be letters, digits, - _ . and start and end with"),
        ("nvidia.com/_", "the part after / must be letters, digits, - _ . and start and end with"),
        ("nvidia.com/a/b", "the part after / must be letters, digits, - _ . and start and end with"),
        ("nvidia.com/g pu", "the part after / must be letters, digits, - _ . and start and end with"),
        ("nvidia.com/gpu\n", "the part after / must be letters, digits, - _ . and start and end with"),
        ("nvidia.com/gpü", "the part after / must be letters, digits, - _ . and start and end with"),
        ("nvidia.com/٣", "the part after / must be letters, digits, - _ . and start and end with"),
    ],
)
def test_a_name_that_some_release_or_the_api_refuses_says_which_rule(text: str, rule: str) -> None:
    with pytest.raises(InvalidValueError) as caught:
        parse_resource_name(text)
    assert str(caught.value).startswith(f"resource name {text!r}: {rule}")


def is_extended_resource_name(text: str) -> bool:
    """IsExtendedResourceName and IsQualifiedName of Kubernetes 1.10 and later, written from their Go code."""
    if "/" not in text or "kubernetes.io/" in text or text.startswith("requests."):
        return False
    parts = ("requests." + text).split("/")
    if len(parts) != 2:
        return False
    prefix, name = parts
    label = r"[a-z0-9]([-a-z0-9]*[a-z0-9])?"
    return (
        len(prefix) <= 253
        and re.fullmatch(rf"{label}(\.{label})*", prefix) is not None
        and len(name) <= 63
        and re.fullmatch(r"([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]", name) is not None
    )


NAMES = st.one_of(
    st.text("aZ0-_./ \n", max_size=12),
    st.from_regex(r"[a-z0-9.-]{1,6}/[A-Za-z0-9._-]{1,6}", fullmatch=True),
    st.builds("{}{}/{}".format, st.sampled_from(("", "requests.", "kubernetes.io", "a.")), st.text("a.", max_size=4),
              st.text("a-", max_size=4)),
    st.builds("{}/{}".format, st.text("a", min_size=242, max_size=254), st.text("a", min_size=60, max_size=66)),
)  # fmt: skip


@given(NAMES)
def test_accepted_is_what_kubernetes_calls_an_extended_resource_name(text: str) -> None:
    try:
        accepted = parse_resource_name(text) == text
    except InvalidValueError:
        accepted = False
    assert accepted == is_extended_resource_name(text)


def test_a_pattern_that_matches_nothing_is_refused() -> None:
    with pytest.raises(InvalidValueError, match="selector: '' in products matches no device"):
        ResourceRule(selector=Selector(products=("",)), name=parse_resource_name("nvidia.com/gpu"))


def rule(pattern: str, name: str) -> ResourceRule:
    return ResourceRule(selector=Selector(products=(pattern,)), name=parse_resource_name(f"nvidia.com/{name}"))


RULES = st.lists(
    st.builds(rule, st.sampled_from(("*", "*H100*", "Tesla*", "tesla*", "x")), st.sampled_from(("a", "b", "c"))),
    max_size=4,
)


@given(INVENTORIES, st.sets(st.sampled_from(IDS)), RULES)
def test_every_device_is_offered_under_the_first_rule_that_matches_and_no_other(
    seen: Inventory, unhealthy: set[str], rules: Sequence[ResourceRule]
) -> None:
    held: dict[FaultId, Fault] = {
        name: add_evidence(None, Evidence("XID 79", 0.0), Needs.REBOOT, 0.0) for name in IDS if name in unhealthy
    }
    offered = advertise(State(inventory=seen, faults=held), rules)
    assert all(advertisement.devices for advertisement in offered.values())
    for known in seen.devices:
        first = [rule.name for rule in rules if fnmatchcase(known.physical.product, *rule.selector.products)][:1]
        assert [name for name, advertisement in offered.items() if known in advertisement.devices] == first
    for advertisement in offered.values():
        ids = [known.id for known in advertisement.devices]
        assert [known.place for known in advertisement.devices] == sorted(
            known.place for known in advertisement.devices
        )
        assert advertisement.unhealthy == unhealthy & set(ids)
        assert list(advertisement.by_id) == ids
        assert advertisement.recipes == seen.recipes
        for name in ids:
            assert advertisement.health_of(OfferedId(name)) is (
                Health.UNHEALTHY if name in unhealthy else Health.HEALTHY
            )


def test_a_pattern_minds_the_case() -> None:
    state = State(inventory=inventory(device(0, product="Tesla T4")))
    assert list(advertise(state, [rule("tesla*", "low"), rule("Tesla*", "right")])) == ["nvidia.com/right"]


def test_nothing_is_offered_before_the_first_inventory() -> None:
    assert advertise(State(), [rule("*", "gpu")]) == {}


def test_what_every_container_needs_comes_with_each_resource() -> None:
    recipe = Recipe(visibility_variable=VARIABLE, shared_nodes=("/dev/nvidiactl",))
    seen = inventory(device(0), recipe=recipe)
    offered = advertise(State(inventory=seen), [rule("*", "gpu")])
    assert offered == {"nvidia.com/gpu": advertised([device(0)], recipe=recipe)}


def test_advertisements_are_equal_if_and_only_if_what_they_show_is() -> None:
    one, same, ill = advertised([device(0)]), advertised([device(0)]), advertised([device(0)], IDS[0])
    assert one == same
    assert one != ill


def test_devices_that_no_rule_matches_are_named() -> None:
    devices = (device(0, product="NVIDIA H100"), device(1, product="NVIDIA T4"))
    rules = (ResourceRule(selector=Selector(products=("*H100*",)), name=parse_resource_name("nvidia.com/gpu")),)
    assert unmatched(devices, rules) == devices[1:]
    assert unmatched((), rules) == ()


@given(st.sets(st.integers(0, 5)), st.dictionaries(st.integers(0, 5), st.floats(0, 20)), st.floats(0, 20))
def test_what_was_allocated_a_moment_ago_stays_listed_as_unhealthy(
    left: set[int], granted: dict[int, float], now: float
) -> None:
    before = advertised(device(index) for index in range(5))
    until: dict[str, float] = {device(index).id: at for index, at in granted.items()}
    listed, again = keep_granted(advertised(device(index) for index in sorted(left)), before, until, now)
    kept = {
        OfferedId(device(index).id) for index, at in granted.items() if now < at and index < 5 and index not in left
    }
    assert set(listed.by_id) == {device(index).id for index in left} | kept
    assert listed.unhealthy == kept
    assert again == min((until[each] for each in kept), default=None)
