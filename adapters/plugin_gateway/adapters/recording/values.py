"""Converts values of the core to JSON values and back. Reading is strict: a recording can come from anywhere."""

from collections.abc import Callable, Mapping
from dataclasses import fields as fields_of
from dataclasses import is_dataclass
from enum import Enum
from typing import Any, TypeVar

from plugin_gateway.adapters.support.strict_json import (
    MisfitError,
    Read,
    fields,
    list_of,
    mapping,
    name,
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
from plugin_gateway.core.errors import InvalidValueError
from plugin_gateway.core.health.faults import Checkup
from plugin_gateway.core.health.observations import (
    DevicesChecked,
    DriverSeen,
    DriverSilence,
    DriverUnavailable,
    EventsAwaited,
    EvidenceReported,
    InventorySeen,
    Observation,
)
from plugin_gateway.core.health.policy import Action, Decision, EvidenceKind, HealthPolicy, number_of, numbered

_Value = TypeVar("_Value")


def plain(value: Any) -> Any:  # noqa: PLR0911 - one for each kind
    """Return a value as JSON values. A NamedTuple, such as an observation, gets its class name as `kind`."""
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, EvidenceReported):
        return _plain_evidence(value)
    if isinstance(value, HealthPolicy):
        return _plain_policy(value)
    if is_dataclass(value) and not isinstance(value, type):
        return {field.name: plain(getattr(value, field.name)) for field in fields_of(value) if field.init}
    if isinstance(value, tuple) and (parts := getattr(value, "_fields", None)) is not None:
        return {"kind": type(value).__name__, **{part: plain(getattr(value, part)) for part in parts}}
    if isinstance(value, Mapping):
        return {plain(name): plain(each) for name, each in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [plain(each) for each in value]
    return value


_FAMILY, _NUMBERED, _OTHER = "xid", "XidReported", "FaultReported"
"""Names in the format of versions 1 and 2. Evidence of the family with numbers has its own kind and field."""


def _plain_evidence(evidence: EvidenceReported) -> Mapping[str, Any]:
    where = {"device": evidence.device, "place": evidence.place}
    number = number_of(evidence.kind, _FAMILY)
    if number is None:
        return {"kind": _OTHER, "source": evidence.kind, **where}
    return {"kind": _NUMBERED, _FAMILY: number, **where}


def _plain_policy(policy: HealthPolicy) -> Mapping[str, Any]:
    numbers = {kind: number_of(kind, _FAMILY) for kind in policy.kinds}
    return {
        f"{_FAMILY}s": {str(numbers[kind]): plain(policy.kinds[kind]) for kind in numbers if numbers[kind] is not None},
        f"unknown_{_FAMILY}": plain(policy.families.get(_FAMILY, policy.others)),
        "sources": {kind: plain(policy.kinds[kind]) for kind in numbers if numbers[kind] is None},
        "quiet_time": policy.quiet_time,
        "driver_timeout": policy.driver_timeout,
        "flap_count": policy.flap_count,
        "flap_window": policy.flap_window,
    }


def _evidence_kind(value: object) -> EvidenceKind:
    return EvidenceKind(name(value))


def accepted(make: Callable[..., _Value]) -> Callable[..., _Value]:
    """Return the function with MisfitError instead of InvalidValueError.

    The strict reader adds the place to a MisfitError. So a value that the core refuses is reported like all others.
    """

    def make_or_misfit(*arguments: Any, **parts: Any) -> _Value:
        try:
            return make(*arguments, **parts)
        except InvalidValueError as error:
            raise MisfitError(str(error)) from error

    return make_or_misfit


def device_id(value: object) -> DeviceId:
    """Return the id of a device."""
    return accepted(parse_device_id)(text(value))


def _path(value: object) -> str:
    if not text(value).startswith("/"):
        raise MisfitError(f"{shown(value)} is no absolute path")
    return text(value)


def _kind(kind: type, **parts: Read[Any]) -> Read[Any]:
    """Return a reader for a NamedTuple that `plain` wrote, with its class name as `kind`."""
    read = fields({"kind": one_of((kind.__name__,)), **parts})

    def make(value: object) -> Any:
        found = read(value)
        del found["kind"]
        return accepted(kind)(**found)

    return make


def _dataclass(kind: type, **parts: Read[Any]) -> Read[Any]:
    """Return a reader for a dataclass. `plain` writes no kind for it."""
    read = fields(parts)
    return lambda value: accepted(kind)(**read(value))


def _evidence(named: str, by: str, kind: Read[EvidenceKind]) -> Read[Observation]:
    """Return a reader for evidence that is written as the kind ``named``, where the field ``by`` says which it is."""
    read = fields({"kind": one_of((named,)), by: kind, "device": null_or(device_id), "place": text})

    def make(value: object) -> EvidenceReported:
        found = read(value)
        return EvidenceReported(found[by], found["device"], found["place"])

    return make


_DECISION = _kind(Decision, action=one_of(Action), origin=text)
_POLICY = fields(
    {
        f"{_FAMILY}s": mapping(written_whole, _DECISION),
        f"unknown_{_FAMILY}": _DECISION,
        "sources": mapping(_evidence_kind, _DECISION),
        "quiet_time": number,
        "driver_timeout": number,
        "flap_count": whole,
        "flap_window": number,
    }
)
_CHECKUP = _kind(
    Checkup,
    problems=mapping(_evidence_kind, text),
    asks_for_recovery=null_or(truth),
    unanswered=lambda value: frozenset(list_of(_evidence_kind)(value)),
)
_DEVICE = _dataclass(
    Device,
    id=device_id,
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
    _NUMBERED: _evidence(_NUMBERED, _FAMILY, lambda value: numbered(_FAMILY, whole(value))),
    _OTHER: _evidence(_OTHER, "source", _evidence_kind),
    "DevicesChecked": _kind(DevicesChecked, checkups=mapping(device_id, _CHECKUP)),
    "DriverSeen": _kind(DriverSeen, version=null_or(text), instance=null_or(text)),
    "DriverUnavailable": _kind(DriverUnavailable, problem=text),
    "DriverSilence": _kind(DriverSilence, seconds=number),
    "EventsAwaited": _kind(EventsAwaited, problem=null_or(text)),
}


def read_observation(value: object) -> Observation:
    """Return the observation of which `plain` made these JSON values.

    Raises:
        MisfitError: its kind is unknown to this version, or a field is wrong; with the place.
    """
    kind = names(value).get("kind")
    if not isinstance(kind, str) or kind not in _OBSERVATIONS:
        raise MisfitError(f"an observation of the kind {shown(kind)}, which this version does not know")
    return _OBSERVATIONS[kind](value)


def read_policy(value: object) -> HealthPolicy:
    """Return the health policy of which `plain` made these JSON values.

    Raises:
        MisfitError: a field is wrong, or the policy contradicts itself; with the place.
    """
    found = _POLICY(value)
    by_number = {numbered(_FAMILY, each): decision for each, decision in found.pop(f"{_FAMILY}s").items()}
    kinds = {**by_number, **found.pop("sources")}
    return accepted(HealthPolicy)(kinds=kinds, families={_FAMILY: found.pop(f"unknown_{_FAMILY}")}, **found)
