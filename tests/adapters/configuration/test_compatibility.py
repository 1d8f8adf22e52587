"""What NVIDIA's device plugin ignores in a file: followed or refused, or ignored with --config-compatibility=nvidia."""

from pathlib import Path

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from plugin_gateway.adapters.configuration.ignored_keys import MAX_TOLD
from plugin_gateway.adapters.configuration.kinds import word_of
from plugin_gateway.adapters.configuration.options import Options, run_options
from plugin_gateway.adapters.configuration.reading import decide
from plugin_gateway.core.errors import InvalidValueError
from plugin_gateway.core.resources.rules import Selector
from plugin_gateway.nvidia.evidence import HEALTH_POLICY

from .conftest import Read

AS_NVIDIA = ("--config-compatibility=nvidia", "--mps-root=/mps")
STRICT = ("--mps-root=/mps",)
IGNORED = [
    ("resources: {gpus: [{pattern: '*', name: fast}]}", "resources.gpus", "*=nvidia.com/fast", "*=nvidia.com/gpu"),
    ("resources: {mig: [{pattern: 1g.*, name: small}]}", "resources.mig",
     "profile 1g.* and kind mig=nvidia.com/small *=nvidia.com/gpu", "*=nvidia.com/gpu"),
    ("sharing: {timeSlicing: {resources: [{name: gpu, replicas: 2, rename: shiny}]}}",
     "sharing.timeSlicing.resources.rename", "*=nvidia.com/shiny x2", "*=nvidia.com/gpu x2"),
    ("sharing: {mps: {resources: [{name: gpu, replicas: 2, rename: shiny}], renameByDefault: true}}",
     "sharing.mps.resources.rename", "*=nvidia.com/shiny x2 through mps", "*=nvidia.com/gpu.shared x2 through mps"),
    ("sharing: {timeSlicing: {resources: [{name: gpu, replicas: 2, devices: [0]}]}}",
     "sharing.timeSlicing.resources.devices", "index 0=nvidia.com/gpu x2 *=nvidia.com/gpu", "*=nvidia.com/gpu x2"),
]  # fmt: skip
"""A file, the key in it that NVIDIA's plugin ignores, and the rules with the key and without it."""
ONLY_THERE = [
    ("surprise: {a: [1]}", "surprise", "*=nvidia.com/gpu"),
    ("flags: {logLevle: info}", "flags.logLevle", "*=nvidia.com/gpu"),
    ("sharing: {renameByDefault: true}", "sharing.renameByDefault", "*=nvidia.com/gpu"),
    ("sharing: {timeSlicing: {resources: [{name: gpu, replicas: 2, a: b}]}}", "sharing.timeSlicing.resources.a",
     "*=nvidia.com/gpu x2"),
    ("sharing: {timeSlicing: {resources: [{name: gpu, replicas: 3}, {name: gpu, replicas: 5}]}}",
     "sharing.timeSlicing.resources for nvidia.com/gpu, which has a later entry,", "*=nvidia.com/gpu x5"),
    ("sharing: {timeSlicing: {resources: [{name: gpu, replicas: 2}]}, mps: {resources: [{name: gpu, replicas: 4}]}}",
     "sharing.timeSlicing, beside sharing.mps,", "*=nvidia.com/gpu x4 through mps"),
    ("flags: {logLevel: loud, logLevel: info}", "flags.logLevel, which is given again,", "*=nvidia.com/gpu"),
    ("sharing: {timeSlicing: {resources: [{name: gpu, replicas: 2, replicas: 3}]}}",
     "sharing.timeSlicing.resources.replicas, which is given again,", "*=nvidia.com/gpu x3"),
    ("sharing: {mps: {resources: [{name: gpu, replicas: 4}]}, timeSlicing: {resources: [{name: gpu, replicas: 2}]}}",
     "sharing.timeSlicing, beside sharing.mps,", "*=nvidia.com/gpu x4 through mps"),
]  # fmt: skip
"""A file that is refused by default, what NVIDIA's plugin ignores in it, and the rules that it leaves."""


