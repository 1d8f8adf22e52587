"""What the settings say of labels and taints, in the words of the core. It is imported only where there are any."""

from plugin_gateway.adapters.configuration.label_options import parse_cause_rule, parse_product_rule
from plugin_gateway.adapters.configuration.settings import Settings
from plugin_gateway.core.labels.policy import LabelPolicy


def label_policy(settings: Settings, machine: str | None, started_at: float) -> LabelPolicy:
    """Return what an administrator decided about labels and taints.

    ``machine`` is what the file of ``--machine-type-file`` says, and None if it cannot be read. ``started_at`` is when
    the process started, in seconds since the epoch.
    """
    return LabelPolicy(
        has_deprecated=settings.node_labels_deprecated,
        own=frozenset(settings.node_labels_own),
        strategy=settings.mig_strategy,
        machine=machine,
        started_at=None if settings.no_timestamp else int(started_at),
        by_product=tuple(map(parse_product_rule, settings.node_labels_by_product)),
        by_cause=tuple(map(parse_cause_rule, settings.node_taint_by_cause)),
    )
