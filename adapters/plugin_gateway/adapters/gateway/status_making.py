"""Makes the status from the gateway."""

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import fields, replace
from typing import TYPE_CHECKING, NamedTuple

from plugin_gateway.adapters.gateway.conflict_watch import TODO, KnownConflict
from plugin_gateway.adapters.gateway.device_counter import DeviceCounter
from plugin_gateway.adapters.gateway.device_status import DeviceStatus, PortStatus, RepeatedEvidence, Waiting
from plugin_gateway.adapters.gateway.driver_access import Released
from plugin_gateway.adapters.gateway.gateway import Gateway
from plugin_gateway.adapters.gateway.status import (
    BackendStatus,
    CdiStatus,
    ConflictStatus,
    DriverStatus,
    OfferedResource,
    PluginSocket,
    ProcessStatus,
    Status,
)
from plugin_gateway.adapters.gateway.watched_backend import WatchedBackend
from plugin_gateway.adapters.registration.history import ResourceStatus
from plugin_gateway.core.devices import Device, DeviceId, FaultId, PhysicalDevice, PhysicalId, RejectedDevice
from plugin_gateway.core.health.faults import Evidence, Fault, Source, Stage
from plugin_gateway.core.health.policy import EvidenceKind, words_of
from plugin_gateway.core.health.repetition import Progress
from plugin_gateway.core.health.state import State
from plugin_gateway.core.resources.rules import ResourceRule, named

if TYPE_CHECKING:
    from plugin_gateway.adapters.gateway.specs import Specs
    from plugin_gateway.core.resources.daemons import Wait
    from plugin_gateway.core.resources.side_by_side import NameTaken

HELD_ELSEWHERE = EvidenceKind("held-elsewhere")
"""A pod holds the device in another form, such as another resource. No policy decides about it."""


class _Offer(NamedTuple):
    """How a device is offered."""

    resource: str | None = None
    replicas: int | None = None
    is_pooled: bool = False
    shared_through: str | None = None
    waits_for: Waiting | None = None


NOT_OFFERED = _Offer()


def make_status(
    gateway: Gateway, counter: DeviceCounter, released: Mapping[str, Released], process: ProcessStatus
) -> Status:
    """Return the status of this moment. ``released`` has the backends whose driver an operator has released."""
    offers = _offers(gateway)
    inventories = [state.inventory for state in gateway.states if state.inventory is not None]
    return Status(
        **{field.name: getattr(process, field.name) for field in fields(process)},
        driver=_driver(gateway.state, released.get(gateway.backends[0].name)),
        backends=tuple(_backend(each, released.get(each.name)) for each in gateway.backends),
        resources=tuple(_resource(each, gateway.fallbacks) for each in gateway.registrar.status()),
        cdi=_cdi(gateway.specs),
        devices=tuple(each for state in gateway.states for each in _shown(gateway, state, offers)),
        absent=tuple(
            health_of(gateway, device) for state in gateway.states for device in state.faults if not state.has(device)
        ),
        rejected=(*(each for known in inventories for each in known.rejected), *map(_rejected, gateway.taken)),
        set_aside=tuple(each for known in inventories for each in known.set_aside),
        device_count=counter.status(),
        conflicts=tuple(map(_conflict, gateway.conflicts)),
    )


def _shown(gateway: Gateway, state: State, offers: Mapping[DeviceId, _Offer]) -> Iterator[DeviceStatus]:
    """Yield the devices that the driver of one backend shows."""
    ports = _ports(state)
    for device in state.devices:
        shown = _present(gateway, device, offers.get(device.id, NOT_OFFERED))
        yield replace(shown, ports=tuple(ports[device.physical.id])) if device.physical.id in ports else shown
    for physical in _without_devices(state):
        shown = _described(gateway, physical.id, physical, physical.id)
        yield replace(shown, ports=tuple(ports[physical.id])) if physical.id in ports else shown


def _ports(state: State) -> Mapping[PhysicalId, Sequence[PortStatus]]:
    """Return the ports of each physical device that has some."""
    found: dict[PhysicalId, list[PortStatus]] = {}
    for each in state.ports:
        known = {name: value for name, value in each._asdict().items() if name != "device"}
        found.setdefault(each.device, []).append(PortStatus(**known))
    return found


def _without_devices(state: State) -> Iterable[PhysicalDevice]:
    """Return the physical devices of which no device is given out."""
    in_use = {device.physical.id for device in state.devices}
    return (physical for physical in state.physical if physical.id not in in_use)


def health_of(gateway: Gateway, device: FaultId) -> DeviceStatus:
    """Return the health of a physical device or of a part by itself. One that is only withheld is unhealthy as well."""
    fault, withheld = gateway.backend_of(device).state.faults.get(device), gateway.withheld.get(DeviceId(device))
    if fault is not None:
        return _unhealthy(gateway, device, fault)
    if withheld is None:
        return DeviceStatus(id=device, health=Stage.HEALTHY)
    return DeviceStatus(
        id=device,
        health=Stage.UNHEALTHY,
        reason=withheld.reason,
        since=withheld.since,
        needs="the end of these pods, or an operator's word",
        evidence=(Evidence(withheld.reason, withheld.since, HELD_ELSEWHERE, Source.GATEWAY),),
    )


