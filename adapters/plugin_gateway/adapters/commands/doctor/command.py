"""The arguments of `plugin-gateway doctor`. Runs all checks in order, and prints their findings."""

import argparse
import sys
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING

from plugin_gateway.adapters.commands.command_line import Parts, SubCommand, make_for_a_look
from plugin_gateway.adapters.commands.doctor import (
    card_checks,
    cdi_checks,
    extra_checks,
    gateway_checks,
    kubelet_checks,
    label_checks,
    node_checks,
)
from plugin_gateway.adapters.commands.doctor.findings import Finding, Verdict, hint, mend
from plugin_gateway.adapters.commands.flags import add_json_flag, add_options
from plugin_gateway.adapters.commands.gateway_settings import View, view_as_the_gateway
from plugin_gateway.adapters.configuration.options import Options
from plugin_gateway.adapters.configuration.settings import Settings
from plugin_gateway.adapters.gateway.first_look import ask_driver
from plugin_gateway.adapters.support.terminal import print_json, print_lines
from plugin_gateway.core.devices import Inventory, seen_by
from plugin_gateway.core.health.remedies import Remedies
from plugin_gateway.core.labels.ownership import nobody
from plugin_gateway.core.ports import Backend
from plugin_gateway.core.resources.policy import ListStrategy
from plugin_gateway.core.resources.rules import ResourceRule

if TYPE_CHECKING:
    from plugin_gateway.adapters.commands.command_line import CardCheck

DESCRIPTION = """\
Looks at the kubelet, the gateway that runs here, the driver and the node. It looks with
what the gateway beside it has in force, also if that one's file is broken; flags replace single values.

Ends with 0 where all is well, 1 where something is to be mended, 2 where something could not be seen."""


NO_CARDS: "Mapping[str, CardCheck]" = {}
"""Where no backend has network cards."""
FLAGS = (
    Options.kubelet_dir,
    Options.driver_root,
    Options.container_driver_root,
    Options.dev_root,
    Options.backend,
    Options.host_root,
    Options.mig_strategy,
    Options.kernel_log,
    Options.state_dir,
    Options.config_file,
)
"""The options that replace what the gateway has."""


def make(parts: Parts) -> SubCommand:
    """Return the sub-command."""

    def add_arguments(parser: argparse.ArgumentParser) -> None:
        add_options(parser, FLAGS)
        add_json_flag(parser)

    return SubCommand(add_arguments, lambda parsed: run(parsed, parts), DESCRIPTION)


def run(parsed: argparse.Namespace, parts: Parts) -> int:
    """Run the checks with the settings of the gateway that runs on this node."""
    view = view_as_the_gateway(parsed, parts)
    settings = view.settings
    backends = make_for_a_look(parts, settings)
    log_problem = (
        parts.kernel_log_problem(settings.chosen[0].text, settings.kernel_log_path) if settings.kernel_log else None
    )
    remedies = parts.remedies([each.name for each in settings.chosen])
    cards = {each.name: parts.card_check(each.text, settings) for each in settings.chosen if each.has_cards}
    of_backends = {each.name: parts.remedies([each.name]) for each in settings.chosen}
    return diagnose(
        view,
        backends,
        remedies,
        log_problem,
        as_json=parsed.json,
        cards=cards,
        of_backends=of_backends,
        is_vendors_label=parts.is_vendors_label,
    )


def diagnose(
    view: View,
    backends: Mapping[str, Backend],
    remedies: Remedies,
    log_problem: str | None = None,
    *,
    as_json: bool,
    cards: "Mapping[str, CardCheck]" = NO_CARDS,
    of_backends: Mapping[str, Remedies] = gateway_checks.NO_BACKENDS,
    is_vendors_label: Callable[[str], bool] = nobody,
) -> int:
    """Print all findings. Return 0 if all is well, 1 if something is wrong, 2 if something could not be checked.

    ``log_problem`` is why the kernel's log cannot be read here, if the gateway was told to read it. What a gateway that
    runs says about that comes first. ``cards`` has the backends whose devices are network cards, by their names, and
    ``of_backends`` the remedies for the devices of each. ``is_vendors_label`` says which labels may be taken over.
    """
    findings = []
    found = _findings(view, backends, remedies, log_problem, cards, of_backends)
    for finding in chain(found, label_checks.check_labels(view.settings, is_vendors_label)):
        findings.append(finding)
        if not as_json:
            _show(finding)
    if as_json:
        print_json([{**each._asdict(), "verdict": each.verdict.name.lower()} for each in findings])
    return _status(findings)


