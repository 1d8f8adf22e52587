"""The reports to the API server, which begin some time after the gateway, and are told of everything from then on."""

import asyncio
import os
from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING

from plugin_gateway.adapters.commands.run.backend_set import BackendSet
from plugin_gateway.adapters.configuration.settings import Settings
from plugin_gateway.core.health.changes import Note
from plugin_gateway.core.health.state import State

if TYPE_CHECKING:
    from plugin_gateway.adapters.cluster.reports import ClusterReports
    from plugin_gateway.core.health.remedies import Remedies


class ClusterReporting:
    """Passes on to the reports what happens."""

    def __init__(
        self,
        settings: Settings,
        backends: BackendSet,
        may_write: Callable[[], bool],
        remedies: "Callable[[], Remedies]",
    ) -> None:
        """``may_write`` says whether this gateway writes what was told, if there are several.

        ``remedies`` imports what it returns, so it is called in a thread.
        """
        self._settings = settings
        self._backends = backends
        self._may_write = may_write
        self._remedies = remedies
        self._reports: ClusterReports | None = None
        self._missing: tuple[str | None, bool] = (None, False)
        """Which devices are missing, and whether that is news. For reports that begin later."""

    def keep(self, state: State, notes: Sequence[Note], backend: str) -> None:
        """Pass on a state of a backend, and what happened without a change of health."""
        if self._reports is not None:
            self._reports.keep(state, notes, backend)

    def forget(self, backend: str) -> None:
        """Pass on that there is no such backend any more."""
        if self._reports is not None:
            self._reports.forget(backend)

    def tell_missing(self, problem: str | None, *, is_news: bool) -> None:
        """Pass on which devices are missing."""
        self._missing = problem, is_news
        if self._reports is not None:
            self._reports.tell_missing(problem, is_news=is_news)

    async def run(
        self,
        import_later: Callable[..., Awaitable[None]],
        tell_to: Callable[[Callable[[str | None], None]], None],
    ) -> None:
        """Report until cancelled. ``import_later`` imports modules in a thread.

        ``tell_to`` is given who is to be told why a configuration was refused.
        """
        await import_later("plugin_gateway.adapters.cluster.reports")
        reports = self._reports = await self._make()
        for each in self._backends:
            reports.keep(each.watched.state, backend=each.name)
        reports.tell_missing(self._missing[0], is_news=self._missing[1])
        tell_to(reports.tell_configuration)
        await reports.run()

    async def _make(self) -> "ClusterReports":
        from plugin_gateway.adapters.cluster.kubernetes_api import KubernetesApi  # noqa: PLC0415 - only where asked for
        from plugin_gateway.adapters.cluster.reports import ClusterReports  # noqa: PLC0415 - the same
        from plugin_gateway.adapters.cluster.target import Target  # noqa: PLC0415 - the same
        from plugin_gateway.adapters.cluster.told_states import ToldStates  # noqa: PLC0415 - the same

        words, settings = self._backends.device_words, self._settings
        target = Target(
            settings.node_name,
            settings.kubernetes_events,
            settings.node_condition,
            next(iter(words.values())),
            settings.missing_in_condition,
            words,
        )
        told = ToldStates(settings.state_dir, self._may_write)
        await asyncio.to_thread(told.read)
        return ClusterReports(target, KubernetesApi(os.environ), told, await asyncio.to_thread(self._remedies))
