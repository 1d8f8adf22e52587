"""The arguments of `plugin-gateway inspect`. Prints a report about each socket, or all reports as JSON."""

import argparse
import contextlib
import json
import stat
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.json_format import MessageToDict

from plugin_gateway.adapters.commands.command_line import Parts, SubCommand, complain
from plugin_gateway.adapters.commands.flags import add_json_flag, add_options, decide_flag
from plugin_gateway.adapters.commands.inspect.plugin_client import InspectionError, PluginClient, PluginService
from plugin_gateway.adapters.configuration.kinds import parse_count
from plugin_gateway.adapters.configuration.options import Options
from plugin_gateway.adapters.dialects import load_dialects
from plugin_gateway.adapters.dialects.dialect import ListedDevice
from plugin_gateway.adapters.kubelet.directory import KUBELET_SOCKET
from plugin_gateway.adapters.support.terminal import print_json, print_lines, table
from plugin_gateway.adapters.support.unix_files import who_may
from plugin_gateway.core.errors import InvalidValueError
from plugin_gateway.core.resources.assignment import Health
from plugin_gateway.core.resources.id_words import group_of, grouped_ids, id_order
from plugin_gateway.core.resources.preference import PreferenceRequest

DESCRIPTION = (
    "Shows what the socket of any device plugin serves, and one list of its devices.\n\n"
    "It opens ListAndWatch for that list. Some plugins, such as NVIDIA's, tell each change of health to one stream "
    "alone: inspect those while nothing happens to their devices."
)


class Wish(NamedTuple):
    """Calls to make in addition to those that have no effect."""

    prefer: int = 0
    """How many devices GetPreferredAllocation shall choose; 0 for no call."""
    allocate: Sequence[str] = ()
    """The devices for a call of Allocate, which can have effects; empty for no call."""


def make(_: Parts) -> SubCommand:
    """Return the sub-command."""

    def add_arguments(parser: argparse.ArgumentParser) -> None:
        add_options(parser, (Options.kubelet_dir,))
        parser.usage = "%(prog)s [SOCKET] [flags]"
        parser.add_argument(
            "socket", nargs="?", metavar="SOCKET", help="default: every plugin's in the directory below"
        )
        parser.add_argument(
            "--prefer", type=_count, default=0, metavar="COUNT", help="ask which devices it prefers of so many"
        )
        parser.add_argument(
            "--allocate", nargs="+", metavar="DEVICE", help="call Allocate for these devices, which can have effects"
        )
        add_json_flag(parser)

    return SubCommand(add_arguments, run, DESCRIPTION)


def _count(text: str) -> int:
    try:
        return parse_count(text)
    except InvalidValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def run(parsed: argparse.Namespace) -> int:
    """Inspect the socket that is named, or all sockets in the kubelet's directory."""
    directory = decide_flag(parsed, Options.kubelet_dir)
    sockets = [Path(parsed.socket)] if parsed.socket else find_sockets(directory)
    return inspect(sockets, Wish(parsed.prefer, tuple(parsed.allocate or ())), as_json=parsed.json)


def inspect(sockets: Sequence[Path], wish: Wish, *, as_json: bool) -> int:
    """Print a report about each socket. Return 1 if one of them cannot be asked, or did not answer all."""
    reports, status = [], 0
    for path in sockets:
        try:
            reports.append(_inspect(path, wish))
        except InspectionError as error:
            complain(str(error))
            status = 1
    if as_json:
        print_json(reports)
    else:
        print_lines([line for number, report in enumerate(reports) for line in (*[""][:number], *_lines(report))])
    for report in reports:
        for problem in report["problems"]:
            complain(problem)
            status = 1
    return status


def find_sockets(directory: Path) -> Sequence[Path]:
    """Return all sockets of plugins in a kubelet's directory.

    Raises:
        InspectionError: the directory cannot be read, or has none.
    """
    try:
        found = [path for path in sorted(directory.iterdir()) if stat.S_ISSOCK(path.lstat().st_mode)]
    except OSError as error:
        hint = f"; {who_may()}" if isinstance(error, PermissionError) else ""
        raise InspectionError(f"{directory}: {error.strerror}{hint}") from error
    plugins = [path for path in found if path.name != KUBELET_SOCKET]
    if not plugins:
        raise InspectionError(f"{directory}: there is no device plugin's socket; name one, or use --kubelet-dir")
    return plugins


@contextlib.contextmanager
def _connected(path: Path) -> Iterator[PluginClient]:
    client = PluginClient(path)
    try:
        yield client
    finally:
        client.close()


def _inspect(path: Path, wish: Wish) -> Mapping[str, Any]:
    """Ask one plugin, and return the report."""
    with _connected(path) as client:
        reflected = client.reflected()
        services = client.services(reflected)
        service = services[0]
        devices = sorted(client.snapshot(service), key=lambda device: id_order(device.id))
        problems: list[str] = []
        options, preferred, allocated = None, None, None
        with _noting(problems):
            method = service.dialect.options
            options = client.ask(service, method, method.write_request(None)) if method is not None else None
        with _noting(problems):
            preferred = _preferred(client, service, devices, wish.prefer)
        with _noting(problems):
            allocated = _allocated(client, service, wish.allocate)
        return {
            "socket": str(path),
            "reflection": reflected is not None,
            "services": list(reflected or [service.descriptor.full_name]),
            "in_force": [each.descriptor.full_name for each in services if each.is_in_force],
            "package": service.package,
            "kubernetes": _kubernetes(service.package),
            "methods": _methods(service),
            "messages": _messages(service) if service.is_reflected else {},
            "options": options._asdict() if options is not None else None,
            "devices": [device._asdict() for device in devices],
            "preferred": preferred,
            "allocated": allocated,
            "problems": problems,
        }


