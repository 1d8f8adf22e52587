"""All backends of one process. Those with network cards come and go with their sections of the configuration."""

import asyncio
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING

from plugin_gateway.adapters.commands.run.backends import RunningBackend
from plugin_gateway.adapters.commands.run.process import start_is_over
from plugin_gateway.adapters.configuration.option import Option
from plugin_gateway.adapters.configuration.options import Options
from plugin_gateway.adapters.configuration.settings import Settings
from plugin_gateway.adapters.support.logs import log

if TYPE_CHECKING:
    from plugin_gateway.adapters.commands.run.command import StartedBackend
    from plugin_gateway.adapters.configuration.chosen_backends import ChosenBackend
    from plugin_gateway.adapters.gateway.driver_access import DriverAccess
    from plugin_gateway.adapters.gateway.gateway import Gateway
    from plugin_gateway.adapters.gateway.observation_queue import FilesBox
    from plugin_gateway.core.health.faults import Evidence
    from plugin_gateway.core.health.remedies import Remedies, Remedy

    Start = Callable[[ChosenBackend, Settings], StartedBackend]
    Run = Callable[[StartedBackend, Settings, bool], RunningBackend]

_MADE_WITH: Mapping[bool, Sequence[Option[object]]] = {
    False: (Options.container_driver_root, Options.mig_strategy),
    True: (Options.host_root, Options.link_events, Options.poll_interval),
}
"""The options that a backend is made with, by whether it has network cards."""


