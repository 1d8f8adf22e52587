"""Names and values of labels: whatever a product is called, the API server takes what is made of it."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from plugin_gateway.core.errors import InvalidValueError
from plugin_gateway.core.labels.names import MAX_LENGTH, cleaned, is_value, is_word, most_frequent, parse_label_name

VALUE = re.compile(r"(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?")
"""As the API server checks it (apimachinery, util/validation)."""
SUFFIXES = ("", "-SHARED", "-MIG-3g.40gb", "-MIG-1c.3g.40gb.me.all-SHARED", "-MIG-INVALID")
TEXTS = st.text(max_size=200) | st.text("aZ9-_. \t(", max_size=80)


@given(text=TEXTS, suffix=st.sampled_from(SUFFIXES))
def test_every_text_becomes_a_value_that_the_api_server_takes(text: str, suffix: str) -> None:
    value = cleaned(text, suffix)
    assert len(value) <= MAX_LENGTH
    assert VALUE.fullmatch(value)
    assert is_value(value)
    assert value.endswith(suffix.lstrip("-"))


@given(text=TEXTS, limit=st.integers(1, MAX_LENGTH))
def test_to_clean_a_value_again_changes_nothing(text: str, limit: int) -> None:
    value = cleaned(text, limit=limit)
    assert cleaned(value, limit=limit) == value
    assert len(value) <= limit


@given(text=st.from_regex(r"[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?", fullmatch=True))
def test_what_is_a_value_already_stays_as_it_is(text: str) -> None:
    assert cleaned(text) == text


@given(products=st.lists(st.sampled_from(("A100", "H100", "L4", "T4")), max_size=12), order=st.randoms())
def test_the_product_of_a_node_does_not_depend_on_the_order(products: list[str], order: object) -> None:
    shuffled = sorted(products, key=lambda _: order.random())  # type: ignore[attr-defined]
    assert most_frequent(shuffled) == most_frequent(products)


def test_the_first_name_is_taken_of_products_that_are_equally_frequent() -> None:
    assert most_frequent(["T4", "A100", "T4", "A100", "L4"]) == "A100"
    assert most_frequent(["T4", "A100", "T4"]) == "T4"
    assert most_frequent([]) == ""


@pytest.mark.parametrize(
    ("text", "suffix", "value"),
    [
        ("NVIDIA  Graphics (Device) [rev:2]/x_1.0", "", "NVIDIA-Graphics-Device-rev2x_1.0"),
        (
            "NVIDIA RTX PRO 6000 Blackwell Max-Q Workstation Edition (a+b/c)",
            "-SHARED",
            "NVIDIA-RTX-PRO-6000-Blackwell-Max-Q-Workstation-Edition-SHARED",
        ),
        ("x" * 55 + "-y", "-SHARED", "x" * 55 + "-SHARED"),
        (" -.x.- ", "", "x"),
        ("größe", "", "gre"),
        ("()", "-SHARED", "SHARED"),
        ("()", "", ""),
    ],
)
def test_a_text_that_is_too_long_is_cut_and_the_suffix_is_kept(text: str, suffix: str, value: str) -> None:
    assert cleaned(text, suffix) == value


@pytest.mark.parametrize("text", ["example.com/a", "nvidia.com/gpu.model.A-1", "a/b", f"a/{'x' * 63}"])
def test_a_name_has_a_domain(text: str) -> None:
    assert parse_label_name(text) == text


@pytest.mark.parametrize(
    "text",
    [
        "", "a", "/a", "a/", "a/b/c", "A.com/b", "a/-b", "a/b-", f"a/{'x' * 64}", f"{'a' * 254}/b", "a/b c", "a/b\n",
        "kubernetes.io/hostname", "node-role.kubernetes.io/x", "k8s.io/a", "feature.node.k8s.io/a",
    ],
)  # fmt: skip
def test_a_name_that_is_refused_or_is_one_of_kubernetes_is_an_error(text: str) -> None:
    with pytest.raises(InvalidValueError):
        parse_label_name(text)


def test_a_word_may_not_be_empty_and_a_value_may() -> None:
    assert is_value("")
    assert not is_word("")
