"""Scenarios with many ids, because GPUs are shared, and those of the preferred devices."""

import json
import tempfile
import time
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from itertools import combinations
from pathlib import Path
from typing import TYPE_CHECKING

import grpc
import grpc.aio

from bench.figures import Figure, percentile
from bench.scenarios import LOCAL, Machine, limit
from bench.subjects import RESOURCE, Subject
from driver import topology
from plugin_gateway.api.v1beta1 import api_pb2 as wire

if TYPE_CHECKING:
    from bench.scenarios import Call

LIST = "/v1beta1.DevicePlugin/ListAndWatch"
_FEW, _MANY = "8 ids", "1,024 ids"


def shared(stack: AsyncExitStack, replicas: int) -> tuple[str, ...]:
    """Return the arguments with which each GPU has so many replicas. JSON is YAML, too."""
    folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="bench-config-")))
    slicing = {"resources": [{"name": RESOURCE, "replicas": replicas}]}
    file = folder / "config.yaml"
    file.write_text(json.dumps({"version": "v1", "sharing": {"timeSlicing": slicing}}))
    return ("--config-file", str(file))


@asynccontextmanager
async def endpoint_of(subject: Subject) -> AsyncIterator[grpc.aio.Channel]:
    """Connect to what the subject registered last."""
    path = subject.directory / subject.kubelet.registrations[-1].endpoint
    async with grpc.aio.insecure_channel(f"unix:{path}", options=LOCAL) as channel:
        yield channel


def _both(what: str, unit: str) -> tuple[Figure, Figure]:
    return Figure(what, _FEW, unit), Figure(what, _MANY, unit)


async def ids(rounds: int) -> list[Figure]:
    """Measure 16 GPUs with 64 replicas each beside eight GPUs: start, XID, Allocate, and memory."""
    started, told = _both("process start to first list", "ms"), _both("XID to list received", "ms")
    middle, high = _both("Allocate of 1, p50", "µs"), _both("Allocate of 1, p99", "µs")
    memory = _both("RSS with a list", "MiB")
    for _ in range(rounds):
        async with AsyncExitStack() as stack:
            many = Machine(stack, _MANY, more=shared(stack, 64), gpus=16)
            for number, machine in enumerate((Machine(stack, _FEW), many)):
                subject = await stack.enter_async_context(machine.subject)
                subject.spawn()
                _, listed = await subject.registered(0, 0)
                started[number].samples.append((listed - subject.spawned) * 1000)
                await subject.settle()
                assert len(subject.kubelet.devices(RESOURCE)) == (8, 1024)[number]
                calls = await _allocate(subject)
                middle[number].samples.append(percentile(calls, 0.5))
                high[number].samples.append(percentile(calls, 0.99))
                memory[number].samples.append(subject.memory()[0])
                for gpu in range(8):
                    await subject.settle()
                    seen, began = len(subject.kubelet.lists), time.monotonic()
                    machine.driver.xid(gpu, 79)
                    told[number].samples.append((await subject.listed(seen) - began) * 1000)
    limit(started[1], started[0].median + 60, "60 ms over 8 ids")
    limit(told[1], 20, "20 ms")
    limit(high[1], 1.2 * high[0].median, "that of 8 ids (1.2 x)")
    limit(memory[1], memory[0].median + 4, "4 MiB over 8 ids")
    return [*started, *told, *middle, *high, *memory]


async def _allocate(subject: Subject) -> list[float]:
    """Call Allocate 1,000 times. Return the microseconds of each call, after some that are not counted."""
    device = min(subject.kubelet.devices(RESOURCE))
    request = wire.AllocateRequest(container_requests=[wire.ContainerAllocateRequest(devices_ids=[device])])
    async with endpoint_of(subject) as channel:
        call: Call = channel.unary_unary("/v1beta1.DevicePlugin/Allocate")
        return await _timed(call, request.SerializeToString(), 1000)


async def _timed(call: "Call", data: bytes, times: int) -> list[float]:
    samples = []
    for number in range(times + 50):
        began = time.perf_counter()
        await call(data, timeout=5)
        if number >= 50:
            samples.append((time.perf_counter() - began) * 1e6)
    return samples


