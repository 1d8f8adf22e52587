"""The backends of one process. Each has its own thread, driver, state, and file with its faults."""

import asyncio
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

from plugin_gateway.adapters.configuration.settings import Settings
from plugin_gateway.adapters.gateway.device_nodes import DeviceNodes
from plugin_gateway.adapters.gateway.driver_access import DriverAccess
from plugin_gateway.adapters.gateway.health_memory import NAME, HealthMemory, name_of_further
from plugin_gateway.adapters.gateway.watched_backend import WatchedBackend
from plugin_gateway.core.health.changes import Changes
from plugin_gateway.core.health.memory import Memory
from plugin_gateway.core.health.state import State
from plugin_gateway.core.ports import Backend

if TYPE_CHECKING:
    from plugin_gateway.adapters.commands.run.command import StartedBackend
    from plugin_gateway.adapters.gateway.health_document import WrittenBy
    from plugin_gateway.adapters.gateway.required_nodes import RequiredNodes
    from plugin_gateway.adapters.recording.recorder import Recorder


class RunningBackend:
    """One backend of this process, with all that is its own."""

    def __init__(
        self,
        started: "StartedBackend",
        settings: Settings,
        *,
        make: Callable[[str], Backend],
        written_by: "Callable[[Memory], WrittenBy]",
        may_write: Callable[[], bool],
        keep: "Callable[[RunningBackend, State, Changes], None]",
        is_first: bool,
    ) -> None:
        """Take over a backend that was started.

        ``make`` makes another one from its text. ``keep`` is called with every new state and its changes. The file of
        the ``is_first`` one has the name that it has where there is one backend only.
        """
        self.name = started.chosen.name
        self.text = started.chosen.text
        """What `--backend` says of it."""
        self.has_cards = started.chosen.has_cards
        self.device_word = started.backend.device_word
        self._started = started
        is_alone = not settings.backends
        self.driver = DriverAccess(
            started.backend,
            lambda: make(started.chosen.text),
            started.observations.put,
            None if is_alone else self.name,
        )
        file_name = NAME if is_first else name_of_further(self.name)
        self.files = started.files
        """What it found of the files of its driver."""
        self.put = started.observations.put
        """Takes an observation. Any thread may call it."""
        self.memory = HealthMemory(settings.state_dir, written_by=written_by, may_write=may_write, name=file_name)
        self.watched = WatchedBackend(
            name=self.name,
            observations=started.observations,
            silent_for=self.driver.silent_for,
            health=settings.health_of(self.name),
            fails_without_devices=is_first and settings.fail_on_init_error,
            state=self.memory.recall(),
            keep=self._keep,
            is_alone=is_alone,
            device_word=self.device_word,
        )
        self.has_answered = asyncio.Event()
        """Whether it is known which devices there are, or why that is not known."""
        self._is_first = is_first
        self._told = keep
        self._required: RequiredNodes | None = None
        self._is_required = asyncio.Event()
        self._require(settings)

    async def run(self) -> None:
        """Write the file with the faults until cancelled. Start the backend again if there was no thread for it."""
        if not self._started.has_thread:
            self.driver.try_again()
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self.memory.run(), name="file with the faults")
            tasks.create_task(self._look_again(), name="what containers need")

    def stand_alone(self, *, is_alone: bool) -> None:
        """Be the only backend of the process from now on, or one of several."""
        self.watched.stand_alone(is_alone=is_alone)
        self.driver.name = None if is_alone else self.name

    def _require(self, settings: Settings) -> None:
        """Look whether the node has what these settings do not let a container with a GPU be without."""
        if self._required is None:
            if self.has_cards or not settings.required_extras:
                return
            from plugin_gateway.adapters.gateway.required_nodes import RequiredNodes  # noqa: PLC0415 - only where asked for

            self._required = RequiredNodes(self.put, lambda: self.watched.state.recipes)
            self._is_required.set()
        self._required.require(settings.required_extras, DeviceNodes(settings.visible_dev_root))

    async def _look_again(self) -> None:
        await self._is_required.wait()
        if self._required is not None:
            await self._required.run()

    def read_again(self) -> None:
        """Take over what a gateway that served the kubelet until now knew of the devices."""
        kept = self.memory.read_again()
        if kept is not None:
            self.watched.adopt(kept)

    def follow(self, settings: Settings, *, is_new: bool, meanwhile: Callable[[], object]) -> None:
        """Follow other settings. ``is_new``: they need another backend.

        ``meanwhile`` is called when the old backend has reported its last, and the new one has not begun.
        """
        health = settings.health_of(self.name)
        self.watched.follow(health, fails_without_devices=self._is_first and settings.fail_on_init_error)
        if is_new:
            self.driver.replace(meanwhile)
        else:
            meanwhile()
        self._require(settings)
        self.driver.decide_after(health.decision_time)

    def _keep(self, state: State, changes: Changes) -> None:
        if state.inventory is not None or state.driver_problem is not None:
            self.has_answered.set()
        self.memory.keep(state)
        if self._required is not None:
            self._required.look()
        self._told(self, state, changes)


def record(settings: Settings, backends: Iterable[RunningBackend]) -> "Recorder | None":
    """Begin the recording that the settings ask for."""
    from plugin_gateway.adapters.recording.recorder import begin_recording  # noqa: PLC0415 - only where asked for

    return begin_recording(settings, {each.name: each.watched.state for each in backends})
