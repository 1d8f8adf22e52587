"""A difference between two answers, as people read it."""

import pytest

from plugin_gateway.adapters.dialects import load_dialects
from plugin_gateway.adapters.dialects.v1beta1 import V1BETA1
from plugin_gateway.adapters.replay.comparing import MissedError, compare
from plugin_gateway.api.v1beta1 import api_pb2 as wire


def listed(*devices: tuple[str, str], numa: bool = False) -> bytes:
    topology = wire.TopologyInfo(nodes=[wire.NUMANode(ID=0)]) if numa else None
    entries = [wire.Device(ID=each, health=health, topology=topology) for each, health in devices]
    return wire.ListAndWatchResponse(devices=entries).SerializeToString()


def difference(then: bytes | str, now: bytes | str) -> list[str]:
    with pytest.raises(MissedError, match="ListAndWatch differs") as missed:
        compare(V1BETA1, "ListAndWatch", then, now)
    return [line for line in missed.value.details if line[0] in "+-"][2:]


def replicas(device: str, count: int, health: str = "Healthy") -> list[tuple[str, str]]:
    return [(f"{device}::{number}", health) for number in range(count)]


def test_a_list_has_one_line_for_each_device() -> None:
    then = listed(*replicas("GPU-0", 64), *replicas("GPU-1", 64), numa=True)
    now = listed(*replicas("GPU-0", 63), *replicas("GPU-1", 64), numa=True)
    assert difference(then, now) == [
        "-GPU-0::0 to ::63 (64) Healthy, NUMA 0",
        "+GPU-0::0 to ::62 (63) Healthy, NUMA 0",
    ]
    sick = listed(*replicas("GPU-0", 64, "Unhealthy"), *replicas("GPU-1", 64), numa=True)
    assert difference(then, sick) == [
        "-GPU-0::0 to ::63 (64) Healthy, NUMA 0",
        "+GPU-0::0 to ::63 (64) Unhealthy, NUMA 0",
    ]


def test_what_these_lines_do_not_show_is_shown_as_the_message_is() -> None:
    """The order of replicas, for one."""
    one, other = ("GPU-0::0", "Healthy"), ("GPU-0::1", "Healthy")
    changed = difference(listed(one, other), listed(other, one))
    assert any("GPU-0::0" in line for line in changed)


def test_what_is_no_list_is_shown_in_hexadecimal() -> None:
    assert difference(listed(("a", "Healthy")), b"\xff") == ["-a Healthy", "+ff"]
    assert difference("no list", b"") == ["-no list"]
    repeated = listed(("a", "Healthy")) + b"\x98\x06\x01"
    assert difference(listed(("a", "Healthy")), repeated)[1].endswith("980601")


def test_the_same_is_no_difference() -> None:
    for dialect in load_dialects():
        compare(dialect, "ListAndWatch", b"", b"")
