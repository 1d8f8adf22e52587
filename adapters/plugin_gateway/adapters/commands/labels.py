"""`plugin-gateway labels`: shows the labels and taints that this node should have, or writes labels as a feature file.

With a file it stands in for NVIDIA's GPU feature discovery: it writes the file again and again, or once with --oneshot.
The driver's library is closed in between, so that nobody else has to wait for it.
"""

import argparse
import math
import signal
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from plugin_gateway.adapters.cluster.feature_file import feature_text, remove_feature_file, write_feature_file
from plugin_gateway.adapters.commands.command_line import Parts, SubCommand, complain, make_for_a_look
from plugin_gateway.adapters.commands.flags import add_json_flag, add_options
from plugin_gateway.adapters.commands.gateway_settings import view_as_the_gateway
from plugin_gateway.adapters.configuration.label_policy import label_policy
from plugin_gateway.adapters.configuration.options import Options, is_discovery
from plugin_gateway.adapters.configuration.settings import Settings
from plugin_gateway.adapters.gateway.first_look import TIMEOUT, ask_driver_for_state
from plugin_gateway.adapters.gateway.machine_name import read_machine_name
from plugin_gateway.adapters.support.terminal import print_json, print_lines
from plugin_gateway.core.devices import seen_by
from plugin_gateway.core.errors import GatewayError, InvalidValueError, InvalidValuesError
from plugin_gateway.core.health.state import State
from plugin_gateway.core.labels.making import Labelled, NodeLabels, node_labels
from plugin_gateway.core.labels.policy import taint_text
from plugin_gateway.core.ports import Backend, TellsFacts

FLAGS = (
    Options.driver_root,
    Options.container_driver_root,
    Options.backend,
    Options.mig_strategy,
    Options.fail_on_init_error,
    Options.mps_root,
    Options.resource_name,
    Options.state_dir,
    Options.config_file,
    Options.config_compatibility,
    Options.node_labels,
    Options.node_name,
    Options.node_labels_deprecated,
    Options.node_labels_own,
    Options.node_labels_by_product,
    Options.node_taint_by_cause,
    Options.no_timestamp,
    Options.machine_type_file,
    Options.output_file,
    Options.oneshot,
    Options.sleep_interval,
    Options.use_node_feature_api,
)
"""The options that replace what the gateway has."""
DESCRIPTION = """\
Shows the labels and taints that this node should have, as one look at its devices finds them.

With --output-file the labels are written into this file, as NVIDIA's GPU feature discovery
does it: again and again until the end, which removes it, or once with --oneshot."""
_ENDING = (signal.SIGTERM, signal.SIGINT)
_SIGNALS = (*_ENDING, signal.SIGHUP)


class NotLabelledError(GatewayError):
    """The labels cannot be made or written. The message is for the administrator."""


class Look(NamedTuple):
    """What one look at the node found."""

    labels: NodeLabels
    problems: tuple[str, ...]
    """Why nothing is known of some devices, for people."""
    remarks: tuple[str, ...]
    """What else is not known, for people."""
    backends: tuple[Backend, ...]
    """Those that were asked. Their threads end some seconds later."""


def make(parts: Parts) -> SubCommand:
    """Return the sub-command."""

    def add_arguments(parser: argparse.ArgumentParser) -> None:
        add_options(parser, FLAGS)
        add_json_flag(parser)

    return SubCommand(add_arguments, lambda parsed: run(parsed, parts), DESCRIPTION)


def run(parsed: argparse.Namespace, parts: Parts) -> int:
    """Print the labels, with the settings of the gateway that runs on this node if there is one, or write them.

    Raises:
        InvalidValueError: a flag, or the file that a flag names, is wrong.
        NotLabelledError: the labels cannot be made or written.
    """
    started_at = time.time()
    settings = read_settings(parsed, parts)
    writes = hasattr(parsed, Options.output_file.name) or is_discovery(sys.argv[0])
    if writes and settings.output_file and not parsed.json:
        return write(settings, lambda: read_settings(parsed, parts), lambda now: look(now, parts, started_at))
    found = look(settings, parts, started_at)
    if parsed.json:
        print_json(as_json(found))
    else:
        print_lines([*_lines(found.labels)])
    for problem in (*found.problems, *found.remarks):
        complain(problem)
    return 1 if found.problems else 0


def read_settings(parsed: argparse.Namespace, parts: Parts) -> Settings:
    """Return the settings.

    Raises:
        InvalidValueError: a flag, the environment or the file is wrong.
    """
    view = view_as_the_gateway(parsed, parts)
    if view.problems:
        raise InvalidValuesError(view.problems)
    if view.settings.use_node_feature_api:
        raise InvalidValueError(
            "--use-node-feature-api: invalid value 'true'; expected false; the gateway itself writes that object, "
            "with --node-labels=nodefeature [GFD_USE_NODE_FEATURE_API]"
        )
    return view.settings