@pytest.mark.parametrize(("text", "key", "followed", "ignored"), IGNORED, ids=[each[1] for each in IGNORED])
def test_a_key_that_nvidias_plugin_ignores_is_followed_or_ignored_and_named_in_both_ways(
    text: str, key: str, followed: str, ignored: str, read: Read, config_file: Path
) -> None:
    strict, as_nvidia = read(STRICT, {}, text), read(AS_NVIDIA, {}, text)
    assert " ".join(rule.words for rule in strict.resources) == followed
    assert " ".join(rule.words for rule in as_nvidia.resources) == ignored
    (warned,) = strict.unlike_nvidia
    assert warned.startswith(f"{config_file}:1:")
    assert warned.endswith(f": {key} is followed here, and ignored by NVIDIA's device plugin")
    (remark,) = as_nvidia.remarks
    assert remark.endswith(f": {key} is ignored, as by NVIDIA's device plugin")
    assert (strict.remarks, as_nvidia.unlike_nvidia) == ((), ())


@pytest.mark.parametrize(("text", "what", "rules"), ONLY_THERE, ids=[each[1] for each in ONLY_THERE])
def test_what_is_refused_by_default_is_ignored_as_by_nvidias_plugin_and_named(
    text: str, what: str, rules: str, read: Read
) -> None:
    with pytest.raises(InvalidValueError):
        read(STRICT, {}, text)
    found = read(AS_NVIDIA, {}, text)
    assert " ".join(rule.words for rule in found.resources) == rules
    (remark,) = found.remarks
    assert remark.endswith(f": {what} is ignored, as by NVIDIA's device plugin")


@pytest.mark.parametrize(
    "text",
    [
        "sharing: {timeSlicing: {resources: [{name: gpu, replicas: 2, devices: all, rename: nvidia.com/gpu}]}}",
        "sharing: {timeSlicing: {resources: [{name: gpu, replicas: 2, rename: gpu.shared}], renameByDefault: true}}",
        "sharing: {mps: {resources: [{name: gpu, replicas: 2, rename: , devices: }], renameByDefault: }}",
        "resources: {gpus: , mig: }",
        "flags: {gfd: {}, useNodeFeatureAPI: false}",
        "flags: {gfd: {oneshot: true, noTimestamp: true}, useNodeFeatureAPI: true}",
    ],
)
@pytest.mark.parametrize("flags", [STRICT, AS_NVIDIA], ids=["strict", "nvidia"])
def test_what_asks_for_nothing_is_no_reason_for_a_warning(text: str, flags: tuple[str, ...], read: Read) -> None:
    found = read(flags, {}, text)
    assert (found.unlike_nvidia, found.remarks) == ((), ())


def test_the_decoder_of_nvidias_plugin_takes_keys_in_any_case(read: Read) -> None:
    text = "Flags: {migstrategy: mixed}\nSHARING: {timeslicing: {resources: [{name: gpu, replicas: 3}]}}\n"
    found = read(AS_NVIDIA, {}, text)
    assert found.mig_strategy == "mixed"
    assert [rule.sharing.replicas for rule in found.resources if rule.name == "nvidia.com/gpu"] == [3]
    with pytest.raises(InvalidValueError, match="unknown key Flags, did you mean flags"):
        read((), {}, text)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("version: v2", "version: invalid value 'v2'; expected v1"),
        ("flags: {failOnInitError: maybe}", "expected true or false"),
        ("sharing: {timeSlicing: {resources: [{name: gpu, replicas: 1}]}}", "replicas: invalid value '1'"),
        ("sharing: {timeSlicing: {renameByDefault: true}}", "resources missing"),
        ("resources: {rules: [{nmae: a}]}", "unknown key resources.rules.nmae"),
        ("health: {quietTiem: 1}", "unknown key health.quietTiem"),
        ("health: {quietTime: 1, quietTime: 2}", "health.quietTime occurs twice"),
        ("resources: {rules: [{name: a, name: b}]}", "resources.rules.name occurs twice"),
    ],
)
def test_what_nvidias_plugin_refuses_and_mistakes_in_keys_of_ours_are_refused_all_the_same(
    text: str, said: str, read: Read
) -> None:
    with pytest.raises(InvalidValueError) as caught:
        read(AS_NVIDIA, {}, text)
    assert said in str(caught.value)


