"""The arguments of `plugin-gateway run`, and its first milliseconds. The package's docstring has their order."""

import gc
import os
import signal
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from typing import TYPE_CHECKING, NamedTuple

from plugin_gateway.adapters.commands.command_line import Parts, SubCommand
from plugin_gateway.adapters.commands.flags import add_run_options, decide_all, given_flags, options, read_plainly
from plugin_gateway.adapters.configuration.option import GivenFlag
from plugin_gateway.adapters.configuration.options import Options
from plugin_gateway.adapters.configuration.reading import kept_of

if TYPE_CHECKING:
    from plugin_gateway.adapters.commands.run.node_configuration import NodeConfiguration
    from plugin_gateway.adapters.configuration.chosen_backends import ChosenBackend
    from plugin_gateway.adapters.configuration.settings import Settings
    from plugin_gateway.adapters.gateway.observation_queue import FilesBox, ObservationQueue
    from plugin_gateway.core.cdi import FilesWanted
    from plugin_gateway.core.ports import Backend

DESCRIPTION = """\
Offers this node's GPUs and network cards to its kubelet, of whatever release that is, and keeps offering them.

Every flag can be set by the environment variable in brackets; a flag beats the
environment, the environment beats the configuration file."""

NEVER_USED = ("ipaddress",)
"""What pathlib imports for addresses in URLs. Nobody here reads URLs."""


class StartedBackend(NamedTuple):
    """A backend that was started before anybody reads what it reports."""

    chosen: "ChosenBackend"
    backend: "Backend"
    observations: "ObservationQueue"
    files: "FilesBox"
    """What it finds of the files of its driver."""
    has_thread: bool = True
    """Whether it could be started."""


def make(parts: Parts) -> SubCommand:
    """Return the sub-command."""

    def run_plainly(arguments: Sequence[str]) -> int | None:
        given = read_plainly(options(parts), arguments)
        return None if given is None else run(given, parts)

    return SubCommand(
        lambda parser: add_run_options(parser, parts),
        lambda parsed: run(given_flags(options(parts), parsed), parts),
        DESCRIPTION,
        run_plainly,
    )


def run(given: Mapping[str, GivenFlag], parts: Parts) -> int:
    """Run the gateway with these flags. What it needs is imported while the driver initialises in its own thread."""
    _leave_at_once_on_signals()
    gc.disable()  # until the gateway runs: imported objects stay, and collecting among them takes 10 ms
    from plugin_gateway.adapters.commands.run.limits import claim_limits, make_room_for_descriptors  # noqa: PLC0415
    from plugin_gateway.adapters.gateway.observation_queue import FilesBox, ObservationQueue  # noqa: PLC0415

    claim_limits()
    node = _node_configuration(given, parts)
    decisions = decide_all(given, parts) if node is None else node.decide(given, parts)
    decided = decisions.options
    if any(each.has_cards for each in decisions.chosen):
        make_room_for_descriptors()
    started = [
        start_backend(each, ObservationQueue(), FilesBox(), decided, parts)
        for each in decisions.chosen
        if not each.has_cards
    ]
    from plugin_gateway.adapters.support.lean_imports import deferred, left_out  # noqa: PLC0415

    talks_to_cluster = decided.talks_to_cluster or (node is not None and node.follows_label)
    with deferred(*NEVER_USED):
        for each in started:
            parts.import_rest(each.chosen.text)
        with nullcontext() if talks_to_cluster else left_out("ssl"):
            import asyncio  # noqa: F401, PLC0415 - it imports ssl if it can, which takes 5 % of the start
        from plugin_gateway.adapters.commands.run.daemon import Daemon  # noqa: PLC0415
        from plugin_gateway.adapters.configuration.settings import make_settings  # noqa: PLC0415

        settings = make_settings(decisions)
        turn_of_cards = threading.Event()
        if not started:
            turn_of_cards.set()
        started += [
            start_cards(each, settings, parts, turn_of_cards.wait) for each in settings.chosen if each.has_cards
        ]
        daemon = Daemon(
            settings=settings,
            read_settings=lambda: make_settings(decide_all(given, parts, node.choose if node is not None else None)),
            started=started,
            parts=parts,
            node=node,
            begin_cards=turn_of_cards.set,
        )
    return daemon.run()


def _node_configuration(given: Mapping[str, GivenFlag], parts: Parts) -> "NodeConfiguration | None":
    """Return what chooses the configuration file of this node, if there is a folder of files.

    It may wait for the API server: not before the choice is it known where the driver is and what to offer.
    """
    folder = Options.config_dir.value(kept_of(Options.config_dir, given, os.environ))
    if folder is None:
        return None
    from plugin_gateway.adapters.commands.run.node_configuration import NodeConfiguration  # noqa: PLC0415 - only where asked for

    options_of_start = {each.name: kept_of(each, given, os.environ) for each in options(parts) if not each.key}
    node = NodeConfiguration(folder, Options(options_of_start))
    node.begin()
    return node


def start_backend(
    chosen: "ChosenBackend", observations: "ObservationQueue", files: "FilesBox", decided: "Options", parts: Parts
) -> StartedBackend:
    """Start one backend of GPUs. What it reports waits in the queue until somebody reads it."""
    backend = parts.make_backend(chosen.text, decided, True)  # noqa: FBT003 - a callable has no names
    return _begin(StartedBackend(chosen, backend, observations, files), decided)


def start_cards(
    chosen: "ChosenBackend", settings: "Settings", parts: Parts, turn: Callable[[], object] = lambda: None
) -> StartedBackend:
    """Start one backend of network cards. Its thread waits for its ``turn``, so that it delays no GPU."""
    from plugin_gateway.adapters.gateway.observation_queue import FilesBox, ObservationQueue  # noqa: PLC0415 - see `run`

    backend = parts.make_cards(chosen.text, settings, True)  # noqa: FBT003 - a callable has no names
    return _begin(StartedBackend(chosen, backend, ObservationQueue(), FilesBox()), settings, turn)


def _begin(started: StartedBackend, decided: "Options", turn: Callable[[], object] = lambda: None) -> StartedBackend:
    backend, files = started.backend, started.files
    backend.decision_time = decided.decision_time
    backend.want_files(files_wanted(decided, files))
    if decided.needs_labels:
        from plugin_gateway.core.ports import want_facts  # noqa: PLC0415 - only where asked for

        want_facts(backend, wanted=True)
    try:
        backend.start(started.observations.put, turn)
    except RuntimeError:  # Python raises it if a thread cannot be started
        return started._replace(has_thread=False)
    return started


def files_wanted(decided: "Options", files: "FilesBox") -> "FilesWanted | None":
    """Return what a backend is to find of the files of its driver. None if there are no CDI specs."""
    if not decided.needs_specs:
        return None
    from plugin_gateway.core.cdi import FilesWanted  # noqa: PLC0415 - only where asked for

    return FilesWanted(decided.driver_root, decided.nvidia_cdi_hook_path, decided.cdi_disable_hooks, files.put)


def _leave_at_once_on_signals() -> None:
    """Exit at once on SIGTERM and SIGINT: nothing needs to be cleaned up yet. Keep SIGHUP for the event loop."""
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: os._exit(0))
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGHUP})
