"""What was last seen of each function, so that one in a pod is still selected by what only its pod sees now.

It is kept as JSON, so that a restart of the gateway forgets nothing. What this version cannot read is not used.
"""

import json
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

from plugin_gateway.core.errors import InvalidValueError
from plugin_gateway.linux.facts import PciFunction, Port, RdmaDevice

VERSION = 1


class Known(NamedTuple):
    """What was last seen of a function."""

    vendor: str
    device: str
    """With ``vendor``, tells another card at the same place from this one."""
    driver: str | None = None
    interfaces: tuple[str, ...] = ()
    """Their names."""
    hardware_type: int | None = None
    """That of its first interface. None if it never had one."""
    rdma_devices: tuple[RdmaDevice, ...] = ()
    """Those that have uverbs. What else their driver says of them is not kept, except the type."""
    has_rdma_driver: bool = False
    """Whether the kernel said that the function can do RDMA (kernel 5.11 and later)."""


Memory = Mapping[str, Known]
"""By the address of the function."""
NOTHING: Memory = MappingProxyType({})


def latest(function: PciFunction, before: Known | None) -> Known:
    """Return what is known of a function now. What is not seen at the moment is as it was before."""
    if before is None or not is_of(before, function):
        before = Known(function.vendor, function.device)
    usable = usable_devices(function)
    return Known(
        function.vendor,
        function.device,
        function.driver or before.driver,
        tuple(each.name for each in function.interfaces) or before.interfaces,
        function.interfaces[0].type if function.interfaces else before.hardware_type,
        tuple(map(_kept, usable)) or before.rdma_devices,
        bool(function.rdma_drivers) or (before.has_rdma_driver and not usable),
    )


def is_of(known: Known, function: PciFunction) -> bool:
    """Whether this is about the same card with the same driver. One without a driver had this one."""
    is_same = (known.vendor, known.device) == (function.vendor, function.device)
    return is_same and (function.driver is None or known.driver in {None, function.driver})


def usable_devices(function: PciFunction) -> tuple[RdmaDevice, ...]:
    """Return the RDMA devices that programs can use. A card can have others, for its management."""
    return tuple(each for each in function.rdma_devices if each.uverbs)


def _kept(device: RdmaDevice) -> RdmaDevice:
    return RdmaDevice(device.name, device.ports, device.uverbs, device.umad, device.issm, hca_type=device.hca_type)


def as_text(memory: Memory) -> str:
    """Return the memory as it is kept."""
    cards = {address: _as_json(known) for address, known in sorted(memory.items())}
    return json.dumps({"version": VERSION, "cards": cards}, indent=1) + "\n"


def _as_json(known: Known) -> dict[str, object]:
    return {**known._asdict(), "rdma_devices": [_device_as_json(device) for device in known.rdma_devices]}


def _device_as_json(device: RdmaDevice) -> dict[str, object]:
    fields = ("name", "ports", "uverbs", "umad", "issm", "hca_type")
    return {field: getattr(device, field) for field in fields}


def parse(text: str) -> Memory:
    """Return the memory that was kept.

    Raises:
        InvalidValueError: it is damaged, or of another version. The message says which.
    """
    try:
        document = json.loads(text)
        version = document["version"]
        if version != VERSION:
            raise InvalidValueError(f"what was seen of the cards has version {version!r:.20}, this is {VERSION}")
        return {_text(address): _known(fields) for address, fields in document["cards"].items()}
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise InvalidValueError(f"what was seen of the cards is damaged: {type(error).__name__}") from error


def _known(fields: Any) -> Known:
    hardware_type = fields["hardware_type"]
    return Known(
        _text(fields["vendor"]),
        _text(fields["device"]),
        None if fields["driver"] is None else _text(fields["driver"]),
        _texts(fields["interfaces"]),
        None if hardware_type is None else _number(hardware_type),
        tuple(_device(each) for each in _list(fields["rdma_devices"])),
        fields["has_rdma_driver"] is True,
    )


def _device(fields: Any) -> RdmaDevice:
    ports = tuple(Port(_number(number), _text(layer)) for number, layer in _list(fields["ports"]))
    nodes = (_texts(fields["uverbs"]), _texts(fields["umad"]), _texts(fields["issm"]))
    return RdmaDevice(_text(fields["name"]), ports, *nodes, hca_type=_text(fields["hca_type"]))


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError
    return value


def _number(value: object) -> int:
    if type(value) is not int:
        raise TypeError
    return value


def _list(value: object) -> list[Any]:
    if not isinstance(value, list):
        raise TypeError
    return value


def _texts(value: object) -> tuple[str, ...]:
    return tuple(map(_text, _list(value)))
