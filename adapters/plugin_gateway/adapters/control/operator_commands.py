"""What an operator can ask of a running gateway, and tell it."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from plugin_gateway.adapters.gateway.gateway import Gateway
from plugin_gateway.adapters.registration.history import ResourceStatus
from plugin_gateway.adapters.support.logs import log
from plugin_gateway.core.devices import Device, DeviceId
from plugin_gateway.core.errors import GatewayError
from plugin_gateway.core.health.faults import Fault
from plugin_gateway.core.resources.assignment import advertise


class RefusedError(GatewayError):
    """A command that cannot be carried out; the message is for the operator."""


class OperatorCommands:
    """Carries out commands on one gateway."""

    def __init__(self, gateway: Gateway, configuration: Callable[[], Mapping[str, Any]]) -> None:
        """``configuration`` tells what is in force, as JSON has it."""
        self._gateway = gateway
        self._configuration = configuration

    def answer(self, request: Mapping[str, Any]) -> Mapping[str, Any]:
        """Carry one out.

        Raises:
            RefusedError: it cannot be.
        """
        match request:
            case {"command": "status", **rest} if not rest:
                return self.status()
            case {"command": "clear", "devices": list(devices), **rest} if not rest:
                return {"devices": [self._clear(device) for device in self._named(devices)]}
        raise RefusedError("unknown command; is the gateway of another version?")

    def status(self) -> Mapping[str, Any]:
        """Tell everything that is known, as JSON has it."""
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
                "events_problem": state.events_problem,
            },
            **self._configuration(),
            "resources": [_resource(status) for status in self._gateway.registrar.status()],
            "devices": [_device(device, resources.get(device.id), state.faults.get(device.id)) for device in devices],
            "absent": self._absent(devices),
        }

    def _absent(self, devices: Sequence[Device]) -> Sequence[Mapping[str, Any]]:
        """List what is held against devices that are not there."""
        here = {device.id for device in devices}
        return [
            {"id": device, **_health(fault)}
            for device, fault in self._gateway.state.faults.items()
            if device not in here
        ]

    def _named(self, names: Sequence[object]) -> Sequence[DeviceId]:
        """Find the devices that are not healthy, all of them where nobody is named.

        Raises:
            RefusedError: one is not there, or healthy.
        """
        faults = self._gateway.state.faults
        if not names:
            return list(faults)
        for name in names:
            if not isinstance(name, str) or name not in faults:
                raise RefusedError(self._explain(str(name)))
        return [device for device in faults if device in names]

    def _clear(self, device: DeviceId) -> Mapping[str, Any]:
        before = self._gateway.state.faults[device]
        log.warning("an operator says that the device is well", device=device, reason=before.reason)
        self._gateway.clear(device)
        return {"id": device, "was": _health(before), **_health(self._gateway.state.faults.get(device))}

    def _explain(self, device: str) -> str:
        state = self._gateway.state
        if any(each.id == device for each in state.devices):
            return f"{device} is healthy already"
        unhealthy = ", ".join(state.faults) or "none"
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


def _device(device: Device, resource: str | None, fault: Fault | None) -> Mapping[str, Any]:
    return {
        "id": device.id,
        "index": device.index,
        "product": device.product,
        "pci_address": device.pci_address,
        "resource": resource,
        **_health(fault),
    }


def _health(fault: Fault | None) -> Mapping[str, Any]:
    if fault is None:
        return {"health": "healthy"}
    return {
        "health": fault.stage.value,
        "reason": fault.reason,
        "since": fault.since,
        "needs": fault.lacks,
        "evidence": [evidence._asdict() for evidence in fault.evidence],
    }
