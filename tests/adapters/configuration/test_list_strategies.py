"""How containers are told their GPUs, and what they get besides: the values, and what is said about others."""

import pytest

from plugin_gateway.adapters.commands.run.settings_in_words import as_text
from plugin_gateway.adapters.configuration.option import GivenFlag, Option
from plugin_gateway.adapters.configuration.options import Options
from plugin_gateway.adapters.configuration.reading import kept_of
from plugin_gateway.core.errors import InvalidValueError
from plugin_gateway.core.resources.policy import ListStrategy

from .conftest import OPTIONS, Read

BOTH = frozenset({ListStrategy.ENVVAR, ListStrategy.VOLUME_MOUNTS})


def written(section: str) -> str:
    return f"version: v1\n{section}\n"


ALLOWED = "expected envvar, volume-mounts, cdi-annotations, cdi-cri"


@pytest.mark.parametrize("text", ["envvar,volume-mounts", "volume-mounts, envvar", "envvar,volume-mounts,envvar"])
def test_several_strategies_are_one_whatever_their_order(text: str, read: Read) -> None:
    by_variable = read((), {"DEVICE_LIST_STRATEGY": text})
    by_flag = read([f"--device-list-strategy={text}"])
    by_file = read((), {}, written(f"flags: {{plugin: {{deviceListStrategy: '{text}'}}}}"))
    assert by_variable == by_flag
    assert by_flag.device_list_strategy == by_file.device_list_strategy == BOTH
    assert as_text(by_flag, "device_list_strategy") == "envvar,volume-mounts"


def test_the_file_can_have_a_list_of_strategies(read: Read) -> None:
    settings = read((), {}, written("flags: {plugin: {deviceListStrategy: [envvar, volume-mounts]}}"))
    assert settings.device_list_strategy == BOTH


@pytest.mark.parametrize(
    ("option", "first", "second"),
    [
        (Options.device_list_strategy, "envvar", "volume-mounts"),
        (Options.cdi_disable_hooks, "update-ldcache", "chmod"),
        (Options.config_fallback_strategies, "named", "empty"),
        (Options.disabled_healthchecks, "31", "43"),
    ],
    ids=lambda each: each.name if isinstance(each, Option) else each,
)
def test_a_flag_that_is_given_again_adds_a_value_as_with_nvidias_plugin(
    option: Option[object], first: str, second: str
) -> None:
    again = GivenFlag(option.flags[0], second, GivenFlag(option.flags[0], first))
    both = GivenFlag(option.flags[0], f"{first},{second}")
    assert kept_of(option, {option.name: again}, {}) == kept_of(option, {option.name: both}, {})


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("nonsense", f"invalid value 'nonsense'; {ALLOWED}"),
        ("", f"invalid value ''; {ALLOWED}"),
        ("envvar,", f"invalid value ''; {ALLOWED}"),
        ("envvar,cdi", f"invalid value 'cdi'; {ALLOWED}"),
    ],
)
def test_a_strategy_that_is_none_is_named(text: str, said: str, read: Read) -> None:
    with pytest.raises(InvalidValueError) as caught:
        read([f"--device-list-strategy={text}"])
    assert str(caught.value).startswith(f"--device-list-strategy: {said}")


@pytest.mark.parametrize(
    ("section", "said"),
    [
        (
            "flags: {plugin: {deviceListStrategy: [envvar, nonsense]}}",
            f"2:47: flags.plugin.deviceListStrategy: invalid value 'nonsense'; {ALLOWED}",
        ),
        (
            "flags: {plugin: {deviceListStrategy: []}}",
            f"2:38: flags.plugin.deviceListStrategy: invalid value ''; {ALLOWED}",
        ),
        (
            "flags: {plugin: {deviceListStrategy: [[envvar]]}}",
            f"2:39: flags.plugin.deviceListStrategy is a list; {ALLOWED}",
        ),
        (
            "flags: {plugin: {deviceListStrategy: {}}}",
            f"2:38: flags.plugin.deviceListStrategy is a mapping; {ALLOWED}",
        ),
        (
            "flags: {plugin: {deviceListStrategy: 7}}",
            f"2:38: flags.plugin.deviceListStrategy: invalid value '7'; {ALLOWED}",
        ),
        ("imex: {channelIDs: [0, 1]}", "2:24: imex.channelIDs: invalid value '1'; expected 0 or []"),
        ("imex: {channelIDs: [0, 0]}", "2:20: imex.channelIDs: invalid value '0,0'; expected 0 or []"),
        ("imex: {channelIDs: [true]}", "2:21: imex.channelIDs is 'true'; expected 0 or []"),
        ("imex: {required: 1}", "2:18: imex.required is '1'; expected true or false, without quotes"),
        ("imex: on", "2:7: imex is 'on'; expected keys with values"),
        ("imex: {channels: [0]}", "2:8: unknown key imex.channels, did you mean imex.channelIDs?"),
    ],
)
def test_a_mistake_in_the_file_has_its_place(section: str, said: str, read: Read) -> None:
    with pytest.raises(InvalidValueError) as caught:
        read((), {}, written(section))
    assert str(caught.value).partition("config.yaml:")[2] == said


@pytest.mark.parametrize("text", ["", " ", "[]"])
def test_no_channel_can_be_written_in_several_ways(text: str, read: Read) -> None:
    assert read([f"--imex-channel-ids={text}"]) == read()


@pytest.mark.parametrize("text", ["1", "0,1", "[0]", "-1", "00", "zero"])
def test_another_channel_is_refused(text: str, read: Read) -> None:
    with pytest.raises(InvalidValueError) as caught:
        read((), {"IMEX_CHANNEL_IDS": text})
    assert str(caught.value) == f"environment variable IMEX_CHANNEL_IDS: invalid value {text!r}; expected 0 or []"


def test_where_no_channel_is_asked_for_none_is_required(read: Read) -> None:
    assert read(["--imex-required=true"]).required_extras == ()
    assert read((), {}, written("imex: {channelIDs: [0], required: true}")).imex_required


def test_what_containers_get_besides_follows_from_the_switches(read: Read) -> None:
    assert read().extras == ()
    every = read(["--gdrcopy-enabled=true", "--mofed-enabled=true"], {"GDS_ENABLED": "true", "IMEX_CHANNEL_IDS": "0"})
    assert every.extras == ("gdrcopy", "gds", "mofed", "imex-channel")
    assert every.required_extras == ()
    required = read((), {"IMEX_CHANNEL_IDS": "0", "IMEX_REQUIRED": "true"})
    assert (required.extras, required.required_extras) == (("imex-channel",), ("imex-channel",))


@pytest.mark.parametrize("key", [option.key for option in OPTIONS if option.key])
def test_a_key_without_a_value_says_nothing(key: str, read: Read) -> None:
    """NVIDIA's plugin takes null for a key that is not there. It logs its own configuration in this form."""
    words = key.split(".")
    lines = [f"{'  ' * depth}{word}:" for depth, word in enumerate(words)]
    assert read((), {}, written("\n".join(lines))) == read((), {}, "version: v1\n")
