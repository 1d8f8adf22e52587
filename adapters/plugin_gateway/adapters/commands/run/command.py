"""The arguments of `plugin-gateway run`, and its first milliseconds. The package's docstring has their order."""

import argparse
import gc
import os
import signal
from contextlib import nullcontext

from plugin_gateway.adapters.commands.command_line import Parts, SubCommand
from plugin_gateway.adapters.commands.flags import add_run_options, decide_all

DESCRIPTION = """\
Offers this node's GPUs to its kubelet, of whatever release that is, and keeps offering them.

Every flag can be set by the environment variable in brackets; a flag beats the
environment, the environment beats the configuration file."""

UNUSED_IN_PROTOBUF = (
    "calendar",
    "google.protobuf.descriptor_database",
    "google.protobuf.internal.python_edition_defaults",
    "google.protobuf.internal.python_message",
    "google.protobuf.text_encoding",
)
"""What protobuf imports, and uses only without its compiled part or for messages that no kubelet has."""


def make(parts: Parts) -> SubCommand:
    """Return the sub-command."""
    return SubCommand(lambda parser: add_run_options(parser, parts), lambda parsed: run(parsed, parts), DESCRIPTION)


def run(parsed: argparse.Namespace, parts: Parts) -> int:
    """Run the gateway. What it needs is imported while the driver initialises in its own thread."""
    _leave_at_once_on_signals()
    gc.disable()  # until the gateway runs: imported objects stay, and collecting among them takes 10 ms
    from plugin_gateway.adapters.commands.run.limits import claim_limits  # noqa: PLC0415
    from plugin_gateway.adapters.gateway.observation_queue import ObservationQueue  # noqa: PLC0415
    from plugin_gateway.adapters.support.lean_imports import deferred, left_out  # noqa: PLC0415

    claim_limits()
    decisions, observations = decide_all(parsed, parts), ObservationQueue()
    options = decisions.options
    backend = parts.make_backend(options.backend, options.container_driver_root, options.kernel_log_path)
    backend.decision_time = options.decision_time
    backend.start(observations.put)
    with deferred("ipaddress", "shutil", "tempfile"):  # of pathlib and ctypes.util, for functions that nobody calls
        parts.import_rest(options.backend)
    talks_to_cluster = options.kubernetes_events or options.node_condition
    with nullcontext() if talks_to_cluster else left_out("ssl"):
        import asyncio  # noqa: F401, PLC0415 - it imports ssl if it can, which takes 5 % of the start
    with deferred(*UNUSED_IN_PROTOBUF):
        import google.protobuf.descriptor_pool  # noqa: F401, PLC0415 - see there
    from plugin_gateway.adapters.commands.run.daemon import Daemon  # noqa: PLC0415
    from plugin_gateway.adapters.configuration.settings import make_settings  # noqa: PLC0415

    return Daemon(
        settings=make_settings(decisions),
        read_settings=lambda: make_settings(decide_all(parsed, parts)),
        observations=observations,
        backend=backend,
        make_backend=parts.make_backend,
        remedies=parts.remedies,
    ).run()


def _leave_at_once_on_signals() -> None:
    """Exit at once on SIGTERM and SIGINT: nothing needs to be cleaned up yet. Keep SIGHUP for the event loop."""
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: os._exit(0))
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGHUP})
