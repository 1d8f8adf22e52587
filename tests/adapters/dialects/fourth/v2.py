"""The dialect of the made-up version, as it would lie beside the others."""

from collections.abc import Sequence
from importlib import import_module
from itertools import chain
from typing import Any

from plugin_gateway.adapters.dialects.dialect import (
    Dialect,
    Ids,
    ListedDevice,
    Method,
    PluginOptions,
    RegisterRequest,
    parse,
)
from plugin_gateway.core.resources.allocation import ContainerEdits, DeviceNode, Edit
from plugin_gateway.core.resources.assignment import Advertisement
from plugin_gateway.core.resources.names import ResourceName

wire: Any = import_module("plugin_gateway.api.v2.api_pb2")
"""Only the copy of the program has it, so type checkers do not find it."""


def _registration(endpoint: str, resource: ResourceName) -> bytes:
    return bytes(wire.RegisterRequest(version="v2", socket=endpoint, resource=resource).SerializeToString())


def _read_registration(data: bytes) -> RegisterRequest:
    request = parse(wire.RegisterRequest, data)
    return RegisterRequest(request.version, request.socket, request.resource)


def _device_list(advertisement: Advertisement) -> bytes:
    listed = [wire.Device(id=each.id, state=advertisement.health_of(each.id).value) for each in advertisement.offered]
    return bytes(wire.ListAndWatchResponse(devices=listed).SerializeToString())


def _read_list(data: bytes) -> tuple[ListedDevice, ...]:
    return tuple(ListedDevice(each.id, each.state) for each in parse(wire.ListAndWatchResponse, data).devices)


def _write_answer(containers: Sequence[ContainerEdits]) -> bytes:
    (edits,) = containers
    nodes = [each.container_path for each in edits.device_nodes]
    return bytes(wire.AllocateResponse(variables=edits.environment, nodes=nodes).SerializeToString())


def _read_answer(data: bytes) -> tuple[ContainerEdits, ...]:
    answer = parse(wire.AllocateResponse, data)
    return (
        ContainerEdits(dict(answer.variables), device_nodes=tuple(DeviceNode(each, each) for each in answer.nodes)),
    )


def _read_request(data: bytes) -> tuple[Ids, ...]:
    return (tuple(parse(wire.AllocateRequest, data).ids),)


def _write_request(containers: Sequence[Ids]) -> bytes:
    return bytes(wire.AllocateRequest(ids=chain.from_iterable(containers)).SerializeToString())


def _read_options(data: bytes) -> PluginOptions:
    options = parse(wire.Options, data)
    return PluginOptions(options.start, options.prefer)


DIALECTS = (
    Dialect(
        version="v2",
        kubernetes="2.0 and later",
        package="devices",
        describe=lambda: wire.DESCRIPTOR,
        carries=frozenset({Edit.ENVIRONMENT, Edit.DEVICE_NODES}),
        registration=_registration,
        read_registration=_read_registration,
        device_list=_device_list,
        read_list=_read_list,
        allocation=Method("Allocate", _read_request, _write_answer, _write_request, _read_answer),
        options=Method(
            "GetDevicePluginOptions",
            lambda _: None,
            lambda options: bytes(wire.Options(start=options[0], prefer=options[1]).SerializeToString()),
            lambda _: b"",
            _read_options,
        ),
    ),
)
