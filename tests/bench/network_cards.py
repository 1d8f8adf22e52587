"""The scenario `cards`: 136 made-up RDMA functions beside 8 GPUs. It needs root, for genuine events of the kernel."""

import asyncio
import tempfile
import time
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack
from pathlib import Path

from bench.figures import Figure
from bench.scenarios import Machine, limit
from bench.subjects import RESOURCE, TIMEOUT, Subject
from bench.wire import Wire
from cards.builder import Cards
from plugin_gateway.linux.pci_scan import scan
from plugin_gateway.linux.port_readers import PortReaders
from plugin_gateway.linux.signs import plans_of
from plugin_gateway.linux.sysfs import HostTree
from plugin_gateway.linux.watching import USUAL_PACE
from plugin_gateway.rdma.model import RdmaModel

CARDS = "example.com/rdma"
HCAS, VFS = 8, 16
FUNCTIONS = HCAS * (1 + VFS)
BUS = "sys/bus/pci/devices"
ALONE, BESIDE = "gateway, GPUs alone", "gateway, 136 functions too"
WITHOUT = f"version: v1\nresources:\n  gpus: [{{pattern: '*', name: {RESOURCE}}}]\n"
WITH = f"{WITHOUT}  rdma: [{{name: {CARDS}, sharing: exclusive, select: {{functions: any}}}}]\n"
LOOKS = 100


async def cards(rounds: int, idle_seconds: float) -> list[Figure]:
    """Measure the first lists, devices that come all together, a lost link, a look at all ports, and what idling costs.

    Beside it in each round runs a gateway without a section, whose file is as long.
    """
    with tempfile.TemporaryDirectory(prefix="bench-host-") as folder:
        host = Path(folder).resolve()
        Cards(host).many(HCAS, VFS)
        flags = {ALONE: _flags(host, "alone", WITHOUT), BESIDE: _flags(host, "beside", WITH)}
        figures = await _first_lists(rounds, flags)
        async with AsyncExitStack() as stack:
            subjects = [Machine(stack, name, more=more).subject for name, more in flags.items()]
            for subject in subjects:
                subject.run_in_own_network()
                await stack.enter_async_context(subject)
                subject.spawn()
            await _listed(subjects[1], FUNCTIONS)
            figures += await _idle(subjects, idle_seconds)
            figures += await _events(rounds, subjects[1], host)
        return [*figures, *_looks(host)]


def _flags(host: Path, name: str, text: str) -> Sequence[str]:
    file = host / f"{name}.yaml"
    file.write_text(text)
    return ("--backend", "auto", "--config-file", str(file), "--host-root", str(host), "--link-quiet-time", "0")


async def _first_lists(rounds: int, flags: Mapping[str, Sequence[str]]) -> list[Figure]:
    """Measure when the GPUs are in a list, and how long after that the cards are.

    The two of a round are compared, in changing order, because the machine is not the same over all rounds.
    """
    gpus = {name: Figure("process start to first list of GPUs", name, "ms") for name in flags}
    after = Figure("first list of GPUs to that of 136 functions", BESIDE, "ms")
    later = Figure("first list of GPUs: later than with GPUs alone", BESIDE, "ms")
    for number in range(rounds):
        for name, more in sorted(flags.items(), reverse=bool(number % 2)):
            async with AsyncExitStack() as stack:
                subject = await stack.enter_async_context(Machine(stack, name, more=more).subject)
                subject.spawn()
                await subject.registered(0, 0)
                first = next(each.time for each in subject.kubelet.lists if each.resource == RESOURCE)
                gpus[name].samples.append((first - subject.spawned) * 1000)
                if name == BESIDE:
                    after.samples.append((await _listed(subject, FUNCTIONS) - first) * 1000)
        later.samples.append(gpus[BESIDE].samples[-1] - gpus[ALONE].samples[-1])
    limit(later, 15, "15 ms")
    limit(after, 250, "250 ms")
    return [*gpus.values(), later, after]


