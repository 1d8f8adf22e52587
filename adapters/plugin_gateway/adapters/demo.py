"""The demonstration: one gateway, and a node whose kubelet goes from 1.8 to the newest and back.

Every line it shows was seen by the kubelet's side, not told by the gateway.
"""

import asyncio
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.live import Live
from rich.table import Table

from plugin_gateway.adapters.device_nodes import DeviceNodes
from plugin_gateway.adapters.dialect import Dialect
from plugin_gateway.adapters.fake_kubelet import FakeKubelet, release
from plugin_gateway.adapters.gateway import Gateway, Offering
from plugin_gateway.adapters.kubelet_directory import KubeletDirectory
from plugin_gateway.adapters.logs import LogFormat, set_up_logs
from plugin_gateway.adapters.mailbox import Mailbox
from plugin_gateway.adapters.registrar import Registrar
from plugin_gateway.core.errors import GatewayError
from plugin_gateway.core.health import Health
from plugin_gateway.core.policy import AllocationPolicy
from plugin_gateway.core.ports import Backend
from plugin_gateway.core.resource_names import DEFAULT_RESOURCE
from plugin_gateway.core.resources import ResourceRule

RELEASES = ("1.8", "1.9", "1.10", "1.37", "1.8")
DEVICES = 8
ALLOCATED = 2
FAILING = 3
XID = 79
STEP_TIMEOUT = 3.0
"""Seconds in which the kubelet must have seen a step."""
PACE = 0.6
"""Seconds between two steps on a terminal, for people who read along."""
COLUMNS = ("kubelet", "registered as", "after", "devices", "allocatable", "a container of 2 got", "seen")


class NotSeenError(GatewayError):
    """The kubelet's side did not see what the demonstration promises."""


@dataclass(frozen=True, slots=True)
class Row:
    """One step, as the kubelet saw it."""

    cells: tuple[str, ...]
    seen: bool


Fail = Callable[[int, int], None]
"""Makes the simulated GPU of an index fail with an XID."""


def run(dialects: Sequence[Dialect], backend: Backend, fail: Fail) -> int:
    """Show it; 0 only if every step was seen."""
    set_up_logs("error", LogFormat.TEXT)
    console = Console(soft_wrap=not Console().is_terminal)
    try:
        return asyncio.run(_show(_Parts(dialects, backend, fail), console))
    except KeyboardInterrupt:
        return 130


@dataclass(frozen=True, slots=True)
class _Parts:
    """What the demonstration is made of."""

    dialects: Sequence[Dialect]
    backend: Backend
    fail: Fail


async def _show(parts: _Parts, console: Console) -> int:
    began, rows = time.monotonic(), list[Row]()
    with tempfile.TemporaryDirectory(prefix="plugin-gateway-demo-") as folder:
        steps = _steps(parts, Path(folder))
        if console.is_terminal:
            await _follow_live(console, steps, rows)
        else:
            await _follow_plain(console, steps, rows)
    missing = sum(not row.seen for row in rows)
    console.print(_verdict(missing, len(rows), time.monotonic() - began))
    return 1 if missing or len(rows) != len(RELEASES) + 1 else 0


@asynccontextmanager
async def _running_gateway(parts: _Parts, directory: Path) -> AsyncIterator[None]:
    mailbox = Mailbox()
    registrar = Registrar(directory=KubeletDirectory(directory), dialects=parts.dialects, allowed=parts.dialects)
    rules = (ResourceRule(pattern="*", name=DEFAULT_RESOURCE),)
    gateway = Gateway(
        mailbox=mailbox,
        registrar=registrar,
        offering=Offering(rules=rules, policy=AllocationPolicy(), nodes=DeviceNodes()),
    )
    parts.backend.start(mailbox.put)
    async with asyncio.TaskGroup() as tasks:
        task = tasks.create_task(gateway.run())
        try:
            yield
        finally:
            parts.backend.stop()
            task.cancel()


async def _steps(parts: _Parts, directory: Path) -> AsyncIterator[Row]:
    async with FakeKubelet(directory, release(RELEASES[0])) as kubelet, _running_gateway(parts, directory):
        for number, name in enumerate(RELEASES):
            yield await _guarded(name, _take_over(kubelet, name, first=number == 0))
        yield await _guarded(RELEASES[-1], _fail_device(kubelet, parts.fail))


async def _guarded(name: str, step: Awaitable[Row]) -> Row:
    try:
        return await step
    except (TimeoutError, GatewayError) as error:
        return Row((name, f"not seen: {error}", "", "", "", "", "no"), seen=False)


async def _take_over(kubelet: FakeKubelet, name: str, *, first: bool) -> Row:
    """The node's kubelet becomes another release; the gateway finds out, lists its devices and hands two out."""
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
    kubelet.remove_pod("demo")
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


async def _fail_device(kubelet: FakeKubelet, fail: Fail) -> Row:
    """One GPU fails; the kubelet is told which."""
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


def _counts(kubelet: FakeKubelet) -> tuple[str, str]:
    return str(len(kubelet.devices(DEFAULT_RESOURCE))), str(kubelet.allocatable(DEFAULT_RESOURCE))


def _shortened(names: str) -> str:
    return ",".join(f"{name[:8]}…" for name in names.split(","))


def _verdict(missing: int, steps: int, seconds: float) -> str:
    if missing:
        return f"[bold red]{missing} of {steps} steps were not seen[/] in {seconds:.1f} s"
    return (
        f"[bold green]All {steps} steps were seen by the kubelet's side[/] in {seconds:.1f} s, with one gateway process"
    )


async def _follow_live(console: Console, steps: AsyncIterator[Row], rows: list[Row]) -> None:
    table = Table(*COLUMNS, title="one gateway, one node, the kubelet changing under it", caption="Ctrl-C ends it")
    with Live(table, console=console, refresh_per_second=12):
        async for row in steps:
            rows.append(row)
            table.add_row(*row.cells, style="" if row.seen else "red")
            await asyncio.sleep(PACE)


async def _follow_plain(console: Console, steps: AsyncIterator[Row], rows: list[Row]) -> None:
    async for row in steps:
        rows.append(row)
        console.print("  ".join(f"{name}: {cell}" for name, cell in zip(COLUMNS, row.cells, strict=True) if cell))
