"""Every mistake in the sections `resources` and `sharing` is told with its place, and with what is allowed."""

import re
from pathlib import Path

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from plugin_gateway.core.errors import InvalidValueError

from .conftest import Read

NUMBERS = "expected 2 to 1024"
PLACES = "an index such as 0, or 0:1 for a MIG device; one, or a list of them"
MISTAKES = [
    ("rules", "[]", "resources.rules is an empty list; expected a list with a name each"),
    ("rules", "[a]", "resources.rules is 'a'; expected keys with values"),
    ("rules", "[{index: 0}]", "name missing in an entry of resources.rules; expected a name, or never: true"),
    (
        "rules",
        "[{name: a, never: true}]",
        "name and never are both there in an entry of resources.rules; expected a name, or never: true",
    ),
    ("rules", "[{never: false}]", "resources.rules.never is false; expected true; or give a name"),
    (
        "rules",
        "[{never: 'true'}]",
        "resources.rules.never is the text 'true'; expected true or false, without quotes",
    ),
    (
        "rules",
        "[{never: true, replicas: 2}]",
        "replicas in an entry of resources.rules with never; expected never alone",
    ),
    (
        "rules",
        "[{name: a, failRequestsGreaterThanOne: true}]",
        "failRequestsGreaterThanOne in an entry of resources.rules without replicas, which are needed with it",
    ),
    (
        "rules",
        "[{name: a, colour: red}]",
        (
            "unknown key resources.rules.colour, known are uuid, index, pci, product, profile, kind, backend, name, "
            "never, replicas, sharing and failRequestsGreaterThanOne"
        ),
    ),
    ("rules", "[{name: a, name: b}]", "resources.rules.name occurs twice, first at {}"),
    (
        "rules",
        "[{name: a/}]",
        (
            "resource name 'a/': the part after / must be letters, digits, - _ . and start and end "
            "with a letter or digit"
        ),
    ),
    (
        "rules",
        "[{name: a, index: -1}]",
        "resources.rules.index: invalid value '-1'; expected an index such as 0, or 0:1 for a MIG device",
    ),
    (
        "rules",
        "[{name: a, index: '0:1:2'}]",
        "resources.rules.index: invalid value '0:1:2'; expected an index such as 0, or 0:1 for a MIG device",
    ),
    (
        "rules",
        "[{name: a, index: 0.5}]",
        "resources.rules.index: invalid value '0.5'; expected an index such as 0, or 0:1 for a MIG device",
    ),
    (
        "rules",
        "[{name: a, index: []}]",
        f"resources.rules.index is an empty list; expected {PLACES}",
    ),
    (
        "rules",
        "[{name: a, index: {a: b}}]",
        f"resources.rules.index is a mapping; expected {PLACES}",
    ),
    ("rules", "[{name: a, index: [0, [1]]}]", f"resources.rules.index is a list; expected {PLACES}"),
    ("rules", "[{name: a, index: }]", f"resources.rules.index is empty; expected {PLACES}"),
    (
        "rules",
        "[{name: a, uuid: 1}]",
        "resources.rules.uuid: invalid value '1'; expected a UUID, which begins with GPU- or MIG-",
    ),
    (
        "rules",
        "[{name: a, uuid: 'GPU-1 2'}]",
        ("resources.rules.uuid: device id 'GPU-1 2' has characters other than printable ones without blank and comma"),
    ),
    (
        "rules",
        "[{name: a, uuid: GPU-1::0}]",
        "resources.rules.uuid: device id 'GPU-1::0' has ::, which only ids of replicas have",
    ),
    (
        "rules",
        "[{name: a, pci: 3b}]",
        "resources.rules.pci: invalid value '3b'; expected a PCI address such as 0000:3b:00.0",
    ),
    ("rules", "[{name: a, product: ''}]", "resources.rules.product is empty; '*' matches every one"),
    (
        "rules",
        "[{name: a, product: 'H[12'}]",
        "resources.rules.product: 'H[12' has a [ without ]; expected [[] for the character itself",
    ),
    ("rules", "[{name: a, kind: GPU}]", "resources.rules.kind: invalid value 'GPU'; expected gpu or mig"),
    *(
        (
            "rules",
            f"[{{name: a, replicas: {text}}}]",
            f"resources.rules.replicas: invalid value '{text}'; expected 1 to 1024",
        )
        for text in ("0", "-1", "1e9", "1000000000", "two", "2.5", "1_000", "0x10", "1025")
    ),
    (
        "rules",
        "[{name: a, sharing: mps, failRequestsGreaterThanOne: true}]",
        (
            "sharing and failRequestsGreaterThanOne in an entry of resources.rules without replicas, "
            "which are needed with it"
        ),
    ),
    (
        "rules",
        "[{name: a, replicas: 2, sharing: MPS}]",
        "resources.rules.sharing: invalid value 'MPS'; expected timeSlicing or mps",
    ),
    *(
        (
            "rules",
            f"[{{name: a, replicas: {text}, sharing: mps}}]",
            f"{text} replicas in an entry of resources.rules with sharing: mps; expected 2 to 48",
        )
        for text in ("1", "49", "1024")
    ),
    ("rules", "[{name: a, replicas: [2]}]", "resources.rules.replicas is a list; expected 1 to 1024"),
    ("mig", "[{pattern: '', name: a}]", "resources.mig.pattern is empty; '*' matches every one"),
    ("mig", "[{pattern: 1g, name: a, replicas: 2}]", "unknown key resources.mig.replicas, known are pattern and name"),
    ("slices", "{renameByDefault: true}", "resources missing in an entry of sharing.timeSlicing"),
    (
        "slices",
        "{resources: []}",
        "sharing.timeSlicing.resources is an empty list; expected a list with name and replicas each",
    ),
    (
        "slices",
        "{resources: [{name: gpu, replicas: 2}], renameByDefault: yeah}",
        "sharing.timeSlicing.renameByDefault is 'yeah'; expected true or false, without quotes",
    ),
    (
        "slices",
        "{replicas: 2}",
        (
            "unknown key sharing.timeSlicing.replicas, known are renameByDefault, "
            "failRequestsGreaterThanOne and resources"
        ),
    ),
    ("entry", "{name: gpu}", "replicas missing in an entry of sharing.timeSlicing.resources"),
    ("entry", "{replicas: 2}", "name missing in an entry of sharing.timeSlicing.resources"),
    *(
        (
            "entry",
            f"{{name: gpu, replicas: {text}}}",
            f"sharing.timeSlicing.resources.replicas: invalid value '{text}'; {NUMBERS}",
        )
        for text in ("0", "1", "-1", "1e9", "1000000000", "two", "2.5")
    ),
    ("entry", "{name: gpu, replicas: }", f"sharing.timeSlicing.resources.replicas is empty; {NUMBERS}"),
    (
        "entry",
        "{name: gpu, replicas: 2, devices: 0}",
        (
            "sharing.timeSlicing.resources.devices: invalid value '0'; expected all, a "
            "number from 1 on, or a list of indexes and UUIDs"
        ),
    ),
    (
        "entry",
        "{name: gpu, replicas: 2, devices: some}",
        (
            "sharing.timeSlicing.resources.devices: invalid value 'some'; expected "
            "all, a number from 1 on, or a list of indexes and UUIDs"
        ),
    ),
    (
        "entry",
        "{name: gpu, replicas: 2, devices: []}",
        (
            "sharing.timeSlicing.resources.devices is an empty list; expected "
            "all, a number, or a list of indexes and UUIDs"
        ),
    ),
    (
        "entry",
        "{name: gpu, replicas: 2, devices: [GPU]}",
        (
            "sharing.timeSlicing.resources.devices: invalid value 'GPU'; expected "
            "an index such as 0 or 0:1, or a UUID, which begins with GPU- or MIG-"
        ),
    ),
    (
        "entry",
        "{name: gpu, replicas: 2}, {name: nvidia.com/gpu, replicas: 3}",
        (
            "sharing.timeSlicing.resources.name: nvidia.com/gpu occurs twice, first at {}; resources.rules can share "
            "devices of one name differently"
        ),
    ),
]
FRAMES = {
    "rules": "resources: {{rules: {}}}",
    "mig": "resources: {{mig: {}}}",
    "slices": "sharing: {{timeSlicing: {}}}",
    "entry": "sharing: {{timeSlicing: {{resources: [{}]}}}}",
}


