"""`plugin-gateway demo`: one gateway, and one kubelet that changes from release 1.8 to the newest and back.

All lines show what the fake kubelet received. Nothing in them comes from the gateway itself.
"""

import asyncio
import signal
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
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
from plugin_gateway.core.resources.container_options import ContainerOptions, DeviceVariable
from plugin_gateway.core.resources.names import ResourceName
from plugin_gateway.core.resources.policy import AllocationPolicy
from plugin_gateway.core.resources.rules import ResourceRule, Selector

if TYPE_CHECKING:
    from plugin_gateway.adapters.commands.command_line import SimulatedBackend, SimulatedCards

RELEASES = ("1.8", "1.9", "1.10", "1.37", "1.8")
"""The releases of the kubelet, one after the other."""
_SHORT = 12
"""Characters."""
DEVICES = 8
"""Simulated GPUs. Beside each of them is a network card."""
GPUS, CARDS = "simulated", "rdma"
"""The names of the two backends."""
CARD_RESOURCE = ResourceName("rdma/hca")
CARD_VARIABLE = "PCIDEVICE_RDMA_HCA"
RULES = (
    ResourceRule(selector=Selector(backends=(GPUS,)), name=DEFAULT_RESOURCE),
    ResourceRule(
        selector=Selector(backends=(CARDS,)),
        name=CARD_RESOURCE,
        options=ContainerOptions(variables=(DeviceVariable(CARD_VARIABLE),)),
        is_always_there=True,
    ),
)
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
STEPS_AFTER = 4
"""Steps after those with another kubelet each."""
PACE = 0.6
"""Seconds between two steps on a terminal, so that people can read them."""
COLUMNS = ("kubelet", "registered as", "after", "devices", "allocatable", "a container got", "seen")
"""Devices and allocatable ones are GPUs and network cards."""


class NotSeenError(GatewayError):
    """The kubelet did not see what the step promises."""


@dataclass(frozen=True, slots=True)
class Row:
    """One step, as the kubelet saw it."""

    cells: tuple[str, ...]
    seen: bool


def make(parts: Parts) -> SubCommand:
    """Return the sub-command. It has no arguments."""
    return SubCommand(lambda _parser: None, lambda _parsed: run(parts))


def run(parts: Parts) -> int:
    """Show the demonstration. Return 0 only if the kubelet saw each step."""
    set_up_logs("error", LogFormat.TEXT)
    console = PlainConsole(soft_wrap=not PlainConsole().is_terminal)
    node = _Node(
        parts.simulate(DEVICES),
        replace(parts.default_health(), quiet_time=QUIET_TIME),
        parts.simulate_cards(DEVICES),
        replace(parts.card_health(CARDS), quiet_time=QUIET_TIME),
    )
    return asyncio.run(_show(node, console))


@dataclass(frozen=True, slots=True)
class _Node:
    """What the node of the demonstration consists of."""

    gpus: "SimulatedBackend"
    health: HealthPolicy
    cards: "SimulatedCards"
    card_health: HealthPolicy


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
    return 1 if missing or len(rows) != len(RELEASES) + STEPS_AFTER else 0


@asynccontextmanager
async def _running_gateway(node: _Node, directory: Path) -> AsyncIterator[None]:
    """Run a gateway with simulated GPUs and network cards inside the block."""
    dialects = load_dialects()
    registrar = Registrar(directory=KubeletDirectory(directory), dialects=dialects, allowed=dialects)
    backends = {GPUS: (node.gpus, node.health), CARDS: (node.cards, node.card_health)}
    queues = {name: ObservationQueue() for name in backends}
    gateway = Gateway(
        backends=[
            WatchedBackend(
                name=name,
                observations=queues[name],
                silent_for=backend.silent_for,
                health=health,
                is_alone=False,
                device_word=backend.device_word,
            )
            for name, (backend, health) in backends.items()
        ],
        registrar=registrar,
        serving_policy=ServingPolicy(rules=RULES, policy=AllocationPolicy(), nodes=DeviceNodes()),
    )
    for name, (backend, _) in backends.items():
        backend.start(queues[name].put)
    async with asyncio.TaskGroup() as tasks:
        task = tasks.create_task(gateway.run())
        try:
            yield
        finally:
            for backend, _ in backends.values():
                backend.stop()
            task.cancel()


def _steps(node: _Node, kubelet: FakeKubelet) -> Iterator[tuple[str, Callable[[], Awaitable[Row]]]]:
    """Yield the steps, each with the release of the kubelet."""
    for number, name in enumerate(RELEASES):
        yield name, partial(_take_over, kubelet, name, first=number == 0)
    gpus, cards = node.gpus, node.cards
    fail, reset = partial(gpus.fail, FAILING, XID), partial(gpus.reset, FAILING)
    pull, plug = partial(cards.pull_cable, FAILING), partial(cards.plug_cable, FAILING)
    yield RELEASES[-1], partial(_take_out, kubelet, DEFAULT_RESOURCE, fail, f"XID {XID}")
    yield RELEASES[-1], partial(_give_back, kubelet, DEFAULT_RESOURCE, reset, "it was reset")
    yield RELEASES[-1], partial(_take_out, kubelet, CARD_RESOURCE, pull, "no link")
    yield RELEASES[-1], partial(_give_back, kubelet, CARD_RESOURCE, plug, "the link is back")


