"""Translates an `Onload` of the operator for Onload (Xilinx-CNS/kubernetes-onload): its device plugin's part."""

from collections.abc import Mapping
from typing import Any

import yaml

from plugin_gateway.adapters.configuration.foreign_document import Entries, ForeignDocument
from plugin_gateway.core.errors import InvalidValueError
from plugin_gateway.core.resources.sharing import MAX_REPLICAS

PLUGIN = "the operator for Onload"
KIND = "Onload"
NAME = "amd.com/onload"
"""A constant of the plugin."""
_TOP = ("apiVersion", "kind", "metadata", "spec", "status")
_SPEC = ("onload", "devicePlugin", "selector", "serviceAccountName")
_PLUGIN_KEYS = ("maxPodsPerNode", "setPreload", "mountOnload", "hostOnloadPath", "baseMountPath", "binMountPath",
                "libMounthPath", "imagePullPolicy", "devicePluginImage")  # fmt: skip
_MAX_PODS = 100
_ROOT = "/opt/onload"
_FIXED = {"binMountPath": "/usr/bin", "libMounthPath": "/usr/lib64"}
"""Folders below the others that have no key here."""
_SPECS = "spec"
_PLUGINS = f"{_SPECS}.devicePlugin"


def translate_onload(document: ForeignDocument, root: yaml.Node) -> list[Mapping[str, Any]]:
    """Return the entry of `resources.onload`. The document collects what is wrong.

    Raises:
        InvalidValueError: a section is none, or the plugin would refuse it.
    """
    top = document.known(root, "", _TOP)
    spec = document.known(top["spec"].value, _SPECS, _SPEC) if "spec" in top else {}
    _say_of_the_rest(document, spec)
    entries = document.known(spec["devicePlugin"].value, _PLUGINS, _PLUGIN_KEYS) if "devicePlugin" in spec else {}
    count = document.number(entries, "maxPodsPerNode", _MAX_PODS)
    if not 1 <= count <= MAX_REPLICAS:
        entry = entries["maxPodsPerNode"]
        raise InvalidValueError(f"{document.place(entry.value)}: {entry.full}: {count}; expected 1 to {MAX_REPLICAS}")
    return [{"name": NAME, "sharing": "pool", "replicas": count, **_files(document, entries)}]


def _files(document: ForeignDocument, entries: Entries) -> Mapping[str, Any]:
    """Return what a container gets of Onload's files."""
    preload = document.switch(entries, "setPreload", otherwise=True)
    script = document.switch(entries, "mountOnload")
    if preload and script:
        entry = entries["mountOnload"]
        raise InvalidValueError(
            f"{document.place(entry.key)}: {entry.full} needs setPreload: false, or the plugin does not start"
        )
    for key, folder in _FIXED.items():
        if document.text(entries, key, folder) != folder:
            document.lose(entries[key], f"it is always {folder} below the two other folders")
    return {
        "hostPath": _folder(document, entries, "hostOnloadPath"),
        "containerPath": _folder(document, entries, "baseMountPath"),
        "preload": preload,
        "script": script,
    }


def _folder(document: ForeignDocument, entries: Entries, key: str) -> str:
    folder = document.text(entries, key, _ROOT)
    if not folder.startswith("/"):
        entry = entries[key]
        raise InvalidValueError(
            f"{document.place(entry.value)}: {entry.full}: invalid value {folder[:80]!r}; expected a path that begins "
            "with /"
        )
    return folder


def _say_of_the_rest(document: ForeignDocument, spec: Entries) -> None:
    """Say what stays with the operator, and what is a value of the chart."""
    if "onload" in spec:
        document.leave_out(spec["onload"], "kernel modules and files of Onload stay with the operator")
    if "serviceAccountName" in spec:
        document.leave_out(spec["serviceAccountName"], "the gateway needs no account for it")
    if "selector" in spec and spec["selector"].value.value:
        document.lose(spec["selector"], "it is nodeSelector of the chart")