BY_MPS = [
    (frame, text.replace("timeSlicing", "mps"), said.replace("timeSlicing", "mps").replace("1024", "48"))
    for frame, text, said in MISTAKES
    if frame in {"slices", "entry"}
]
"""NVIDIA has the same keys for both ways to share GPUs."""


def complaint(read: Read, text: str, config_file: Path) -> str:
    """What is said, without the place."""
    with pytest.raises(InvalidValueError) as caught:
        read((), {}, f"version: v1\n{text}\n")
    assert len(caught.value.problems) == 1
    place = re.escape(str(config_file)) + r":2:\d+"
    assert re.match(f"{place}: ", str(caught.value))
    return re.sub(place, "{}", re.sub(f"^{place}: ", "", str(caught.value)))


@pytest.mark.parametrize(("frame", "text", "said"), MISTAKES, ids=[f"{frame}: {text}" for frame, text, _ in MISTAKES])
def test_a_mistake_is_told_with_its_place_and_what_is_allowed(
    frame: str, text: str, said: str, read: Read, config_file: Path
) -> None:
    assert complaint(read, FRAMES[frame].format(text), config_file) == said


@pytest.mark.parametrize(("frame", "text", "said"), BY_MPS, ids=[f"{frame}: {text}" for frame, text, _ in BY_MPS])
def test_a_mistake_about_mps_is_told_as_one_about_time_slicing(
    frame: str, text: str, said: str, read: Read, config_file: Path
) -> None:
    assert complaint(read, FRAMES[frame].format(text).replace("timeSlicing", "mps"), config_file) == said


