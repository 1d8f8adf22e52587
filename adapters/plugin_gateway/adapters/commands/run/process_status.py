"""What the status says of the process: which gateway it is, and the configuration that is in force."""

from typing import Any

from plugin_gateway.adapters.commands.run.reloading import Reloading
from plugin_gateway.adapters.commands.run.settings_in_words import as_text
from plugin_gateway.adapters.configuration.settings import Settings
from plugin_gateway.adapters.gateway.status import (
    OPTIONS_IN_FORCE,
    ConfigurationFile,
    Decided,
    GatewayIdentity,
    InForce,
    LabelsStatus,
    ProcessStatus,
    naming_rule,
)
from plugin_gateway.adapters.support.about import about


def process_status(reloading: Reloading, instance: str, labels: LabelsStatus | None = None) -> ProcessStatus:
    """Return what the process knows of itself, and the values that somebody decided, with their sources."""
    settings = reloading.settings
    here, file = about(""), settings.config_file
    decided = {name: source for name, source in settings.sources.items() if source != "default"}
    return ProcessStatus(
        gateway=GatewayIdentity(version=here.gateway, host=here.node, instance=instance),
        kubelet_dir=str(settings.kubelet_dir),
        configuration_problem=reloading.problem,
        configurations_refused=reloading.refusals,
        configuration_file=None if file is None else ConfigurationFile(path=str(file), changed=reloading.is_outdated),
        label_problem=reloading.label_problem,
        labels=labels,
        in_force=_in_force(settings),
        configuration={name: Decided(value=as_text(settings, name), source=source) for name, source in decided.items()},
    )


def _in_force(settings: Settings) -> InForce:
    options: dict[str, Any] = {name: settings.values[name] for name in OPTIONS_IN_FORCE}
    options["backend"] = ",".join(each.text for each in settings.chosen)  # auto depends on the file
    return InForce(resources=tuple(map(naming_rule, settings.resources)), **options)
