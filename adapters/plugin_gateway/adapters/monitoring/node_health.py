"""The document of `/health`: which devices are not healthy, why, and what to do, for programs that mend nodes."""

from collections.abc import Mapping, Sequence
from typing import Any

from plugin_gateway.core.devices import FaultId, PhysicalDevice
from plugin_gateway.core.health.faults import Fault, Stage
from plugin_gateway.core.health.remedies import Cause, Remedies, causes_of, summarize
from plugin_gateway.core.health.state import State

VERSION = 1
"""Version of the document. A field that is added does not change it."""
MAX_DEVICES = 256
"""Devices that are listed: first those that are not healthy."""
MAX_SUMMARY = 1024
"""Characters."""


def describe_health(state: State, remedies: Remedies, device_word: str) -> Mapping[str, Any]:
    """Return the document as JSON values. ``device_word`` is the common word for a device, in the singular."""
    here = state.inventory.physical_by_id if state.inventory is not None else {}
    entries = [
        _entry(each, here.get(each), state.faults.get(state.fault_of(each) or each), remedies)
        for each in dict.fromkeys((*here, *state.faults))
    ]
    entries.sort(key=lambda entry: entry["health"] == Stage.HEALTHY.value)
    return {
        "version": VERSION,
        "healthy": None if state.inventory is None else not state.present_faults,
        "summary": _summary(state, remedies, device_word)[:MAX_SUMMARY],
        "driver": {
            "version": state.driver.version if state.driver is not None else None,
            "problem": state.driver_trouble,
            "events_problem": state.events_problem,
        },
        "device_count": len(state.physical),
        "devices": entries[:MAX_DEVICES],
        "devices_left_out": max(len(entries) - MAX_DEVICES, 0),
    }


def side_by_side(each: Mapping[str, Mapping[str, Any]], device_words: Sequence[str]) -> Mapping[str, Any]:
    """Return the document for several backends: all devices in one list, and in `backends` a document for each.

    ``each`` is the document of each backend by itself, and ``device_words`` are their words for a device. `driver` is
    that of the first one. All devices are healthy if those of each backend are known to be.
    """
    every = " and ".join(f"every {word}" for word in dict.fromkeys(device_words))
    verdicts = [document["healthy"] for document in each.values()]
    entries = [entry for document in each.values() for entry in document["devices"]]
    entries.sort(key=lambda entry: entry["health"] == Stage.HEALTHY.value)
    left_out = sum(document["devices_left_out"] for document in each.values()) + max(len(entries) - MAX_DEVICES, 0)
    troubles = [f"{name}: {document['summary']}" for name, document in each.items() if not document["healthy"]]
    return {
        **next(iter(each.values())),
        "healthy": False if False in verdicts else None if None in verdicts else True,
        "summary": ("; ".join(troubles) or f"{every} is healthy")[:MAX_SUMMARY],
        "device_count": sum(document["device_count"] for document in each.values()),
        "devices": entries[:MAX_DEVICES],
        "devices_left_out": left_out,
        "backends": [
            {"name": name, **{key: document[key] for key in ("healthy", "summary", "driver", "device_count")}}
            for name, document in each.items()
        ],
    }


def _summary(state: State, remedies: Remedies, device_word: str) -> str:
    """Return what is wrong in one line, as in the condition of the node."""
    if state.inventory is None:
        return f"no {device_word} is known yet: {state.driver_problem or 'the driver has not answered'}"
    if faults := state.present_faults:
        return summarize(faults, remedies, MAX_SUMMARY)
    return f"every {device_word} is healthy"


def _entry(name: FaultId, device: PhysicalDevice | None, fault: Fault | None, remedies: Remedies) -> Mapping[str, Any]:
    """Return a physical device, or a part of ``device``. Without ``device`` it has a fault and is not present now."""
    return {
        "id": name,
        "index": device.index if device is not None else None,
        "pci_address": device.pci_address if device is not None else None,
        "health": Stage.HEALTHY.value if fault is None else fault.stage.value,
        "since": fault.since if fault is not None else None,
        "needs": fault.lacks if fault is not None else None,
        "causes": [_cause(each) for each in causes_of(fault.evidence, remedies)] if fault is not None else [],
    }


def _cause(cause: Cause) -> Mapping[str, Any]:
    return {
        "kind": cause.kind or None,
        "what": cause.what,
        "source": cause.source.value,
        "first": cause.first,
        "last": cause.last,
        "action": cause.remedy.action or None,
        "investigation": cause.remedy.investigation or None,
    }
