"""Two simulated backends of different models in one gateway, with all that each has of its own, as `run` makes them."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from harness.pages import process_status
from plugin_gateway.__main__ import PARTS
from plugin_gateway.adapters.commands.flags import decide_all
from plugin_gateway.adapters.commands.run.backends import RunningBackend
from plugin_gateway.adapters.commands.run.command import start_backend
from plugin_gateway.adapters.commands.run.serving_policy import serving_policy
from plugin_gateway.adapters.configuration.option import GivenFlag
from plugin_gateway.adapters.configuration.settings import Settings, make_settings
from plugin_gateway.adapters.control.handover import Successors
from plugin_gateway.adapters.control.operator_commands import OperatorCommands
from plugin_gateway.adapters.dialects import load_dialects
from plugin_gateway.adapters.gateway.device_counter import DeviceCounter, Given
from plugin_gateway.adapters.gateway.gateway import Gateway
from plugin_gateway.adapters.gateway.health_document import WrittenBy
from plugin_gateway.adapters.gateway.observation_queue import FilesBox, ObservationQueue
from plugin_gateway.adapters.kubelet.directory import KubeletDirectory
from plugin_gateway.adapters.monitoring.http_listener import Page, Pages
from plugin_gateway.adapters.monitoring.pages import make_pages
from plugin_gateway.adapters.registration.registrar import Registrar
from plugin_gateway.core.health.state import State
from plugin_gateway.core.ports import Report
from plugin_gateway.nvidia.remedies import remedy_for
from plugin_gateway.nvidia.simulated import SimulatedBackend

FIRST, OTHER = "simulated", "other"
GPUS, OTHERS = "nvidia.com/gpu", "nvidia.com/other"
TWO = "simulated:2xH100,simulated:3xA100/name=other"


class Moody(SimulatedBackend):
    """A simulated backend whose driver can hang, and for which there may be no thread."""

    def __init__(self, spec: str) -> None:
        super().__init__(spec)
        self.silence = 0.0
        self.starts_missing = 0
        """How often it cannot be started."""

    def start(self, report: Report, after: Callable[[], object] = lambda: None) -> None:
        if self.starts_missing:
            self.starts_missing -= 1
            raise RuntimeError("can't start new thread")
        if not self.silence:
            super().start(report, after)

    def silent_for(self) -> float:
        return self.silence


def settings_of(**given: str) -> Settings:
    return make_settings(decide_all({name: GivenFlag(f"--{name}", text) for name, text in given.items()}, PARTS))


class Several:
    """One process with several backends. What is kept outlives it, in its state directory."""

    def __init__(self, kubelet_dir: Path, state_dir: Path, text: str = TWO, quiet_time: str = "0") -> None:
        self.settings = settings_of(backend=text, state_dir=str(state_dir), quiet_time=quiet_time)
        self.chosen = PARTS.backends(text)
        self.drivers = {each.name: Moody(each.text.partition(":")[2]) for each in self.chosen}
        self.registrar = Registrar(
            directory=KubeletDirectory(kubelet_dir), dialects=load_dialects(), allowed=load_dialects()
        )

    def begin(self) -> None:
        """Start the backends, as `run` does."""
        by_text = {each.text: self.drivers[each.name] for each in self.chosen}
        parts = PARTS._replace(make_backend=lambda text, *_: by_text[text])
        started = [start_backend(each, ObservationQueue(), FilesBox(), self.settings, parts) for each in self.chosen]
        self.running = {
            each.chosen.name: RunningBackend(
                each,
                self.settings,
                make=lambda text: by_text[text],
                written_by=lambda _: WrittenBy("1.0", "node", "6.1", None, None),
                may_write=lambda: True,
                keep=lambda *_: None,
                is_first=each is started[0],
            )
            for each in started
        }
        self.gateway = Gateway(
            backends=[each.watched for each in self.running.values()],
            registrar=self.registrar,
            serving_policy=serving_policy(self.settings),
        )

    def state(self, name: str) -> State:
        return self.running[name].watched.state

    def unhealthy(self, name: str) -> Sequence[str]:
        return sorted(self.state(name).present_faults)

    def commands(self) -> OperatorCommands:
        counter = DeviceCounter(Path("/nonexistent"), "GPU", Given(None, ""), lambda *_: None)
        drivers = {name: each.driver for name, each in self.running.items()}
        nothing: Any = None
        successors: Successors = nothing
        return OperatorCommands(self.gateway, counter, process_status, nothing, drivers, successors)

    def pages(self) -> Pages:
        watching = {name: each.driver.is_watching for name, each in self.running.items()}
        return make_pages(self.gateway, self.commands().status, watching, remedies=remedy_for)

    async def shown(self, path: str) -> str:
        made = self.pages()[path]()
        page = made if isinstance(made, Page) else await made
        return f"{page.status} {page.body}"


@asynccontextmanager
async def several(node: Several) -> AsyncIterator[Several]:
    """Run the gateway inside the block. An error that ends it earlier is raised."""
    node.begin()
    async with asyncio.TaskGroup() as tasks:
        running = [tasks.create_task(node.gateway.run())]
        running += [tasks.create_task(each.run()) for each in node.running.values()]
        try:
            yield node
        finally:
            for each in node.running.values():
                each.driver.stop()
            for task in running:
                task.cancel()
