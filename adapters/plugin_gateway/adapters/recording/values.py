"""Values of the core as JSON has them, and back: what comes from a file is read strictly."""

from collections.abc import Mapping
from dataclasses import fields as fields_of
from dataclasses import is_dataclass
from enum import Enum
from typing import Any

from plugin_gateway.adapters.support.strict_json import (
    MisfitError,
    Read,
    fields,
    list_of,
    mapping,
    names,
    null_or,
    number,
    one_of,
    shown,
    text,
    truth,
    whole,
    written_whole,
)
from plugin_gateway.core.devices import Device, DeviceId, Inventory, RejectedDevice, parse_device_id
from plugin_gateway.core.health.faults import Checkup
from plugin_gateway.core.health.observations import (
    DevicesChecked,
    DriverSeen,
    DriverSilence,
    DriverUnavailable,
    EventsAwaited,
    FaultReported,
    InventorySeen,
    Observation,
    XidReported,
)
from plugin_gateway.core.health.policy import Action, Decision, HealthPolicy, Source


def plain(value: Any) -> Any:  # noqa: PLR0911 - one for each kind
    """Make it something that JSON has; observations keep the name of their kind."""
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, Enum):
        return value.value
    if is_dataclass(value) and not isinstance(value, type):
        return {field.name: plain(getattr(value, field.name)) for field in fields_of(value) if field.init}
    if isinstance(value, tuple) and (parts := getattr(value, "_fields", None)) is not None:
        return {"kind": type(value).__name__, **{part: plain(getattr(value, part)) for part in parts}}
    if isinstance(value, Mapping):
        return {plain(name): plain(each) for name, each in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [plain(each) for each in value]
    return value


def _device_id(value: object) -> DeviceId:
    return parse_device_id(text(value))


def _path(value: object) -> str:
    if not text(value).startswith("/"):
        raise MisfitError(f"{shown(value)} is no absolute path")
    return text(value)


def _kind(kind: type, **parts: Read[Any]) -> Read[Any]:
    """Read a value that `plain` wrote with the name of its kind."""
    read = fields({"kind": one_of((kind.__name__,)), **parts})

    def make(value: object) -> Any:
        found = read(value)
        del found["kind"]
        return kind(**found)

    return make


def _dataclass(kind: type, **parts: Read[Any]) -> Read[Any]:
    read = fields(parts)
    return lambda value: kind(**read(value))


_DECISION = _kind(Decision, action=one_of(Action), origin=text)
_POLICY = _dataclass(
    HealthPolicy,
    xids=mapping(written_whole, _DECISION),
    unknown_xid=_DECISION,
    sources=mapping(one_of(Source), _DECISION),
    quiet_time=number,
    driver_timeout=number,
    flap_count=whole,
    flap_window=number,
)
_CHECKUP = _kind(
    Checkup,
    problems=mapping(one_of(Source), text),
    asks_for_recovery=null_or(truth),
    unanswered=lambda value: frozenset(list_of(one_of(Source))(value)),
)
_DEVICE = _dataclass(
    Device,
    id=_device_id,
    index=whole,
    minor=null_or(whole),
    pci_address=text,
    product=text,
    memory_bytes=whole,
    numa_node=null_or(whole),
    nodes=list_of(_path),
    reports_faults=truth,
)
_INVENTORY = _dataclass(
    Inventory,
    devices=list_of(_DEVICE),
    rejected=list_of(_kind(RejectedDevice, place=text, problem=text)),
    shared_nodes=list_of(_path),
    visibility_variable=text,
)
_OBSERVATIONS: Mapping[str, Read[Observation]] = {
    "InventorySeen": _kind(InventorySeen, inventory=_INVENTORY),
    "XidReported": _kind(XidReported, xid=whole, device=null_or(_device_id), place=text),
    "FaultReported": _kind(FaultReported, source=one_of(Source), device=null_or(_device_id), place=text),
    "DevicesChecked": _kind(DevicesChecked, checkups=mapping(_device_id, _CHECKUP)),
    "DriverSeen": _kind(DriverSeen, version=null_or(text), instance=null_or(text)),
    "DriverUnavailable": _kind(DriverUnavailable, problem=text),
    "DriverSilence": _kind(DriverSilence, seconds=number),
    "EventsAwaited": _kind(EventsAwaited, problem=null_or(text)),
}


def read_observation(value: object) -> Observation:
    """Make an observation of what `plain` made of one.

    Raises:
        InvalidValueError: it is of a kind that this version does not know, or not whole; with the place.
    """
    kind = names(value).get("kind")
    if not isinstance(kind, str) or kind not in _OBSERVATIONS:
        raise MisfitError(f"an observation of the kind {shown(kind)}, which this version does not know")
    return _OBSERVATIONS[kind](value)


def read_policy(value: object) -> HealthPolicy:
    """Make a policy of what `plain` made of one.

    Raises:
        InvalidValueError: it is not whole, or decides what cannot be; with the place.
    """
    policy: HealthPolicy = _POLICY(value)
    return policy
