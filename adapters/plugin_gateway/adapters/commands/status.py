"""`plugin-gateway status`: prints the state of the gateways that run on this node, the active one first."""

import argparse
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path

from plugin_gateway.adapters.commands.command_line import Parts, SubCommand
from plugin_gateway.adapters.commands.device_lines import device_lines
from plugin_gateway.adapters.commands.flags import add_json_flag, add_options, decide_flag
from plugin_gateway.adapters.configuration.options import Options
from plugin_gateway.adapters.control.control_client import Asked, ControlError, ask_all
from plugin_gateway.adapters.gateway.device_counter import BY_MEMORY
from plugin_gateway.adapters.gateway.device_status import DeviceStatus
from plugin_gateway.adapters.gateway.state_folder import TODO, lost_words
from plugin_gateway.adapters.gateway.status import (
    CdiStatus,
    CountStatus,
    Decided,
    DriverStatus,
    GatewayIdentity,
    LabelsStatus,
    OfferedResource,
    Status,
)
from plugin_gateway.adapters.gateway.status_document import encode
from plugin_gateway.adapters.kubelet.checkpoint import Holder
from plugin_gateway.adapters.kubelet.holders import Found, find_holders
from plugin_gateway.adapters.support.terminal import local_time, print_json, print_lines
from plugin_gateway.adapters.support.typed_json import field_names
from plugin_gateway.core.devices import MAX_NAMES
from plugin_gateway.core.health.faults import Evidence, Source

MAX_REGISTRATIONS = 8
"""Registrations and failures of each resource that are shown, the latest ones."""
WORD_BEFORE = "GPU"
"""The word for a device of a gateway that is too old to say it: it knew no others."""
WATCH_INTERVAL = 1.0
"""Seconds between two answers with ``--watch``."""
_CLEAR = "\x1b[H\x1b[2J"
"""Escape sequences that clear the terminal."""


def make(_: Parts) -> SubCommand:
    """Return the sub-command."""

    def add_arguments(parser: argparse.ArgumentParser) -> None:
        add_options(parser, (Options.state_dir,))
        ways = parser.add_mutually_exclusive_group()
        add_json_flag(ways)
        ways.add_argument("--watch", action="store_true", help="again every second, until Ctrl-C")

    return SubCommand(add_arguments, run)


def run(parsed: argparse.Namespace) -> int:
    """Print the status once, or with ``--watch`` again and again."""
    state_dir = decide_flag(parsed, Options.state_dir)
    return watch_status(state_dir) if parsed.watch else show_status(state_dir, as_json=parsed.json)


def show_status(state_dir: Path, *, as_json: bool) -> int:
    """Print the status.

    Raises:
        ControlError: no gateway can be asked.
    """
    first, *others = ask_all(state_dir)
    if as_json:
        print_json(encode(report(first, others)))
    else:
        print_lines(_all_lines(first, others))
    return 0


def watch_status(state_dir: Path) -> int:
    """Print the status each second until Ctrl-C. If no gateway can be asked, print why and continue."""
    before = _CLEAR if sys.stdout.isatty() else ""
    while True:
        try:
            first, *others = ask_all(state_dir)
            lines = _all_lines(first, others)
        except ControlError as error:
            lines = [str(error)]
        sys.stdout.write(before)
        print_lines([datetime.now().astimezone().isoformat(sep=" ", timespec="seconds"), *lines])
        sys.stdout.flush()
        time.sleep(WATCH_INTERVAL)


def _find_holders(status: Status) -> Found:
    """Return the pods that hold devices. The gateway does not know them; the kubelet does."""
    return find_holders(Path(status.kubelet_dir))


