"""The commands that an operator can send to a running gateway: `status`, `clear`, `accept`, `release` and others."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

from plugin_gateway.adapters.control import MAX_RELEASE
from plugin_gateway.adapters.control.control_socket import Promise
from plugin_gateway.adapters.control.handover import Successors
from plugin_gateway.adapters.gateway.device_counter import DeviceCounter
from plugin_gateway.adapters.gateway.device_status import DeviceStatus
from plugin_gateway.adapters.gateway.driver_access import DriverAccess
from plugin_gateway.adapters.gateway.gateway import Gateway
from plugin_gateway.adapters.gateway.status import ProcessStatus, Status
from plugin_gateway.adapters.gateway.status_document import encode
from plugin_gateway.adapters.gateway.status_making import health_of, make_status
from plugin_gateway.adapters.support.logs import log
from plugin_gateway.core.devices import DeviceId, FaultId
from plugin_gateway.core.errors import GatewayError
from plugin_gateway.core.health.faults import Stage
from plugin_gateway.core.health.policy import words_of


class RefusedError(GatewayError):
    """The command cannot be carried out. The message is for the operator."""


class OperatorCommands:
    """Carries out commands on one gateway."""

    def __init__(
        self,
        gateway: Gateway,
        counter: DeviceCounter,
        process: Callable[[], ProcessStatus],
        reload: Callable[[], Awaitable[Mapping[str, Any]]],
        drivers: Mapping[str, DriverAccess],
        successors: Successors,
    ) -> None:
        """``process`` returns what the process knows of itself and of its configuration. ``drivers`` are by backend.

        ``reload`` reads the configuration again, and returns what changed and what is wrong with it. ``successors``
        are the gateways that wait for the end of this one.
        """
        self._gateway = gateway
        self._counter = counter
        self._process = process
        self._reload = reload
        self._drivers = drivers
        self._successors = successors

    def answer(  # noqa: PLR0911 - one for each command
        self, request: Mapping[str, Any]
    ) -> Mapping[str, Any] | Awaitable[Mapping[str, Any]] | Promise:
        """Carry out one request, and return the answer. That of `reload` waits for the configuration file.

        Raises:
            RefusedError: the command names a device that is unknown or healthy.
            RequestError: it is unknown, or has a wrong time, or no more gateways can wait for the end of this one.
            NotAcceptedError: the devices that are here cannot be accepted.
            GatewayError: there is no configuration file to read.
        """
        match request:
            case {"command": "reload", **rest} if not rest:
                return self._reload()
            case {"command": "status", **rest} if not rest:
                return encode(self.status())
            case {"command": "clear", "devices": list(devices), **rest} if not rest:
                return {"devices": [self._clear(device) for device in self._named(devices, or_counted=True)]}
            case {"command": "accept", **rest} if not rest:
                return self._counter.accept()
            case {"command": "clear", "devices": list(devices), "only": Stage.PROBATION.value, **rest} if not rest:
                return {"devices": [self._clear(device, only=Stage.PROBATION) for device in self._named(devices)]}
            case {"command": "release", "seconds": int(seconds), **rest} if (
                rest.keys() <= {"backend"} and 0 < seconds <= MAX_RELEASE
            ):
                return self._release(seconds, rest.get("backend"))
            case {"command": "take", **rest} if rest.keys() <= {"backend"}:
                taken = [each.take() for each in self._drivers_of(rest.get("backend"))]
                return {"was_released": any(taken)}
        return self._successors.answer(request)

    def status(self) -> Status:
        """Return the status of this moment. It waits for nothing."""
        released = {name: each.released for name, each in self._drivers.items()}
        known = {name: each for name, each in released.items() if each is not None}
        return make_status(self._gateway, self._counter, known, self._process())

    def _release(self, seconds: int, backend: object) -> Mapping[str, Any]:
        """Release the driver of one backend, or of all if none is named. Returns how far the slowest is."""
        drivers = self._drivers_of(backend)
        for each in drivers:
            each.release(seconds)
        released = [each.released for each in drivers]
        return encode(next((each for each in released if each is not None and not each.is_closed), released[0]))

    def _drivers_of(self, backend: object) -> Sequence[DriverAccess]:
        """Return the driver of the backend with this name, or those of all without a name.

        Raises:
            RefusedError: there is no such backend.
        """
        if backend is None:
            return tuple(self._drivers.values())
        if not isinstance(backend, str) or backend not in self._drivers:
            raise RefusedError(f"there is no backend {str(backend)[:80]!r}, there are: {', '.join(self._drivers)}")
        return (self._drivers[backend],)

    def _named(self, names: Sequence[object], *, or_counted: bool = False) -> Sequence[FaultId]:
        """Return the unhealthy devices with these ids; all unhealthy devices if there are no ids.

        With ``or_counted`` an id can also be that of a healthy device with evidence that has to be repeated.

        Raises:
            RefusedError: a device is unknown or healthy.
        """
        gateway = self._gateway
        unhealthy: list[FaultId] = list(dict.fromkeys((*self._faults(), *gateway.withheld)))
        if not names:
            return unhealthy
        counted = [
            each
            for backend in gateway.backends
            for each in (backend.state.repeated if or_counted else ())
            if backend.progress_of(each)
        ]
        allowed = dict.fromkeys((*unhealthy, *counted))
        for name in names:
            if not isinstance(name, str) or name not in allowed:
                raise RefusedError(self._explain(str(name)))
        return [device for device in allowed if device in names]

    def _clear(self, device: FaultId, only: Stage | None = None) -> Mapping[str, Any]:
        """Clear one device, if it is in this stage, and return its health before and after, and what counts anew."""
        before, backend = health_of(self._gateway, device), self._gateway.backend_of(device)
        state = backend.state
        anew: list[str] = []
        if only in {None, state.stage_of(device)}:
            anew = [f"{words_of(each.kind)}, {each}" for each in backend.progress_of(device)]
            if device in self._gateway.withheld:
                self._gateway.overrule(DeviceId(device))
            if device in state.faults or anew:
                backend.clear(device)
            _log_cleared(before.reason, health_of(self._gateway, device), anew)
        return {**encode(health_of(self._gateway, device)), "was": encode(before), "counts_anew": anew}

    def _explain(self, device: str) -> str:
        """Return why a device cannot be cleared."""
        state = self._gateway.backend_of(DeviceId(device)).state
        part = next((each for each in state.devices if each.id == device and state.is_out(each)), None)
        if part is not None:
            return f"{device} is a part of {part.physical.id}, which is not healthy and can be cleared"
        if device in state.ids:
            return f"{device} is healthy already"
        unhealthy = ", ".join((*self._faults(), *self._gateway.withheld)) or "none"
        return f"there is no device {device[:80]!r}; not healthy are: {unhealthy}"

    def _faults(self) -> Sequence[FaultId]:
        """Return the ids with a fault, of all backends."""
        return [device for state in self._gateway.states for device in state.faults]


def _log_cleared(reason: str | None, after: DeviceStatus, anew: Sequence[str]) -> None:
    log.warning(
        "an operator says that the device is well"
        if after.is_healthy
        else "an operator cleared the device, and its problem lasts",
        device=after.id,
        what=reason if after.is_healthy else after.reason,
        needs=after.needs,
        counts_anew=list(anew) or None,
    )