def _unhealthy(gateway: Gateway, device: FaultId, fault: Fault) -> DeviceStatus:
    """Return the health of a device that has a fault. An operator's word is enough for one that is not there."""
    backend = gateway.backend_of(device)
    left = backend.quiet_left(fault)
    return DeviceStatus(
        id=device,
        health=fault.stage,
        reason=fault.reason,
        since=fault.since,
        needs=fault.lacks + (f", {math.ceil(left)} s of it are left" if left is not None else ""),
        quiet_left=left,
        clear_helps=fault.is_clearable or not backend.state.has(device),
        hides_reset=fault.hides_reset,
        evidence=fault.evidence,
    )


def _offers(gateway: Gateway) -> Mapping[DeviceId, _Offer]:
    """Return how each device is offered. One that is not is left out."""
    rules, taken = gateway.rules, {device for each in gateway.taken for device in each.devices}
    found = (each for state in gateway.states for each in named(state.devices, rules) if each[0].id not in taken)
    waits = {device: _words_of(wait) for device, wait in gateway.undescribed.items()}
    waits |= {device: wait for state in gateway.states for device, wait in _waiting(state, rules).items()}
    return {
        device.id: _Offer(name, sharing.replicas, sharing.is_pool, sharing.through or None, waits.get(device.id))
        for device, name, sharing in found
    }


def _waiting(state: State, rules: Sequence[ResourceRule]) -> Mapping[DeviceId, Waiting]:
    """Return the devices that wait for what the node lacks, or for a daemon."""
    lacking = state.requirement
    if lacking is not None and lacking.problem:
        waiting_for = Waiting(reason=lacking.problem, since=lacking.since, todo=lacking.todo or None)
        return {device.id: waiting_for for device in state.devices}
    if not any(rule.sharing.through for rule in rules):
        return {}
    from plugin_gateway.core.resources.daemons import waiting  # noqa: PLC0415 - only where asked for

    return {device: _words_of(wait) for device, wait in waiting(state, rules).items()}


def _words_of(wait: "Wait") -> Waiting:
    return Waiting(reason=wait.reason, since=wait.since, todo=wait.todo or None)


def _present(gateway: Gateway, device: Device, offer: _Offer) -> DeviceStatus:
    """Return a device with its health. What its physical device has, it has too."""
    state = gateway.backend_of(device.id).state
    physical, unhealthy = device.physical, state.fault_of(device.id) or device.id
    parts = () if device.is_whole else (device.id,)
    return replace(
        _described(gateway, unhealthy, physical, physical.id, *parts),
        id=device.id,
        physical=physical.id if parts else None,
        kind=device.kind,
        profile=device.profile or None,
        place=device.place_words,
        **offer._asdict(),
    )


def _described(gateway: Gateway, unhealthy: FaultId, physical: PhysicalDevice, *ids: FaultId) -> DeviceStatus:
    """Return the health of ``unhealthy``, with the facts of the physical device, and what was reported of ``ids``."""
    backend = gateway.backend_of(physical.id)
    return replace(
        health_of(gateway, unhealthy),
        index=physical.index,
        product=physical.product,
        pci_address=physical.pci_address,
        backend=physical.backend or None,
        attributes=physical.attributes,
        reported=tuple(what for each in ids for what in backend.state.reported.get(each, {}).values()),
        repeated=tuple(_repeated(count) for each in ids for count in backend.progress_of(each)),
    )


def _repeated(each: Progress) -> RepeatedEvidence:
    return RepeatedEvidence(what=words_of(each.kind), **each._asdict())


def _backend(backend: WatchedBackend, released: Released | None) -> BackendStatus:
    return BackendStatus(
        name=backend.name,
        driver=_driver(backend.state, released),
        has_answered=backend.state.inventory is not None,
        device_count=len(backend.state.devices),
        device_word=backend.device_word,
    )


def _rejected(taken: "NameTaken") -> RejectedDevice:
    from plugin_gateway.core.resources.side_by_side import TODO_NAME  # noqa: PLC0415 - only with several backends

    return RejectedDevice(", ".join(taken.devices), str(taken), TODO_NAME)


def _driver(state: State, released: Released | None) -> DriverStatus:
    return DriverStatus(
        version=state.driver.version if state.driver is not None else None,
        problem=state.driver_trouble,
        todo=state.driver_todo or None,
        events_problem=state.events_problem,
        kernel_log=state.kernel_log,
        released=released,
    )


def _cdi(specs: "Specs | None") -> CdiStatus | None:
    if specs is None:
        return None
    return CdiStatus(
        folder=str(specs.settings.folder),
        way=specs.way or None,
        problem=specs.problem or None,
        foreign_files=tuple(specs.foreign),
    )


def _resource(each: ResourceStatus, fallbacks: Mapping[str, str]) -> OfferedResource:
    return OfferedResource(
        name=each.resource,
        api_version=each.api_version,
        endpoint=each.endpoint,
        stream_opened=each.stream_opened,
        stands_by=each.stands_by,
        fallback=fallbacks.get(each.resource),
        registrations=tuple(each.records.registered),
        failures=tuple(each.records.failed),
    )


def _conflict(known: KnownConflict) -> ConflictStatus:
    return ConflictStatus(
        resource=known.conflict.resource,
        cause=known.conflict.cause.value,
        other_resource=known.conflict.other_resource,
        devices=known.conflict.devices,
        sockets=tuple(PluginSocket(name=name, pid=pid or None) for name, pid in known.pids.items()),
        what=known.words,
        todo=TODO,
    )
