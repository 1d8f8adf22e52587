"""`plugin-gateway status` of a node with network cards: their own table, who holds them, and pools."""

import re
from dataclasses import replace

import pytest

from harness.statuses import BARE, RESOURCE
from plugin_gateway.adapters.commands import device_lines
from plugin_gateway.adapters.commands.status import _lines
from plugin_gateway.adapters.gateway.device_status import DeviceStatus, PortStatus
from plugin_gateway.adapters.gateway.status import BackendStatus, CountStatus, DriverStatus, Status
from plugin_gateway.adapters.kubelet.checkpoint import Holder
from plugin_gateway.adapters.kubelet.holders import Found
from plugin_gateway.core.health.faults import Stage

UP = PortStatus(number=1, layer="ethernet", is_up=True, words="ACTIVE", rate_gbps=100.0, changes=0)
POOL = "rdma/pool"


def card(address: str, **more: object) -> DeviceStatus:
    known = DeviceStatus(
        id=address,
        kind="rdma",
        place="0",
        index=0,
        product="ConnectX-6",
        pci_address=address,
        backend="rdma",
        health=Stage.HEALTHY,
        attributes={"function": ("pf",), "interface": ("ens1f0np0",)},
        ports=(UP,),
    )
    return replace(known, **more)  # type: ignore[arg-type]


GPU = DeviceStatus(
    id="GPU-1", place="0", index=0, product="NVIDIA H100", resource="nvidia.com/gpu", health=Stage.HEALTHY
)
VF = card(
    "0000:3b:00.2",
    resource="example.com/vf",
    attributes={"function": ("vf",), "interface": ("ens1f0v0",), "parent": ("ens1f0np0", "ens1f0np0#0")},
    ports=(),
)
POOLED = card("0000:3b:00.0", resource=POOL, replicas=63, is_pooled=True)
HOLDERS = (
    Holder("default/trainer", "main", "example.com/vf", frozenset({VF.id})),
    Holder("default/first", "main", POOL, frozenset({"0", "1"})),
    Holder("default/second", "main", POOL, frozenset({"7"})),
)


def rows(*devices: DeviceStatus) -> list[list[str]]:
    return [re.split("  +", line) for line in device_lines.device_lines(devices, HOLDERS)]


def test_a_backend_whose_driver_has_no_version_says_how_many_cards_it_shows() -> None:
    driver = DriverStatus(version=None, problem=None, events_problem=None)
    shown = {"rdma": ("RDMA device", 7), "onload": ("Onload interface", 1)}
    backends = tuple(
        BackendStatus(name=name, driver=driver, has_answered=True, device_count=count, device_word=word)
        for name, (word, count) in shown.items()
    )
    lines = _lines(replace(BARE, driver=driver, backends=backends))
    assert lines[:4] == ["backend rdma:", "  7 RDMA devices", "backend onload:", "  1 Onload interface"]


def test_gpus_and_cards_have_a_table_each() -> None:
    shown = rows(GPU, VF, POOLED)
    assert shown[:3] == [
        ["INDEX", "DEVICE", "PRODUCT", "RESOURCE", "HEALTH", "SINCE", "HELD BY"],
        ["0", "GPU-1", "NVIDIA H100", "nvidia.com/gpu", "healthy"],
        [""],
    ]
    assert shown[4:] == [
        [VF.id, "ConnectX-6", "vf ens1f0np0#0", "ens1f0v0", "example.com/vf", "healthy", "default/trainer main"],
        [
            *(POOLED.id, "ConnectX-6", "pf", "ens1f0np0", "ACTIVE, 100 Gbit/s ethernet", f"{POOL} as a pool of 63"),
            *("healthy", "default/first main, default/second main"),
        ],
    ]


def test_where_there_are_no_cards_there_is_one_table_and_where_there_is_nothing_too() -> None:
    assert len(rows(GPU)) == 2
    assert rows() == [["INDEX", "DEVICE", "PRODUCT", "RESOURCE", "HEALTH", "SINCE", "HELD BY"]]
    assert [line[0] for line in rows(VF)] == ["DEVICE", VF.id]


def test_the_ids_of_two_pools_are_not_mixed_up() -> None:
    other = replace(POOLED, id="0000:d8:00.0", resource="rdma/other")
    assert rows(POOLED, other)[2][-1] == "healthy", "nobody holds an id of the other pool"


def test_ports_are_numbered_where_there_are_several() -> None:
    down = PortStatus(number=2, layer="infiniband", is_up=False, words="DOWN (Polling)", rate_gbps=10.0, changes=7)
    assert card("0000:3b:00.0", ports=(UP, down)).port_words == (
        "1: ACTIVE, 100 Gbit/s ethernet; 2: DOWN (Polling), infiniband"
    )


def test_a_pool_says_how_many_of_its_ids_are_held(monkeypatch: pytest.MonkeyPatch) -> None:
    status = with_devices(VF, POOLED)
    monkeypatch.setattr("plugin_gateway.adapters.commands.status.find_holders", lambda _: Found(HOLDERS, "a test"))
    lines = _lines(status)
    at = lines.index(f"{POOL}: not registered")
    assert lines[at + 1] == "  pool: 3 of 63 ids are held"
    assert sum("ids are held" in line for line in lines) == 1


def with_devices(*devices: DeviceStatus) -> Status:
    names = dict.fromkeys(device.resource or "" for device in devices)
    return replace(BARE, devices=devices, resources=tuple(replace(RESOURCE, name=name) for name in names))


def test_the_number_of_devices_is_said_in_their_own_word() -> None:
    count = CountStatus(word="RDMA device", expected=4, present=3, decided_by="--expected-gpus", problem="3 of 4")
    lines = _lines(replace(BARE, device_count=count))
    assert "RDMA devices: 3 can be offered, 4 are expected: --expected-gpus" in lines
    assert "RDMA devices are missing: 3 of 4" in lines
    assert not any("GPU" in line for line in lines)