def look(settings: Settings, parts: Parts, started_at: float) -> Look:
    """Look at the devices once, and return the labels that follow."""
    chosen, backends = settings.chosen, make_for_a_look(parts, settings)
    machine = read_machine_name(settings.machine_type_file)
    remarks = (f"the model of the machine is not known: {machine.problem}",) if machine.problem else ()
    problems: list[str] = []
    labelled: list[Labelled] = []
    asked: list[Backend] = []
    for each in chosen:
        backend = backends[each.name]
        state = ask_driver_for_state(backend, settings.health_of(each.name))
        asked.append(backend)
        if state.inventory is not None and len(chosen) > 1:
            state = replace(state, inventory=seen_by(each.name, state.inventory))
        problems += _problems(each.name if len(chosen) > 1 else "", state)
        labelled.append(Labelled(state, parts.label_maker(each.text), isinstance(backend, TellsFacts)))
    policy = label_policy(settings, machine.name, started_at)
    return Look(node_labels(labelled, settings.resources, policy), tuple(problems), remarks, tuple(asked))


def _problems(backend: str, state: State) -> Iterator[str]:
    """Yield why nothing is known of the devices of a backend. A machine without one is no problem."""
    if state.driver_problem is not None and state.facts is None:
        whose = f"backend {backend}: " if backend else ""
        yield whose + "; ".join(filter(None, (state.driver_problem, state.driver_todo)))


def as_json(found: Look) -> Mapping[str, object]:
    """Return labels, taints and reasons as values of JSON."""
    labels = found.labels
    return {
        "labels": dict(labels.labels),
        "taints": [
            {"key": each.name, "value": each.value, "effect": each.effect.value, "why": labels.why[each.name]}
            for each in labels.taints
        ],
        "why": {name: labels.why[name] for name in labels.labels},
        "left_out": dict(labels.left_out),
        "is_complete": labels.is_complete,
        "problems": list(found.problems),
        "remarks": list(found.remarks),
    }


def _lines(labels: NodeLabels) -> Iterator[str]:
    yield from (f"{name}={value}" for name, value in labels.labels.items())
    yield from (f"taint: {taint_text(each)}" for each in labels.taints)
    yield from (f"left out: {name}: {why}" for name, why in labels.left_out.items())


def write(settings: Settings, again: Callable[[], Settings], find: Callable[[Settings], Look]) -> int:
    """Write the labels into the file of the settings: once, or until the end. SIGHUP has the settings read again.

    Raises:
        NotLabelledError: they cannot be made or written, and that is to end the process.
    """
    if not settings.oneshot:
        signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)
    told: Sequence[str] = ()
    while True:
        found = find(settings)
        told = _write_once(settings, found, told)
        if settings.oneshot:
            return 0
        number = _signal_within(settings.sleep_interval)
        if number in _ENDING:
            _remove(Path(settings.output_file))
            return 0
        if not all(each.join(TIMEOUT) for each in found.backends):
            raise NotLabelledError("a call of the driver hangs")
        if number is not None:
            settings = _settings_or_last(again, settings)


def _write_once(settings: Settings, found: Look, told: Sequence[str]) -> Sequence[str]:
    """Write the labels of one look, and return what has been said. Without an answer of the driver, the file stays.

    Raises:
        NotLabelledError: they are not written, and that is to end the process.
    """
    left_out = [f"{name} is left out: {why}" for name, why in found.labels.left_out.items()]
    problems = [*found.problems, *found.remarks, *left_out]
    for problem in problems:
        if problem not in told:
            complain(problem)
    if not found.labels.is_complete or not found.labels.labels:
        if settings.oneshot or settings.fail_on_init_error:
            raise NotLabelledError("no labels are written, because the driver did not tell of the devices")
        return problems
    path = Path(settings.output_file)
    try:
        write_feature_file(path, feature_text(found.labels.labels))
    except OSError as error:
        problem = f"{path} cannot be written: {error.strerror}"
        if settings.oneshot:
            raise NotLabelledError(problem) from error
        if problem not in told:
            complain(problem)
        problems.append(problem)
    return problems


def _signal_within(seconds: float) -> int | None:
    """Return the signal that comes within this time. None if none does."""
    if seconds == math.inf:
        return signal.sigwait(_SIGNALS)
    found = signal.sigtimedwait(_SIGNALS, seconds)
    return None if found is None else found.si_signo


def _settings_or_last(again: Callable[[], Settings], last: Settings) -> Settings:
    """Return the settings that hold now. Those that were in force stay if a new one is wrong."""
    try:
        return again()
    except InvalidValueError as error:
        for problem in error.problems:
            complain(problem)
        return last


def _remove(path: Path) -> None:
    try:
        remove_feature_file(path)
    except OSError as error:
        raise NotLabelledError(f"{path} cannot be removed: {error.strerror}") from error
