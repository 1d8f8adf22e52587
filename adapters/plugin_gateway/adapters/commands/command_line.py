"""The command line: finds and runs the sub-command, prints the overview, and reports each mistake in one line.

`Parts` is what the composition root hands to each sub-command: it is the only module that knows vendors.
"""

import errno
import io
import os
import sys
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple, NoReturn

from plugin_gateway.adapters.support.standard_streams import open_missing_streams
from plugin_gateway.core.errors import GatewayError, InvalidValueError

if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace
    from typing import Protocol

    from plugin_gateway.adapters.configuration.chosen_backends import ChosenBackend
    from plugin_gateway.adapters.configuration.kinds import Parse
    from plugin_gateway.adapters.configuration.options import Options
    from plugin_gateway.adapters.configuration.settings import Settings
    from plugin_gateway.core.devices import Inventory
    from plugin_gateway.core.findings import Finding
    from plugin_gateway.core.health.policy import HealthPolicy
    from plugin_gateway.core.health.remedies import Remedies
    from plugin_gateway.core.labels.making import LabelMaker
    from plugin_gateway.core.ports import Backend
    from plugin_gateway.core.resources.rules import ResourceRule

    CardCheck = Callable[[Inventory, Sequence[ResourceRule]], Iterable[Finding]]
    """Checks what a node needs for the network cards of a backend, and has of it. All rules are given."""

    class SimulatedBackend(Backend, Protocol):
        """A backend whose devices fail on demand."""

        def fail(self, index: int, xid: int) -> None:
            """Let the GPU with this index fail with an XID."""
            ...

        def reset(self, index: int) -> None:
            """Reset the GPU with this index."""
            ...

    class SimulatedCards(Backend, Protocol):
        """A backend whose network cards lose their link on demand."""

        def pull_cable(self, number: int) -> None:
            """Let the card with this number lose its link."""
            ...

        def plug_cable(self, number: int) -> None:
            """Let it have a link again."""
            ...


PROGRAM = "plugin-gateway"
MAIN = "run"
"""The sub-command that somebody means who gives flags without one."""
FLAGS = ("--help", "--version")
"""The flags that need no sub-command."""
HELP, VERSION = "help", "version"
"""The words that mean these flags."""
SIMILAR = 0.75
"""From which similarity on a word is proposed, of 1. A mistyped letter or two leave more."""
USAGE_ERROR = 2
"""The exit status for a mistake of the user."""
INTERRUPTED = 128 + 2
"""The exit status after Ctrl-C, as in a shell: 128 and the number of SIGINT."""
_OUTPUT_ERRORS = (errno.EPIPE, errno.ENOSPC, errno.EIO, errno.EDQUOT)
"""Errors that mean that standard output cannot be written: closed pipe, full disk, broken disk, quota."""
_MAX_WIDTH = 100
"""Columns."""
_DEFAULT_WIDTH = 80


class Catalog(NamedTuple):
    """What the vendor's catalog of XIDs says beside the decisions."""

    date: str
    """The day of the catalog, such as 2026-07-14."""
    judged_from: Mapping[int, str]
    """From which driver on the driver's recovery action judges an XID. The other XIDs are not linked to it."""


