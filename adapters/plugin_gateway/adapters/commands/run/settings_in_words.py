"""The settings as texts, for the log and for `status`."""

from enum import Enum

from plugin_gateway.adapters.configuration.health_options import PolicyOptions
from plugin_gateway.adapters.configuration.option import options_of
from plugin_gateway.adapters.configuration.options import Options
from plugin_gateway.adapters.configuration.settings import Settings
from plugin_gateway.adapters.support.logs import log

RESOURCES = "resources"
"""Stands among the names of options for the rules."""
_AS_NVIDIA = "with --config-compatibility=nvidia it is ignored here, too"


def differences(before: Settings, after: Settings) -> list[str]:
    """Return the settings that differ, as texts for the log."""
    policy = options_of(PolicyOptions)
    names = [*(option.name for option in options_of(Options) if option.key and option not in policy), RESOURCES]
    shown = [(name, as_text(before, name), as_text(after, name)) for name in names]
    changed = [f"{name}: {old} -> {new}" for name, old, new in shown if old != new]
    if before.resources != after.resources and as_text(before, RESOURCES) == as_text(after, RESOURCES):
        changed.append("what containers get with resources")
    is_other = (before.health, before.card_health) != (after.health, after.card_health)
    return [*changed, "health"] if is_other else changed


def as_text(settings: Settings, name: str) -> str:
    """Return the value of an option, or the rules for resources, as people read it."""
    if name == RESOURCES:
        return ", ".join(_rules(settings))
    value = settings.values[name]
    return str(value.value if isinstance(value, Enum) else value)


def _rules(settings: Settings) -> list[str]:
    return [rule.words for rule in settings.resources]


def log_remarks(settings: Settings) -> None:
    """Log what the settings say to no effect, and what has one that it had not with NVIDIA's device plugin."""
    for remark in settings.remarks:
        log.warning("this has no effect", problem=remark)
    for remark in settings.unlike_nvidia:
        log.warning("NVIDIA's device plugin ignores this", problem=remark, hint=_AS_NVIDIA)


def decided_words(settings: Settings) -> dict[str, object]:
    """Return log fields with the most important settings, and the sources of all that are not defaults."""
    return {
        "kubelet_dir": str(settings.kubelet_dir),
        "backend": settings.backend,
        "api_version": settings.api_version,
        "resources": _rules(settings),
        "decided_by": {name: source for name, source in settings.sources.items() if source != "default"} or None,
    }
