"""Makes flags from the table of options, and decides the options of a sub-command."""

import os
import sys
from collections import deque
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

from plugin_gateway.adapters.configuration.option import GivenFlag, Option
from plugin_gateway.adapters.configuration.options import is_discovery, is_nvidias, run_options
from plugin_gateway.adapters.configuration.reading import Decisions, decide, kept_of
from plugin_gateway.adapters.configuration.unsupported import UNSUPPORTED_FLAGS
from plugin_gateway.adapters.dialects import api_versions

if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace

    from plugin_gateway.adapters.commands.command_line import Parts
    from plugin_gateway.adapters.configuration.config_folder import Choose

T = TypeVar("T")


def add_options(parser: "ArgumentParser", options: Sequence[Option[object]]) -> None:
    """Add the flags of the table to a parser. Values stay texts, because environment and file have values too.

    The flags of NVIDIA's plugin that are not supported are added without help, so that they get an error of their own.
    """
    from argparse import SUPPRESS  # noqa: PLC0415 - `run` starts without it

    from plugin_gateway.adapters.commands.parser import Remember  # noqa: PLC0415 - the same

    parser.usage = "%(prog)s [flags]"
    examples = [f"  {parser.prog} {option.flags[0]} {option.example}" for option in options if option.example]
    parser.epilog = "\n".join(("examples:", *examples)) if examples else None
    groups = {
        title: parser.add_argument_group(title) for title in dict.fromkeys(option.table.heading for option in options)
    }
    for option in options:
        extra: dict[str, Any] = {"nargs": "?", "const": "true"} if option.is_switch else {}
        groups[option.table.heading].add_argument(
            *option.flags,
            action=Remember,
            dest=option.name,
            default=SUPPRESS,
            help=f"{option.meaning}; default: {option.default_in_words} [{', '.join(option.variables)}]".replace(
                "%", "%%"
            ),
            metavar=option.kind.metavar,
            **extra,
        )

    for flag in UNSUPPORTED_FLAGS:
        parser.add_argument(
            flag,
            action=Remember,
            dest=flag,
            nargs="?",
            const="true",
            default=SUPPRESS,
            help=SUPPRESS,
        )


def read_plainly(options: Sequence[Option[object]], arguments: Sequence[str]) -> Mapping[str, GivenFlag] | None:
    """Return the flags that were given, by the name of the option, as a parser with these options does.

    None if that takes a parser: for help, for a mistake, and for a value after a space that begins with a dash.
    """
    by_flag = {flag: option for option in options for flag in option.flags}
    given: dict[str, GivenFlag] = {}
    left = deque(arguments)
    while left:
        flag, has_value, text = left.popleft().partition("=")
        if flag not in by_flag:
            return None
        option = by_flag[flag]
        if not has_value:
            is_next = bool(left) and not left[0].startswith("-")
            if not is_next and not option.is_switch:
                return None
            text = left.popleft() if is_next else "true"
        if text == "--":  # argparse takes it away, although it is a value here
            return None
        given[option.name] = GivenFlag(flag=flag, text=text, earlier=given.get(option.name))
    return given


def given_flags(options: Sequence[Option[object]], parsed: "Namespace") -> Mapping[str, GivenFlag]:
    """Return the flags that were given, by the name of the option.

    Unsupported flags of NVIDIA's plugin are there by their own name.
    """
    names = [*(option.name for option in options), *UNSUPPORTED_FLAGS]
    return {name: getattr(parsed, name) for name in names if hasattr(parsed, name)}


def options(parts: "Parts", program: str | None = None) -> tuple[Option[object], ...]:
    """Return the options of ``run``, as they are for a program that was called by the name of this one."""
    called = sys.argv[0] if program is None else program
    found = run_options(tuple(api_versions()), parts.parse_backend, called)
    if not is_nvidias(called) and not is_discovery(called):
        return found
    from plugin_gateway.adapters.configuration.nvidias_defaults import as_discovery, with_nvidias  # noqa: PLC0415 - only for these names

    return with_nvidias(as_discovery(found) if is_discovery(called) else found)


def add_run_options(parser: "ArgumentParser", parts: "Parts") -> None:
    """Add all flags of ``run``."""
    add_options(parser, options(parts))


def add_json_flag(parser: Any) -> None:
    """Add ``--json`` to a parser, or to a group of a parser."""
    parser.add_argument("--json", action="store_true", help="as JSON, for programs")


def decide_all(given: Mapping[str, GivenFlag], parts: "Parts", choose: "Choose | None" = None) -> Decisions:
    """Return the decisions of flags, environment and file. ``choose`` is for `decide`."""
    decisions = decide(
        options(parts), given, os.environ, parts.default_health, choose=choose, card_health=parts.card_health
    )
    return decisions._replace(backends=parts.backends)


def decide_flag(parsed: "Namespace", option: Option[T]) -> T:
    """Return the value of one option, as flag and environment decide it."""
    return option.value(kept_of(option, given_flags((option,), parsed), os.environ))
