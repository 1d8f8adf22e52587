"""`plugin-gateway demo`: one gateway, and one kubelet that changes from release 1.8 to the newest and back.

All lines show what the fake kubelet received. Nothing in them comes from the gateway itself.
"""

import asyncio
import signal
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, nullcontext
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Self

from rich.console import Console
from rich.live import Live
from rich.table import Table

from plugin_gateway.adapters.commands.command_line import INTERRUPTED, Parts, SubCommand
from plugin_gateway.adapters.configuration.options import DEFAULT_RESOURCE
from plugin_gateway.adapters.dialects import load_dialects
from plugin_gateway.adapters.fake_kubelet import FakeKubelet, release
from plugin_gateway.adapters.gateway.device_nodes import DeviceNodes
from plugin_gateway.adapters.gateway.gateway import Gateway
from plugin_gateway.adapters.gateway.observation_queue import ObservationQueue
from plugin_gateway.adapters.gateway.serving_policy import ServingPolicy
from plugin_gateway.adapters.gateway.watched_backend import WatchedBackend
from plugin_gateway.adapters.kubelet.directory import KubeletDirectory
from plugin_gateway.adapters.registration.registrar import Registrar
from plugin_gateway.adapters.support.console import PlainConsole
from plugin_gateway.adapters.support.logs import LogFormat, set_up_logs
from plugin_gateway.core.errors import GatewayError
from plugin_gateway.core.health.policy import HealthPolicy
from plugin_gateway.core.resources.assignment import Health
from plugin_gateway.core.resources.policy import AllocationPolicy
from plugin_gateway.core.resources.rules import ResourceRule

if TYPE_CHECKING:
    from plugin_gateway.adapters.commands.command_line import SimulatedBackend

RELEASES = ("1.8", "1.9", "1.10", "1.37", "1.8")
"""The releases of the kubelet, one after the other."""
DEVICES = 8
"""Simulated GPUs."""
ALLOCATED = 2
"""GPUs that the container of each step gets."""
FAILING = 3
"""The index of the GPU that fails."""
XID = 95
"""An XID that needs a reset."""
QUIET_TIME = 1.0
"""Seconds. The default of `run` is 60."""
STEP_TIMEOUT = 3.0
"""Seconds in which the kubelet must see the result of a step."""
PACE = 0.6
"""Seconds between two steps on a terminal, so that people can read them."""
COLUMNS = ("kubelet", "registered as", "after", "devices", "allocatable", "a container of 2 got", "seen")


class NotSeenError(GatewayError):
    """The kubelet did not see what the step promises."""


@dataclass(frozen=True, slots=True)
class Row:
    """One step, as the kubelet saw it."""

    cells: tuple[str, ...]
    seen: bool


def make(parts: Parts) -> SubCommand:
    """Return the sub-command. It has no arguments."""
    return SubCommand(lambda _parser: None, lambda _parsed: run(parts.simulate(DEVICES), parts.default_health()))


def run(backend: "SimulatedBackend", health: HealthPolicy) -> int:
    """Show the demonstration. Return 0 only if the kubelet saw each step."""
    set_up_logs("error", LogFormat.TEXT)
    console = PlainConsole(soft_wrap=not PlainConsole().is_terminal)
    return asyncio.run(_show(_Node(backend, replace(health, quiet_time=QUIET_TIME)), console))


@dataclass(frozen=True, slots=True)
class _Node:
    """What the node of the demonstration consists of."""

    backend: "SimulatedBackend"
    health: HealthPolicy


async def _show(node: _Node, console: Console) -> int:
    began, rows = time.monotonic(), list[Row]()
    main = asyncio.current_task()
    assert main is not None
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, main.cancel)
    view: _Live | _Lines = _Live(console) if console.is_terminal else _Lines(console)
    try:
        with tempfile.TemporaryDirectory(prefix="plugin-gateway-demo-") as folder, view:
            directory = Path(folder)
            async with FakeKubelet(directory, release(RELEASES[0])) as kubelet, _running_gateway(node, directory):
                for release_name, step in _steps(node, kubelet):
                    rows.append(await _guarded(release_name, step()))
                    view.add(rows[-1])
                    await asyncio.sleep(view.pace)
    except asyncio.CancelledError:
        return INTERRUPTED
    missing = sum(not row.seen for row in rows)
    console.print(_verdict(missing, len(rows), time.monotonic() - began))
    return 1 if missing or len(rows) != len(RELEASES) + 2 else 0


@asynccontextmanager
async def _running_gateway(node: _Node, directory: Path) -> AsyncIterator[None]:
    """Run a gateway with simulated GPUs inside the block."""
    observations = ObservationQueue()
    dialects = load_dialects()
    registrar = Registrar(directory=KubeletDirectory(directory), dialects=dialects, allowed=dialects)
    rules = (ResourceRule(name=DEFAULT_RESOURCE),)
    gateway = Gateway(
        backends=[
            WatchedBackend(
                name="simulated", observations=observations, silent_for=node.backend.silent_for, health=node.health
            )
        ],
        registrar=registrar,
        serving_policy=ServingPolicy(rules=rules, policy=AllocationPolicy(), nodes=DeviceNodes()),
    )
    node.backend.start(observations.put)
    async with asyncio.TaskGroup() as tasks:
        task = tasks.create_task(gateway.run())
        try:
            yield
        finally:
            node.backend.stop()
            task.cancel()


