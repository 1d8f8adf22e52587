"""The command line: sub-commands, flags from the table of options, and one line for every mistake."""

import argparse
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import NoReturn

from plugin_gateway.adapters.configuration.options import Option
from plugin_gateway.core.errors import InvalidValueError

PROGRAM = "plugin-gateway"
USAGE_ERROR = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Command:
    """One sub-command."""

    help: str
    add_arguments: Callable[[argparse.ArgumentParser], None]
    run: Callable[[argparse.Namespace], int]
    """Returns the exit status; raises InvalidValueError for a mistake of the user's."""
    description: str = ""


class _Parser(argparse.ArgumentParser):
    """Says every mistake in one line."""

    def error(self, message: str) -> NoReturn:
        fail(f"{message} (see {self.prog} --help)")

    def parse_known_args(  # type: ignore[override]
        self, args: Sequence[str] | None = None, namespace: argparse.Namespace | None = None
    ) -> tuple[argparse.Namespace, list[str]]:
        parsed, unknown = super().parse_known_args(args, namespace)
        if unknown:
            self._refuse(unknown[0])
        return parsed, unknown

    def _refuse(self, word: str) -> NoReturn:
        from difflib import get_close_matches  # noqa: PLC0415 - only where somebody made a mistake

        flags = [flag for action in self._actions for flag in action.option_strings]
        near = get_close_matches(word.partition("=")[0], flags, n=1)
        kind = "unknown flag" if word.startswith("-") else "unexpected argument"
        self.error(f"{kind} {word}, did you mean {near[0]}?" if near else f"{kind} {word}")


def fail(message: str) -> NoReturn:
    """End with one line about what the user got wrong."""
    sys.stderr.write(f"{PROGRAM}: {message}\n")
    sys.exit(USAGE_ERROR)


def main(commands: Mapping[str, Command], arguments: Sequence[str], version: Callable[[], str]) -> int:
    """Run the sub-command that the arguments name."""
    if arguments and arguments[0] in commands:
        command = commands[arguments[0]]
        parser = _Parser(
            prog=f"{PROGRAM} {arguments[0]}",
            description=command.description or command.help,
            formatter_class=argparse.RawDescriptionHelpFormatter,
            allow_abbrev=False,
        )
        command.add_arguments(parser)
        try:
            return command.run(parser.parse_args(arguments[1:]))
        except InvalidValueError as error:
            fail(str(error))
    return _without_command(commands, arguments, version)


def _without_command(commands: Mapping[str, Command], arguments: Sequence[str], version: Callable[[], str]) -> int:
    if arguments[:1] in (["-h"], ["--help"]):
        sys.stdout.write(_overview(commands))
        return 0
    if arguments[:1] == ["--version"]:
        sys.stdout.write(f"{PROGRAM} {version()}\n")
        return 0
    if arguments:
        kind = "flag" if arguments[0].startswith("-") else "command"
        fail(f"unknown {kind} {arguments[0]}, allowed are {', '.join(commands)}, --help and --version")
    sys.stderr.write(_overview(commands))
    return USAGE_ERROR


def _overview(commands: Mapping[str, Command]) -> str:
    width = max(len(name) for name in commands) + 2
    lines = [f"  {name:{width}}{command.help}" for name, command in commands.items()]
    return "\n".join(
        (
            f"usage: {PROGRAM} COMMAND [flags]",
            "",
            "One device plugin for every kubelet, from Kubernetes 1.8 to the newest.",
            "",
            "commands:",
            *lines,
            "",
            f"{PROGRAM} COMMAND --help tells the flags of each; {PROGRAM} --version the version.",
            "",
        )
    )


def add_options(parser: argparse.ArgumentParser, options: Sequence[Option]) -> None:
    """Add the flags of the table; their values stay text, because they are not the only place to decide."""
    for option in options:
        where = f" [{', '.join(option.variables)}]"
        default = f" (default: {option.default})" if option.default is not None else ""
        extra = {"nargs": "?", "const": "true", "metavar": "true|false"} if option.is_switch else {}
        parser.add_argument(
            *option.flags,
            dest=option.name,
            default=argparse.SUPPRESS,
            help=(option.help + default + where).replace("%", "%%"),
            **({"metavar": option.metavar} | extra),  # type: ignore[arg-type]
        )


def given_flags(options: Sequence[Option], parsed: argparse.Namespace) -> Mapping[str, str]:
    """Take the flags that were given, as text."""
    return {option.name: getattr(parsed, option.name) for option in options if hasattr(parsed, option.name)}
