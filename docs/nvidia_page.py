"""Writes the names of NVIDIA's settings, and what becomes of each here, into nvidia.md: ``make generate``."""

from collections.abc import Sequence
from pathlib import Path

from generated import put, table
from plugin_gateway.__main__ import PARTS
from plugin_gateway.adapters.commands.flags import options
from plugin_gateway.adapters.configuration.nvidia_names import (
    CHART_VALUES,
    FILE_KEYS,
    SETTINGS,
    ChartValue,
    NvidiaSetting,
    option_of,
    refusals_of,
)

PAGE = Path(__file__).with_name("nvidia.md")
NOT_DONE = "the gateway does not do it"


def tables() -> str:
    """Return the tables of the settings, of the keys about resources, and of the values of the chart."""
    heads = ("Flag", "Environment variable", "Key in the file", "Default there", "Here")
    settings = [
        (_code(each.flags), _code(each.variables), _code([each.key]), each.default, here(each)) for each in SETTINGS
    ]
    keys = [(f"`{each.path}`" if " " not in each.path else each.path, each.there, each.here) for each in FILE_KEYS]
    values = [(f"`{each.path}`", in_chart(each)) for each in CHART_VALUES]
    return "\n".join(
        [
            *("### Flags, variables and keys", "", *table(heads, settings), ""),
            *("### Resources in the file", "", *table(("Key", "NVIDIA's plugin", "Here"), keys), ""),
            *("### Values of the chart", "", *table(("Value", "In this chart"), values)),
        ]
    )


def here(setting: NvidiaSetting) -> str:
    """Return what becomes of a setting: done, or neutral with some values, and refused with all others."""
    option = option_of(setting, options(PARTS))
    if option is not None:
        return "done" if option.default_in_words == setting.default else f"done; default: {option.default_in_words}"
    rows = refusals_of(setting)
    neutral = _code(list(dict.fromkeys(value for row in rows for value in row.neutral)))
    why = next((row.why for row in rows if row.why), NOT_DONE)
    return f"{f'neutral: {neutral}; else ' if neutral else ''}refused: {why}"


def in_chart(value: ChartValue) -> str:
    """Return what becomes of a value of NVIDIA's chart."""
    if value.becomes:
        words = "done" if value.becomes == value.path else f"is called `{value.becomes}`"
        return f"{words}; {value.why}" if value.why else words
    if value.in_chart:
        return value.in_chart
    neutral = ", ".join(f"`{_yaml(each)}`" for each in value.neutral)
    return f"neutral: {neutral}; else refused: {value.why}" if value.why else f"neutral: {neutral}"


def _yaml(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value).replace("'", "") or '""'


def _code(words: Sequence[str]) -> str:
    return ", ".join(f"`{word}`" for word in words if word)


if __name__ == "__main__":
    put(PAGE, tables())
