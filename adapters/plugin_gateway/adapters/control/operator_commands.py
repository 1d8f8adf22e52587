"""The commands that an operator can send to a running gateway: `status`, `clear`, `accept`, `release` and others."""

import math
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

from plugin_gateway.adapters.control import MAX_RELEASE
from plugin_gateway.adapters.gateway.device_counter import DeviceCounter
from plugin_gateway.adapters.gateway.driver_access import DriverAccess
from plugin_gateway.adapters.gateway.gateway import Gateway
from plugin_gateway.adapters.registration.history import ResourceStatus
from plugin_gateway.adapters.support.logs import log
from plugin_gateway.core.devices import Device, DeviceId, RejectedDevice
from plugin_gateway.core.errors import GatewayError
from plugin_gateway.core.health.faults import Evidence, Fault, Source, Stage
from plugin_gateway.core.health.policy import EvidenceKind, words_of
from plugin_gateway.core.health.repetition import Progress
from plugin_gateway.core.resources.assignment import advertise

HELD_ELSEWHERE = EvidenceKind("held-elsewhere")
"""A pod holds the device under another resource name. No policy decides about it."""


class RefusedError(GatewayError):
    """The command cannot be carried out. The message is for the operator."""


class OperatorCommands:
    """Carries out commands on one gateway."""

    def __init__(
        self,
        gateway: Gateway,
        counter: DeviceCounter,
        configuration: Callable[[], Mapping[str, Any]],
        reload: Callable[[], Awaitable[Mapping[str, Any]]],
        driver: DriverAccess,
    ) -> None:
        """``configuration`` returns what the status shows about the configuration, as JSON values.

        ``reload`` reads the configuration again, and returns what changed and what is wrong with it.
        """
        self._gateway = gateway
        self._counter = counter
        self._configuration = configuration
        self._reload = reload
        self._driver = driver

    def answer(  # noqa: PLR0911 - one for each command
        self, request: Mapping[str, Any]
    ) -> Mapping[str, Any] | Awaitable[Mapping[str, Any]]:
        """Carry out one request, and return the answer. That of `reload` waits for the configuration file.

        Raises:
            RefusedError: the command is unknown, or names a device that is unknown or healthy, or a wrong time.
            NotAcceptedError: the devices that are here cannot be accepted.
            GatewayError: there is no configuration file to read.
        """
        match request:
            case {"command": "reload", **rest} if not rest:
                return self._reload()
            case {"command": "status", **rest} if not rest:
                return self.status()
            case {"command": "clear", "devices": list(devices), **rest} if not rest:
                return {"devices": [self._clear(device) for device in self._named(devices, or_counted=True)]}
            case {"command": "accept", **rest} if not rest:
                return self._counter.accept()
            case {"command": "clear", "devices": list(devices), "only": Stage.PROBATION.value, **rest} if not rest:
                return {"devices": [self._clear(device, only=Stage.PROBATION) for device in self._named(devices)]}
            case {"command": "release", "seconds": int(seconds), **rest} if not rest and 0 < seconds <= MAX_RELEASE:
                self._driver.release(seconds)
                return self._released() or {}
            case {"command": "take", **rest} if not rest:
                return {"was_released": self._driver.take()}
        raise RefusedError("unknown command; is the gateway of another version?")

    def status(self) -> Mapping[str, Any]:
        """Return the state of driver, resources and devices, as JSON values. `status` and the status page show it."""
        state = self._gateway.state
        resources = {
            device.id: name
            for name, advertisement in advertise(state, self._gateway.rules).items()
            for device in advertisement.devices
        }
        devices = state.devices
        return {
            "driver": {
                "version": state.driver.version if state.driver is not None else None,
                "problem": state.driver_problem or ("it does not answer" if state.driver_is_silent else None),
                "todo": state.driver_todo or None,
                "events_problem": state.events_problem,
                "kernel_log": state.kernel_log._asdict() if state.kernel_log is not None else None,
                "released": self._released(),
            },
            **self._configuration(),
            "resources": [_resource(status) for status in self._gateway.registrar.status()],
            "devices": [
                {
                    **_device(device, resources.get(device.id)),
                    **self._health_of(device.id),
                    "reported": list(state.reported.get(device.id, {}).values()),
                    "repeated": [_repeated(each) for each in self._gateway.progress_of(device.id)],
                }
                for device in devices
            ],
            "absent": self._absent(devices),
            "rejected": _places(state.inventory.rejected if state.inventory is not None else ()),
            "set_aside": _places(state.inventory.set_aside if state.inventory is not None else ()),
            "device_count": self._counter.status(),
            "conflicts": [each.as_json() for each in self._gateway.conflicts],
        }

    def _released(self) -> Mapping[str, Any] | None:
        released = self._driver.released
        return None if released is None else released._asdict()

    def _health_of(self, device: DeviceId) -> Mapping[str, Any]:
        """Return the health of a device. One that is only withheld is unhealthy for the kubelet as well."""
        fault, withheld = self._gateway.state.faults.get(device), self._gateway.withheld.get(device)
        if fault is None and withheld is None:
            return {"health": "healthy"}
        if fault is not None:
            return self._unhealthy(device, fault)
        assert withheld is not None
        return {
            "health": "unhealthy",
            "reason": withheld.reason,
            "since": withheld.since,
            "needs": "the end of these pods, or an operator's word",
            "quiet_left": None,
            "clear_helps": True,
            "hides_reset": False,
            "evidence": [
                {
                    "what": withheld.reason,
                    "at": withheld.since,
                    "kind": HELD_ELSEWHERE,
                    "source": Source.GATEWAY.value,
                }
            ],
        }

    def _unhealthy(self, device: DeviceId, fault: Fault) -> Mapping[str, Any]:
        """Return the health of a device that has a fault. An operator's word is enough for one that is not there."""
        left = self._gateway.quiet_left(device)
        return {
            "health": fault.stage.value,
            "reason": fault.reason,
            "since": fault.since,
            "needs": fault.lacks + (f", {math.ceil(left)} s of it are left" if left is not None else ""),
            "quiet_left": left,
            "clear_helps": fault.is_clearable or not self._gateway.state.has(device),
            "hides_reset": fault.hides_reset,
            "evidence": [_plain(evidence) for evidence in fault.evidence],
        }

    def _absent(self, devices: Sequence[Device]) -> Sequence[Mapping[str, Any]]:
        """Return the health of devices that are unhealthy and not present now."""
        here = {device.id for device in devices}
        return [
            {"id": device, **self._unhealthy(device, fault)}
            for device, fault in self._gateway.state.faults.items()
            if device not in here
        ]

    def _named(self, names: Sequence[object], *, or_counted: bool = False) -> Sequence[DeviceId]:
        """Return the unhealthy devices with these ids; all unhealthy devices if there are no ids.

        With ``or_counted`` an id can also be that of a healthy device with evidence that has to be repeated.

        Raises:
            RefusedError: a device is unknown or healthy.
        """
        gateway = self._gateway
        unhealthy = list(dict.fromkeys((*gateway.state.faults, *gateway.withheld)))
        if not names:
            return unhealthy
        counted = [each for each in gateway.state.repeated if gateway.progress_of(each)] if or_counted else []
        allowed = dict.fromkeys((*unhealthy, *counted))
        for name in names:
            if not isinstance(name, str) or name not in allowed:
                raise RefusedError(self._explain(str(name)))
        return [device for device in allowed if device in names]

    def _clear(self, device: DeviceId, only: Stage | None = None) -> Mapping[str, Any]:
        """Clear one device, if it is in this stage, and return its health before and after, and what counts anew."""
        before, state = self._health_of(device), self._gateway.state
        anew: list[str] = []
        if only in {None, state.stage_of(device)}:
            anew = [f"{words_of(each.kind)}, {each}" for each in self._gateway.progress_of(device)]
            if device in self._gateway.withheld:
                self._gateway.overrule(device)
            if device in state.faults or anew:
                self._gateway.clear(device)
            _log_cleared(device, before.get("reason"), self._health_of(device), anew)
        return {"id": device, "was": before, **self._health_of(device), "counts_anew": anew}

    def _explain(self, device: str) -> str:
        """Return why a device cannot be cleared."""
        state = self._gateway.state
        if any(each.id == device for each in state.devices):
            return f"{device} is healthy already"
        unhealthy = ", ".join((*state.faults, *self._gateway.withheld)) or "none"
        return f"there is no device {device[:80]!r}; not healthy are: {unhealthy}"


