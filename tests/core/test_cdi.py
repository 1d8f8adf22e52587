from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.cdi_schema import checked
from plugin_gateway.core.cdi import (
    NOTHING,
    CdiDevice,
    CdiEdits,
    CdiHook,
    CdiMount,
    CdiNode,
    CdiSpec,
    annotation,
    file_name,
    qualified,
)
from plugin_gateway.core.errors import InvalidValueError

KIND = "k8s.example.com/card"
NODE = CdiEdits(nodes=(CdiNode("/dev/card0"),))
SPEC = CdiSpec(KIND, (CdiDevice("card-0", NODE),))


def with_edits(**edits: Any) -> CdiSpec:
    return replace(SPEC, edits=CdiEdits(**edits))


def test_the_smallest_spec_is_one_that_every_runtime_reads() -> None:
    assert checked(SPEC.encoded()) == {
        "cdiVersion": "0.3.0",
        "kind": KIND,
        "devices": [{"name": "card-0", "containerEdits": {"deviceNodes": [{"path": "/dev/card0"}]}}],
    }


@pytest.mark.parametrize(
    ("spec", "version"),
    [
        (with_edits(environment={"A": "b"}), "0.3.0"),
        (with_edits(mounts=(CdiMount("/a b", "/c", ("ro", "rbind")),)), "0.3.0"),
        (with_edits(hooks=(CdiHook("/bin/hook", ("hook", "do"), ("A=b",)),)), "0.3.0"),
        (with_edits(nodes=(CdiNode("/dev/a", "/dev/a", 195, 0, 0o666, 44, "rw"),)), "0.3.0"),
        (with_edits(nodes=(CdiNode("/dev/a", "/root/dev/a"),)), "0.5.0"),
        (replace(SPEC, devices=(CdiDevice("0:1", NODE),)), "0.5.0"),
    ],
)
def test_the_version_is_the_lowest_that_carries_what_is_used(spec: CdiSpec, version: str) -> None:
    assert spec.version == checked(spec.encoded())["cdiVersion"] == version


def test_a_node_has_its_numbers_where_they_are_known() -> None:
    known, unknown = CdiNode("/dev/a", "", 195, 255, 0o660, 44, "rw"), CdiNode("/dev/b")
    assert checked(with_edits(nodes=(known, unknown)).encoded())["containerEdits"]["deviceNodes"] == [
        {
            "path": "/dev/a",
            "type": "c",
            "major": 195,
            "minor": 255,
            "fileMode": 432,
            "gid": 44,
            "permissions": "rw",
        },
        {"path": "/dev/b"},
    ]


def test_edits_are_joined() -> None:
    other = CdiEdits({"A": "b"}, (CdiNode("/dev/b"),))
    assert NODE.joined(other) == CdiEdits({"A": "b"}, (CdiNode("/dev/card0"), CdiNode("/dev/b")))


@pytest.mark.parametrize(
    ("parts", "named"),
    [
        ({"kind": "card"}, "'card' is no kind"),
        ({"kind": "example.com/c.d"}, "'example.com/c.d' is no kind"),
        ({"devices": ()}, "without a device"),
        ({"devices": (CdiDevice("a/b", NODE),)}, "'a/b' cannot be the name"),
        ({"devices": (CdiDevice("a-", NODE),)}, "'a-' cannot be the name"),
        ({"devices": (CdiDevice("a", NODE), CdiDevice("a", NODE))}, "twice: a, a"),
        ({"devices": (CdiDevice("a", NOTHING),)}, "CDI device a has nothing"),
        ({"edits": CdiEdits(mounts=(CdiMount("a", "/a"),))}, "'a' is no absolute path"),
        ({"edits": CdiEdits(mounts=(CdiMount("/a\n", "/a"),))}, "'/a\\n' has characters"),
        ({"edits": CdiEdits(mounts=(CdiMount("/a", "/\udcff"),))}, "'/\\udcff' has characters"),
        ({"edits": CdiEdits(hooks=(CdiHook("hook", ("hook",)),))}, "'hook' is no absolute path"),
    ],
)
def test_what_a_runtime_would_refuse_is_no_spec(parts: dict[str, Any], named: str) -> None:
    with pytest.raises(InvalidValueError) as refused:
        replace(SPEC, **parts)
    assert named in str(refused.value)


def test_names_are_those_that_other_writers_of_specs_have() -> None:
    assert file_name(KIND) == "k8s.example.com-card.json"
    assert qualified(KIND, "card-0") == "k8s.example.com/card=card-0"


@given(st.lists(st.sampled_from("abcdef"), min_size=1, unique=True), st.lists(st.sampled_from("abcdef"), min_size=1))
def test_an_annotation_is_the_same_for_the_same_devices_only(names: list[str], others: list[str]) -> None:
    key, value = annotation("cdi.k8s.io/", names)
    assert value == ",".join(names)
    assert len(key.removeprefix("cdi.k8s.io/")) <= 63
    assert (annotation("cdi.k8s.io/", others)[0] == key) == (names == others)


PATHS = st.text(st.characters(codec="utf-8"), max_size=8).map(lambda text: f"/{text}")
NODES = st.builds(
    CdiNode,
    st.sampled_from(("/dev/a", "/dev/b")),
    st.sampled_from(("", "/dev/a", "/root/dev/a")),
    st.none() | st.integers(1, 4095),
    st.integers(0, 99),
    st.none() | st.integers(0, 0o777),
    st.integers(0, 99),
    st.sampled_from(("", "rw")),
)
EDITS = st.builds(
    CdiEdits,
    st.dictionaries(st.sampled_from("AB"), st.text(max_size=4)),
    st.lists(NODES, max_size=2).map(tuple),
    st.lists(st.builds(CdiMount, PATHS, PATHS, st.sampled_from(((), ("ro",)))), max_size=2).map(tuple),
    st.lists(PATHS.map(lambda path: CdiHook(path, ("hook",))), max_size=2).map(tuple),
)


@given(EDITS, st.dictionaries(st.text("a0:-/", min_size=1, max_size=3), EDITS, max_size=3))
def test_what_is_accepted_is_what_the_schema_of_its_version_allows(
    edits: CdiEdits, devices: dict[str, CdiEdits]
) -> None:
    try:
        spec = CdiSpec(KIND, tuple(CdiDevice(*each) for each in devices.items()), edits)
    except InvalidValueError:
        return
    document = checked(spec.encoded())
    assert [each["name"] for each in document["devices"]] == list(devices)
    assert [each["hostPath"] for each in document.get("containerEdits", {}).get("mounts", [])] == [
        mount.host_path for mount in edits.mounts
    ]