def test_a_key_that_occurs_often_is_named_once_and_not_every_key_of_a_long_list(read: Read) -> None:
    entries = ", ".join(f"{{name: a{number}, replicas: 2, b: 1}}" for number in range(3))
    remarks = read(AS_NVIDIA, {}, f"sharing: {{timeSlicing: {{resources: [{entries}]}}}}").remarks
    (named,) = (each for each in remarks if "sharing.timeSlicing.resources.b is ignored" in each)
    assert "(and 2 more): " in named
    told = read(AS_NVIDIA, {}, "\n".join(f"a{number}: 1" for number in range(100))).remarks
    assert (len(told), told[-1]) == (MAX_TOLD + 1, f"and {100 - MAX_TOLD} more")


@pytest.mark.parametrize(
    ("program", "expected"),
    [
        ("nvidia-device-plugin", "nvidia"),
        ("/usr/bin/nvidia-device-plugin", "nvidia"),
        ("plugin-gateway", "strict"),
        ("/nvidia-device-plugin/run", "strict"),
        ("", "strict"),
    ],
)
def test_the_name_of_the_program_decides_where_nobody_else_does(program: str, expected: str) -> None:
    options = run_options(("auto",), word_of(("auto", "nvml")), program)
    assert decide(options, {}, {}, lambda: HEALTH_POLICY).options.config_compatibility == expected
    given = decide(options, {}, {"CONFIG_COMPATIBILITY": "strict"}, lambda: HEALTH_POLICY)
    assert (given.options.config_compatibility, Options.config_compatibility.default) == ("strict", "strict")


NAMES = st.sampled_from(["gpu", "nvidia.com/gpu", "other"])
ENTRIES = st.fixed_dictionaries(
    {"name": NAMES, "replicas": st.integers(2, 48)},
    optional={
        "rename": st.sampled_from(["shiny", "nvidia.com/gpu", None]),
        "devices": st.sampled_from(["all", 1, [0], ["GPU-1"], None]),
        "extra": st.none() | st.integers(),
    },
)
SECTIONS = st.fixed_dictionaries(
    {"resources": st.lists(ENTRIES, min_size=1, max_size=4)},
    optional={"renameByDefault": st.booleans() | st.none(), "failRequestsGreaterThanOne": st.booleans()},
)
PATTERNS = st.lists(st.just({"pattern": "*", "name": "fast"}), max_size=1)
FILES = st.fixed_dictionaries(
    {},
    optional={
        "version": st.sampled_from(["v1", None]),
        "sharing": st.none() | st.fixed_dictionaries({}, optional={"timeSlicing": SECTIONS, "mps": SECTIONS}),
        "resources": st.none() | st.fixed_dictionaries({}, optional={"gpus": PATTERNS, "mig": PATTERNS}),
        "unknown": st.none() | st.lists(st.integers()),
    },
)


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(document=FILES)
def test_a_file_that_nvidias_plugin_takes_never_gives_a_gpu_another_name(document: object, read: Read) -> None:
    found = read(AS_NVIDIA, {}, yaml.safe_dump(document))
    assert {rule.name for rule in found.resources} <= {"nvidia.com/gpu", "nvidia.com/gpu.shared"}
    (rule,) = found.resources
    assert rule.selector == Selector()