class Parts(NamedTuple):
    """The vendors. Most are functions, because they import what they return."""

    parse_backend: "Parse[str]"
    """Checks the value of ``--backend``."""
    backends: "Callable[[str], Sequence[ChosenBackend]]"
    """Returns the backends that a value of ``--backend`` chooses, in its order."""
    make_backend: "Callable[[str, Options, bool], Backend]"
    """Returns the backend of GPUs with this name, as these options say. It does not open the driver before it is
    started.

    The third argument says whether it is for good. One that is made for a single look reads no kernel log."""
    make_cards: "Callable[[str, Settings, bool], Backend]"
    """Returns the backend of network cards with this name. One that is made for a single look writes no file."""
    import_rest: Callable[[str], None]
    """Imports what the thread of the backend with this name needs when the driver has initialised."""
    default_health: "Callable[[], HealthPolicy]"
    """Returns the health policy of GPUs that holds unless an administrator decides otherwise."""
    card_health: "Callable[[str], HealthPolicy]"
    """Returns that of the network cards of a backend, by its name."""
    remedies: "Callable[[Collection[str]], Remedies]"
    """Returns what the vendors of the devices of these backends say to do about evidence."""
    card_check: "Callable[[str, Settings], CardCheck]"
    """Returns what checks a node for the backend of network cards with this name."""
    label_maker: "Callable[[str], LabelMaker]"
    """Returns who makes labels of the state of the backend with this text."""
    is_vendors_label: Callable[[str], bool]
    """Returns whether a program of a vendor writes the label of this name."""
    catalog: Callable[[], Catalog]
    """Returns what the catalog says that the default policy was made from."""
    kernel_log_problem: "Callable[[str, str], str | None]"
    """Returns why the backend with this name cannot read the kernel's log at this path in this process. None if it
    can."""
    simulate: "Callable[[int], SimulatedBackend]"
    """Returns a backend with so many simulated devices."""
    simulate_cards: "Callable[[int], SimulatedCards]"
    """Returns a backend with so many simulated network cards, one beside each simulated device."""


def make_for_a_look(parts: Parts, settings: "Settings") -> "Mapping[str, Backend]":
    """Return all backends of these settings, by their names, each for a single look."""
    return {
        each.name: (parts.make_cards if each.has_cards else parts.make_backend)(each.text, settings, False)  # noqa: FBT003 - callables have no names
        for each in settings.chosen
    }


class SubCommand(NamedTuple):
    """What a sub-command accepts and does."""

    add_arguments: "Callable[[ArgumentParser], None]"
    run: "Callable[[Namespace], int]"
    """Returns the exit status. Raises InvalidValueError for a mistake of the user, GatewayError for other problems."""
    description: str = ""
    """For the help. An empty line divides paragraphs, and each is wrapped. By default it is the line of the
    overview."""
    run_plainly: Callable[[Sequence[str]], int | None] = lambda _: None
    """Runs with arguments for which no parser is needed. Returns None, and does nothing, if one is needed."""


class Command(NamedTuple):
    """A sub-command in the overview."""

    help: str
    load: Callable[[], SubCommand]
    """Imports the sub-command, and returns it."""


def fail(message: str, status: int = USAGE_ERROR) -> NoReturn:
    """Print one line about the problem, and exit with this status."""
    complain(message)
    sys.exit(status)


def complain(message: str) -> None:
    """Print one line about a problem to standard error."""
    from plugin_gateway.adapters.support.terminal import printable  # noqa: PLC0415 - only for mistakes

    sys.stderr.write(f"{PROGRAM}: {printable(message)}\n")


def main(commands: Mapping[str, Command], arguments: Sequence[str], version: Callable[[], str]) -> int:
    """Run the sub-command that the arguments name, and return the exit status. Each mistake of the user gets a line.

    Ctrl-C, a closed pipe and a full disk are no faults of the program, and end without a traceback.
    """
    open_missing_streams()
    try:
        if isinstance(sys.stdout, io.TextIOWrapper):
            sys.stdout.reconfigure(errors="replace")  # a character that the terminal cannot show becomes "?"
        status = _dispatch(commands, arguments, version)
        sys.stdout.flush()
    except InvalidValueError as error:
        for problem in error.problems[:-1]:
            complain(problem)
        fail(error.problems[-1])
    except GatewayError as error:
        fail(str(error), status=1)
    except KeyboardInterrupt:
        return INTERRUPTED
    except (OSError, ExceptionGroup) as error:
        failed = _output_error(error)
        if failed is None:
            raise
        # Python flushes standard output at exit, and would print the same error again.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        if failed.errno != errno.EPIPE:
            sys.stderr.write(f"{PROGRAM}: cannot write the output: {failed.strerror}\n")
        return 1
    return status


