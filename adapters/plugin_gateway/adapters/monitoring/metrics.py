"""Metrics in the text format of Prometheus. They are made from the state of the gateway at each request."""

import platform
from collections import Counter
from collections.abc import Callable, Iterator
from importlib.metadata import version

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.metrics_core import Metric

from plugin_gateway.adapters.gateway.gateway import Gateway
from plugin_gateway.core.device_count import Comparison
from plugin_gateway.core.health.faults import Stage
from plugin_gateway.core.resources.assignment import advertise

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


class GatewayCollector:
    """Reads the counters that the gateway has anyway. Nothing is counted for the metrics alone."""

    def __init__(self, gateway: Gateway, compare: Callable[[], Comparison | None]) -> None:
        self._gateway = gateway
        self._compare = compare

    def collect(self) -> Iterator[Metric]:
        """Yield all metrics."""
        yield self._build()
        yield self._devices()
        yield from self._numbers()
        yield self._transitions()
        yield self._evidence()
        yield from self._driver()
        yield from self._registrations()
        yield self._allocations()
        yield self._conflicts()

    def _build(self) -> Metric:
        build = GaugeMetricFamily(
            "plugin_gateway_build_info", "Which plugin-gateway this is.", labels=("version", "python")
        )
        build.add_metric((version("plugin-gateway"), platform.python_version()), 1)
        return build

    def _devices(self) -> Metric:
        state = self._gateway.state
        devices = GaugeMetricFamily(
            "plugin_gateway_devices", "Devices by resource and stage of health.", labels=("resource", "health")
        )
        for name, advertisement in advertise(state, self._gateway.rules).items():
            stages = Counter(state.stage_of(device.id) for device in advertisement.devices)
            for stage in Stage:
                devices.add_metric((name, stage.value), stages[stage])
        return devices

    def _numbers(self) -> Iterator[Metric]:
        """Yield the number of devices. There is no value before it is known, and so no false alarm."""
        found = self._compare()
        expected = GaugeMetricFamily("plugin_gateway_devices_expected", "Devices that the node should have.", labels=())
        present = GaugeMetricFamily("plugin_gateway_devices_present", "Devices that can be offered.", labels=())
        if found is not None:
            expected.add_metric((), found.expected)
            present.add_metric((), found.present)
        yield from (expected, present)

    def _transitions(self) -> Metric:
        transitions = CounterMetricFamily(
            "plugin_gateway_health_transitions", "Changes of a device's health.", labels=("health", "reason")
        )
        for (stage, reason), count in self._gateway.transitions.items():
            transitions.add_metric((stage.value, reason), count)
        return transitions

    def _evidence(self) -> Metric:
        evidence = CounterMetricFamily(
            "plugin_gateway_evidence", "Evidence that changed the health of no device.", labels=("evidence", "meaning")
        )
        for (what, significance), count in self._gateway.evidence.items():
            evidence.add_metric((what, significance.value), count)
        return evidence

    def _driver(self) -> Iterator[Metric]:
        state = self._gateway.state
        up = state.inventory is not None and state.driver_problem is None and not state.driver_is_silent
        yield GaugeMetricFamily("plugin_gateway_driver_up", "Whether the driver answers.", value=up)
        silence = self._gateway.driver_silence
        yield GaugeMetricFamily(
            "plugin_gateway_driver_silence_seconds", "For how long the driver gave no sign.", value=silence
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
            for (api_version, reason), count in status.records.registrations.items():
                registrations.add_metric((status.resource, api_version, reason), count)
            for cause, count in status.records.failures.items():
                failures.add_metric((status.resource, cause), count)
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


def make_registry(gateway: Gateway, compare: Callable[[], Comparison | None]) -> CollectorRegistry:
    """Return a registry with this gateway only, without the process metrics of the library."""
    registry = CollectorRegistry()
    registry.register(GatewayCollector(gateway, compare))
    return registry


def written(registry: CollectorRegistry) -> str:
    """Return the metrics as text."""
    return generate_latest(registry).decode()
