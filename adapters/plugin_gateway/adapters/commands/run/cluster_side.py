"""What the cluster is told of the devices: by reports, and by labels of the node. Most gateways do neither."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

from plugin_gateway.adapters.commands.run.backend_set import BackendSet
from plugin_gateway.adapters.configuration.settings import Settings
from plugin_gateway.core.health.changes import Changes
from plugin_gateway.core.health.state import State

if TYPE_CHECKING:
    from plugin_gateway.adapters.commands.command_line import Parts
    from plugin_gateway.adapters.commands.run.cluster_reporting import ClusterReporting
    from plugin_gateway.adapters.commands.run.node_labelling import NodeLabelling
    from plugin_gateway.adapters.gateway.status import LabelsStatus
    from plugin_gateway.core.health.remedies import Remedies


class ClusterSide:
    """Passes on what happens to those who tell the cluster. Nothing of them is imported where there are none."""

    def __init__(
        self,
        settings: Settings,
        backends: BackendSet,
        parts: "Parts",
        current: Callable[[], Settings],
        remedies: "Callable[[], Remedies]",
        may_write: Callable[[], bool],
        is_alone: Callable[[], bool],
    ) -> None:
        """``settings`` are those of the start, and ``current`` returns those in force.

        ``remedies`` imports what it returns. ``may_write`` says whether this gateway writes, if there are several on
        the node, and ``is_alone`` whether there are several.
        """
        reports = settings.kubernetes_events or settings.node_condition
        self._reports = _reporting(settings, backends, may_write, remedies) if reports else None
        self._labels = _labelling(backends, parts, current, may_write, is_alone) if settings.needs_labels else None

    def keep(self, state: State, changes: Changes, backend: str) -> None:
        """Pass on a state of a backend, and what happened."""
        if self._reports is not None:
            self._reports.keep(state, changes.notes, backend)
        if self._labels is not None:
            self._labels.note()

    def forget(self, backend: str) -> None:
        """Pass on that there is no such backend any more."""
        if self._reports is not None:
            self._reports.forget(backend)

    def tell_missing(self, problem: str | None, is_news: bool) -> None:  # noqa: FBT001 - called by the counter alone
        """Pass on which devices are missing."""
        if self._reports is not None:
            self._reports.tell_missing(problem, is_news=is_news)

    def follow(self, before: Settings, settings: Settings) -> None:
        """Follow other settings, which are in force already."""
        if self._labels is not None:
            self._labels.follow(before, settings)

    def labels(self) -> "LabelsStatus | None":
        """Return what is known of the labels of the node. None where nobody writes any."""
        return self._labels.status() if self._labels is not None else None

    def begin(
        self,
        tasks: asyncio.TaskGroup,
        import_later: Callable[..., Awaitable[None]],
        tell_to: Callable[[Callable[[str | None], None]], None],
    ) -> None:
        """Begin to tell the cluster, in tasks of their own.

        ``import_later`` imports modules in a thread. ``tell_to`` is given who is to be told why a configuration was
        refused.
        """
        if self._reports is not None:
            tasks.create_task(self._reports.run(import_later, tell_to), name="reports to the cluster")
        if self._labels is not None:
            tasks.create_task(self._labels.run(import_later), name="labels of the node")


def _reporting(
    settings: Settings, backends: BackendSet, may_write: Callable[[], bool], remedies: "Callable[[], Remedies]"
) -> "ClusterReporting":
    from plugin_gateway.adapters.commands.run.cluster_reporting import ClusterReporting  # noqa: PLC0415 - only where asked for

    return ClusterReporting(settings, backends, may_write, remedies)


def _labelling(
    backends: BackendSet,
    parts: "Parts",
    current: Callable[[], Settings],
    may_write: Callable[[], bool],
    is_alone: Callable[[], bool],
) -> "NodeLabelling":
    from plugin_gateway.adapters.commands.run.node_labelling import NodeLabelling  # noqa: PLC0415 - only where asked for

    return NodeLabelling(backends, parts, current, may_write, is_alone)
