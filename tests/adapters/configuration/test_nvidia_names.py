"""Every name that NVIDIA's plugin has for a setting is followed or refused here, and none is ignored."""

import pytest

from plugin_gateway.adapters.configuration.nvidia_names import SETTINGS, NvidiaSetting, option_of, refusals_of
from plugin_gateway.core.errors import InvalidValueError

from .conftest import OPTIONS, Read

REFUSED = [each for each in SETTINGS if refusals_of(each)]
STRANGE = "/strange"
"""A value that changes something or is refused, whatever the setting is."""


def in_file(key: str, value: str) -> str:
    *sections, last = key.split(".")
    return "".join(f"{{{section}: " for section in sections) + f"{{{last}: {value}}}" + "}" * len(sections)


@pytest.mark.parametrize("setting", SETTINGS, ids=lambda setting: setting.names[0])
def test_every_setting_is_an_option_or_refused_and_not_both(setting: NvidiaSetting) -> None:
    assert (option_of(setting, OPTIONS) is None) == bool(refusals_of(setting))


@pytest.mark.parametrize("setting", SETTINGS, ids=lambda setting: setting.names[0])
def test_no_name_is_ignored(setting: NvidiaSetting, read: Read) -> None:
    """Each name by itself changes the settings, or is a mistake."""
    usual = dict(read().values)
    ways = [
        *(((f"{flag}={STRANGE}",), {}, None) for flag in setting.flags),
        *(((), {variable: STRANGE}, None) for variable in setting.variables),
        *(((), {}, in_file(key, STRANGE)) for key in (setting.key,) if key),
    ]
    for flags, environment, file in ways:
        try:
            values = dict(read(flags, environment, file).values)
        except InvalidValueError:
            continue
        assert {**values, "config_file": None} != usual, (flags, environment, file)


@pytest.mark.parametrize("setting", REFUSED, ids=lambda setting: setting.names[0])
def test_a_neutral_value_changes_nothing_by_any_name(setting: NvidiaSetting, read: Read) -> None:
    usual = dict(read().values)
    for row in refusals_of(setting):
        for value in row.neutral:
            flags = [f"{row.flag}={value}"] if row.flag else []
            environment = {row.variable: value} if row.variable else {}
            file = in_file(row.file_key, value) if row.file_key else None
            assert {**read(flags, environment, file).values, "config_file": None} == usual


def test_a_setting_has_each_name_once() -> None:
    names = [name for each in SETTINGS for name in each.names]
    assert len(names) == len(set(names))
