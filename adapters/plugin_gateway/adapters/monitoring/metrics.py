"""Metrics in the text format of Prometheus. They are made from the state of the gateway at each request.

A label is a token of a limited set, and never a sentence. What can happen begins at 0, because `increase()` in a query
does not see a series that begins at 1.
"""

import asyncio
import platform
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

from prometheus_client import CollectorRegistry, ProcessCollector, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.metrics_core import Metric

from plugin_gateway.adapters.gateway.gateway import Gateway
from plugin_gateway.adapters.kubelet.checkpoint import CheckpointError, Holder, read_checkpoint
from plugin_gateway.adapters.kubelet.holders import mark_gone
from plugin_gateway.adapters.support.about import installed_version
from plugin_gateway.core.device_count import Comparison
from plugin_gateway.core.health.changes import Significance
from plugin_gateway.core.health.faults import Stage
from plugin_gateway.core.health.policy import Action, token_of
from plugin_gateway.core.registration.failures import Failure, Reason
from plugin_gateway.core.resources.assignment import Advertisement, advertise
from plugin_gateway.core.resources.names import ResourceName

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
MAX_DEVICES = 256
"""Devices with a metric of their own: first those that are not healthy."""


class Refusals(NamedTuple):
    """What became of the configurations that were read while the gateway ran."""

    times: int
    """How many were refused."""
    last_was_refused: bool


class Numbers(NamedTuple):
    """Where the numbers come from that the gateway itself does not have."""

    compare: Callable[[], Comparison | None]
    """Returns how many devices there are and should be. None before the first inventory."""
    refusals: Callable[[], Refusals]
    kubelet_dir: Path
    """The kubelet's folder, for its checkpoint."""


class Metrics:
    """The metrics of one gateway and its process."""

    def __init__(self, gateway: Gateway, numbers: Numbers) -> None:
        self._collector = _Collector(gateway, numbers)
        self._registry = CollectorRegistry()
        self._registry.register(self._collector)
        ProcessCollector(registry=self._registry)
        self._kubelet_dir = numbers.kubelet_dir
        self._reading = asyncio.Lock()

    async def written(self) -> str:
        """Return the metrics as text. The kubelet's checkpoint is read in a thread, by one request at a time."""
        async with self._reading:
            self._collector.holders = await asyncio.to_thread(_holders, self._kubelet_dir)
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