def _steps(node: _Node, kubelet: FakeKubelet) -> Iterator[tuple[str, Callable[[], Awaitable[Row]]]]:
    """Yield the steps, each with the release of the kubelet."""
    for number, name in enumerate(RELEASES):
        yield name, partial(_take_over, kubelet, name, first=number == 0)
    yield RELEASES[-1], partial(_fail_device, kubelet, node.backend.fail)
    yield RELEASES[-1], partial(_reset_device, kubelet, node.backend.reset)


async def _guarded(name: str, step: Awaitable[Row]) -> Row:
    """Run a step. A step that fails becomes a row that says why."""
    try:
        return await step
    except (TimeoutError, GatewayError) as error:
        return Row((name, f"not seen: {error}", "", "", "", "", "no"), seen=False)


async def _take_over(kubelet: FakeKubelet, name: str, *, first: bool) -> Row:
    """Restart the kubelet as another release. The gateway registers again, and a container gets two of its devices."""
    known = 0 if first else len(kubelet.registrations)
    began = time.monotonic()
    if not first:
        await kubelet.restart(release(name), kill=True)
    await kubelet.wait_for(
        lambda: kubelet.allocatable(DEFAULT_RESOURCE) == DEVICES,
        timeout=STEP_TIMEOUT,
        what=f"{DEVICES} allocatable devices",
    )
    accepted = [call for call in kubelet.registrations[known:] if call.error is None]
    if not accepted:
        raise NotSeenError("a device list without a registration")
    container = await kubelet.allocate(DEFAULT_RESOURCE, ALLOCATED, pod="demo", container="main")
    variable, shown = next(iter(container.environment.items()), ("", ""))
    seen = len(shown.split(",")) == ALLOCATED and set(shown.split(",")) <= set(kubelet.devices(DEFAULT_RESOURCE))
    took = f"{(accepted[0].time - began) * 1000:.0f} ms" if not first else "-"
    await kubelet.remove("demo")
    return Row(
        (
            name,
            accepted[0].version,
            took,
            *_counts(kubelet),
            f"{variable}={_shortened(shown)}",
            "yes" if seen else "no",
        ),
        seen=seen,
    )


async def _fail_device(kubelet: FakeKubelet, fail: Callable[[int, int], None]) -> Row:
    """Let one GPU fail. The kubelet must see that it is unhealthy."""
    began = time.monotonic()
    fail(FAILING, XID)
    await kubelet.wait_for(
        lambda: kubelet.allocatable(DEFAULT_RESOURCE) == DEVICES - 1, timeout=STEP_TIMEOUT, what="a device less"
    )
    took = f"{(time.monotonic() - began) * 1000:.0f} ms"
    devices = kubelet.devices(DEFAULT_RESOURCE)
    unhealthy = [name for name, health in devices.items() if health == Health.UNHEALTHY.value]
    lost = unhealthy[0] if unhealthy else f"GPU {FAILING}"
    event = f"XID {XID} on {_shortened(lost)}"
    return Row((RELEASES[-1], event, took, *_counts(kubelet), "", "yes"), seen=True)


async def _reset_device(kubelet: FakeKubelet, reset: Callable[[int], None]) -> Row:
    """Reset the GPU. After a quiet time the kubelet can give it to pods again."""
    began = time.monotonic()
    reset(FAILING)
    await kubelet.wait_for(
        lambda: kubelet.allocatable(DEFAULT_RESOURCE) == DEVICES, timeout=STEP_TIMEOUT, what="every device"
    )
    took = time.monotonic() - began
    event = f"it was reset, and quiet for {QUIET_TIME:g} s"
    seen = took >= QUIET_TIME
    return Row(
        (RELEASES[-1], event, f"{took * 1000:.0f} ms", *_counts(kubelet), "", "yes" if seen else "no"), seen=seen
    )


def _counts(kubelet: FakeKubelet) -> tuple[str, str]:
    return str(len(kubelet.devices(DEFAULT_RESOURCE))), str(kubelet.allocatable(DEFAULT_RESOURCE))


def _shortened(names: str) -> str:
    """Return ids with their first 8 characters only."""
    return ",".join(f"{name[:8]}…" for name in names.split(","))


def _verdict(missing: int, steps: int, seconds: float) -> str:
    if missing:
        return f"[bold red]{missing} of {steps} steps were not seen[/] in {seconds:.1f} s"
    return (
        f"[bold green]All {steps} steps were seen by the kubelet's side[/] in {seconds:.1f} s, with one gateway process"
    )


class _Live:
    """A table on a terminal that grows by one row for each step."""

    pace = PACE

    def __init__(self, console: Console) -> None:
        self._table = Table(
            *COLUMNS, title="one gateway, one node, the kubelet changing under it", caption="Ctrl-C ends it"
        )
        self._live = Live(self._table, console=console, refresh_per_second=12)

    def __enter__(self) -> Self:
        self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._live.stop()

    def add(self, row: Row) -> None:
        self._table.add_row(*row.cells, style="" if row.seen else "red")


class _Lines(nullcontext[None]):
    """One line for each step, without pauses; for output that is no terminal."""

    pace = 0.0

    def __init__(self, console: Console) -> None:
        super().__init__()
        self._console = console

    def add(self, row: Row) -> None:
        self._console.print("  ".join(f"{name}: {cell}" for name, cell in zip(COLUMNS, row.cells, strict=True) if cell))
