"""The scenarios of the benchmark. Each starts its subjects, measures them in turn, and returns figures."""

import asyncio
import socket
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import AsyncExitStack, closing
from pathlib import Path
from typing import TYPE_CHECKING

import grpc
import grpc.aio

from bench.figures import Figure, percentile
from bench.subjects import RESOURCE, TIMEOUT, Subject
from driver.driver import Driver
from plugin_gateway.api.v1beta1 import api_pb2 as wire

NVML = ("--backend", "nvml", "--driver-timeout", "1000000")
"""Arguments of the gateway. With this timeout it never gives up a driver that hangs."""
HARMLESS_XIDS = (13, 31, 43, 45, 63, 92, 94)
"""XIDs that take no GPU out by NVIDIA's catalog."""
STUCK_CLIENTS = Path(__file__).with_name("stuck_clients.py")
LOCAL = (("grpc.default_authority", "localhost"), ("grpc.use_local_subchannel_pool", 1))


if TYPE_CHECKING:
    Call = grpc.aio.UnaryUnaryMultiCallable[bytes, bytes]


class Machine:
    """A stand-in driver, and a gateway that uses it."""

    def __init__(
        self, stack: AsyncExitStack, name: str, init_delay_ms: int = 0, more: Sequence[str] = (), gpus: int = 8
    ) -> None:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="bench-driver-")))
        self.driver = Driver(folder, gpus=gpus)
        self.driver.init_delay(init_delay_ms)
        root = ("--driver-root", str(self.driver.root))
        self.subject = Subject(name, (*NVML, *root, *more), self.driver.environment)


async def start(rounds: int) -> list[Figure]:
    """Measure the time from the start of the process to Register, and to the first list."""
    subjects = ("floor", "gateway", "gateway, driver needs 100 ms")
    registered = {name: Figure("process start to Register", name, "ms") for name in subjects}
    listed = {name: Figure("process start to first list", name, "ms") for name in subjects}
    for _ in range(rounds):
        for name in subjects:
            async with AsyncExitStack() as stack:
                machine = Machine(stack, name, 100 if "100 ms" in name else 0)
                subject = Subject(name) if name == "floor" else machine.subject
                await stack.enter_async_context(subject)
                subject.spawn()
                first, then = await subject.registered(0, 0)
                registered[name].samples.append((first - subject.spawned) * 1000)
                listed[name].samples.append((then - subject.spawned) * 1000)
    floor, plain, slow = (registered[name] for name in subjects)
    limit(plain, 1.5 * floor.median, "1.5 x floor")
    limit(slow, max(floor.median, 100) + 50, "max(floor, 100 ms) + 50 ms")
    return [*registered.values(), *listed.values()]


async def kubelet_restart(rounds: int) -> list[Figure]:
    """Measure the time from the start of another kubelet in the same directory to Register."""
    async with AsyncExitStack() as stack:
        machines = {
            "gateway": Machine(stack, "gateway"),
            "gateway, driver needs 1 s": Machine(stack, "gateway, driver needs 1 s", 1000),
            "gateway, driver hangs": Machine(stack, "gateway, driver hangs"),
        }
        subjects = [Subject("floor"), *(machine.subject for machine in machines.values())]
        for subject in subjects:
            await stack.enter_async_context(subject)
            subject.spawn()
            await subject.registered(0, 0)
        machines["gateway, driver hangs"].driver.hang()
        figures = {subject.name: Figure("kubelet restart to Register", subject.name, "ms") for subject in subjects}
        for _ in range(rounds):
            for subject in subjects:
                before = len(subject.kubelet.registrations), len(subject.kubelet.lists)
                await subject.kubelet.kill()
                await subject.settle()
                began = time.monotonic()
                await subject.kubelet.start()
                first, _ = await subject.registered(*before)
                figures[subject.name].samples.append((first - began) * 1000)
        machines["gateway, driver hangs"].driver.release()
    floor = figures["floor"].median
    for name in machines:
        limit(figures[name], 1.1 * floor, "1.1 x floor")
    return list(figures.values())


async def own_socket(rounds: int) -> list[Figure]:
    """Measure the time from the removal of the plugin's socket until a new one answers."""
    figure = Figure("own socket deleted to answering again", "gateway", "ms")
    async with AsyncExitStack() as stack:
        subject = await stack.enter_async_context(Machine(stack, "gateway").subject)
        subject.spawn()
        await subject.registered(0, 0)
        for _ in range(rounds):
            await subject.settle()
            (old,) = _own_sockets(subject)
            began = time.monotonic()
            old.unlink()
            while not _own_sockets(subject):  # noqa: ASYNC110 - there is no event for it
                await asyncio.sleep(0.0005)
            async with grpc.aio.insecure_channel(f"unix:{_own_sockets(subject)[0]}", options=LOCAL) as channel:
                options: Call = channel.unary_unary("/v1beta1.DevicePlugin/GetDevicePluginOptions")
                await options(b"", timeout=5)
            figure.samples.append((time.monotonic() - began) * 1000)
        open_streams = subject.kubelet.open_streams(RESOURCE)
    limit(figure, 20, "20 ms, the stream stays open")
    figure.reached = bool(figure.reached) and open_streams == 1
    return [figure]


