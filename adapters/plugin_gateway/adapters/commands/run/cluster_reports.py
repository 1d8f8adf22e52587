"""Makes the reports to the API server from the settings."""

import asyncio
import os
from collections.abc import Callable, Mapping

from plugin_gateway.adapters.cluster.kubernetes_api import KubernetesApi
from plugin_gateway.adapters.cluster.reports import ClusterReports
from plugin_gateway.adapters.cluster.target import Target
from plugin_gateway.adapters.cluster.told_states import ToldStates
from plugin_gateway.adapters.configuration.settings import Settings
from plugin_gateway.core.health.remedies import Remedies


async def make_reports(
    settings: Settings, device_words: Mapping[str, str], may_write: Callable[[], bool], remedies: Callable[[], Remedies]
) -> ClusterReports:
    """Return the reports. ``device_words`` has the word for a device of each backend at each moment, the first first.

    ``may_write`` says whether this gateway writes what was told, if there are several.

    ``remedies`` imports what it returns, so it is called in a thread.
    """
    target = Target(
        settings.node_name,
        settings.kubernetes_events,
        settings.node_condition,
        next(iter(device_words.values())),
        settings.missing_in_condition,
        device_words,
    )
    told = ToldStates(settings.state_dir, may_write)
    await asyncio.to_thread(told.read)
    return ClusterReports(target, KubernetesApi(os.environ), told, await asyncio.to_thread(remedies))
