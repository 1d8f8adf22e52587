"""The settings with which `doctor` and `devices` look at this node: those of the gateway that runs beside them.

What the gateway has in force is asked from it, because its file can be broken or gone by now. The flags of the command
are laid over that. What is wrong with the file or the environment of the gateway is a problem to show, and no error.
"""

import argparse
import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

from plugin_gateway.adapters.commands.command_line import Parts
from plugin_gateway.adapters.commands.flags import add_run_options, decide_flag, given_flags, options
from plugin_gateway.adapters.configuration.chosen_backends import ChosenBackend
from plugin_gateway.adapters.configuration.extra_options import ExtraOptions
from plugin_gateway.adapters.configuration.label_options import LabelOptions
from plugin_gateway.adapters.configuration.option import Option, options_of
from plugin_gateway.adapters.configuration.options import Options, is_nvidias
from plugin_gateway.adapters.configuration.reading import decide, kept_of
from plugin_gateway.adapters.configuration.settings import (
    PATHS,
    ROOTS,
    Settings,
    make_settings,
)
from plugin_gateway.adapters.control.control_client import ControlError, ask_all
from plugin_gateway.adapters.control.running_gateway import Start, find_start
from plugin_gateway.adapters.gateway.status import OPTIONS_IN_FORCE, Status
from plugin_gateway.core.errors import InvalidValueError

_DECIDED: Sequence[Option[object]] = (
    Options.mig_strategy,
    Options.device_list_strategy,
    *options_of(ExtraOptions),
)
"""Options that a file can decide, and that the gateway only tells if somebody decided them."""


class View(NamedTuple):
    """With what to look at the node."""

    settings: Settings
    problems: Sequence[str]
    """Why a gateway that starts with this configuration would end at once."""
    refused: str | None = None
    """Why the gateway refused this configuration already. None if it did not, or is not there."""


def view_as_the_gateway(parsed: argparse.Namespace, parts: Parts) -> View:
    """Return the settings of the gateway that runs on this node, with the flags of this command laid over them.

    Raises:
        InvalidValueError: a flag of this command is wrong.
    """
    state_dir = decide_flag(parsed, Options.state_dir)
    start = find_start(state_dir, is_nvidias)
    table = options(parts, start.program or None)
    given = given_flags(table, parsed)
    own = {each.name: kept_of(each, given, {}) for each in table if each.name in given}
    problems: list[str] = []
    flags = {**_flags_of(start, parts), **given}
    environment = {**start.environment, **os.environ}
    decisions = decide(
        table, flags, environment, parts.default_health, problems, card_health=parts.card_health
    )._replace(backends=parts.backends)
    try:
        settings = make_settings(decisions)
    except InvalidValueError as error:
        problems += error.problems
        quiet = {
            "kubernetes_events": False,
            "node_condition": "",
            "mps_root": decisions.options.mps_root or "/",
            **{each.name: kept_of(each, {}, {}) for each in options_of(LabelOptions)},
        }
        settings = make_settings(decisions._replace(options=Options({**decisions.options.values, **quiet})))
    if not own.keys().isdisjoint({"config_file", "config_dir"}):
        return View(settings, problems)
    try:
        asked = ask_all(state_dir)
        status = next((each for each in asked if each.pid == start.pid), asked[0]).status
    except ControlError:
        status = None
    if status is None:
        return View(_laid_over(settings, own), problems)
    chosen = settings.chosen if Options.backend.name in own else _chosen(status, settings, parts)
    settings = _in_force(settings, status, own, sees_its_paths=start.is_beside)
    return View(_laid_over(replace(settings, chosen=chosen), own), problems, status.configuration_problem)


def _chosen(status: Status, settings: Settings, parts: Parts) -> tuple[ChosenBackend, ...]:
    """Return the backends that the gateway has: those that it was started with, and those of its file."""
    try:
        return tuple(parts.backends(status.in_force.backend)) if status.in_force.backend else settings.chosen
    except InvalidValueError:  # a gateway of another version can have others
        return settings.chosen


def _flags_of(start: Start, parts: Parts) -> Mapping[str, Any]:
    """Return the flags with which the gateway was started. One of another version can have others too."""
    parser = argparse.ArgumentParser(add_help=False)
    add_run_options(parser, parts)
    known, _ = parser.parse_known_args(start.flags)
    return given_flags(options(parts), known)


def _in_force(settings: Settings, status: Status, own: Mapping[str, object], *, sees_its_paths: bool) -> Settings:
    """Return the settings with what the gateway told. Its paths mean something else in another mount namespace.

    The rules are those of the settings where a flag of this command decides about them.
    """
    told, told_decided = status.in_force, {each.name: _decided(each, settings, status) for each in _DECIDED}
    strategy = told_decided[Options.mig_strategy.name]
    names = [name for name in OPTIONS_IN_FORCE if sees_its_paths or name not in PATHS]
    known = {name: value for name in names if (value := getattr(told, name)) is not None}
    rules = tuple(each.whole for each in told.resources or ())
    values = {**settings.values, **known, **told_decided}
    names_backends = any(rule.selector.backends for rule in (*rules, *settings.resources))
    is_other = Options.backend.name in own and names_backends
    decides = is_other or Options.resource_name.name in own or own.get(Options.mig_strategy.name, strategy) != strategy
    return replace(settings, values=values, resources=settings.resources if decides else rules or settings.resources)


def _decided(option: Option[object], settings: Settings, status: Status) -> object:
    """Return what the gateway has of an option: the default, unless it says that somebody decided something else."""
    decided = status.configuration.get(option.name)
    try:
        return kept_of(option, {}, {}) if decided is None else option.kind.parse(decided.value)
    except InvalidValueError:  # a newer gateway can have more values
        return settings.values[option.name]


def _laid_over(settings: Settings, own: Mapping[str, object]) -> Settings:
    """Return the settings with the values of this command's own flags."""
    roots = dict.fromkeys(ROOTS, own["driver_root"]) if "driver_root" in own else {}
    return replace(settings, values={**settings.values, **roots, **own})