async def _listed(subject: Subject, count: int, healthy: int | None = None) -> float:
    """Wait until the last list of the cards has so many, and so many of them are healthy. Return its time."""
    wanted = count, count if healthy is None else healthy

    def is_there() -> bool:
        states = subject.kubelet.devices(CARDS)
        return (len(states), list(states.values()).count("Healthy")) == wanted

    await subject.kubelet.wait_for(is_there, timeout=TIMEOUT, what=f"{wanted} of {CARDS}")
    return next(each.time for each in reversed(subject.kubelet.lists) if each.resource == CARDS)


async def _idle(subjects: Sequence[Subject], seconds: float) -> list[Figure]:
    await asyncio.sleep(10)  # gRPC's threads need this time to become idle
    before = [(subject.processor_ms()[1], subject.wakes()) for subject in subjects]
    await asyncio.sleep(seconds)
    found = [
        [Figure(f"{what}, {seconds:.0f} s idle, without gRPC's threads", subject.name, unit) for subject in subjects]
        for what, unit in (("CPU", "ms"), ("wakes of threads", ""))
    ]
    resident = [Figure("RSS idle", subject.name, "MiB") for subject in subjects]
    for number, subject in enumerate(subjects):
        found[0][number].samples.append(subject.processor_ms()[1] - before[number][0])
        found[1][number].samples.append(subject.wakes() - before[number][1])
        resident[number].samples.append(subject.memory()[0])
    return [*found[0], *found[1], *resident]


async def _events(rounds: int, subject: Subject, host: Path) -> list[Figure]:
    """Measure what genuine events of the kernel lead to: of devices, and of a link."""
    came = Figure("136 functions come: last event to list", BESIDE, "ms")
    down = Figure("link down to list received, by netlink", BESIDE, "ms")
    bus, away = host / BUS, host / "away"
    bus.rename(away)
    with Wire(subject.pid) as wire:
        for _ in range(rounds):
            (host / "empty").mkdir()
            (host / "empty").rename(bus)
            wire.tell_of_device()
            await _listed(subject, 0)
            bus.rmdir()
            away.rename(bus)
            told = wire.tell_of_device()
            came.samples.append((await _listed(subject, FUNCTIONS) - told) * 1000)
            bus.rename(away)
        away.rename(bus)
        wire.tell_of_device()
        await _listed(subject, FUNCTIONS)
        interface = min((host / "sys/class/net").iterdir()).name
        wire.make(interface)
        carrier = host / f"sys/class/net/{interface}/carrier"
        for _ in range(2 * rounds):
            await subject.settle()
            carrier.write_text("0\n")
            moment = wire.switch(on=False)
            down.samples.append((await _listed(subject, FUNCTIONS, FUNCTIONS - 1) - moment) * 1000)
            carrier.write_text("1\n")
            wire.switch(on=True)
            await _listed(subject, FUNCTIONS)
    limit(came, 350, "350 ms, 50 ms of waiting included")
    limit(down, 5, "5 ms")
    return [came, down]


def _looks(host: Path) -> list[Figure]:
    """Measure one look at the ports and interfaces of all functions, and one of those that the gateway has each second.

    Each second it looks at physical functions, and each fifth second at all.
    """
    whole = Figure("look at the ports of 136 functions", "readers", "ms")
    usual = Figure("look of a second at what is due of them", "readers", "ms")
    tree, model = HostTree(str(host)), RdmaModel()
    bus = scan(tree)
    seen = model.see(bus, tree)
    readers = PortReaders(tree, "reader")
    for figure, seldom in ((whole, frozenset[str]()), (usual, seen.seldom)):
        readers.follow(plans_of(tree, bus, seen.ports, {each.address for each in bus.functions}, seldom))
        readers.look(patience=USUAL_PACE.first_patience)
        for _ in range(LOOKS):
            began = time.perf_counter()
            signs = readers.look(patience=USUAL_PACE.patience)
            figure.samples.append((time.perf_counter() - began) * 1000)
            assert len(signs.ports) == FUNCTIONS
    readers.stop()
    readers.join(TIMEOUT)
    limit(whole, 1, "1 ms")
    return [whole, usual]
