"""Checks of what containers get besides GPUs, and of mounts that name their GPUs."""

import tomllib
from collections.abc import Iterator
from pathlib import Path

from plugin_gateway.adapters.commands.doctor.findings import Finding, hint, mend, well
from plugin_gateway.adapters.configuration.settings import Settings
from plugin_gateway.adapters.gateway.device_nodes import DeviceNodes
from plugin_gateway.core.devices import Extra, Inventory

MOUNTS_KEY = "accept-nvidia-visible-devices-as-volume-mounts"
"""In the configuration of NVIDIA's container runtime. Without it, mounts mean nothing to that runtime."""


def check_extras(inventory: Inventory, settings: Settings) -> Iterator[Finding]:
    """Check that there are device nodes for what containers get besides GPUs."""
    nodes = DeviceNodes(settings.visible_dev_root)
    known = {word: extra for recipe in inventory.recipes.values() for word, extra in recipe.extras.items()}
    for word in settings.extras:
        if word in known:
            yield _extra(word, known[word], settings, nodes)


def _extra(word: str, extra: Extra, settings: Settings, nodes: DeviceNodes) -> Finding:
    seen, paths = nodes.seen(extra.nodes), ", ".join(extra.nodes)
    if seen:
        return well(f"{word}: containers get {', '.join(seen)}" if settings.pass_device_specs else f"{word} is there")
    missing = f"{word}: {paths} is not seen below {settings.visible_dev_root}"
    if word in settings.required_extras:
        return mend(f"{missing}; no GPU is given out without it", extra.todo)
    if extra.needs_nodes:
        return hint(f"{missing}; containers get nothing of it", extra.todo)
    variables = ", ".join(f"{name}={value}" for name, value in extra.environment.items())
    return hint(f"{missing}; containers get {variables}, and no device node", extra.todo)


def check_mounts(file: Path) -> Finding:
    """Check that NVIDIA's container runtime looks for mounts. ``file`` is its configuration."""
    try:
        accepts = tomllib.loads(file.read_text()).get(MOUNTS_KEY) is True
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError):
        return hint(
            f"containers are told their GPUs by mounts, and {file} cannot be read here",
            f"see on the node that it has {MOUNTS_KEY} = true, and that NVIDIA's container runtime is the default one",
        )
    if accepts:
        return well(f"NVIDIA's container runtime looks for mounts: {file} has {MOUNTS_KEY} = true")
    return mend(
        f"containers are told their GPUs by mounts, and NVIDIA's container runtime does not look for them: {file}",
        f"set {MOUNTS_KEY} = true in it",
    )
