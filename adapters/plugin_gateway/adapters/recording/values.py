"""Converts values of the core to JSON values and back.

A recording can come from anywhere, so reading is strict about what it knows. What a later version added is no error:
fields that are not known are ignored, and a kind of evidence is any word.
"""

from collections.abc import Callable, Mapping
from dataclasses import fields as fields_of
from dataclasses import is_dataclass
from enum import Enum
from typing import Any, TypeVar

from plugin_gateway.adapters.recording import older_forms
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
)
from plugin_gateway.core.devices import Device, DeviceId, Inventory, RejectedDevice, parse_device_id
from plugin_gateway.core.errors import InvalidValueError
from plugin_gateway.core.health.faults import Checkup, source_of
from plugin_gateway.core.health.observations import (
    DevicesChecked,
    DriverSeen,
    DriverSilence,
    DriverUnavailable,
    EventsAwaited,
    EvidenceRefined,
    EvidenceReported,
    InventorySeen,
    KernelLogRead,
    Observation,
)
from plugin_gateway.core.health.policy import Action, Decision, EvidenceKind, HealthPolicy, Probation

VERSION = 3
"""The version of the format that is written. The package's docstring says how versions 1 and 2 differ."""
_Value = TypeVar("_Value")


def plain(value: Any) -> Any:  # noqa: PLR0911 - one for each kind
    """Return a value as JSON values. A NamedTuple, such as an observation, gets its class name as `kind`."""
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, EvidenceReported | EvidenceRefined):
        return _plain_evidence(value)
    if is_dataclass(value) and not isinstance(value, type):
        return {field.name: plain(getattr(value, field.name)) for field in fields_of(value) if field.init}
    if isinstance(value, tuple) and (parts := getattr(value, "_fields", None)) is not None:
        return {"kind": type(value).__name__, **{part: plain(getattr(value, part)) for part in parts}}
    if isinstance(value, Mapping):
        return {plain(name): plain(each) for name, each in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [plain(each) for each in value]
    return value


def _plain_evidence(evidence: EvidenceReported | EvidenceRefined) -> Mapping[str, Any]:
    """Return it without a clash of names: `kind` is the class of a value here."""
    parts = evidence._asdict()
    return {"kind": type(evidence).__name__, "evidence": parts.pop("kind"), **plain(parts)}


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


def _kind(kind: type, *, optional: Mapping[str, Read[Any]] | None = None, **parts: Read[Any]) -> Read[Any]:
    """Return a reader for a NamedTuple that `plain` wrote, with its class name as `kind`.

    ``optional`` are the parts that earlier gateways did not write. They have defaults.
    """
    read = fields({"kind": one_of((kind.__name__,)), **parts}, optional)

    def make(value: object) -> Any:
        found = read(value)
        del found["kind"]
        return accepted(kind)(**found)

    return make


def _dataclass(kind: type, *, optional: Mapping[str, Read[Any]] | None = None, **parts: Read[Any]) -> Read[Any]:
    """Return a reader for a dataclass. `plain` writes no kind for it. ``optional`` is as for `_kind`."""
    read = fields(parts, optional)
    return lambda value: accepted(kind)(**read(value))


def _evidence(value: object) -> EvidenceReported:
    found = _EVIDENCE(value)
    more = {name: found[name] for name in ("times", "source", "of_node") if name in found}
    return EvidenceReported(found["evidence"], found["device"], found["place"], **more)


def _refined(value: object) -> EvidenceRefined:
    found = _REFINED(value)
    return EvidenceRefined(found["evidence"], found["device"], found["action"], found["what"])


def _action(value: object) -> Action:
    """Return an action. One that only a later version knows counts as the strictest that needs no reboot."""
    return Action(value) if text(value) in _ACTIONS else Action.UNTIL_RESET


def _probation(value: object) -> Probation:
    """Return what ends a probation. What only a later version knows does not end it by itself."""
    return Probation.QUIET_TIME if text(value) == Probation.QUIET_TIME.value else Probation.EXTERNAL


_ACTIONS = frozenset(action.value for action in Action)
_DECISION = _kind(
    Decision, action=_action, origin=text, optional={"times": whole, "window": number, "is_refinable": truth}
)
_EVIDENCE = fields(
    {
        "kind": one_of((EvidenceReported.__name__,)),
        "evidence": _evidence_kind,
        "device": null_or(device_id),
        "place": text,
    },
    optional={"times": whole, "source": lambda value: source_of(text(value)), "of_node": truth},
)
_REFINED = fields(
    {
        "kind": one_of((EvidenceRefined.__name__,)),
        "evidence": _evidence_kind,
        "device": device_id,
        "action": _action,
        "what": text,
    }
)
_POLICY = _dataclass(
    HealthPolicy,
    optional={
        "by_generation": mapping(text, mapping(_evidence_kind, _DECISION)),
        "events": list_of(_evidence_kind),
        "decision_time": number,
        "probation": _probation,
    },
    kinds=mapping(_evidence_kind, _DECISION),
    families=mapping(name, _DECISION),
    others=_DECISION,
    quiet_time=number,
    driver_timeout=number,
    flap_count=whole,
    flap_window=number,
)
_CHECKUP = _kind(
    Checkup,
    problems=mapping(_evidence_kind, text),
    asks_for_recovery=null_or(truth),
    unanswered=lambda value: frozenset(list_of(_evidence_kind)(value)),
)
_DEVICE = _dataclass(
    Device,
    optional={"generation": text},
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
_REJECTED = _kind(RejectedDevice, place=text, problem=text)
_INVENTORY = _dataclass(
    Inventory,
    devices=list_of(_DEVICE),
    rejected=list_of(_REJECTED),
    shared_nodes=list_of(_path),
    visibility_variable=text,
    optional={"optional_nodes": list_of(_path), "set_aside": list_of(_REJECTED)},
)
_OBSERVATIONS: Mapping[str, Read[Observation]] = {
    "InventorySeen": _kind(InventorySeen, inventory=_INVENTORY),
    EvidenceReported.__name__: _evidence,
    EvidenceRefined.__name__: _refined,
    **older_forms.observations(device_id),
    "DevicesChecked": _kind(DevicesChecked, checkups=mapping(device_id, _CHECKUP), optional={"age": number}),
    "DriverSeen": _kind(DriverSeen, version=null_or(text), instance=null_or(text)),
    "DriverUnavailable": _kind(
        DriverUnavailable,
        problem=text,
        optional={"restart_may_help": truth, "is_released": truth, "todo": text, "unserved": whole},
    ),
    "DriverSilence": _kind(DriverSilence, seconds=number),
    "EventsAwaited": _kind(EventsAwaited, problem=null_or(text)),
    "KernelLogRead": _kind(KernelLogRead, problem=null_or(text)),
}


def is_known(value: object) -> bool:
    """Return whether it is an observation of a kind that this version knows."""
    return isinstance(value, Mapping) and value.get("kind") in _OBSERVATIONS


def read_observation(value: object) -> Observation:
    """Return the observation that `plain` wrote, in this version or an older one.

    Raises:
        MisfitError: it is of a kind that this version does not know, or incomplete. The message has the place.
    """
    kind = names(value).get("kind")
    if not isinstance(kind, str) or kind not in _OBSERVATIONS:
        raise MisfitError(f"an observation of the kind {shown(kind)}, which this version does not know")
    return _OBSERVATIONS[kind](value)


def read_policy(value: object) -> HealthPolicy:
    """Return the policy that `plain` wrote, in this version or an older one.

    Raises:
        MisfitError: it is incomplete, or has values that are not allowed. The message has the place.
    """
    newer = older_forms.policy(value) if "kinds" not in names(value) else value
    policy: HealthPolicy = _POLICY(newer)
    return policy