def _findings(
    view: View,
    backends: Mapping[str, Backend],
    remedies: Remedies,
    log_problem: str | None,
    cards: "Mapping[str, CardCheck]",
    of_backends: Mapping[str, Remedies],
) -> Iterator[Finding]:
    """Yield the findings of all checks, each as soon as it is made."""
    settings = view.settings
    for problem in view.problems if "; ".join(view.problems) != view.refused else ():  # the gateway says it below
        yield mend(
            f"a start with this configuration is refused: {problem}",
            "correct it, then start the gateway, or plugin-gateway reload if it runs",
        )
    yield from kubelet_checks.check_directory(settings.kubelet_dir)
    if not settings.registers:
        yield hint("--kubelet-socket is empty, so the gateway registers with nobody", "take it out to offer devices")
    yield from kubelet_checks.check_neighbours(settings.kubelet_dir)
    is_told = yield from gateway_checks.check_gateway(settings.state_dir, remedies, of_backends)
    seen = yield from _check_backends(backends, settings.resources, cards)
    yield from (hint(remark, "take it out, or correct the name") for remark in settings.remarks)
    of_gpus = [inventory for name, inventory in seen.items() if name not in cards]
    yield from _check_gpus(of_gpus, settings)
    yield from _check_cards(seen, settings, cards)
    if seen and len(seen) == len(backends):
        yield from _check_given_out(list(seen.values()), settings)
    for inventory in of_gpus if settings.numa_hints else ():
        yield from node_checks.check_numa(inventory)
    yield from node_checks.check_limits()
    yield from node_checks.check_privileges(needs_mig=settings.mig_strategy != "none")
    yield from node_checks.check_state_directory(settings.state_dir)
    if settings.kernel_log and not is_told:
        yield gateway_checks.check_kernel_log(log_problem)
    if backends.keys() - cards.keys():
        yield from node_checks.check_runtime(pass_device_specs=settings.pass_device_specs)


def _check_gpus(inventories: Sequence[Inventory], settings: Settings) -> Iterator[Finding]:
    """Check what containers with GPUs get."""
    for inventory in inventories:
        yield from node_checks.check_nodes(inventory, settings.visible_dev_root)
        yield from extra_checks.check_extras(inventory, settings)
    if ListStrategy.VOLUME_MOUNTS in settings.device_list_strategy:
        yield extra_checks.check_mounts(Path(node_checks.RUNTIME_FILES[0]))
    if settings.needs_specs:
        yield from cdi_checks.check_cdi(inventories, settings)


def _check_cards(
    seen: Mapping[str, Inventory], settings: Settings, cards: "Mapping[str, CardCheck]"
) -> Iterator[Finding]:
    """Check what the node needs for network cards. What is so for those of several backends is said once."""
    told: list[Finding] = []
    for name, check in cards.items():
        for finding in check(seen[name], settings.resources) if name in seen else ():
            if finding not in told:
                told.append(finding)
                yield finding
    if cards:
        yield from kubelet_checks.check_registry(settings.kubelet_dir)


def _check_given_out(inventories: Sequence[Inventory], settings: Settings) -> Iterator[Finding]:
    """Check what the kubelet has given to pods. The devices of all backends are known."""
    ids = {each for inventory in inventories for each in inventory.ids}
    names = [name for each in inventories for name in node_checks.offered_names(settings.resources, each)]
    pools = {rule.name for rule in settings.resources if rule.sharing.is_pool}  # their ids are no devices
    by_devices = [name for name in dict.fromkeys(names) if name not in pools]
    yield from kubelet_checks.check_checkpoint(settings.kubelet_dir, by_devices, ids)
    yield from kubelet_checks.check_holders(settings.kubelet_dir, ids)


def _check_backends(
    backends: Mapping[str, Backend], rules: Sequence[ResourceRule], cards: "Mapping[str, CardCheck]"
) -> Generator[Finding, None, Mapping[str, Inventory]]:
    """Check what the driver of each backend shows. Returns it for those that answer, by their names."""
    inventories: dict[str, Inventory] = {}
    for name, backend in backends.items():
        inventory = ask_driver(backend)
        if isinstance(inventory, Inventory):
            inventory = seen_by(name, inventory) if len(backends) > 1 else inventory
            inventories[name] = inventory
        found = (
            card_checks.check_inventory(inventory, rules, backend.device_word)
            if name in cards
            else node_checks.check_inventory(inventory, rules)
        )
        for finding in found:
            yield finding._replace(what=f"backend {name}: {finding.what}") if len(backends) > 1 else finding
    if len(inventories) == len(backends):
        yield from node_checks.check_rules(list(inventories.values()), rules)
        yield from node_checks.check_names_taken(inventories, rules)
    return inventories


def _show(finding: Finding) -> None:
    todo = [f"      -> {finding.todo}"] if finding.todo else []
    details = [f"      {detail}" for detail in finding.details]
    print_lines([f"{finding.verdict.value:5} {finding.what}", *todo, *details])
    sys.stdout.flush()


def _status(findings: Sequence[Finding]) -> int:
    verdicts = {finding.verdict for finding in findings}
    if Verdict.MEND in verdicts:
        return 1
    return 2 if Verdict.UNSEEN in verdicts else 0