class _Collector:
    """Reads the counters that the gateway has anyway. Nothing is counted for the metrics alone."""

    def __init__(self, gateway: Gateway, numbers: Numbers) -> None:
        self._gateway = gateway
        self._given = numbers
        self.holders: tuple[Holder, ...] | None = None
        """The containers that hold devices. None if they are not known."""

    def collect(self) -> Iterator[Metric]:
        """Yield all metrics."""
        offered = advertise(self._gateway.state, self._gateway.rules)
        yield self._build()
        yield self._devices(offered)
        yield self._each_device(offered)
        yield self._held(offered)
        yield from self._numbers()
        yield from self._health()
        yield from self._driver()
        yield from self._configuration()
        yield from self._registrations()
        yield self._allocations()
        yield self._conflicts()

    def _build(self) -> Metric:
        build = GaugeMetricFamily(
            "plugin_gateway_build_info", "Which plugin-gateway this is.", labels=("version", "python")
        )
        build.add_metric((installed_version(), platform.python_version()), 1)
        return build

    def _devices(self, offered: Mapping[ResourceName, Advertisement]) -> Metric:
        state = self._gateway.state
        devices = GaugeMetricFamily(
            "plugin_gateway_devices", "Devices by resource and stage of health.", labels=("resource", "health")
        )
        for name, advertisement in offered.items():
            stages = Counter(state.stage_of(device.id) for device in advertisement.devices)
            for stage in Stage:
                devices.add_metric((name, stage.value), stages[stage])
        return devices

    def _each_device(self, offered: Mapping[ResourceName, Advertisement]) -> Metric:
        state = self._gateway.state
        health = GaugeMetricFamily(
            "plugin_gateway_device_health",
            "Whether a device is in this stage of health.",
            labels=("resource", "device", "health"),
        )
        each = [(name, device.id) for name, advertisement in offered.items() for device in advertisement.devices]
        each.sort(key=lambda item: state.stage_of(item[1]) is Stage.HEALTHY)
        for name, device in each[:MAX_DEVICES]:
            for stage in Stage:
                health.add_metric((name, device, stage.value), state.stage_of(device) is stage)
        return health

    def _held(self, offered: Iterable[ResourceName]) -> Metric:
        held = GaugeMetricFamily(
            "plugin_gateway_devices_held", "Devices that pods hold by the kubelet's checkpoint.", labels=("resource",)
        )
        for name in offered if self.holders is not None else ():
            devices = (holder.devices for holder in self.holders or () if holder.resource == name)
            held.add_metric((name,), len(frozenset[str]().union(*devices)))
        return held

    def _numbers(self) -> Iterator[Metric]:
        """Yield the number of devices. There is no value before it is known, and so no false alarm."""
        found = self._given.compare()
        expected = GaugeMetricFamily("plugin_gateway_devices_expected", "Devices that the node should have.", labels=())
        present = GaugeMetricFamily("plugin_gateway_devices_present", "Devices that can be offered.", labels=())
        rejected = GaugeMetricFamily(
            "plugin_gateway_devices_rejected",
            "Devices that the machine has and that cannot be offered, such as one that the driver failed to start.",
            labels=(),
        )
        if found is not None:
            expected.add_metric((), found.expected)
            present.add_metric((), found.present)
        if self._gateway.state.inventory is not None:
            rejected.add_metric((), len(self._gateway.state.inventory.rejected))
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
        for (stage, reason), count in {**taken_out, **self._gateway.counted.transitions}.items():
            transitions.add_metric((stage.value, reason), count)
        for (what, significance), count in {**noted, **self._gateway.counted.evidence}.items():
            evidence.add_metric((what, significance.token), count)
        yield from (transitions, evidence)

    def _begun(self) -> tuple[Mapping[tuple[Stage, str], int], Mapping[tuple[str, Significance], int]]:
        policy, taken_out, noted = self._gateway.health_policy, {}, {}
        generations = {device.generation for device in self._gateway.state.devices} or {""}
        for kind in policy.kinds:
            for action in {policy.about(kind, generation).action for generation in generations}:
                if action.needs is not None:
                    taken_out[Stage.UNHEALTHY, token_of(kind)] = 0
                else:
                    ignored = action is Action.IGNORE
                    noted[token_of(kind), Significance.IGNORED if ignored else Significance.REPORTED] = 0
        return taken_out, noted

    def _driver(self) -> Iterator[Metric]:
        state = self._gateway.state
        up = state.inventory is not None and state.driver_problem is None and not state.driver_is_silent
        yield GaugeMetricFamily("plugin_gateway_driver_up", "Whether the driver answers.", value=up)
        yield GaugeMetricFamily(
            "plugin_gateway_driver_last_sign_timestamp_seconds",
            "When the driver gave its last sign.",
            value=time.time() - self._gateway.driver_silence,
        )

    def _configuration(self) -> Iterator[Metric]:
        refusals = self._given.refusals()
        yield CounterMetricFamily(
            "plugin_gateway_configuration_refused",
            "Configurations that were read again and refused.",
            value=refusals.times,
        )
        yield GaugeMetricFamily(
            "plugin_gateway_configuration_last_reload_successful",
            "Whether the configuration that was read last is in force.",
            value=not refusals.last_was_refused,
        )

    def _registrations(self) -> Iterator[Metric]:
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
        for status in self._gateway.registrar.status():
            streams.add_metric((status.resource, status.api_version or ""), status.stream_opened is not None)
            for api_version in dict.fromkeys(known for known, _ in status.records.registrations):
                for reason in Reason:
                    count = status.records.registrations[api_version, reason]
                    registrations.add_metric((status.resource, api_version, reason.token), count)
            for cause in Failure:
                failures.add_metric((status.resource, cause.token), status.records.failures[cause])
        yield from (streams, registrations, failures)

    def _allocations(self) -> Metric:
        allocations = HistogramMetricFamily(
            "plugin_gateway_call_seconds", "Answers to the kubelet's calls.", labels=("resource", "method")
        )
        for (resource, method), timings in self._gateway.timings.items():
            allocations.add_metric((resource, method), timings.buckets(), timings.total)
        return allocations

    def _conflicts(self) -> Metric:
        conflicts = GaugeMetricFamily(
            "plugin_gateway_conflict",
            "Conflicts with other device plugins, by a socket that may be the other's.",
            labels=("resource", "cause", "socket"),
        )
        for known in self._gateway.conflicts:
            for socket in known.pids or ("",):
                conflicts.add_metric((known.conflict.resource, known.conflict.cause.value, socket), 1)
        return conflicts