@pytest.mark.parametrize("first", ["timeSlicing", "mps"])
def test_both_ways_to_share_by_name_are_refused_at_the_second_one(first: str, read: Read, config_file: Path) -> None:
    second = {"timeSlicing": "mps", "mps": "timeSlicing"}[first]
    entries = "{resources: [{name: gpu, replicas: 2}]}"
    said = complaint(read, f"sharing: {{{first}: {entries}, {second}: {entries}}}", config_file)
    assert said == (
        f"sharing.{second} is there, and sharing.{first} too; expected one of them; resources.rules can share some "
        "devices in one way and some in the other"
    )


OTHERS = "which is the name of other devices too; expected a name that no rule and no other entry gives"
CHOSEN = (
    "devices of nvidia.com/h100 are chosen by resources.rules already; expected all; or write replicas into the rule"
)
TWO_RULES = "{gpus: [{pattern: a, name: gpu}, {pattern: b, name: gpu}], rules: [{index: 0, name: h100}]}"


@pytest.mark.parametrize(
    ("entries", "said"),
    [
        ("{name: gpu, replicas: 2, rename: h100}", f": nvidia.com/gpu is renamed to nvidia.com/h100, {OTHERS}"),
        ("{name: gpu, replicas: 2, rename: a}, {name: h100, replicas: 2, rename: a}",
         f": nvidia.com/h100 is renamed to nvidia.com/a, {OTHERS}"),
        ("{name: h100, replicas: 2, devices: [0]}", f": {CHOSEN}"),
        ("{name: h100, replicas: 2, devices: 1}", f": {CHOSEN}"),
        ("{name: gpu, replicas: 2, devices: 1}", (".devices: a number of devices, but 2 rules give the name "
         "nvidia.com/gpu; expected all or a list of indexes and UUIDs")),
    ],
)  # fmt: skip
def test_what_an_entry_says_must_go_together_with_the_rules(
    entries: str, said: str, read: Read, config_file: Path
) -> None:
    text = f"{{resources: {TWO_RULES}, sharing: {{timeSlicing: {{resources: [{entries}]}}}}, version: v1}}"
    with pytest.raises(InvalidValueError) as caught:
        read((), {}, text)
    assert re.sub(r":1:\d+: ", ": ", str(caught.value)) == f"{config_file}: sharing.timeSlicing.resources{said}"


