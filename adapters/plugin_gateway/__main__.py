"""The composition root: the one place that may name everything, and decides nothing.

What a sub-command needs is imported when it runs: `run` starts the driver first, and imports the rest meanwhile.
"""

import argparse
import gc
import os
import signal
import sys
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from typing import TYPE_CHECKING

from plugin_gateway.adapters.command_line import Command, add_options, given_flags
from plugin_gateway.adapters.command_line import main as run_command_line
from plugin_gateway.adapters.configuration.options import Option, run_options
from plugin_gateway.adapters.configuration.reading import Decisions, decide, decide_one
from plugin_gateway.core.errors import InvalidValueError

if TYPE_CHECKING:
    from pathlib import Path

    from plugin_gateway.adapters.dialect import Dialect
    from plugin_gateway.core.ports import Backend

API_VERSIONS: Mapping[str, tuple[str, ...]] = {
    "auto": ("v1beta1", "v1alpha2", "0.1"),
    "v1beta1": ("v1beta1",),
    "v1alpha": ("v1alpha2", "0.1"),
    "v1alpha2": ("v1alpha2",),
    "0.1": ("0.1",),
}
"""What ``--api-version`` takes, and the dialects it stands for, the newest first: as words, because the dialects
themselves are imported while the driver initialises. A test compares the two."""

SIMULATED = "simulated"
NVML = "nvml"
DEFAULT_SIMULATION = "8xH100"


def dialects() -> "tuple[Dialect, ...]":
    """Every dialect there is, the newest first."""
    from plugin_gateway.adapters.v1alpha import V0_1, V1ALPHA2
    from plugin_gateway.adapters.v1beta1 import V1BETA1

    return V1BETA1, V1ALPHA2, V0_1


def parse_backend(text: str) -> str:
    """Check the name of a backend, and the GPUs to simulate."""
    kind, colon, spec = text.partition(":")
    if kind == SIMULATED:
        from plugin_gateway.nvidia.simulated import parse_spec

        parse_spec(spec or DEFAULT_SIMULATION)
    elif text != NVML:
        raise InvalidValueError(f"{text!r}, allowed are {NVML} and {SIMULATED}:COUNTxMODEL")
    return f"{kind}{colon}{spec}"


def make_backend(backend: str, driver_root: str) -> "Backend":
    """Make the backend; it looks at nothing before it is started."""
    kind, _, spec = backend.partition(":")
    if kind == SIMULATED:
        from plugin_gateway.nvidia.simulated import SimulatedBackend

        return SimulatedBackend(spec or DEFAULT_SIMULATION)
    from plugin_gateway.nvidia.backend import NvmlBackend

    return NvmlBackend(driver_root=driver_root)


def _options() -> tuple[Option, ...]:
    return run_options(tuple(API_VERSIONS), parse_backend)


def _decide(parsed: argparse.Namespace) -> Decisions:
    return decide(_options(), given_flags(_options(), parsed), os.environ)


def _decide_as_the_gateway(parsed: argparse.Namespace) -> Decisions:
    """Decide as the gateway that runs here did, unless a flag is given here that makes it a question of its own."""
    from plugin_gateway.adapters.running_gateway import find_told

    given = given_flags(_options(), parsed)
    if given.keys() - {"state_dir"}:
        return _decide(parsed)
    told = find_told(_state_dir(parsed))
    parser = argparse.ArgumentParser(add_help=False)
    _add_run_arguments(parser)
    known, _ = parser.parse_known_args(told.flags)  # a gateway of another version may have others
    flags = {**given_flags(_options(), known), **given}
    return decide(_options(), flags, {**told.environment, **os.environ})


def _leave_at_once_if_told_to() -> None:
    """Heed signals before there is anything to tidy up; a request to read the configuration again waits until then."""
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: os._exit(0))
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGHUP})