def _own_sockets(subject: Subject) -> list[Path]:
    """Return the sockets of the gateway."""
    return list(subject.directory.glob("plugin-gateway-*.sock"))


async def dropped_stream(rounds: int) -> list[Figure]:
    """Measure the time from the end of a stream to Register. The kubelet runs on. Too early is as bad as too late."""
    figure = Figure("stream dropped to Register", "gateway", "ms")
    async with AsyncExitStack() as stack:
        subject = await stack.enter_async_context(Machine(stack, "gateway").subject)
        subject.spawn()
        await subject.registered(0, 0)
        for _ in range(rounds):
            await asyncio.sleep(1.2)
            before = len(subject.kubelet.registrations), len(subject.kubelet.lists)
            began = time.monotonic()
            await subject.kubelet.drop_stream(RESOURCE)
            first, _ = await subject.registered(*before)
            figure.samples.append((first - began) * 1000)
    figure.limit, figure.reached = "60 to 120 ms", min(figure.samples) >= 60 and figure.median <= 120
    return [figure]


async def xid(rounds: int) -> list[Figure]:
    """Measure the time from an XID until the kubelet has the list with the unhealthy device."""
    figure = Figure("XID to list received", "gateway", "ms")
    for _ in range(-(-rounds // 8)):
        async with AsyncExitStack() as stack:
            machine = Machine(stack, "gateway")
            subject = await stack.enter_async_context(machine.subject)
            subject.spawn()
            await subject.registered(0, 0)
            for gpu in range(8):
                await subject.settle()
                seen = len(subject.kubelet.lists)
                began = time.monotonic()
                machine.driver.xid(gpu, 79)
                figure.samples.append((await subject.listed(seen) - began) * 1000)
    limit(figure, 2, "2 ms")
    return [figure]


async def allocate(rounds: int) -> list[Figure]:
    """Measure Allocate over the real socket: one call after the other, and 16 at a time."""
    async with AsyncExitStack() as stack:
        hung, many = Machine(stack, "gateway, driver hangs"), Subject("gateway, 8,000 devices", _simulated(8000))
        port = _free_port()
        crowded = Machine(stack, "gateway, 500 stuck clients", more=(f"--listen={port}",))
        subjects = [Subject("floor"), Machine(stack, "gateway").subject, hung.subject, many, crowded.subject]
        channels = []
        for subject in subjects:
            await stack.enter_async_context(subject)
            subject.spawn()
            await subject.registered(0, 0)
            endpoint = subject.directory / subject.kubelet.registrations[-1].endpoint
            channel = grpc.aio.insecure_channel(f"unix:{endpoint}", options=LOCAL)
            channels.append(await stack.enter_async_context(channel))
        hung.driver.hang()
        crowd = await asyncio.create_subprocess_exec(sys.executable, str(STUCK_CLIENTS), str(port))
        stack.push_async_callback(crowd.wait)
        stack.callback(crowd.kill)
        figures = [await _allocate(rounds, count, subjects, channels) for count in (1, 8)]
        hung.driver.release()
    return [figure for group in figures for figure in group]


def _free_port() -> int:
    with closing(socket.socket()) as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


async def _allocate(
    rounds: int, count: int, subjects: Sequence[Subject], channels: Sequence[grpc.aio.Channel]
) -> list[Figure]:
    names = [subject.name for subject in subjects]
    middle = [Figure(f"Allocate of {count}, p50", name, "µs") for name in names]
    high = [Figure(f"Allocate of {count}, p99", name, "µs") for name in names]
    throughput = [Figure(f"Allocate of {count}, 16 callers", name, "calls/s") for name in names]
    for _ in range(rounds):
        for number, (subject, channel) in enumerate(zip(subjects, channels, strict=True)):
            ids = sorted(subject.kubelet.devices(RESOURCE))[:count]
            request = wire.AllocateRequest(container_requests=[wire.ContainerAllocateRequest(devices_ids=ids)])
            call: Call = channel.unary_unary("/v1beta1.DevicePlugin/Allocate")
            data = request.SerializeToString()
            samples = []
            for _ in range(500):
                began = time.perf_counter()
                await call(data, timeout=5)
                samples.append((time.perf_counter() - began) * 1e6)
            middle[number].samples.append(percentile(samples, 0.5))
            high[number].samples.append(percentile(samples, 0.99))
            throughput[number].samples.append(await _calls_per_second(call, data))
    for number in range(1, len(names)):
        limit(middle[number], 1.2 * middle[0].median, "1.2 x floor")
        limit(high[number], 1.5 * high[0].median, "1.5 x floor")
        limit(throughput[number], 0.8 * throughput[0].median, "0.8 x floor", at_least=True)
    return [*middle, *high, *throughput]


async def _calls_per_second(call: "Call", data: bytes) -> float:
    async def caller() -> None:
        for _ in range(50):
            await call(data, timeout=5)

    began = time.perf_counter()
    await asyncio.gather(*(caller() for _ in range(16)))
    return 16 * 50 / (time.perf_counter() - began)


async def many_devices(rounds: int) -> list[Figure]:
    """Measure the time from ListAndWatch until the kubelet has a list of 8,000 devices."""
    figure = Figure("8,000 devices: list built and sent", "gateway", "ms")
    async with AsyncExitStack() as stack:
        subject = await stack.enter_async_context(Subject("gateway", _simulated(8000)))
        subject.spawn()
        await subject.registered(0, 0)
        endpoint = subject.directory / subject.kubelet.registrations[-1].endpoint
        channel = grpc.aio.insecure_channel(f"unix:{endpoint}", options=LOCAL)
        await stack.enter_async_context(channel)
        for _ in range(rounds):
            began = time.monotonic()
            watch: grpc.aio.UnaryStreamMultiCallable[bytes, bytes] = channel.unary_stream(
                "/v1beta1.DevicePlugin/ListAndWatch"
            )
            stream = watch(b"", timeout=10)
            async for answer in stream:
                figure.samples.append((time.monotonic() - began) * 1000)
                assert len(wire.ListAndWatchResponse.FromString(answer).devices) == 8000
                break
            stream.cancel()
    limit(figure, 100, "100 ms")
    return [figure]


async def idle(seconds: float) -> list[Figure]:
    """Measure memory, threads and processor time of a registered plugin without calls."""
    async with AsyncExitStack() as stack:
        subjects = [Subject("floor"), Machine(stack, "gateway").subject]
        for subject in subjects:
            await stack.enter_async_context(subject)
            subject.spawn()
            await subject.registered(0, 0)
        await asyncio.sleep(10)  # gRPC's threads need this time to become idle
        before = [subject.processor_ms() for subject in subjects]
        await asyncio.sleep(seconds)
        rss, pss, threads, processor, without_grpc = (
            [Figure(name, subject.name, unit) for subject in subjects]
            for name, unit in (
                ("RSS idle", "MiB"),
                ("PSS idle", "MiB"),
                ("threads", ""),
                (f"CPU, {seconds:.0f} s idle", "ms"),
                (f"CPU, {seconds:.0f} s idle, without gRPC's threads", "ms"),
            )
        )
        for number, subject in enumerate(subjects):
            resident, proportional = subject.memory()
            rss[number].samples.append(resident)
            pss[number].samples.append(proportional)
            threads[number].samples.append(subject.threads())
            everybody, ours = subject.processor_ms()
            processor[number].samples.append(everybody - before[number][0])
            without_grpc[number].samples.append(ours - before[number][1])
    limit(rss[1], 1.15 * rss[0].median, "1.15 x floor")
    limit(threads[1], threads[0].median + 2, "floor + 2")
    limit(processor[1], 20 * seconds / 60, "20 ms in 60 s")
    return [*rss, *pss, *threads, *processor, *without_grpc]


async def growth(allocations: int, restarts: int) -> list[Figure]:
    """Measure how much memory grows after many calls, and after many restarts of the kubelet."""
    after_calls = Figure(f"RSS growth, {allocations:,} Allocates", "gateway", "MiB")
    after_restarts = Figure(f"RSS growth, {restarts:,} kubelet restarts", "gateway", "MiB")
    async with AsyncExitStack() as stack:
        subject = await stack.enter_async_context(Machine(stack, "gateway").subject)
        subject.spawn()
        await subject.registered(0, 0)
        endpoint = subject.directory / subject.kubelet.registrations[-1].endpoint
        ids = sorted(subject.kubelet.devices(RESOURCE))[:1]
        request = wire.AllocateRequest(container_requests=[wire.ContainerAllocateRequest(devices_ids=ids)])
        async with grpc.aio.insecure_channel(f"unix:{endpoint}", options=LOCAL) as channel:
            call: Call = channel.unary_unary("/v1beta1.DevicePlugin/Allocate")
            data = request.SerializeToString()
            await _calls_per_second(call, data)
            before = subject.memory()[0]
            for _ in range(allocations // 800):
                await _calls_per_second(call, data)
            after_calls.samples.append(subject.memory()[0] - before)
        for done in range(restarts + 20):
            if done == 20:
                before = subject.memory()[0]
            registrations, lists = len(subject.kubelet.registrations), len(subject.kubelet.lists)
            await subject.kubelet.restart(kill=True)
            await subject.registered(registrations, lists)
        after_restarts.samples.append(subject.memory()[0] - before)
    limit(after_calls, 2, "2 MiB")
    limit(after_restarts, 1, "1 MiB")
    return [after_calls, after_restarts]


async def storm(rounds: int) -> list[Figure]:
    """Measure 10,000 XIDs in a second, twice: the kubelet's calls meanwhile, the list after the last one, the memory.

    The last XID takes a GPU out. The others change nothing.
    """
    taken = Figure("10,000 XIDs taken by the gateway", "gateway", "ms")
    listed = Figure("last of 10,000 XIDs to list received", "gateway", "ms")
    calls = Figure("Allocate of 1 during 10,000 XIDs, p99", "gateway", "ms")
    calm = Figure("Allocate of 1 before them, p99", "gateway", "ms")
    growth = [Figure(f"RSS growth, {which} 10,000 XIDs", "gateway", "MiB") for which in ("first", "second")]
    for _ in range(-(-rounds // 5)):
        async with AsyncExitStack() as stack:
            machine = Machine(stack, "gateway")
            subject = await stack.enter_async_context(machine.subject)
            subject.spawn()
            await subject.registered(0, 0)
            endpoint = subject.directory / subject.kubelet.registrations[-1].endpoint
            channel = await stack.enter_async_context(grpc.aio.insecure_channel(f"unix:{endpoint}", options=LOCAL))
            await _allocate_for(1, subject, channel)  # then the start is over, and gRPC has what it needs for calls
            calm.samples.append(percentile(await _allocate_for(1, subject, channel), 0.99))
            for gpu, grown in zip((7, 6), growth, strict=True):
                before, lists, began = subject.memory()[0], len(subject.kubelet.lists), time.monotonic()
                calling = asyncio.create_task(_allocate_for(1, subject, channel))
                last = await _break_loose(machine.driver, gpu)
                taken.samples.append((last - began) * 1000)
                listed.samples.append((await subject.listed(lists) - last) * 1000)
                calls.samples.append(percentile(await calling, 0.99))
                await subject.settle()
                grown.samples.append(subject.memory()[0] - before)
    limit(taken, 1100, "1.1 s")
    limit(listed, 50, "50 ms")
    limit(calls, 20, "20 ms")
    limit(growth[0], 2, "2 MiB")
    limit(growth[1], 0.5, "nothing (0.5 MiB)")
    return [taken, listed, calm, calls, *growth]


async def _break_loose(driver: Driver, gpu: int) -> float:
    """Report the XIDs evenly in a second. Return the time of the last one, with which this GPU breaks."""
    began, count, pulse = time.monotonic(), 10_000, 0.005
    for sent in range(1, count + 1):
        while (early := began + sent / count - time.monotonic()) > pulse or driver.is_full:
            assert time.monotonic() - began < TIMEOUT, "the gateway takes no XIDs any more"
            await asyncio.sleep(max(early, pulse))
        if sent < count:
            driver.xid(sent % 8, HARMLESS_XIDS[sent % len(HARMLESS_XIDS)])
    driver.xid(gpu, 79)
    return time.monotonic()


async def _allocate_for(seconds: float, subject: Subject, channel: grpc.aio.Channel) -> list[float]:
    """Call Allocate for so long. Return how long each call took, in milliseconds."""
    ids = sorted(subject.kubelet.devices(RESOURCE))[:1]
    request = wire.AllocateRequest(container_requests=[wire.ContainerAllocateRequest(devices_ids=ids)])
    call: Call = channel.unary_unary("/v1beta1.DevicePlugin/Allocate")
    data, samples, end = request.SerializeToString(), [], time.monotonic() + seconds
    while (began := time.monotonic()) < end:
        await call(data, timeout=5)
        samples.append((time.monotonic() - began) * 1000)
        await asyncio.sleep(0.002)
    return samples


def _simulated(count: int) -> tuple[str, ...]:
    return ("--backend", f"simulated:{count}xH100")


def limit(figure: Figure, bound: float, words: str, *, at_least: bool = False) -> None:
    """Set the limit of a figure in words, and whether its median reaches it."""
    figure.limit = words
    figure.reached = figure.median >= bound if at_least else figure.median <= bound
