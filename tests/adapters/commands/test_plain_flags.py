"""Flags that are read without a parser mean the same as with one."""

from collections.abc import Mapping, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from plugin_gateway.__main__ import COMMANDS
from plugin_gateway.adapters.commands.flags import add_options, given_flags, read_plainly
from plugin_gateway.adapters.commands.parser import make_parser
from plugin_gateway.adapters.configuration.kinds import word_of
from plugin_gateway.adapters.configuration.option import GivenFlag, Option
from plugin_gateway.adapters.configuration.options import run_options
from plugin_gateway.adapters.configuration.unsupported import UNSUPPORTED_FLAGS

OPTIONS = run_options(("auto", "v1beta1"), word_of(("auto", "nvml")))
FLAGS = [flag for option in OPTIONS for flag in option.flags]
VALUES = ("", "x", "true", "false", "/a b", "-5", "--", "-", "a=b", "=", "--backend", "--watch-config")
WORDS = (*FLAGS, *VALUES, *UNSUPPORTED_FLAGS, "--help", "-h", "--unknown", "--back", "run")


def with_a_parser(arguments: Sequence[str]) -> Mapping[str, GivenFlag]:
    parser = make_parser("plugin-gateway run", "")
    add_options(parser, OPTIONS)
    return given_flags(OPTIONS, parser.parse(arguments))


flags_with_values = st.builds(lambda flag, value: f"{flag}={value}", st.sampled_from(FLAGS), st.sampled_from(VALUES))
arguments_of_any_kind = st.lists(flags_with_values | st.sampled_from(WORDS), max_size=6)


@given(arguments_of_any_kind)
def test_what_is_read_without_a_parser_is_what_the_parser_reads(arguments: Sequence[str]) -> None:
    plain = read_plainly(OPTIONS, arguments)
    if plain is not None:
        assert plain == with_a_parser(arguments)


@pytest.mark.parametrize("option", OPTIONS, ids=lambda option: option.name)
def test_every_flag_is_read_without_a_parser_in_each_usual_form(option: Option[object]) -> None:
    for flag in option.flags:
        forms = [[f"{flag}=x"], [flag, "x"], [flag, "x", f"{flag}=y"], *([[flag]] if option.is_switch else [])]
        for arguments in forms:
            assert read_plainly(OPTIONS, arguments) == with_a_parser(arguments)


@pytest.mark.parametrize(
    "arguments",
    [
        ["--help"],
        ["-h"],
        ["x"],
        ["--unknown"],
        ["--backend"],
        ["--backend", "-5"],
        ["--backend=--"],
        ["--backend", "x", "y"],
        ["--", "--backend=x"],
        [next(iter(UNSUPPORTED_FLAGS))],
    ],
)
def test_help_mistakes_and_rare_forms_are_left_to_a_parser(arguments: Sequence[str]) -> None:
    assert read_plainly(OPTIONS, arguments) is None


def test_run_says_that_it_needs_a_parser_without_doing_anything() -> None:
    assert COMMANDS["run"].load().run_plainly(["--help"]) is None
