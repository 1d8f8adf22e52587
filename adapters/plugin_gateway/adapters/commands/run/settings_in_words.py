"""The settings as texts, for the log and for `status`."""

from dataclasses import fields
from enum import Enum

from plugin_gateway.adapters.configuration.parsers import ListenAddress
from plugin_gateway.adapters.configuration.settings import Settings


def differences(before: Settings, after: Settings) -> list[str]:
    """Return the settings that differ, as texts for the log."""
    names = [field.name for field in fields(Settings) if field.compare and field.name != "health"]
    shown = {name: (as_text(getattr(before, name)), as_text(getattr(after, name))) for name in names}
    health = ["health"] if before.health != after.health else []
    return [f"{name}: {old} -> {new}" for name, (old, new) in shown.items() if old != new] + health


def as_text(value: object) -> str:
    """Return the value of a setting as people read it."""
    if isinstance(value, tuple) and not isinstance(value, ListenAddress):
        return ", ".join(f"{rule.pattern}={rule.name}" for rule in value)
    return str(value.value if isinstance(value, Enum) else value)


def decided_words(settings: Settings) -> dict[str, object]:
    """Return log fields with the most important settings, and the sources of all that are not defaults."""
    return {
        "kubelet_dir": str(settings.kubelet_dir),
        "backend": settings.backend,
        "api_version": settings.api_version,
        "resources": [f"{rule.pattern}={rule.name}" for rule in settings.resources],
        "decided_by": {name: source for name, source in settings.sources.items() if source != "default"} or None,
    }