async def _guarded(name: str, step: Awaitable[Row]) -> Row:
    """Run a step. A step that fails becomes a row that says why."""
    try:
        return await step
    except (TimeoutError, GatewayError) as error:
        return Row((name, f"not seen: {error}", "", "", "", "", "no"), seen=False)


async def _take_over(kubelet: FakeKubelet, name: str, *, first: bool) -> Row:
    """Restart the kubelet as another release. The gateway registers again, and a container gets devices of both."""
    known = 0 if first else len(kubelet.registrations)
    began = time.monotonic()
    if not first:
        await kubelet.restart(release(name), kill=True)
    for resource in (DEFAULT_RESOURCE, CARD_RESOURCE):
        await _await_count(kubelet, resource, DEVICES)
    accepted = [call for call in kubelet.registrations[known:] if call.error is None]
    if not accepted:
        raise NotSeenError("a device list without a registration")
    gpus = await kubelet.allocate(DEFAULT_RESOURCE, ALLOCATED, pod="demo", container="gpus")
    card = await kubelet.allocate(CARD_RESOURCE, 1, pod="demo", container="card")
    variable, shown = next(iter(gpus.environment.items()), ("", ""))
    address = card.environment.get(CARD_VARIABLE, "")
    seen = len(shown.split(",")) == ALLOCATED and set(shown.split(",")) <= set(kubelet.devices(DEFAULT_RESOURCE))
    took = f"{(accepted[0].time - began) * 1000:.0f} ms" if not first else "-"
    await kubelet.remove("demo")
    got = f"{variable}={_shortened(shown)} {CARD_VARIABLE}={address}"
    is_right = seen and address in kubelet.devices(CARD_RESOURCE)
    return _row((name, accepted[0].version, took, *_counts(kubelet), got), seen=is_right)


async def _await_count(kubelet: FakeKubelet, resource: ResourceName, count: int) -> None:
    await kubelet.wait_for(
        lambda: kubelet.allocatable(resource) == count,
        timeout=STEP_TIMEOUT,
        what=f"{count} allocatable devices of {resource}",
    )


def _row(cells: tuple[str, ...], *, seen: bool) -> Row:
    return Row((*cells, "yes" if seen else "no"), seen=seen)


async def _take_out(kubelet: FakeKubelet, resource: ResourceName, fail: Callable[[], None], what: str) -> Row:
    """Let a device fail. The kubelet must see that it is unhealthy. ``what`` says what happened to it."""
    began, before = time.monotonic(), kubelet.devices(resource)
    fail()
    await _await_count(kubelet, resource, DEVICES - 1)
    lost = _lost(before, kubelet.devices(resource))
    event = f"{what} on {_shortened(lost)}"
    return _row((RELEASES[-1], event, _since(began), *_counts(kubelet), ""), seen=bool(lost))


async def _give_back(kubelet: FakeKubelet, resource: ResourceName, cure: Callable[[], None], what: str) -> Row:
    """Cure it. After a quiet time the kubelet can give it to pods again."""
    began = time.monotonic()
    cure()
    await _await_count(kubelet, resource, DEVICES)
    seen = time.monotonic() - began >= QUIET_TIME
    event = f"{what}, and quiet for {QUIET_TIME:g} s"
    return _row((RELEASES[-1], event, _since(began), *_counts(kubelet), ""), seen=seen)


def _lost(before: Mapping[str, str], after: Mapping[str, str]) -> str:
    """Return the first device that is not healthy any more. A kubelet of 1.8 does not list it then."""
    healthy = Health.HEALTHY.value
    return next((each for each, health in before.items() if health == healthy and after.get(each) != healthy), "")


def _since(began: float) -> str:
    return f"{(time.monotonic() - began) * 1000:.0f} ms"


def _counts(kubelet: FakeKubelet) -> tuple[str, str]:
    """Return how many GPUs and network cards the kubelet has, and how many it can give out."""
    resources = (DEFAULT_RESOURCE, CARD_RESOURCE)
    return (
        " + ".join(str(len(kubelet.devices(each))) for each in resources),
        " + ".join(str(kubelet.allocatable(each)) for each in resources),
    )


def _shortened(names: str) -> str:
    """Return ids, long ones with their first 8 characters only. The address of a card is short."""
    return ",".join(name if 0 < len(name) <= _SHORT else f"{name[:8]}…" for name in names.split(","))


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