@contextlib.contextmanager
def _noting(problems: list[str]) -> Iterator[None]:
    """Note the problem of one call. What the others told is shown all the same."""
    try:
        yield
    except InspectionError as error:
        problems.append(str(error))


def _kubernetes(package: str) -> str | None:
    """Return the releases of Kubernetes that use a package; None if they are not known."""
    known = [dialect.kubernetes for dialect in load_dialects() if dialect.package == package]
    return " or ".join(reversed(known)) or None


def _methods(service: PluginService) -> Sequence[str]:
    return [
        f"{method.name}({method.input_type.name}) returns "
        f"({'stream ' if method.server_streaming else ''}{method.output_type.name})"
        for method in service.descriptor.methods
    ]


def _messages(service: PluginService) -> Mapping[str, Sequence[str]]:
    """Return the fields of all messages that the methods use, by the name of the message."""
    known: dict[str, Descriptor] = {}

    def add(message: Descriptor) -> None:
        if message.name in known:
            return
        known[message.name] = message
        for field in message.fields:
            if field.message_type is not None:
                add(field.message_type)

    for method in service.descriptor.methods:
        add(method.input_type)
        add(method.output_type)
    return {
        name: [_field(field) for field in message.fields]
        for name, message in known.items()
        if not message.GetOptions().map_entry
    }


_TYPES = {
    FieldDescriptor.TYPE_STRING: "string",
    FieldDescriptor.TYPE_BOOL: "bool",
    FieldDescriptor.TYPE_INT32: "int32",
    FieldDescriptor.TYPE_INT64: "int64",
}


def _field(field: FieldDescriptor) -> str:
    """Return a field as a line of a .proto file."""
    message = field.message_type
    if message is not None and message.GetOptions().map_entry:
        key, value = (_type(message.fields_by_name[name]) for name in ("key", "value"))
        return f"map<{key}, {value}> {field.name} = {field.number}"
    repeated = "repeated " if field.is_repeated else ""
    return f"{repeated}{_type(field)} {field.name} = {field.number}"


def _type(field: FieldDescriptor) -> str:
    if field.message_type is not None:
        return str(field.message_type.name)
    return _TYPES.get(field.type, f"type {field.type}")


def _preferred(
    client: PluginClient, service: PluginService, devices: Sequence[ListedDevice], count: int
) -> Sequence[str] | None:
    if not count:
        return None
    available = tuple(device.id for device in devices if device.health == Health.HEALTHY.value)
    method = service.dialect.preference
    answer = None
    if method is not None:
        answer = client.ask(service, method, method.write_request([PreferenceRequest(available, size=count)]))
    if answer is None:
        raise InspectionError(f"{client.path}: it does not have GetPreferredAllocation")
    return list(answer[0]) if answer else []


def _allocated(client: PluginClient, service: PluginService, ids: Sequence[str]) -> Mapping[str, Any] | None:
    """Return the answer as its message shows it, so that nothing in it is left out."""
    if not ids:
        return None
    method = service.dialect.allocation
    answer = client.ask_for_message(service, method, method.write_request([tuple(ids)]))
    if answer is None:
        raise InspectionError(f"{client.path}: it does not have Allocate")
    return MessageToDict(answer, preserving_proto_field_name=True, always_print_fields_with_no_presence=True)


def _lines(report: Mapping[str, Any]) -> Iterator[str]:
    """Yield a report as lines for people."""
    in_force = report["in_force"]
    yield f"socket       {report['socket']}"
    known_by = "told by reflection" if report["reflection"] else "found out by calling; it has no reflection"
    yield f"services     {', '.join(report['services'])} ({known_by})"
    if in_force:
        yield f"in force     {', '.join(in_force)}"
    elif report["reflection"]:
        yield "in force     none: no kubelet holds a stream on it"
    yield f"dialect      {report['package']}, Kubernetes {report['kubernetes'] or 'of an unknown release'}"
    if report["options"] is not None:
        yield f"options      {', '.join(f'{name}={value}'.lower() for name, value in report['options'].items())}"
    yield from (f"{'methods' if not number else '':13}{text}" for number, text in enumerate(report["methods"]))
    for name, fields in report["messages"].items():
        yield f"message      {name} {{ {'; '.join(fields)} }}" if fields else f"message      {name} {{}}"
    yield ""
    yield from _device_lines(report["devices"])
    if report["preferred"] is not None:
        preferred = grouped_ids(report["preferred"]) or ("nothing",)
        yield from ("", *(f"{'' if number else 'prefers':13}{each}" for number, each in enumerate(preferred)))
    if report["allocated"] is not None:
        yield from ("", *f"allocated    {json.dumps(report['allocated'], indent=2)}".split("\n"))


def _device_lines(devices: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    if not devices:
        yield "no devices"
        return
    alike: dict[tuple[str, str], dict[str, list[str]]] = {}
    for each in devices:
        numa = ",".join(map(str, each["numa_nodes"])) or "-"
        alike.setdefault((each["health"], numa), {}).setdefault(group_of(each["id"]), []).append(each["id"])
    first = {group_of(each["id"]): number for number, each in reversed(tuple(enumerate(devices)))}
    groups = [(first[group], ids, others) for others, of in alike.items() for group, ids in of.items()]
    groups.sort(key=lambda each: each[0])
    rows = [(words, *others) for _, ids, others in groups for words in grouped_ids(ids)]
    yield from table([("DEVICE", "HEALTH", "NUMA"), *rows])