@dataclass(frozen=True, slots=True, kw_only=True)
class UnknownStatus:
    """A gateway that gave no status."""

    gateway: GatewayIdentity
    problem: str
    """Why there is no status, for people."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StatusReport(Status):
    """What `plugin-gateway status --json` shows: the status of the active gateway, and what others know."""

    holders: tuple[Holder, ...]
    """The containers that hold devices."""
    holders_known: str
    """Who told which containers hold devices, for people. If nothing is known, the reason."""
    other_gateways: tuple[Status | UnknownStatus, ...]
    """The other gateways of this node."""


def report(first: Asked, others: Sequence[Asked]) -> StatusReport:
    """Return what is known of the gateways of this node, in one value. The first one has a status."""
    assert first.status is not None
    found = _find_holders(first.status)
    told = {name: getattr(first.status, name) for name in field_names(Status)}
    return StatusReport(
        **{**told, "gateway": first.identity},
        holders=found.holders,
        holders_known=found.source,
        other_gateways=tuple(map(_another, others)),
    )


def _another(gateway: Asked) -> Status | UnknownStatus:
    if gateway.status is None:
        return UnknownStatus(gateway=gateway.identity, problem=str(gateway.problem))
    return replace(gateway.status, gateway=gateway.identity)


def _all_lines(first: Asked, others: Sequence[Asked]) -> list[str]:
    """Return the whole status of one gateway, and of each other one what may differ. Each has a line with its name."""
    lines = [first.words] if others else []
    lines += _lines(first.status) if first.status is not None else []
    for other in others:
        lines += ["", other.words, *_lines_of_another(other)]
    return lines


def _lines_of_another(gateway: Asked) -> list[str]:
    status = gateway.status
    if status is None:
        return [str(gateway.problem)]
    lines = _head(status)
    for resource in status.resources:
        lines += _resource_lines(resource)
    return [*lines, *_explained(status.unhealthy), *_waiting(status)]


def _lines(status: Status) -> list[str]:
    """Return the status as lines for people."""
    found = _find_holders(status)
    lines = _head(status)
    for resource in status.resources:
        lines += ["", *_resource_lines(resource), *_pool_lines(resource.name, status.devices, found.holders)]
    lines += ["", *device_lines(status.devices, found.holders)]
    lines += ["", f"holders: {found.source}", *_reported(status.devices)]
    lines += [*_explained(status.unhealthy), *_waiting(status)]
    decided = [f"  {_decided(name, each)}" for name, each in status.configuration.items()]
    return [*lines, "", "decided by flags, environment and file:", *(decided or ["  nothing"])]


def _decided(name: str, decision: Decided) -> str:
    value = f" {decision.value}" if decision.value else ""
    return f"{name}{value}, by {decision.source}"


def _cdi_lines(cdi: CdiStatus) -> list[str]:
    lines = [f"CDI specs in {cdi.folder}: {cdi.problem or cdi.way or 'not written yet'}"]
    foreign = ", ".join(cdi.foreign_files)
    return [*lines, f"other files have the same CDI devices: {foreign}"] if foreign else lines


def _head(status: Status) -> list[str]:
    """Return the lines about the driver, other plugins and the configuration."""
    file = status.configuration_file
    lines = []
    for backend, driver in status.drivers:
        lines += [f"backend {backend}:"] if backend is not None else []
        lines += [f"  {line}" if backend is not None else line for line in _driver_lines(status, backend, driver)]
    lines += _number_lines(status.device_count)
    lines += _state_lines(status.device_count)
    for rejected in status.rejected:
        lines.append(f"{rejected.place} cannot be offered: {rejected.problem}")
        lines += [f"  -> {rejected.todo}"] if rejected.todo else []
    lines += [f"{each.place} is left to others: {each.problem}" for each in status.set_aside]
    for conflict in status.conflicts:
        lines += [conflict.what, f"  -> {conflict.todo}"]
    lines += _cdi_lines(status.cdi) if status.cdi is not None else []
    if status.configuration_problem:
        lines.append(f"configuration refused, an older one is in force: {status.configuration_problem}")
    if status.label_problem:
        lines.append(f"the label of the node that chooses the configuration cannot be read: {status.label_problem}")
    lines += _label_lines(status.labels) if status.labels is not None else []
    if file is not None and file.changed:
        lines.append(
            f"the configuration file {file.path} was changed after it was read; plugin-gateway reload reads it again"
        )
    return lines


def _label_lines(labels: LabelsStatus) -> list[str]:
    where, count = labels.where or labels.way, len(labels.wanted)
    lines = [
        f"labels of the node: {count} in {where}" if labels.is_written else f"labels of the node: not in {where} yet"
    ]
    lines += [f"the labels of the node cannot be written: {labels.problem}"] if labels.problem else []
    lines += [f"taint of the node: {each}" for each in labels.taints]
    left = {**labels.left_alone, **labels.left_out}
    return [*lines, *(f"{name} is left as it is: {why}" for name, why in left.items())]


def _driver_lines(status: Status, backend: str | None, driver: DriverStatus) -> list[str]:
    lines = [status.driver_words(backend)]
    if driver.problem:
        lines.append(f"waiting for the driver: {driver.problem}")
        lines += [f"  -> {driver.todo}"] if driver.todo else []
    if driver.events_problem:
        lines.append(f"faults go unseen, the driver's events cannot be waited for: {driver.events_problem}")
    if driver.kernel_log is not None:
        problem = driver.kernel_log.problem
        lines.append(f"the kernel's log cannot be read: {problem}" if problem else "the kernel's log is read")
    return lines


def _number_lines(number: CountStatus) -> list[str]:
    """Return how many devices there are and should be, and whether the number is still known after a reboot."""
    if number.present is None or number.expected is None:
        return []
    word = f"{number.word or WORD_BEFORE}s"
    lines = [f"{word}: {number.present} can be offered, {number.expected} are expected: {number.decided_by}"]
    if number.problem:
        lines.append(f"{word} are missing: {number.problem}")
    if number.decided_by == BY_MEMORY and number.not_kept:
        lines.append(f"this number is forgotten at the next start, because it cannot be kept: {number.not_kept}")
    elif number.decided_by == BY_MEMORY and not number.outlives_boot:
        where = f"{number.kept_in} is on {number.file_system or 'an unknown file system'}"
        lines.append(f"this number is forgotten at the next boot, because {where}; --expected-gpus is not")
    return lines


def _state_lines(number: CountStatus) -> list[str]:
    """Return that what the state directory keeps does not outlive a restart, if that is so."""
    if number.lost_with is None or number.kept_in is None:
        return []
    folder = str(Path(number.kept_in).parent)
    return [f"health is not kept over a restart: {lost_words(folder, number.lost_with)}", f"  -> {TODO.format(folder)}"]


def _resource_lines(resource: OfferedResource) -> list[str]:
    name, opened = resource.name, resource.stream_opened
    if opened is not None:
        lines = [f"{name}: registered as {resource.api_version}, stream open since {local_time(opened)}"]
    elif resource.stands_by:
        lines = [f"{name}: standing by, another gateway of this node has it"]
    elif resource.is_asked_for:
        lines = [f"{name}: not registered yet, the kubelet was asked and has opened no stream"]
    else:
        lines = [f"{name}: not registered"]
    if resource.fallback is not None:
        lines.append(f"  containers get device nodes and the variable instead of CDI devices: {resource.fallback}")
    events = [
        (each.at, f"registered as {each.api_version}, {each.reason}, {each.took_ms:g} ms")
        for each in resource.registrations
    ]
    events += [(each.at, ": ".join(filter(None, ("failed", each.cause, each.words)))) for each in resource.failures]
    return lines + [f"  {local_time(at)}  {what}" for at, what in sorted(events)[-MAX_REGISTRATIONS:]]


def _reported(devices: Sequence[DeviceStatus]) -> list[str]:
    """Return what the policy only reports, or acts on only when it is repeated."""
    found = [f"reported against {device.id}: {each}" for device in devices for each in device.reported]
    return found + [
        f"reported against {device.id}: {each.what}, {each.times} of {each.needed} within {each.window:g} s"
        for device in devices
        for each in device.repeated
    ]


def _explained(sick: Sequence[DeviceStatus]) -> list[str]:
    lines = []
    for device in sick:
        here = "" if device.index is not None else ", not there now"
        lines += ["", f"{device.id}, {device.health.value}{here}; it needs {device.needs}"]
        lines += map(_evidence, device.evidence)
    return lines


def _waiting(status: Status) -> list[str]:
    """Return what is missing without which devices are not given out, such as a daemon, and what to do."""
    lines = []
    for what, devices in status.waiting.items():
        wait = devices[0].waits_for
        since = f" since {local_time(wait.since)}" if wait is not None and wait.since is not None else ""
        lines += ["", f"{what}{since}; devices: {', '.join(device.id for device in devices[:MAX_NAMES])}"]
        lines += [f"  -> {wait.todo}"] if wait is not None and wait.todo else []
    return lines


def _pool_lines(resource: str, devices: Sequence[DeviceStatus], holders: Sequence[Holder]) -> list[str]:
    """Return how many of the ids of a pool are held. Nothing if the resource is no pool."""
    counts = {device.replicas for device in devices if device.resource == resource and device.is_pooled}
    held = {each for holder in holders if holder.resource == resource for each in holder.devices}
    return [f"  pool: {len(held)} of {count} ids are held" for count in counts]


def _evidence(evidence: Evidence) -> str:
    """Return a piece of evidence as a line. A gateway of an older version does not tell its source."""
    source = f" ({evidence.source.value})" if evidence.source is not Source.UNKNOWN else ""
    return f"  {local_time(evidence.at)}  {evidence.what}{source}"
