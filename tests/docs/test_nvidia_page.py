"""What the page says of NVIDIA's settings is what the code does, and what the chart has."""

import json
from typing import Any

import pytest

import chart_options
import nvidia_page
from generated import BEGIN, END
from plugin_gateway.adapters.configuration.nvidia_names import CHART_VALUES, ChartValue

SCHEMA: dict[str, Any] = json.loads(chart_options.SCHEMA.read_text())


def test_the_page_has_what_the_code_says() -> None:
    assert f"{BEGIN}\n\n{nvidia_page.tables()}\n\n{END}" in nvidia_page.PAGE.read_text()


@pytest.mark.parametrize(
    "row",
    [
        "| `PASS_DEVICE_SPECS` | `flags.plugin.passDeviceSpecs` | false | done; default: true |",
        "| `--mps-root` | `MPS_ROOT` | `flags.mpsRoot` | none | done |",
        "| `--kubelet-socket` | `KUBELET_SOCKET` |",
        "| auto | neutral: `auto`, `nvml`; else refused: GPUs are found through NVML |",
        "| `mps.root` | is called `mpsRoot`; the chart runs no MPS control daemon",
        "| `image.repository` | that of the gateway's image; NVIDIA's is refused |",
        "| `configManager.resources` | no effect: there is no such container |",
        "| `sharing.*.resources[].rename` | ignored, with a warning | followed; ignored with",
    ],
)
def test_it_says_what_becomes_of_a_name(row: str) -> None:
    assert row in nvidia_page.tables()


def property_of(path: str) -> Any:
    """Return the schema of a value of this chart; None if it has none."""
    found = SCHEMA
    for word in path.split("."):
        found = found.get("properties", {}).get(word)
        if found is None:
            return None
    return found


@pytest.mark.parametrize("value", [each for each in CHART_VALUES if each.becomes], ids=lambda value: value.path)
def test_what_a_value_becomes_is_a_value_of_this_chart(value: ChartValue) -> None:
    assert property_of(value.becomes) is not None