def _dispatch(commands: Mapping[str, Command], arguments: Sequence[str], version: Callable[[], str]) -> int:
    """Load the sub-command, parse its arguments and run it."""
    if arguments and arguments[0] == HELP and len(arguments) > 1:
        arguments = (*arguments[1:], "--help")
    if not arguments or arguments[0] not in commands:
        return _without_command(commands, arguments, version)
    command = commands[arguments[0]]
    sub_command = command.load()
    if (status := sub_command.run_plainly(arguments[1:])) is not None:
        return status
    from plugin_gateway.adapters.commands.parser import make_parser  # noqa: PLC0415 - `run` starts without it

    parser = make_parser(f"{PROGRAM} {arguments[0]}", sub_command.description or command.help)
    sub_command.add_arguments(parser)
    return sub_command.run(parser.parse(arguments[1:]))


def _output_error(error: Exception) -> OSError | None:
    """Return the error if it means that standard output cannot be written; otherwise None."""
    if isinstance(error, ExceptionGroup):
        from plugin_gateway.adapters.support.tasks import leaves  # noqa: PLC0415 - only where it went wrong

        found = leaves(error)
        error = found[0] if len(found) == 1 and isinstance(found[0], Exception) else error
    is_output = isinstance(error, OSError) and error.filename is None and error.errno in _OUTPUT_ERRORS
    return error if is_output and isinstance(error, OSError) else None


def _without_command(commands: Mapping[str, Command], arguments: Sequence[str], version: Callable[[], str]) -> int:
    """Print the overview or the version, or refuse the first argument."""
    if not arguments:
        sys.stderr.write(_overview(commands))
        return USAGE_ERROR
    asks_for_version = arguments[0] in {"--version", VERSION}
    if not asks_for_version and arguments[0] not in {"-h", "--help", HELP}:
        _refuse_first(arguments[0], commands)
    sys.stdout.write(f"{PROGRAM} {version()}\n" if asks_for_version else _overview(commands))
    return 0


def _refuse_first(word: str, commands: Mapping[str, Command]) -> NoReturn:
    if word.startswith("-"):
        hint = f"; did you mean {PROGRAM} {MAIN} {word}?" if _has_flag(commands, word) else suggestion(word, FLAGS)
        fail(f"unknown flag {word}; expected {' or '.join(FLAGS)} before a command{hint}")
    hint = suggestion(word, (*commands, *FLAGS, HELP, VERSION))
    fail(f"unknown command {word!r}; expected {', '.join(commands)}{hint}")


def _has_flag(commands: Mapping[str, Command], word: str) -> bool:
    """Return whether the main command has this flag, which may have a value."""
    from plugin_gateway.adapters.commands.parser import Parser  # noqa: PLC0415 - only where somebody made a mistake

    parser = Parser(add_help=False)
    if MAIN in commands:
        commands[MAIN].load().add_arguments(parser)
    return word.partition("=")[0] in parser.flags()


def suggestion(word: str, known: Sequence[str]) -> str:
    """Return the end of an error message with the most similar word, or an empty text."""
    from difflib import get_close_matches  # noqa: PLC0415 - only where somebody made a mistake

    begun = [each for each in known if each.startswith(word)]
    near = get_close_matches(word, known, n=1, cutoff=SIMILAR) or get_close_matches(word, begun, n=1, cutoff=0.5)
    return f"; did you mean {near[0]}?" if near else ""


def _overview(commands: Mapping[str, Command]) -> str:
    from textwrap import fill  # noqa: PLC0415 - only for people

    width = max(len(name) for name in commands) + 2

    def entry(name: str, text: str) -> str:
        return fill(f"  {name:{width}}{text}", width=columns(), subsequent_indent=" " * (width + 2))

    return "\n".join(
        (
            f"usage: {PROGRAM} COMMAND [flags]",
            "",
            fill("One device plugin for every kubelet, from Kubernetes 1.8 to the newest.", width=columns()),
            "",
            "commands:",
            *(entry(name, command.help) for name, command in commands.items()),
            "",
            "flags:",
            entry("--help", f"this text; after a command, the flags of that command, as {HELP} COMMAND"),
            entry("--version", f"the version, as {VERSION}"),
            "",
        )
    )


def columns() -> int:
    """Return the width of help texts. shutil also has a function for it, but takes too long to import at each start."""
    try:
        width = int(os.environ.get("COLUMNS") or os.get_terminal_size(sys.stdout.fileno()).columns)
    except (ValueError, OSError):
        width = _DEFAULT_WIDTH
    return max(20, min(width, _MAX_WIDTH) - 2)
