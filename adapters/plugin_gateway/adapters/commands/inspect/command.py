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
from plugin_gateway.adapters.kubelet.directory import KUBELET_SOCKET
from plugin_gateway.adapters.support.terminal import print_json, print_lines, table
from plugin_gateway.adapters.support.unix_files import who_may
from plugin_gateway.core.errors import InvalidValueError

_KUBERNETES = {"v1beta1": "1.10 and later", "deviceplugin": "1.8 or 1.9"}
"""The releases of Kubernetes that use each package."""

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
        devices = MessageToDict(client.snapshot(service), preserving_proto_field_name=True).get("devices", [])
        devices.sort(key=lambda device: device.get("ID", ""))
        problems: list[str] = []
        options, preferred, allocated = None, None, None
        with _noting(problems):
            options = client.call(service, "GetDevicePluginOptions", {})
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
            "kubernetes": _KUBERNETES.get(service.package),
            "methods": _methods(service),
            "messages": _messages(service) if service.is_reflected else {},
            "options": _plain(options) if options is not None else None,
            "devices": [_device(device) for device in devices],
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


def _plain(message: Any) -> Mapping[str, Any]:
    return MessageToDict(message, preserving_proto_field_name=True, always_print_fields_with_no_presence=True)


def _device(device: Mapping[str, Any]) -> Mapping[str, Any]:
    nodes = [int(node.get("ID", 0)) for node in device.get("topology", {}).get("nodes", [])]
    return {"id": device.get("ID", ""), "health": device.get("health", ""), "numa_nodes": nodes}


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
    client: PluginClient, service: PluginService, devices: Sequence[Mapping[str, Any]], count: int
) -> Sequence[str] | None:
    if not count:
        return None
    available = [device["ID"] for device in devices if device.get("health") == "Healthy"]
    request = {"available_deviceIDs": available, "allocation_size": count}
    answer = client.call(service, "GetPreferredAllocation", {"container_requests": [request]})
    if answer is None:
        raise InspectionError(f"{client.path}: it does not have GetPreferredAllocation")
    containers = _plain(answer).get("container_responses", [])
    return list(containers[0].get("deviceIDs", [])) if containers else []


def _allocated(client: PluginClient, service: PluginService, ids: Sequence[str]) -> Mapping[str, Any] | None:
    if not ids:
        return None
    answer = client.call(service, "Allocate", _allocation(service, ids))
    if answer is None:
        raise InspectionError(f"{client.path}: it does not have Allocate")
    return _plain(answer)


def _allocation(service: PluginService, ids: Sequence[str]) -> Mapping[str, Any]:
    """Return an Allocate request. Its fields are found by their numbers, because their names differ between plugins."""
    field = service.descriptor.methods_by_name["Allocate"].input_type.fields_by_number[1]
    if field.message_type is None:
        return {field.name: ids}
    return {field.name: [{field.message_type.fields_by_number[1].name: ids}]}


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
        yield from ("", f"prefers      {', '.join(report['preferred']) or 'nothing'}")
    if report["allocated"] is not None:
        yield from ("", *f"allocated    {json.dumps(report['allocated'], indent=2)}".split("\n"))


def _device_lines(devices: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    if not devices:
        yield "no devices"
        return
    rows = [(each["id"], each["health"], ",".join(map(str, each["numa_nodes"])) or "-") for each in devices]
    yield from table([("DEVICE", "HEALTH", "NUMA"), *rows])
