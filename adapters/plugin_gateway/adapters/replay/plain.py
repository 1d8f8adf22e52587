"""Values of the core as JSON has them, and back."""

from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from enum import Enum
from typing import Any

from plugin_gateway.core.devices import Device, DeviceId, Inventory, RejectedDevice
from plugin_gateway.core.errors import InvalidValueError
from plugin_gateway.core.faults import Checkup
from plugin_gateway.core.health_policy import Action, Decision, HealthPolicy, Source
from plugin_gateway.core.observations import (
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


def plain(value: Any) -> Any:  # noqa: PLR0911 - one for each kind
    """Make it something that JSON has; observations keep the name of their kind."""
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, Enum):
        return value.value
    if is_dataclass(value) and not isinstance(value, type):
        return {field.name: plain(getattr(value, field.name)) for field in fields(value) if field.init}
    if isinstance(value, tuple) and (names := getattr(value, "_fields", None)) is not None:
        return {"kind": type(value).__name__, **{name: plain(getattr(value, name)) for name in names}}
    if isinstance(value, Mapping):
        return {plain(name): plain(each) for name, each in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [plain(each) for each in value]
    return value


def read_observation(value: Mapping[str, Any]) -> Observation:  # noqa: PLR0911 - one for each kind
    """Make an observation of what `plain` made of one.

    Raises:
        InvalidValueError: it is of a kind that this version does not know.
        KeyError, TypeError, ValueError: it is not whole.
    """
    match value["kind"]:
        case "InventorySeen":
            return InventorySeen(_inventory(value["inventory"]))
        case "XidReported":
            return XidReported(value["xid"], _device_id(value["device"]))
        case "FaultReported":
            return FaultReported(Source(value["source"]), _device_id(value["device"]))
        case "DevicesChecked":
            return DevicesChecked({DeviceId(name): _checkup(each) for name, each in value["checkups"].items()})
        case "DriverSeen":
            return DriverSeen(value["version"], value["instance"])
        case "DriverUnavailable":
            return DriverUnavailable(value["problem"])
        case "DriverSilence":
            return DriverSilence(value["seconds"])
        case "EventsAwaited":
            return EventsAwaited(value["problem"])
    raise InvalidValueError(f"an observation of the kind {value['kind']!r}, which this version does not know")


def read_policy(value: Mapping[str, Any]) -> HealthPolicy:
    """Make a policy of what `plain` made of one.

    Raises:
        KeyError, TypeError, ValueError: it is not whole.
    """
    return HealthPolicy(
        xids={int(xid): _decision(each) for xid, each in value["xids"].items()},
        unknown_xid=_decision(value["unknown_xid"]),
        sources={Source(name): _decision(each) for name, each in value["sources"].items()},
        **{name: value[name] for name in ("quiet_time", "driver_timeout", "flap_count", "flap_window")},
    )


def _decision(value: Mapping[str, Any]) -> Decision:
    return Decision(Action(value["action"]), value["origin"])


def _device_id(text: str | None) -> DeviceId | None:
    return DeviceId(text) if text is not None else None


def _checkup(value: Mapping[str, Any]) -> Checkup:
    return Checkup({Source(name): what for name, what in value["problems"].items()}, value["asks_for_recovery"])


def _inventory(value: Mapping[str, Any]) -> Inventory:
    return Inventory(
        devices=tuple(Device(**{**each, "nodes": tuple(each["nodes"])}) for each in value["devices"]),
        rejected=tuple(RejectedDevice(each["place"], each["problem"]) for each in value["rejected"]),
        shared_nodes=tuple(value["shared_nodes"]),
        visibility_variable=value["visibility_variable"],
    )