@pytest.mark.parametrize(
    ("entry", "is_refused"),
    [
        ("{name: gpu, replicas: 2, rename: mig-3g.40gb}", True),
        ("{name: gpu, replicas: 2, rename: mig-1c.3g.40gb.me}", True),
        ("{name: mig-1g.10gb, replicas: 2, rename: mig-3g.40gb}", True),
        ("{name: mig-1g.10gb, replicas: 2, rename: mig-1g.10gb}", False),
        ("{name: mig-1g.10gb, replicas: 2, rename: mig-1g.10gb.shared}", False),
        ("{name: gpu, replicas: 2, rename: mig-fast}", False),
    ],
)
def test_a_new_name_is_none_that_mig_devices_get_from_their_profiles(
    entry: str, is_refused: bool, read: Read, config_file: Path
) -> None:
    text = f"{{sharing: {{timeSlicing: {{resources: [{entry}]}}}}, version: v1}}"
    read((), {}, text)  # without such devices
    if is_refused:
        with pytest.raises(InvalidValueError) as caught:
            read(("--mig-strategy=mixed",), {}, text)
        assert str(caught.value).startswith(f"{config_file}:1:")
        assert str(caught.value).endswith(OTHERS)
    else:
        read(("--mig-strategy=mixed",), {}, text)


def test_a_shared_name_that_is_too_long_or_taken_is_refused(read: Read, config_file: Path) -> None:
    name = "g" * 60
    text = f"""\
resources: {{gpus: [{{pattern: a, name: {name}}}, {{pattern: b, name: b}}, {{pattern: c, name: b.shared}}]}}
sharing:
  timeSlicing: {{resources: [{{name: {name}, replicas: 2}}, {{name: b, replicas: 2}}], renameByDefault: true}}
"""
    with pytest.raises(InvalidValueError) as caught:
        read((), {}, f"version: v1\n{text}")
    long, taken = caught.value.problems
    assert long.startswith(
        f"{config_file}:4:29: sharing.timeSlicing.renameByDefault: resource name 'nvidia.com/{name}.shared'"
    )
    assert long.endswith("the part after / has 67 characters; expected at most 63")
    assert taken == (
        f"{config_file}:4:112: sharing.timeSlicing.resources: nvidia.com/b is renamed to nvidia.com/b.shared, {OTHERS}"
    )


def test_a_mistake_counts_also_where_a_flag_decides_instead(read: Read) -> None:
    text = "version: v1\nresources: {rules: [{name: a, replicas: 0}]}\n"
    with pytest.raises(InvalidValueError, match=r"resources\.rules\.replicas: invalid value '0'; expected 1 to 1024"):
        read(("--resource-name=example.com/a",), {}, text)


WORDS = st.sampled_from(
    [
        "gpu",
        "mps",
        "a.com/b",
        "",
        "*H100*",
        "[",
        "0",
        "0:1",
        "-1",
        "two",
        "1e9",
        "all",
        "mig",
        "GPU-1",
        "0000:3b:00.0",
        "x::0",
    ]
)
LEAVES = WORDS | st.integers(-2, 2000) | st.booleans() | st.none() | st.floats(0, 9)
KEYS = st.sampled_from(
    [
        "name",
        "pattern",
        "replicas",
        "rename",
        "devices",
        "uuid",
        "index",
        "pci",
        "product",
        "profile",
        "kind",
        "never",
        "failRequestsGreaterThanOne",
        "sharing",
        "renameByDefault",
        "resources",
        "other",
    ]
)
VALUES = st.recursive(
    LEAVES, lambda parts: st.lists(parts, max_size=3) | st.dictionaries(KEYS, parts, max_size=4), max_leaves=8
)
ENTRIES = st.lists(st.dictionaries(KEYS, LEAVES | st.lists(LEAVES, max_size=2), max_size=5) | VALUES, max_size=3)


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    resources=st.dictionaries(st.sampled_from(["gpus", "mig", "rules"]), ENTRIES, max_size=3),
    way=st.sampled_from(["timeSlicing", "mps"]),
    sharing=st.none() | VALUES | st.fixed_dictionaries({"resources": ENTRIES}),
)
def test_whatever_stands_there_is_followed_or_refused_with_a_place(
    resources: object, way: str, sharing: object, read: Read, config_file: Path
) -> None:
    document = {"version": "v1", "resources": resources, "sharing": {way: sharing}}
    try:
        found = read(("--mps-root=/mps",), {}, yaml.safe_dump(document)).resources
    except InvalidValueError as error:
        for each in error.problems:
            assert each.startswith(f"{config_file}:") or re.fullmatch(r"and \d+ more", each)
    else:
        assert found
        assert all(rule.sharing.replicas <= (48 if rule.sharing.through else 1024) for rule in found)