class BackendSet:
    """The backends in their order. The first one stays the first."""

    def __init__(self, started: "Sequence[StartedBackend]", settings: Settings, start: "Start", run: "Run") -> None:
        """Take over backends that were started.

        ``start`` starts a further one, and ``run`` makes of a started one what runs it. The last argument of that says
        whether it is the first.
        """
        self._start = start
        self._run = run
        self._running = [run(each, settings, each is started[0]) for each in started]
        self.drivers: dict[str, DriverAccess] = {}
        """The driver of each backend, by its name, at each moment."""
        self.is_watching: dict[str, Callable[[], bool]] = {}
        """Whether the thread of each backend is alive, at each moment."""
        self.files: dict[str, FilesBox] = {}
        """What each backend finds of the files of its driver, at each moment."""
        self.device_words: dict[str, str] = {}
        """The common word for a device of each backend, at each moment."""
        self._tasks: asyncio.TaskGroup | None = None
        self._runs: dict[str, asyncio.Task[None]] = {}
        self._note()

    def __iter__(self) -> Iterator[RunningBackend]:
        """Yield the backends of this moment."""
        return iter(self._running)

    @property
    def first(self) -> RunningBackend:
        """The first backend, which is the only one of most nodes."""
        return self._running[0]

    @property
    def names(self) -> Sequence[str]:
        """The names of the backends of this moment."""
        return [each.name for each in self._running]

    def turn_of_cards(self, has_sent: asyncio.Event, begin: Callable[[], object]) -> "TurnOfCards":
        """Return when the network cards of this moment begin, which is after the first Register. See there."""
        return TurnOfCards(has_sent, [each.has_answered for each in self._running if each.has_cards], begin)

    async def run(self, turn: "TurnOfCards") -> None:
        """Let the cards begin when it is their ``turn``, and write the files with the faults until cancelled."""
        async with asyncio.TaskGroup() as self._tasks:
            self._tasks.create_task(turn.run(), name="turn of the cards")
            for each in self._running:
                self._run_in(self._tasks, each)

    def stop(self, turn: "TurnOfCards") -> None:
        """Stop all backends for good, those too that wait for their ``turn``."""
        for each in self._running:
            each.driver.stop()
        turn.end()

    def _run_in(self, tasks: asyncio.TaskGroup, backend: RunningBackend) -> None:
        self._runs[backend.name] = tasks.create_task(backend.run(), name=f"memory of health, {backend.name}")

    def look_again(self) -> None:
        """Have every backend look soon at what is on the node: a device node was not there."""
        for each in self._running:
            each.driver.look_again()

    def remedies(self, of_vendors: "Callable[[Sequence[str]], Remedies]") -> "Remedies":
        """Return what the vendors of the devices of each moment say. It imports those of now."""
        of_vendors(self.names)

        def remedy_for(evidence: "Evidence") -> "Remedy":
            return of_vendors(self.names)(evidence)

        return remedy_for

    async def prepare(self, settings: Settings, load: "Callable[[ChosenBackend], object]") -> None:
        """Have everything imported that further backends of these settings need. ``load`` does it."""
        for each in settings.chosen:
            if each.name not in self.names:
                await asyncio.to_thread(load, each)

    def exchange(self, settings: Settings, gateway: "Gateway") -> Sequence[str]:
        """Stop the backends that these settings do not have, and start those that they have besides.

        Returns the names of those that were stopped. The gateway has to be given rules for the others afterwards.
        """
        wanted = {each.name for each in settings.chosen}
        left = [each for each in self._running if each.name not in wanted]
        new = [each for each in settings.chosen if each.name not in self.names]
        if not left and not new:
            return ()
        for each in left:
            each.driver.stop()
            if (task := self._runs.pop(each.name, None)) is not None:
                task.cancel()
        kept = [each for each in self._running if each.name in wanted]
        for each in kept:
            each.stand_alone(is_alone=not settings.backends)
        added = [self._run(self._start(each, settings), settings, False) for each in new]  # noqa: FBT003 - a callable
        by_name = {each.name: each for each in (*kept, *added)}
        self._running = [by_name[each.name] for each in settings.chosen]
        self._note()
        gateway.exchange([each.watched for each in self._running])
        if self._tasks is not None:
            for each in added:
                self._run_in(self._tasks, each)
        stopped = [each.name for each in left]
        log.info("backends changed", started=[each.name for each in added], stopped=stopped, backends=self.names)
        return stopped

    def _note(self) -> None:
        self.device_words.clear()
        for known in (self.drivers, self.is_watching, self.files):
            known.clear()
        for each in self._running:
            self.device_words[each.name] = each.device_word
            self.drivers[each.name] = each.driver
            self.is_watching[each.name] = each.driver.is_watching
            self.files[each.name] = each.files

    def following(self, before: Settings, settings: Settings, apply: Callable[[], object]) -> Callable[[], object]:
        """Return what has all backends follow other settings.

        It calls ``apply`` when those that are exchanged for others have reported their last.
        """
        for each in self._running:
            is_new = _differs(before, settings, has_cards=each.has_cards)
            apply = partial(each.follow, settings, is_new=is_new, meanwhile=apply)
        return apply


class TurnOfCards:
    """The order of the start: GPUs first, then network cards, then everything that no registration waits for."""

    def __init__(
        self, has_sent: asyncio.Event, have_answered: Sequence[asyncio.Event], begin: Callable[[], object]
    ) -> None:
        """``has_sent`` says that a Register was sent. ``begin`` lets the threads of the cards begin.

        ``have_answered`` has an event of each backend with cards: it is known which there are, or why that is not.
        """
        self._has_sent = has_sent
        self._have_answered = have_answered
        self._begin = begin
        self.is_over = asyncio.Event() if have_answered else has_sent
        """Set when everything else may begin, except the 30 ms that are left to the lists."""

    async def run(self) -> None:
        """Let the cards begin, and wait until it is known which there are. Returns at once if there are none."""
        if not self._have_answered:
            return
        await start_is_over(self._has_sent)
        self._begin()
        for each in self._have_answered:
            await each.wait()
        self.is_over.set()

    def end(self) -> None:
        """Let the threads begin that still wait. One that was stopped ends."""
        self._begin()


def _differs(before: Settings, settings: Settings, *, has_cards: bool) -> bool:
    """Whether other settings need another backend."""
    differs = any(getattr(before, each.name) != getattr(settings, each.name) for each in _MADE_WITH[has_cards])
    return differs or (has_cards and before.onload_paths != settings.onload_paths)
