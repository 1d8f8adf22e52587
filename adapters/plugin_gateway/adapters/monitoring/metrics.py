"""Metrics in the text format of Prometheus. They are made from the state of the gateway at each request.

A label is a token of a limited set, and never a sentence. What can happen begins at 0, because `increase()` in a query
does not see a series that begins at 1.
"""

import asyncio
import platform
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TypeVar

from prometheus_client import CollectorRegistry, ProcessCollector, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.metrics_core import Metric

from plugin_gateway.adapters.gateway.device_status import DeviceStatus
from plugin_gateway.adapters.gateway.gateway import Gateway
from plugin_gateway.adapters.gateway.status import Status
from plugin_gateway.adapters.kubelet.checkpoint import CheckpointError, Holder, read_checkpoint
from plugin_gateway.adapters.kubelet.holders import mark_gone
from plugin_gateway.core.devices import device_of
from plugin_gateway.core.health.changes import Significance
from plugin_gateway.core.health.faults import Stage
from plugin_gateway.core.health.policy import Action, token_of
from plugin_gateway.core.registration.failures import Failure, Reason

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
MAX_DEVICES = 256
"""Devices with a metric of their own: first those that are not healthy."""
MAX_PORTS = 256
"""Ports with metrics of their own: first those of devices that are offered, and of these those that are down."""
MAX_KINDS = 64
"""Kinds and sizes with a metric of their own: first those of which there are most."""


class Metrics:
    """The metrics of one gateway and its process."""

    def __init__(self, gateway: Gateway, status: Callable[[], Status]) -> None:
        self._status = status
        self._collector = _Collector(gateway, status)
        self._registry = CollectorRegistry()
        self._registry.register(self._collector)
        ProcessCollector(registry=self._registry)
        self._reading = asyncio.Lock()

    async def written(self) -> str:
        """Return the metrics as text. The kubelet's checkpoint is read in a thread, by one request at a time."""
        async with self._reading:
            self._collector.holders = await asyncio.to_thread(_holders, Path(self._status().kubelet_dir))
            return generate_latest(self._registry).decode()


def _holders(kubelet_dir: Path) -> tuple[Holder, ...] | None:
    """Return the containers that hold devices by the kubelet's checkpoint. None if that is not known."""
    try:
        checkpoint = read_checkpoint(kubelet_dir)
    except CheckpointError:
        return None
    if checkpoint is None:
        return None
    return tuple(holder for holder in mark_gone(checkpoint.holders, kubelet_dir) if not holder.is_gone)


_Counted = TypeVar("_Counted")


def _sum(counters: Iterable[Counter[_Counted]]) -> Counter[_Counted]:
    """Return what all backends counted together."""
    total: Counter[_Counted] = Counter()
    for each in counters:
        total.update(each)
    return total


def _is_pool(devices: Sequence[DeviceStatus]) -> bool:
    """Whether each id of a resource stands for all of its devices."""
    return any(device.is_pooled for device in devices)


def _sharing(devices: Sequence[DeviceStatus]) -> str:
    """Return the token for how containers get the devices of a resource."""
    if _is_pool(devices):
        return "pool"
    return "shared" if any((device.replicas or 1) > 1 for device in devices) else "exclusive"


