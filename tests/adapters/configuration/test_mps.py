"""GPUs that are shared through MPS, as the file says it."""

from pathlib import Path

import pytest

from plugin_gateway.core.errors import InvalidValueError
from plugin_gateway.core.resources.names import ResourceName
from plugin_gateway.core.resources.rules import ResourceRule, Selector
from plugin_gateway.core.resources.sharing import Sharing

from .conftest import Read

GPU = ResourceName("nvidia.com/gpu")
ROOT = ("--mps-root=/run/nvidia/mps",)
SHARED = Sharing(replicas=4, one_per_request=True, through="mps")


def rules(read: Read, text: str) -> tuple[ResourceRule, ...]:
    return read(ROOT, {}, f"version: v1\n{text}\n").resources


@pytest.mark.parametrize(
    ("entry", "others", "expected"),
    [
        ("", "", ResourceRule(name=GPU, sharing=SHARED)),
        ("", ", failRequestsGreaterThanOne: false",
         ResourceRule(name=GPU, sharing=Sharing(replicas=4, through="mps"))),
        ("", ", renameByDefault: true", ResourceRule(name=ResourceName("nvidia.com/gpu.shared"), sharing=SHARED)),
        (", rename: shiny", "", ResourceRule(name=ResourceName("nvidia.com/shiny"), sharing=SHARED)),
        (", devices: all", "", ResourceRule(name=GPU, sharing=SHARED)),
    ],
)  # fmt: skip
def test_every_key_of_nvidias_section_is_followed(entry: str, others: str, expected: ResourceRule, read: Read) -> None:
    assert rules(read, f"sharing: {{mps: {{resources: [{{name: gpu, replicas: 4{entry}}}]{others}}}}}") == (expected,)


def test_chosen_devices_are_shared_through_mps_and_the_others_are_not(read: Read) -> None:
    shared, rest = rules(read, "sharing: {mps: {resources: [{name: gpu, replicas: 4, devices: [0]}]}}")
    assert shared == ResourceRule(selector=Selector(places=((0,),)), name=GPU, sharing=SHARED)
    assert rest == ResourceRule(name=GPU)


def test_a_rule_of_ours_shares_through_mps_beside_one_that_slices_time(read: Read) -> None:
    text = "resources: {rules: [{index: 0, name: a, replicas: 4, sharing: mps}, {name: b, replicas: 4}]}"
    first, second, _ = rules(read, text)
    assert (first.sharing, second.sharing) == (SHARED, Sharing(replicas=4))
    assert first.words == "index 0=nvidia.com/a x4 through mps"


def test_a_rule_of_ours_can_name_time_slicing(read: Read) -> None:
    first, _ = rules(read, "resources: {rules: [{name: a, replicas: 4, sharing: timeSlicing}]}")
    assert first.sharing == Sharing(replicas=4)


@pytest.mark.parametrize("root", [{}, {"MPS_ROOT": ""}], ids=["nothing", "empty"])
@pytest.mark.parametrize(
    "text",
    ["sharing: {mps: {resources: [{name: gpu, replicas: 4}]}}",
     "resources: {rules: [{name: a, replicas: 4, sharing: mps}]}"],
)  # fmt: skip
def test_mps_needs_its_root(text: str, root: dict[str, str], read: Read, config_file: Path) -> None:
    with pytest.raises(InvalidValueError) as caught:
        read((), root, f"version: v1\n{text}\n")
    place, words = str(caught.value).split(": ", 1)
    assert place.startswith(f"{config_file}:2:")
    assert words == "GPUs are shared through MPS, so --mps-root is needed, such as /run/nvidia/mps [MPS_ROOT]"


@pytest.mark.parametrize(
    ("flags", "environment", "file"),
    [(ROOT, {}, ""), ((), {"MPS_ROOT": "/run/nvidia/mps"}, ""), ((), {}, "flags: {mpsRoot: /run/nvidia/mps}\n")],
    ids=["flag", "environment", "file"],
)
def test_the_root_has_the_names_of_nvidias_plugin(
    flags: tuple[str, ...], environment: dict[str, str], file: str, read: Read
) -> None:
    text = f"version: v1\n{file}sharing: {{mps: {{resources: [{{name: gpu, replicas: 2}}]}}}}\n"
    assert read(flags, environment, text).mps_root == "/run/nvidia/mps"


def test_a_root_alone_shares_nothing(read: Read) -> None:
    assert not any(rule.sharing.through for rule in read(ROOT).resources)
