"""What `/metrics` says: labels of a limited set, counters that begin at 0, the process, what pods hold."""

import json
import math
import re
import time
from dataclasses import replace
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from harness.node import RESOURCE, Node, device, running, until
from harness.pages import page_of, pages_of, process_status, shown, status_of
from plugin_gateway.adapters.gateway.health_counters import MAX_TOKENS
from plugin_gateway.adapters.gateway.status import CountStatus
from plugin_gateway.adapters.monitoring.metrics import MAX_DEVICES, Metrics
from plugin_gateway.core.health.changes import Significance
from plugin_gateway.core.health.observations import DriverUnavailable, EvidenceReported
from plugin_gateway.core.health.policy import family_of, token_of
from plugin_gateway.core.registration.failures import Failure, Reason
from plugin_gateway.core.resources.names import ResourceName
from plugin_gateway.core.resources.rules import ResourceRule, Selector
from plugin_gateway.core.resources.sharing import Sharing
from plugin_gateway.nvidia.evidence import HEALTH_POLICY, xid_kind

Labels = tuple[str, ...]
OTHER = ResourceName("nvidia.com/gpu.shared")
PATH = "/usr/lib/x86_64-linux-gnu/libnvidia-ml.so.1: cannot open shared object file"


def samples(text: str) -> dict[tuple[str, Labels], float]:
    """The samples by name and the values of the labels, sorted by the names of the labels."""
    return {
        (sample.name, tuple(value for _, value in sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


async def measured(node: Node, kubelet_dir: Path = Path("/nonexistent")) -> dict[tuple[str, Labels], float]:
    return samples((await page_of(node, "/metrics", kubelet_dir)).body)


async def test_what_can_happen_begins_at_zero(kubelet_dir: Path) -> None:
    node = Node(kubelet_dir)
    async with running(node):
        await until(lambda: bool(node.registrar.status()), "the resource")
        found = await measured(node)
    transitions = "plugin_gateway_health_transitions_total"
    for reason in ("xid_79", "xid_48", "driver_gone", "not_answering", "fabric"):
        assert found[transitions, ("unhealthy", reason)] == 0
    assert found["plugin_gateway_evidence_total", ("xid_31", "reported")] == 0
    assert found["plugin_gateway_evidence_total", ("xid_63", "ignored")] == 0
    failures = {labels[0] for name, labels in found if name == "plugin_gateway_registration_failures_total"}
    assert failures == {failure.token for failure in Failure} >= {"no_stream", "nobody_listens"}
    assert found["plugin_gateway_configuration_refused_total", ()] == 0
    assert found["plugin_gateway_configuration_last_reload_successful", ()] == 1


async def test_a_label_is_a_token_whatever_the_driver_says(kubelet_dir: Path) -> None:
    node = Node(kubelet_dir)
    async with running(node):
        await until(lambda: len(node.gateway.state.devices) == 8, "8 devices")
        node.observations.put(DriverUnavailable(PATH))
        node.fail(3, 79)
        node.fail(3, 31)
        node.observations.put(EvidenceReported(xid_kind(62), None, "0000:01:00.0"))
        await until(lambda: len(node.backend.counted.evidence) == 2, "2 pieces of evidence")
        text = (await page_of(node, "/metrics")).body
    found = samples(text)
    assert found["plugin_gateway_health_transitions_total", ("unhealthy", "xid_79")] == 1
    assert found["plugin_gateway_evidence_total", ("xid_31", "reported")] == 1
    assert found["plugin_gateway_evidence_total", ("xid_62", "unknown_device")] == 1
    token = re.compile(r"[a-z0-9_]+")
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            for name in sample.labels.keys() & {"reason", "cause", "evidence", "meaning", "health"}:
                assert token.fullmatch(sample.labels[name]), sample


async def test_a_driver_with_many_numbers_makes_a_limited_number_of_series(kubelet_dir: Path) -> None:
    node = Node(kubelet_dir)
    async with running(node):
        await until(lambda: len(node.gateway.state.devices) == 8, "8 devices")
        many = 3 * MAX_TOKENS
        for number in range(many):
            node.observations.put(EvidenceReported(xid_kind(10**6 + number), None))
        await until(lambda: sum(node.backend.counted.evidence.values()) == many, "all of it")
        found = await measured(node)
    counted = {labels: value for (name, labels), value in found.items() if name == "plugin_gateway_evidence_total"}
    assert sum(counted.values()) == many
    assert counted["other", "unknown_device"] == many - MAX_TOKENS
    assert sum(meaning == "unknown_device" for _, meaning in counted) == MAX_TOKENS + 1


async def test_each_device_has_its_health_up_to_a_limit(kubelet_dir: Path) -> None:
    node = Node(kubelet_dir)
    async with running(node, devices=MAX_DEVICES + 8):
        await until(lambda: len(node.gateway.state.devices) == MAX_DEVICES + 8, "the devices")
        sick = device(MAX_DEVICES + 7).id
        node.fail(MAX_DEVICES + 7, 79)
        await until(lambda: bool(node.gateway.state.faults), "a fault")
        found = await measured(node)
    states = {labels: value for (name, labels), value in found.items() if name == "plugin_gateway_device_health"}
    assert len(states) == 3 * MAX_DEVICES
    of_sick = {health: value for (name, health, _), value in states.items() if name == sick}
    assert of_sick == {"healthy": 0, "unhealthy": 1, "probation": 0}


def checkpoint(*pods: tuple[str, list[str]]) -> str:
    entries = [
        {"PodUID": uid, "ContainerName": "c", "ResourceName": RESOURCE, "DeviceIDs": {"0": ids}, "AllocResp": ""}
        for uid, ids in pods
    ]
    return json.dumps({"Data": {"PodDeviceEntries": entries, "RegisteredDevices": {}}, "Checksum": 1})


async def test_devices_that_pods_hold_are_counted_once_and_without_pods_that_are_gone(kubelet_dir: Path) -> None:
    plugins = kubelet_dir / "device-plugins"
    plugins.mkdir()
    node, path = Node(plugins), plugins / "kubelet_internal_checkpoint"
    name = ("plugin_gateway_devices_held", (RESOURCE,))
    async with running(node):
        await until(lambda: len(node.gateway.state.devices) == 8, "8 devices")
        assert name not in await measured(node, plugins)
        path.write_text(checkpoint(("one", ["a", "b"]), ("two", ["b", "c"]), ("ended", ["d"])))
        for uid in ("one", "two"):
            (kubelet_dir / "pods" / uid).mkdir(parents=True)
        assert (await measured(node, plugins))[name] == 3
        path.write_text("{")
        assert name not in await measured(node, plugins)


async def test_replicas_are_counted_beside_their_devices_and_have_no_metric_of_their_own(kubelet_dir: Path) -> None:
    plugins = kubelet_dir / "device-plugins"
    plugins.mkdir()
    rules = (
        ResourceRule(selector=Selector(places=((0,),)), name=OTHER, sharing=Sharing(replicas=64)),
        ResourceRule(selector=Selector(places=((7,),)), name=None),
        ResourceRule(name=RESOURCE, sharing=Sharing(replicas=3)),
    )
    node, first = Node(plugins, rules=rules), device(1).id
    (plugins / "kubelet_internal_checkpoint").write_text(
        checkpoint(("one", [f"{first}::0", f"{first}::2"]), ("two", [f"{device(2).id}::1"]))
    )
    for uid in ("one", "two"):
        (kubelet_dir / "pods" / uid).mkdir(parents=True)
    async with running(node):
        await until(lambda: len(node.gateway.state.devices) == 8, "8 devices")
        found = await measured(node, plugins)
        page = (await page_of(node, "/", plugins)).body
        status = json.loads((await page_of(node, "/status", plugins)).body)
    assert found["plugin_gateway_replicas", (RESOURCE,)] == 18
    assert found["plugin_gateway_replicas", (OTHER,)] == 64
    assert found["plugin_gateway_devices", ("healthy", RESOURCE)] == 6
    assert found["plugin_gateway_replicas_held", (RESOURCE,)] == 3
    assert found["plugin_gateway_devices_held", (RESOURCE,)] == 2
    assert not any("::" in label for _, labels in found for label in labels)
    assert [each["replicas"] for each in status["devices"]] == [64, *[3] * 6, None]
    assert f"<p class=soft>{OTHER} x64 · " in page
    assert page.count(f"<p class=soft>{RESOURCE} x3 · ") == 6
    assert page.count("<p class=soft>not offered · ") == 1
    assert page.count("<span>held by one c</span>") == page.count("<span>held by two c</span>") == 1


async def test_a_silent_driver_has_the_time_of_its_last_sign(kubelet_dir: Path) -> None:
    node = Node(kubelet_dir)
    node.silence = 100.0
    last = (await measured(node))["plugin_gateway_driver_last_sign_timestamp_seconds", ()]
    assert math.isclose(last, time.time() - 100, abs_tol=10)


async def test_a_refused_configuration_is_counted(kubelet_dir: Path) -> None:
    node = Node(kubelet_dir)
    pages = pages_of(node, process_status(problem="it is wrong", refused=2))
    found = samples((await shown(pages, "/metrics")).body)
    assert found["plugin_gateway_configuration_refused_total", ()] == 2
    assert found["plugin_gateway_configuration_last_reload_successful", ()] == 0


@pytest.mark.parametrize(
    ("count", "kept"),
    [
        (CountStatus(), 1),
        (CountStatus(lost_with="container"), 0),
        (CountStatus(not_kept="/run/plugin-gateway/known-devices.json: No space left on device"), 0),
    ],
)
async def test_whether_a_restart_knows_the_health_is_a_metric(count: CountStatus, kept: int, kubelet_dir: Path) -> None:
    node = Node(kubelet_dir)
    status = replace(status_of(node, process_status()), device_count=count)
    found = samples(await Metrics(node.gateway, lambda: status).written())
    assert found["plugin_gateway_state_kept", ()] == kept


async def test_the_process_is_measured_as_others_are(kubelet_dir: Path) -> None:
    found = await measured(Node(kubelet_dir))
    assert found["process_start_time_seconds", ()] <= time.time()
    assert found["process_resident_memory_bytes", ()] > 1024 * 1024
    assert found["process_open_fds", ()] <= len(list(Path("/proc/self/fd").iterdir())) + 8


def test_the_pages_list_every_token() -> None:
    docs = Path(__file__).parents[3] / "docs"
    observe, troubleshooting = ((docs / name).read_text() for name in ("observe.md", "troubleshooting.md"))
    words = {token_of(kind) for kind in HEALTH_POLICY.kinds if family_of(kind) is None}
    tokens = words | {each.token for each in Significance} | {each.token for each in Reason}
    assert {each for each in tokens if f"`{each}`" not in observe} == set()
    assert {each.token for each in Failure if f"`{each.token}`" not in troubleshooting} == set()