class _Collector:
    """Reads the counters that the gateway has anyway. Nothing is counted for the metrics alone."""

    def __init__(self, gateway: Gateway, status: Callable[[], Status]) -> None:
        self._gateway = gateway
        self._status = status
        self.holders: tuple[Holder, ...] | None = None
        """The containers that hold devices. None if they are not known."""

    def collect(self) -> Iterator[Metric]:
        """Yield all metrics."""
        status = self._status()
        devices: dict[str, list[DeviceStatus]] = {}
        for device in status.devices:
            if device.resource is not None:
                devices.setdefault(device.resource, []).append(device)
        yield self._build(status)
        yield self._devices(devices)
        yield self._replicas(devices)
        yield self._waiting(devices)
        yield self._kinds()
        yield self._resources(status, devices)
        yield self._each_device(devices)
        yield from self._ports(status.devices)
        yield from self._held(devices)
        yield from self._numbers(status)
        yield from self._health()
        yield from self._driver(status)
        yield from self._configuration(status)
        yield from self._registrations(status)
        yield self._allocations()
        yield self._conflicts(status)
        yield GaugeMetricFamily(
            "plugin_gateway_state_kept",
            "Whether what is known of the devices' health outlives a restart of the container.",
            value=status.device_count.lost_with is None and status.device_count.not_kept is None,
        )

    def _build(self, status: Status) -> Metric:
        build = GaugeMetricFamily(
            "plugin_gateway_build_info", "Which plugin-gateway this is.", labels=("version", "python")
        )
        build.add_metric((status.gateway.version or "", platform.python_version()), 1)
        return build

    def _devices(self, offered: Mapping[str, Sequence[DeviceStatus]]) -> Metric:
        metric = GaugeMetricFamily(
            "plugin_gateway_devices", "Devices by resource and stage of health.", labels=("resource", "health")
        )
        for name, devices in offered.items():
            stages = Counter(device.health for device in devices)
            for stage in Stage:
                metric.add_metric((name, stage.value), stages[stage])
        return metric

    def _replicas(self, offered: Mapping[str, Sequence[DeviceStatus]]) -> Metric:
        metric = GaugeMetricFamily(
            "plugin_gateway_replicas", "Ids of devices and of their replicas, by resource.", labels=("resource",)
        )
        for name, devices in offered.items():
            counts = [device.replicas or 1 for device in devices]
            metric.add_metric((name,), max(counts) if _is_pool(devices) else sum(counts))
        return metric

    def _resources(self, status: Status, offered: Mapping[str, Sequence[DeviceStatus]]) -> Metric:
        metric = GaugeMetricFamily(
            "plugin_gateway_resource_info",
            "Which devices a resource has, and how containers get them. Always 1.",
            labels=("resource", "backend", "kind", "sharing"),
        )
        for name, devices in offered.items():
            kinds = sorted({device.kind for device in devices if device.kind is not None})
            backend = devices[0].backend or status.backends[0].name
            metric.add_metric((name, backend, "+".join(kinds), _sharing(devices)), 1)
        return metric

    def _waiting(self, offered: Mapping[str, Sequence[DeviceStatus]]) -> Metric:
        metric = GaugeMetricFamily(
            "plugin_gateway_devices_waiting",
            "Devices that are not given out because a daemon, or something else that containers need, is missing.",
            labels=("resource",),
        )
        for name, devices in offered.items():
            if any(device.shared_through is not None or device.waits_for is not None for device in devices):
                metric.add_metric((name,), sum(device.waits_for is not None for device in devices))
        return metric

    def _kinds(self) -> Metric:
        metric = GaugeMetricFamily(
            "plugin_gateway_devices_by_kind", "Devices by kind, and by size for parts.", labels=("kind", "profile")
        )
        kinds = Counter((device.kind, device.profile) for state in self._gateway.states for device in state.devices)
        for (kind, profile), count in kinds.most_common(MAX_KINDS):
            metric.add_metric((kind, profile), count)
        return metric

    def _each_device(self, offered: Mapping[str, Sequence[DeviceStatus]]) -> Metric:
        health = GaugeMetricFamily(
            "plugin_gateway_device_health",
            "Whether a device is in this stage of health.",
            labels=("resource", "device", "health"),
        )
        each = [(name, device) for name, devices in offered.items() for device in devices]
        each.sort(key=lambda item: item[1].is_healthy)
        for name, device in each[:MAX_DEVICES]:
            for stage in Stage:
                health.add_metric((name, device.id, stage.value), device.health is stage)
        return health

    def _ports(self, devices: Sequence[DeviceStatus]) -> Iterator[Metric]:
        """Yield what is known of the ports. The resource is empty if the device is not offered."""
        labels = ("resource", "device", "port", "layer")
        up = GaugeMetricFamily("plugin_gateway_port_up", "Whether a port of a device is connected.", labels=labels)
        changes = CounterMetricFamily(
            "plugin_gateway_port_link_changes", "How often a port lost its connection or got one.", labels=labels
        )
        rate = GaugeMetricFamily(
            "plugin_gateway_port_rate_gbps", "The rate of a port in Gbit/s, while it is known.", labels=labels
        )
        ports = [(device, port) for device in devices for port in device.ports]
        ports.sort(key=lambda each: (each[0].resource is None, each[1].is_up))
        for device, port in ports[:MAX_PORTS]:
            values = (device.resource or "", device.id, str(port.number), port.layer.lower())
            up.add_metric(values, port.is_up)
            changes.add_metric(values, port.changes)
            if port.rate_gbps is not None:
                rate.add_metric(values, port.rate_gbps)
        yield from (up, changes, rate)

    def _held(self, offered: Mapping[str, Sequence[DeviceStatus]]) -> Iterator[Metric]:
        held = GaugeMetricFamily(
            "plugin_gateway_devices_held", "Devices that pods hold by the kubelet's checkpoint.", labels=("resource",)
        )
        replicas = GaugeMetricFamily(
            "plugin_gateway_replicas_held",
            "Ids of devices and of their replicas that pods hold by the kubelet's checkpoint.",
            labels=("resource",),
        )
        for name, devices in offered.items() if self.holders is not None else ():
            ids = {each for holder in self.holders or () if holder.resource == name for each in holder.devices}
            of_pool = len(devices) if ids else 0
            held.add_metric((name,), of_pool if _is_pool(devices) else len({device_of(each) for each in ids}))
            replicas.add_metric((name,), len(ids))
        yield from (held, replicas)

    def _numbers(self, status: Status) -> Iterator[Metric]:
        """Yield the number of devices. There is no value before it is known, and so no false alarm."""
        found = status.device_count
        expected = GaugeMetricFamily("plugin_gateway_devices_expected", "Devices that the node should have.", labels=())
        present = GaugeMetricFamily("plugin_gateway_devices_present", "Devices that can be offered.", labels=())
        rejected = GaugeMetricFamily(
            "plugin_gateway_devices_rejected",
            "Devices that the machine has and that cannot be offered, such as one that the driver failed to start.",
            labels=(),
        )
        if found.expected is not None and found.present is not None:
            expected.add_metric((), found.expected)
            present.add_metric((), found.present)
        if any(state.inventory is not None for state in self._gateway.states):
            rejected.add_metric((), len(status.rejected))
        yield from (expected, present, rejected)

    def _health(self) -> Iterator[Metric]:
        """Yield what was counted. For each kind of evidence, that begins at 0 which follows from it in the policy."""
        transitions = CounterMetricFamily(
            "plugin_gateway_health_transitions", "Changes of a device's health.", labels=("health", "reason")
        )
        evidence = CounterMetricFamily(
            "plugin_gateway_evidence", "Evidence that changed the health of no device.", labels=("evidence", "meaning")
        )
        taken_out, noted = self._begun()
        counted = [backend.counted for backend in self._gateway.backends]
        for (stage, reason), count in {**taken_out, **_sum(each.transitions for each in counted)}.items():
            transitions.add_metric((stage.value, reason), count)
        for (what, significance), count in {**noted, **_sum(each.evidence for each in counted)}.items():
            evidence.add_metric((what, significance.token), count)
        yield from (transitions, evidence)

    def _begun(self) -> tuple[Mapping[tuple[Stage, str], int], Mapping[tuple[str, Significance], int]]:
        taken_out: dict[tuple[Stage, str], int] = {}
        noted: dict[tuple[str, Significance], int] = {}
        for backend in self._gateway.backends:
            policy = backend.health
            generations = {device.generation for device in backend.state.physical} or {""}
            for kind in policy.kinds:
                for action in {policy.about(kind, generation).action for generation in generations}:
                    if action.needs is not None:
                        taken_out[Stage.UNHEALTHY, token_of(kind)] = 0
                    else:
                        ignored = action is Action.IGNORE
                        noted[token_of(kind), Significance.IGNORED if ignored else Significance.REPORTED] = 0
        return taken_out, noted

    def _driver(self, status: Status) -> Iterator[Metric]:
        """Yield whether the drivers answer: all of them, and each."""
        up = {each.name: each.has_answered and each.driver.problem is None for each in status.backends}
        yield GaugeMetricFamily(
            "plugin_gateway_driver_up", "Whether the driver answers, of every backend.", value=all(up.values())
        )
        backends = GaugeMetricFamily(
            "plugin_gateway_backend_up", "Whether the driver of a backend answers.", labels=("backend",)
        )
        for name, is_up in up.items():
            backends.add_metric((name,), is_up)
        yield backends
        yield GaugeMetricFamily(
            "plugin_gateway_driver_last_sign_timestamp_seconds",
            "When the driver gave its last sign, the most silent one if there are several.",
            value=time.time() - max(backend.silent_for() for backend in self._gateway.backends),
        )

    def _configuration(self, status: Status) -> Iterator[Metric]:
        yield CounterMetricFamily(
            "plugin_gateway_configuration_refused",
            "Configurations that were read again and refused.",
            value=status.configurations_refused,
        )
        yield GaugeMetricFamily(
            "plugin_gateway_configuration_last_reload_successful",
            "Whether the configuration that was read last is in force.",
            value=status.configuration_problem is None,
        )

    def _registrations(self, status: Status) -> Iterator[Metric]:
        yield CounterMetricFamily(
            "plugin_gateway_kubelets_seen",
            "Lives of a kubelet that were seen.",
            value=self._gateway.registrar.kubelets_seen,
        )
        streams = GaugeMetricFamily(
            "plugin_gateway_stream_open", "Whether the kubelet listens.", labels=("resource", "api_version")
        )
        registrations = CounterMetricFamily(
            "plugin_gateway_registrations", "Registrations.", labels=("resource", "api_version", "reason")
        )
        failures = CounterMetricFamily(
            "plugin_gateway_registration_failures", "Registrations that led to nothing.", labels=("resource", "cause")
        )
        for resource in status.resources:
            streams.add_metric((resource.name, resource.api_version or ""), resource.stream_opened is not None)
        for each in self._gateway.registrar.status():
            for api_version in dict.fromkeys(known for known, _ in each.records.registrations):
                for reason in Reason:
                    count = each.records.registrations[api_version, reason]
                    registrations.add_metric((each.resource, api_version, reason.token), count)
            for cause in Failure:
                failures.add_metric((each.resource, cause.token), each.records.failures[cause])
        yield from (streams, registrations, failures)

    def _allocations(self) -> Metric:
        allocations = HistogramMetricFamily(
            "plugin_gateway_call_seconds", "Answers to the kubelet's calls.", labels=("resource", "method")
        )
        for (resource, method), timings in self._gateway.timings.items():
            allocations.add_metric((resource, method), timings.buckets(), timings.total)
        return allocations

    def _conflicts(self, status: Status) -> Metric:
        conflicts = GaugeMetricFamily(
            "plugin_gateway_conflict",
            "Conflicts with other device plugins, by a socket that may be the other's.",
            labels=("resource", "cause", "socket"),
        )
        for each in status.conflicts:
            for socket in [socket.name for socket in each.sockets] or [""]:
                conflicts.add_metric((each.resource, each.cause, socket), 1)
        return conflicts
