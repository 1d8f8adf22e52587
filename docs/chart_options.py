"""Writes the options into the chart, for `docs/options.py`: its values, their schema, and the flags of its container.

It also writes the values into a template. `helm upgrade --reuse-values` from another chart brings the values of that
one, and leaves the file with ours unread.

A value has the name of the key in the configuration file, which is that of NVIDIA's chart where that has it.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from textwrap import wrap
from typing import Any

import yaml

from generated import with_text
from plugin_gateway.__main__ import PARTS
from plugin_gateway.adapters.commands.flags import options
from plugin_gateway.adapters.configuration.folder_options import FolderOptions
from plugin_gateway.adapters.configuration.kinds import Schema
from plugin_gateway.adapters.configuration.option import Option, options_of
from plugin_gateway.adapters.configuration.options import Options

CHART = Path(__file__).parents[1] / "deploy/helm/plugin-gateway"
VALUES, SCHEMA, TEMPLATE = CHART / "values.yaml", CHART / "values.schema.json", CHART / "templates/_options.tpl"
DEFAULTS = CHART / "templates/_defaults.tpl"
BY_HAND = (
    Options.kubelet_dir,
    Options.kubelet_socket,
    Options.state_dir,
    Options.container_driver_root,
    Options.record,
    Options.listen,
    Options.config_file,
    Options.watch_config,
    *options_of(FolderOptions),
    Options.nvidia_cdi_hook_path,
    Options.node_name,
    Options.host_root,
    Options.link_events,
    Options.device_info_dir,
    Options.onload_host_path,
    Options.oneshot,
    Options.sleep_interval,
    Options.output_file,
    Options.pod_name,
    Options.use_node_feature_api,
)
"""Options that follow from what the chart mounts, serves or asks Kubernetes for, or that have a value in a section.

The chart is written for them.
"""
BEGIN, END = "# made by make generate", "# end of what make generate made"
MADE = "made by make generate"
"""Marks what is made in the schema."""


def chart_options() -> Sequence[Option[object]]:
    """Return the options that are values of the chart."""
    by_hand = {option.name for option in BY_HAND}
    return [option for option in options(PARTS) if option.name not in by_hand]


def values(page: str) -> str:
    """Return the file of values with a value for each option. The empty one leaves the default to the gateway."""
    entries = [
        (*(f"# {line}" for line in wrap(option.meaning, 118)), f"{option.word}: {_empty(option.kind.schema)}")
        for option in chart_options()
    ]
    return with_text(page, "\n".join(line for entry in entries for line in entry), str(VALUES), BEGIN, END)


def schema(page: str) -> str:
    """Return the schema with a property for each option, one a line. Those that are no options stay as they are."""
    document: dict[str, Any] = json.loads(page)
    others = {name: rule for name, rule in document.pop("properties").items() if rule.get("$comment") != MADE}
    made = {option.word: {"$comment": MADE, **_or_empty(option.kind.schema)} for option in chart_options()}
    heads = [f"  {json.dumps(name)}: {json.dumps(rule)}," for name, rule in document.items()]
    lines = [f"    {json.dumps(name)}: {json.dumps(rule)}" for name, rule in (made | others).items()]
    return "\n".join(("{", *heads, '  "properties": {', ",\n".join(lines), "  }", "}", ""))


def template() -> str:
    """Return the template of the flags: one for each value that is not empty."""
    flags = "\n".join(f'  "{option.word}" "{option.flags[0]}"' for option in chart_options())
    return f"""\
{{{{/* Made by `make generate` from the table of options. */}}}}
{{{{- define "plugin-gateway.optionFlags" -}}}}
{{{{- $flags := dict
{flags}
}}}}
{{{{- range $name, $flag := $flags }}}}
{{{{- $value := index $.Values $name }}}}
{{{{- if kindIs "slice" $value }}}}
{{{{- $value = join "," $value }}}}
{{{{- end }}}}
{{{{- if not (or (kindIs "invalid" $value) (eq (toString $value) "")) }}}}
- {{{{ printf "%s=%v" $flag $value | quote }}}}
{{{{- end }}}}
{{{{- end }}}}
{{{{- end -}}}}
"""


def defaults(page: str) -> str:
    """Return the template with all values of the chart, as JSON. ``page`` is the file of values."""
    text = json.dumps(yaml.safe_load(page), indent=1)
    return f"""\
{{{{/* Made by `make generate` from values.yaml. */}}}}
{{{{- define "plugin-gateway.defaults" -}}}}
{text}
{{{{- end -}}}}
"""


def _is_text(rule: Schema) -> bool:
    types = str(rule.get("type", "string"))
    return "string" in types and "number" not in types


def _empty(rule: Schema) -> str:
    """Return the value that stands for none, as YAML."""
    return '""' if _is_text(rule) else "null"


def _or_empty(rule: Schema) -> Mapping[str, object]:
    """Return the schema that also allows the empty value, and null, which NVIDIA's chart has for every option.

    In a file of values, off without quotes is read as false.
    """
    if isinstance(words := rule.get("enum"), list):
        return {"enum": ["", *words, *([False] if "off" in words else []), None]}
    types = rule.get("type", "string")
    more = {"pattern": f"^$|{rule['pattern']}"} if "pattern" in rule else {}
    return {**rule, "type": [*(types if isinstance(types, list) else [types]), "null"], **more}


def main() -> None:
    """Write all four files."""
    VALUES.write_text(values(VALUES.read_text()))
    DEFAULTS.write_text(defaults(VALUES.read_text()))
    SCHEMA.write_text(schema(SCHEMA.read_text()))
    TEMPLATE.write_text(template())