def _resource(status: ResourceStatus) -> Mapping[str, Any]:
    return {
        "name": status.resource,
        "api_version": status.api_version,
        "endpoint": status.endpoint,
        "stream_opened": status.stream_opened,
        "stands_by": status.stands_by,
        "registrations": [each._asdict() for each in status.records.registered],
        "failures": [each._asdict() for each in status.records.failed],
    }


def _device(device: Device, resource: str | None) -> Mapping[str, Any]:
    return {
        "id": device.id,
        "index": device.index,
        "product": device.product,
        "pci_address": device.pci_address,
        "resource": resource,
    }


def _log_cleared(device: DeviceId, reason: str | None, after: Mapping[str, Any], anew: Sequence[str]) -> None:
    is_well = after["health"] == Stage.HEALTHY.value
    log.warning(
        "an operator says that the device is well"
        if is_well
        else "an operator cleared the device, and its problem lasts",
        device=device,
        what=reason if is_well else after["reason"],
        needs=after.get("needs"),
        counts_anew=list(anew) or None,
    )


def _places(devices: Sequence[RejectedDevice]) -> Sequence[Mapping[str, Any]]:
    return [each._asdict() for each in devices]


def _repeated(progress: Progress) -> Mapping[str, Any]:
    return {"what": words_of(progress.kind), **progress._asdict()}


def _plain(evidence: Evidence) -> Mapping[str, Any]:
    return {**evidence._asdict(), "source": evidence.source.value}