def _run(parsed: argparse.Namespace) -> int:
    """Run the gateway. The driver initialises in its own thread while this one imports what comes after."""
    _leave_at_once_if_told_to()
    gc.disable()  # until it runs: what is imported stays, and looking through it again and again takes 10 ms
    from plugin_gateway.adapters.lean_imports import deferred, left_out
    from plugin_gateway.adapters.mailbox import Mailbox
    from plugin_gateway.adapters.process_limits import claim_limits

    claim_limits()
    decisions, mailbox = _decide(parsed), Mailbox()
    backend = make_backend(decisions.values["backend"], decisions.values["container_driver_root"])
    backend.start(mailbox.put)
    talks_to_cluster = decisions.values["kubernetes_events"] or decisions.values["node_condition"]
    with nullcontext() if talks_to_cluster else left_out("ssl"):
        import asyncio  # noqa: F401 - it takes ssl along where it can: a twentieth of the start
    with deferred("google.protobuf.internal.python_message"):
        import google.protobuf.descriptor_pool  # noqa: F401 - that is for where protobuf's compiled half is missing
    from plugin_gateway.adapters.configuration.settings import make_settings
    from plugin_gateway.adapters.daemon import Daemon

    return Daemon(
        settings=make_settings(decisions),
        read_settings=lambda: make_settings(_decide(parsed)),
        mailbox=mailbox,
        backend=backend,
        make_backend=make_backend,
        dialects=dialects(),
        api_versions=API_VERSIONS,
    ).run()


def _devices(parsed: argparse.Namespace) -> int:
    from plugin_gateway.adapters.configuration.settings import make_settings
    from plugin_gateway.adapters.device_table import show_devices

    settings = make_settings(_decide_as_the_gateway(parsed))
    backend = make_backend(settings.backend, settings.container_driver_root)
    return show_devices(backend, settings.resources, as_json=parsed.json)


def _health_policy(parsed: argparse.Namespace) -> int:
    from plugin_gateway.adapters.configuration.settings import make_settings
    from plugin_gateway.adapters.health_policy_view import show_policy

    return show_policy(make_settings(_decide(parsed)).health, as_json=parsed.json)


def _status(parsed: argparse.Namespace) -> int:
    from plugin_gateway.adapters.status_view import show_status, watch_status

    if parsed.watch:
        return watch_status(_state_dir(parsed))
    return show_status(_state_dir(parsed), as_json=parsed.json)


def _health(parsed: argparse.Namespace) -> int:
    from plugin_gateway.adapters.status_view import clear

    if parsed.all is bool(parsed.devices):
        raise InvalidValueError("health clear: allowed are the ids of devices, or --all")
    return clear(_state_dir(parsed), parsed.devices)


def _state_dir(parsed: argparse.Namespace) -> "Path":
    from pathlib import Path

    option = _option("state_dir")
    return Path(decide_one(option, given_flags((option,), parsed), os.environ))


def _option(name: str) -> Option:
    return next(option for option in _options() if option.name == name)


def _add_status_arguments(parser: argparse.ArgumentParser) -> None:
    add_options(parser, (_option("state_dir"),))
    ways = parser.add_mutually_exclusive_group()
    ways.add_argument("--json", action="store_true", help="as JSON, for programs")
    ways.add_argument("--watch", action="store_true", help="again every second, until Ctrl-C")


def _add_health_arguments(parser: argparse.ArgumentParser) -> None:
    add_options(parser, (_option("state_dir"),))
    parser.usage = "%(prog)s clear DEVICE... | --all"
    parser.add_argument("action", choices=("clear",), help="clear: the device is well, give it out again")
    parser.add_argument(
        "devices", nargs="*", metavar="DEVICE", help="its id, such as GPU-…, as plugin-gateway status shows it"
    )
    parser.add_argument("--all", action="store_true", help="every device that is not healthy")


def _doctor(parsed: argparse.Namespace) -> int:
    from plugin_gateway.adapters.configuration.settings import make_settings
    from plugin_gateway.adapters.doctor.command import run

    settings = make_settings(_decide_as_the_gateway(parsed))
    return run(settings, make_backend(settings.backend, settings.container_driver_root), as_json=parsed.json)


def _inspect(parsed: argparse.Namespace) -> int:
    from pathlib import Path

    from plugin_gateway.adapters.inspection.command import Wish, find_sockets, inspect

    option = _option("kubelet_dir")
    directory = decide_one(option, given_flags((option,), parsed), os.environ)
    sockets = [Path(parsed.socket)] if parsed.socket else find_sockets(Path(directory))
    return inspect(sockets, Wish(parsed.prefer, tuple(parsed.allocate or ())), as_json=parsed.json)


def _add_inspect_arguments(parser: argparse.ArgumentParser) -> None:
    from plugin_gateway.adapters.configuration.parsers import parse_count

    def count(text: str) -> int:
        try:
            return parse_count(text)
        except InvalidValueError as error:
            raise argparse.ArgumentTypeError(str(error)) from error

    add_options(parser, (_option("kubelet_dir"),))
    parser.usage = "%(prog)s [SOCKET] [flags]"
    parser.add_argument("socket", nargs="?", metavar="SOCKET", help="default: every plugin's in the directory below")
    parser.add_argument(
        "--prefer", type=count, default=0, metavar="COUNT", help="ask which devices it prefers of so many"
    )
    parser.add_argument(
        "--allocate", nargs="+", metavar="DEVICE", help="call Allocate for these devices, which can have effects"
    )
    parser.add_argument("--json", action="store_true", help="as JSON, for programs")