async def lists(rounds: int) -> list[Figure]:
    """Measure the time from ListAndWatch to the list, for 1,024 ids and for 8,960. It grows no faster than they do."""
    figures = [Figure("ListAndWatch to list", f"{count:,} ids", "ms") for count in (1_024, 8_960)]
    async with AsyncExitStack() as stack:
        for figure, gpus in zip(figures, (16, 140), strict=True):
            backend = ("--backend", f"simulated:{gpus}xH100")
            subject = await stack.enter_async_context(Subject(figure.subject, (*backend, *shared(stack, 64))))
            subject.spawn()
            await subject.registered(0, 0)
            channel = await stack.enter_async_context(endpoint_of(subject))
            for _ in range(rounds):
                began = time.monotonic()
                watch: grpc.aio.UnaryStreamMultiCallable[bytes, bytes] = channel.unary_stream(LIST)
                stream = watch(b"", timeout=10)
                async for answer in stream:
                    figure.samples.append((time.monotonic() - began) * 1000)
                    assert len(wire.ListAndWatchResponse.FromString(answer).devices) == 64 * gpus
                    break
                stream.cancel()
    limit(figures[1], 100, "100 ms")
    return figures


async def preferred(rounds: int) -> list[Figure]:
    """Measure GetPreferredAllocation over the real socket. The links are read before, and no call asks the driver."""
    partition, packing = ("--preferred-allocation", "partition"), ("--shared-devices-allocation-policy", "packed")
    async with AsyncExitStack() as stack:
        eight = _cube(stack, "8 GPUs, NVLink", 8)
        twelve = _cube(stack, "12 GPUs, partition", 12, partition)
        sixteen = _cube(stack, "16 GPUs, NVLink", 16)
        thirteen = _cube(stack, "16 GPUs, partition", 16, partition)
        many = _cube(stack, "1,024 replicas", 16, shared(stack, 64))
        packed = _cube(stack, "1,024 replicas, packed", 16, (*shared(stack, 64), *packing))
        return [
            *await _prefer(rounds, eight, range(1, 8), 1),
            *await _prefer(rounds, twelve, range(1, 12), 20),
            *await _prefer(rounds, sixteen, (2, 4, 8, 12), 20),
            *await _prefer(rounds, thirteen, (2, 4, 8, 12), 20),
            *await _prefer(rounds, many, (1, 8), 2),
            *await _prefer(rounds, packed, (1, 8), 2),
        ]


def _cube(stack: AsyncExitStack, name: str, gpus: int, more: Sequence[str] = ()) -> Subject:
    """Return a gateway whose GPUs are connected as two cubes of NVLinks, so that not all pairs are alike."""
    machine = Machine(stack, name, more=more, gpus=gpus)
    machine.driver.topology.build(topology.DGX1_V100, 8)
    for one, other in combinations(range(8, gpus), 2):
        machine.driver.topology.set_level(one, other, topology.NODE if (one ^ other) & 1 else topology.SINGLE)
    return machine.subject


async def _prefer(rounds: int, subject: Subject, sizes: Iterable[int], most: float) -> list[Figure]:
    """Ask for sets of each size, out of all ids. The figure is that of the size that takes longest."""
    slowest: Figure | None = None
    async with subject:
        subject.spawn()
        await subject.registered(0, 0)
        await subject.settle()
        available = sorted(subject.kubelet.devices(RESOURCE))
        async with endpoint_of(subject) as channel:
            call: Call = channel.unary_unary("/v1beta1.DevicePlugin/GetPreferredAllocation")
            for size in sizes:
                asked = wire.ContainerPreferredAllocationRequest(available_deviceIDs=available, allocation_size=size)
                request = wire.PreferredAllocationRequest(container_requests=[asked])
                figure = Figure(f"GetPreferredAllocation of {size}", subject.name, "ms")
                figure.samples += [each / 1000 for each in await _timed(call, request.SerializeToString(), 5 * rounds)]
                slowest = figure if slowest is None or figure.median > slowest.median else slowest
    assert slowest is not None
    limit(slowest, most, f"{most:g} ms")
    return [slowest]
