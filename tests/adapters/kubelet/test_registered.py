"""Which devices the kubelet has: its own word first, then its checkpoint."""

import json
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc.aio
import pytest

from harness.pod_resources import pod_resources
from plugin_gateway.adapters.kubelet import registered
from plugin_gateway.adapters.kubelet.registered import Registered, read_registered
from plugin_gateway.api.podresources import api_pb2 as wire

RESOURCE = "nvidia.com/gpu"


@pytest.fixture
def directory(kubelet_dir: Path) -> Path:
    made = kubelet_dir / "device-plugins"
    made.mkdir()
    return made


@asynccontextmanager
async def kubelet(root: Path, answer: bytes, code: grpc.StatusCode | None = None) -> AsyncIterator[None]:
    async def allocatable(_request: bytes, context: Any) -> bytes:
        if code is not None:
            await context.abort(code, "Pod Resources API GetAllocatableResources disabled")
        return answer

    async with pod_resources(root, allocatable):
        yield


def told(*devices: tuple[str, str]) -> bytes:
    """As 1.21 and later write it: an entry for each device, and one more for each NUMA node of it."""
    entries = [wire.ContainerDevices(resource_name=name, device_ids=[device]) for name, device in devices]
    return wire.AllocatableResourcesResponse(devices=entries).SerializeToString()


def write_checkpoint(directory: Path, devices: object) -> None:
    data = {"PodDeviceEntries": None, "RegisteredDevices": devices}
    (directory / "kubelet_internal_checkpoint").write_text(json.dumps({"Data": data, "Checksum": 1}))


async def test_the_kubelets_word_comes_before_its_checkpoint(directory: Path) -> None:
    write_checkpoint(directory, {RESOURCE: ["old"]})
    async with kubelet(directory.parent, told((RESOURCE, "a"), (RESOURCE, "a"), (RESOURCE, "b"), ("other/x", "y"))):
        found = await read_registered(directory)
    assert found == Registered({RESOURCE: frozenset("ab"), "other/x": frozenset("y")}, is_live=True)


@pytest.mark.parametrize(
    ("answer", "code"),
    [(b"", grpc.StatusCode.UNKNOWN), (b"", grpc.StatusCode.UNIMPLEMENTED), (b"\xff", None)],
)
async def test_without_it_the_checkpoint_is_read(answer: bytes, code: grpc.StatusCode | None, directory: Path) -> None:
    write_checkpoint(directory, {RESOURCE: ["a", 5], "other/x": None})
    async with kubelet(directory.parent, answer, code):
        found = await read_registered(directory)
    assert found == Registered({RESOURCE: frozenset({"a", "5"}), "other/x": frozenset()}, is_live=False)


async def test_where_nothing_is_known_there_is_nothing(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registered, "TIMEOUT", 0.2)
    nothing = Registered({}, is_live=False)
    assert await read_registered(directory) == nothing
    write_checkpoint(directory, 5)
    assert await read_registered(directory) == nothing
    (directory.parent / "pod-resources").mkdir()
    with socket.socket(socket.AF_UNIX) as silent:
        silent.bind(str(directory.parent / "pod-resources" / "kubelet.sock"))
        silent.listen()
        assert await read_registered(directory) == nothing