def _replay(parsed: argparse.Namespace) -> int:
    from pathlib import Path

    from plugin_gateway.adapters.replay.interruption import Interruption

    interruption = Interruption()
    interruption.heed()
    from plugin_gateway.adapters.replay.command import replay

    return replay(Path(parsed.file), dialects(), API_VERSIONS, interruption)


def _add_replay_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("file", metavar="FILE", help="what run --record wrote")


def _fake_kubelet(parsed: argparse.Namespace) -> int:
    from plugin_gateway.adapters.fake_kubelet.command import run

    return run(parsed)


def _add_fake_kubelet_arguments(parser: argparse.ArgumentParser) -> None:
    from plugin_gateway.adapters.fake_kubelet.command import add_arguments

    add_arguments(parser)


def _demo(_parsed: argparse.Namespace) -> int:
    from plugin_gateway.adapters import demo
    from plugin_gateway.nvidia.simulated import SimulatedBackend

    backend = SimulatedBackend(f"{demo.DEVICES}xH100")
    return demo.run(dialects(), backend, backend.fail, backend.reset)


def _add_run_arguments(parser: argparse.ArgumentParser) -> None:
    add_options(parser, _options())


def _add_devices_arguments(parser: argparse.ArgumentParser) -> None:
    add_options(parser, _options())
    parser.add_argument("--json", action="store_true", help="as JSON, for programs")


def _nothing(_parser: argparse.ArgumentParser) -> None:
    """Add no arguments."""


def _version() -> str:
    from importlib.metadata import version

    return version("plugin-gateway")


COMMANDS: Mapping[str, Command] = {
    "run": Command(
        help="offer this node's GPUs to its kubelet, and keep offering them",
        description="Offers this node's GPUs to its kubelet, of whatever release that is, and keeps offering them.\n\n"
        "Every flag can be set by the environment variable in brackets; a flag beats the\n"
        "environment, the environment beats the configuration file.",
        add_arguments=_add_run_arguments,
        run=_run,
    ),
    "devices": Command(help="show what would be offered, and end", add_arguments=_add_devices_arguments, run=_devices),
    "doctor": Command(
        help="find out what is wrong on this node, and what to do about it",
        description="Looks at the kubelet, the gateway that runs here, the driver and the node;\n"
        "without flags it looks with those of the gateway that runs beside it.\n\n"
        "Ends with 0 where all is well, 1 where something is to be mended, 2 where something could not be seen.",
        add_arguments=_add_devices_arguments,
        run=_doctor,
    ),
    "inspect": Command(
        help="show what the socket of any device plugin serves, and one list of its devices",
        add_arguments=_add_inspect_arguments,
        run=_inspect,
    ),
    "status": Command(
        help="show what the running gateway knows of its GPUs, and why one is not given out",
        add_arguments=_add_status_arguments,
        run=_status,
    ),
    "health": Command(
        help="tell the running gateway that a GPU is well again: health clear GPU-…",
        add_arguments=_add_health_arguments,
        run=_health,
    ),
    "health-policy": Command(
        help="show what follows from each XID and other evidence, and where that was decided",
        add_arguments=_add_devices_arguments,
        run=_health_policy,
    ),
    "replay": Command(
        help="play the kubelet's side of a recording again, and tell what differs",
        description="Plays the kubelet's side of what run --record wrote to a gateway with the same devices,\n"
        "and tells the differences. Ends with 0 where there is none, 1 where there are some or nothing could be\n"
        "compared, 2 where FILE is no recording.",
        add_arguments=_add_replay_arguments,
        run=_replay,
    ),
    "fake-kubelet": Command(
        help="play the kubelet of a release, to try a device plugin",
        add_arguments=_add_fake_kubelet_arguments,
        run=_fake_kubelet,
    ),
    "demo": Command(
        help="show it all on this machine in a few seconds: no GPU, no Kubernetes", add_arguments=_nothing, run=_demo
    ),
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit status."""
    # gRPC writes lines of its own to standard error; whatever matters comes back as an error anyway.
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")
    return run_command_line(COMMANDS, sys.argv[1:] if arguments is None else arguments, _version)


if __name__ == "__main__":
    sys.exit(main())
