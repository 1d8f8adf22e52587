"""`plugin-gateway driver`: has the running gateway let go of the driver, so that another one can be installed."""

import argparse
import re
import time
from collections.abc import Mapping
from pathlib import Path

from plugin_gateway.adapters.commands.command_line import Parts, SubCommand
from plugin_gateway.adapters.commands.each_gateway import Outcome, attempt, show
from plugin_gateway.adapters.commands.flags import add_options, decide_flag
from plugin_gateway.adapters.configuration.options import Options
from plugin_gateway.adapters.control import MAX_RELEASE
from plugin_gateway.adapters.control.control_client import Asked, ask_all
from plugin_gateway.adapters.gateway.driver_access import Released
from plugin_gateway.adapters.gateway.status import Status
from plugin_gateway.core.errors import InvalidValueError

DEFAULT_TIME = "120s"
MIN_SECONDS = 10
"""Until the library is closed, some seconds can have passed."""
CLOSE_TIMEOUT = 10.0
"""Seconds to wait until the library is closed. A wait for events, which ends first, takes 5 s at most."""
_PAUSE = 0.05
_TIME = re.compile(r"([0-9]{1,6})(s|m|)", re.ASCII)
DESCRIPTION = """\
release: every GPU is unhealthy, and the gateway closes the driver's library. It
takes the driver again after the time, or at once with take. Then the GPUs are
checked, and are healthy after the quiet time. Pods keep what they have open: end
those that use a GPU before you unload the driver."""


def make(_: Parts) -> SubCommand:
    """Return the sub-command."""

    def add_arguments(parser: argparse.ArgumentParser) -> None:
        add_options(parser, (Options.state_dir,))
        parser.usage = "%(prog)s release [--for TIME] [BACKEND] | take [BACKEND]"
        parser.add_argument(
            "action",
            choices=("release", "take"),
            metavar="release|take",
            help="let go of the driver, or take it again",
        )
        parser.add_argument(
            "backend",
            nargs="?",
            metavar="BACKEND",
            help="the backend whose driver it is, as status names it, where a gateway has several; default: all",
        )
        parser.add_argument(
            "--for",
            dest="duration",
            metavar="TIME",
            help=f"how long it is released, such as 90s or 10m, at most {MAX_RELEASE} seconds; default: {DEFAULT_TIME}",
        )

    return SubCommand(add_arguments, run, DESCRIPTION)


def run(parsed: argparse.Namespace) -> int:
    """Release the driver, or take it again."""
    state_dir = decide_flag(parsed, Options.state_dir)
    if parsed.action == "release":
        duration = parse_time(DEFAULT_TIME if parsed.duration is None else parsed.duration)
        return release(state_dir, duration, parsed.backend)
    if parsed.duration is not None:
        raise InvalidValueError("driver take: it has no --for, it takes the driver at once")
    return take(state_dir, parsed.backend)


def parse_time(text: str) -> int:
    """Return the seconds of a text such as ``120``, ``120s`` or ``2m``.

    Raises:
        InvalidValueError: it has another form, or is not allowed.
    """
    found = _TIME.fullmatch(text)
    seconds = int(found[1]) * (60 if found[2] == "m" else 1) if found else 0
    if not MIN_SECONDS <= seconds <= MAX_RELEASE:
        raise InvalidValueError(
            f"--for: invalid value {text[:80]!r}; expected {MIN_SECONDS}s to {MAX_RELEASE}s, also as 10m"
        )
    return seconds


def release(state_dir: Path, seconds: int, backend: str | None = None) -> int:
    """Have every gateway of the node release the driver, and wait until the library is closed.

    With ``backend`` only the driver of the backend with this name.

    Return 1 if one does not.
    """
    gateways, deadline = ask_all(state_dir), time.monotonic() + CLOSE_TIMEOUT

    def begin(gateway: Asked) -> Outcome:
        gateway.tell({"command": "release", "seconds": seconds, **_named(backend)})
        return Outcome()

    begun = [attempt(each, begin) for each in gateways]  # all of them, before one is waited for
    return show(
        gateways,
        [
            outcome
            if outcome.problems
            else attempt(each, lambda gateway: _wait_until_closed(gateway, seconds, deadline, backend))
            for each, outcome in zip(gateways, begun, strict=True)
        ],
    )


def _named(backend: str | None) -> Mapping[str, str]:
    return {} if backend is None else {"backend": backend}


def _released(status: Status, backend: str | None) -> Released | None:
    """Return how far the release is. That of the slowest driver, if there are several."""
    drivers = [driver for name, driver in status.drivers if backend in {None, name}] or [status.driver]
    if any(driver.released is None for driver in drivers):
        return None
    return min((driver.released for driver in drivers if driver.released is not None), key=lambda each: each.is_closed)


def _words(status: Status, backend: str | None) -> str:
    """Return what is not given out meanwhile. A gateway that is too old to say it has GPUs alone."""
    words = [each.device_word or "GPU" for each in status.backends if backend in {None, each.name}]
    return " and no ".join(dict.fromkeys(words or ["GPU"]))


def _wait_until_closed(gateway: Asked, seconds: int, deadline: float, backend: str | None) -> Outcome:
    while (released := _released(gateway.ask_status(), backend)) is not None and not released.is_closed:
        if time.monotonic() >= deadline:
            break
        time.sleep(_PAUSE)
    if released is None:
        return Outcome(problems=["the driver was taken again meanwhile"])
    if not released.is_closed:
        problem = f"the library of the driver is not closed after {CLOSE_TIMEOUT:g} s: a call of the driver hangs"
        return Outcome(problems=[problem])
    given_out = f"no {_words(gateway.ask_status(), backend)} is given out"
    return Outcome([f"the driver is released for {seconds} s, and its library is closed; {given_out}"])


def take(state_dir: Path, backend: str | None = None) -> int:
    """Have every gateway of the node take the driver again, or that of one backend. Return 1 if one does not."""
    gateways = ask_all(state_dir)
    return show(gateways, [attempt(each, lambda gateway: _take(gateway, backend)) for each in gateways])


def _take(gateway: Asked, backend: str | None) -> Outcome:
    was_released = gateway.tell({"command": "take", **_named(backend)})["was_released"]
    return Outcome(["the driver is taken again" if was_released else "the driver was not released"])
