"""Has the labels of the node written in the way that the settings choose."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from functools import cache
from typing import TYPE_CHECKING

from plugin_gateway.adapters.commands.run.backend_set import BackendSet
from plugin_gateway.adapters.configuration.label_options import LabelsWay
from plugin_gateway.adapters.configuration.settings import Settings

if TYPE_CHECKING:
    from plugin_gateway.adapters.cluster.label_publishing import LabelPublisher
    from plugin_gateway.adapters.commands.command_line import Parts
    from plugin_gateway.adapters.gateway.status import LabelsStatus
    from plugin_gateway.core.labels.lasting import Lasting

_MODULES: Sequence[str] = (
    "plugin_gateway.adapters.configuration.label_policy",
    "plugin_gateway.adapters.gateway.machine_name",
    "plugin_gateway.adapters.commands.label_ways",
    "plugin_gateway.adapters.cluster.label_publishing",
)
_MODULES_OF_WAYS = {
    LabelsWay.FILE: "plugin_gateway.adapters.cluster.feature_file",
    LabelsWay.NODE_FEATURE: "plugin_gateway.adapters.cluster.node_feature",
    LabelsWay.PATCH: "plugin_gateway.adapters.cluster.node_patch",
}


class NodeLabelling:
    """Makes labels of the state of all backends, and has them written."""

    def __init__(
        self,
        backends: BackendSet,
        parts: "Parts",
        settings: Callable[[], Settings],
        may_write: Callable[[], bool],
        is_alone: Callable[[], bool],
    ) -> None:
        """``settings`` returns those in force. ``may_write`` and ``is_alone`` are for `LabelPublisher`."""
        self._backends = backends
        self._maker = cache(parts.label_maker)
        self._is_vendors_label = parts.is_vendors_label
        self._settings = settings
        self._may_write = may_write
        self._is_alone = is_alone
        self._started_at = time.time()
        self._machine: str | None = None
        """The model of the machine. None if it cannot be read."""
        self._reloaded = asyncio.Event()
        self.publisher: LabelPublisher | None = None
        """Who writes the labels. None before the start is over."""

    def note(self) -> None:
        """Take that the devices may be other ones. Does not wait."""
        if self.publisher is not None:
            self.publisher.note()

    def follow(self, before: Settings, settings: Settings) -> None:
        """Follow other settings, which are in force already."""
        if (before.output_file, before.machine_type_file) != (settings.output_file, settings.machine_type_file):
            self._reloaded.set()
        self.note()

    async def run(self, import_later: Callable[..., Awaitable[None]]) -> None:
        """Have labels written until cancelled. ``import_later`` imports modules in a thread."""
        await import_later(*_MODULES, _MODULES_OF_WAYS[self._settings().node_labels])
        while True:
            self._reloaded.clear()
            settings = self._settings()
            await self._read_machine(settings)
            self.publisher = await self._make(settings)
            async with asyncio.TaskGroup() as tasks:
                writing = tasks.create_task(self.publisher.run(), name="writing of labels")
                await self._until_other_file(settings)
                writing.cancel()

    async def _until_other_file(self, settings: Settings) -> None:
        """Wait until the labels belong into another file. No way depends on anything else that a reload changes."""
        while True:
            await self._reloaded.wait()
            self._reloaded.clear()
            before, settings = settings, self._settings()
            if settings.node_labels is LabelsWay.FILE and settings.output_file != before.output_file:
                return
            await self._read_machine(settings)
            self.note()

    async def _read_machine(self, settings: Settings) -> None:
        from plugin_gateway.adapters.gateway.machine_name import read_machine_name  # noqa: PLC0415 - only where asked for

        self._machine = (await asyncio.to_thread(read_machine_name, settings.machine_type_file)).name

    async def _make(self, settings: Settings) -> "LabelPublisher":
        from plugin_gateway.adapters.cluster.label_publishing import LabelPublisher, uptime  # noqa: PLC0415 - the same
        from plugin_gateway.adapters.commands.label_ways import make_way  # noqa: PLC0415 - the same
        from plugin_gateway.adapters.configuration.label_policy import label_policy  # noqa: PLC0415 - only where asked for
        from plugin_gateway.core.labels.lasting import lasting_labels  # noqa: PLC0415 - the same
        from plugin_gateway.core.labels.making import Labelled  # noqa: PLC0415 - the same

        for each in self._backends:
            await asyncio.to_thread(self._maker, each.text)  # it imports

        def make() -> "Lasting":
            now = self._settings()
            known = [
                Labelled(each.watched.state, self._maker(each.text), each.driver.tells_facts) for each in self._backends
            ]
            policy = label_policy(now, self._machine, self._started_at)
            return lasting_labels(known, now.resources, policy, uptime(), now.node_labels_grace)

        return LabelPublisher(
            make_way(settings, self._is_vendors_label),
            make,
            may_write=self._may_write,
            clears_labels=settings.node_labels_remove,
            is_alone=self._is_alone,
        )

    def status(self) -> "LabelsStatus":
        """Return what is known of the labels."""
        from plugin_gateway.adapters.gateway.status import LabelsStatus  # noqa: PLC0415 - only where asked for

        way = self._settings().node_labels.value
        return LabelsStatus(way=way) if self.publisher is None else self.publisher.status(way)
