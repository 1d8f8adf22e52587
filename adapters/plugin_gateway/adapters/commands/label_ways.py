"""Makes the way that the settings choose."""

import os
from collections.abc import Callable, Mapping
from pathlib import Path

from plugin_gateway.adapters.cluster.label_way import Way
from plugin_gateway.adapters.configuration.label_options import LabelsWay
from plugin_gateway.adapters.configuration.settings import Settings
from plugin_gateway.core.errors import InvalidValueError


def make_way(
    settings: Settings, is_vendors_label: Callable[[str], bool], environment: Mapping[str, str] = os.environ
) -> Way:
    """Return the way by which labels get to the node. Each imports only what it needs.

    ``is_vendors_label`` says which labels may be taken over. ``environment`` has the address of the API server.

    Raises:
        InvalidValueError: the settings choose none.
    """
    if settings.node_labels is LabelsWay.FILE:
        from plugin_gateway.adapters.cluster.feature_file import FeatureFileWay  # noqa: PLC0415 - only where asked for

        return FeatureFileWay(Path(settings.output_file))
    if settings.node_labels is LabelsWay.OFF:
        raise InvalidValueError("no labels are written with --node-labels=off [NODE_LABELS]")
    from plugin_gateway.adapters.cluster.kubernetes_api import KubernetesApi  # noqa: PLC0415 - only where asked for

    api = KubernetesApi(environment)
    if settings.node_labels is LabelsWay.NODE_FEATURE:
        from plugin_gateway.adapters.cluster.node_feature import NodeFeatureWay  # noqa: PLC0415 - only where asked for

        return NodeFeatureWay(api, settings.node_name, settings.pod_name)
    from plugin_gateway.adapters.cluster.node_patch import NodePatchWay  # noqa: PLC0415 - only where asked for
    from plugin_gateway.core.labels.ownership import nobody  # noqa: PLC0415 - the same

    return NodePatchWay(api, settings.node_name, is_vendors_label if settings.node_labels_adopt else nobody)
