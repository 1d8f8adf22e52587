"""`config-manager`: stands in for the program of that name in the image of NVIDIA's device plugin.

NVIDIA's chart and the GPU operator start it twice in the plugin's pod. With ONESHOT it links the configuration that the
node's label chooses to where the plugin reads it, by NVIDIA's rules. As a sidecar it would signal the plugin of another
label; here it only waits for its end, because a container of such a pod may not end.
"""

import argparse
import asyncio
import contextlib
import os
import signal
import sys
from collections.abc import Mapping
from pathlib import Path

from plugin_gateway.adapters.cluster.kubernetes_api import SERVICE_ACCOUNT, KubernetesApi
from plugin_gateway.adapters.cluster.node_label import NodeLabel, Target
from plugin_gateway.adapters.commands.command_line import Parts, SubCommand
from plugin_gateway.adapters.configuration.config_folder import choose_file
from plugin_gateway.adapters.configuration.folder_options import FolderOptions
from plugin_gateway.adapters.configuration.option import options_of
from plugin_gateway.adapters.configuration.options import Options
from plugin_gateway.adapters.configuration.reading import kept_of
from plugin_gateway.adapters.support.terminal import print_lines
from plugin_gateway.core.errors import GatewayError, InvalidValueError

PATIENCE = 10.0
"""Seconds in which the API server is asked."""
_TRUE = frozenset({"1", "t", "T", "TRUE", "true", "True"})
"""What Go takes for true."""
_OPTIONS = (*options_of(FolderOptions), Options.node_name)
"""The options that choose the file. NVIDIA's variables are among their names."""
_FOLDER, _TARGET = "CONFIG_FILE_SRCDIR", "CONFIG_FILE_DST"


class NotLinkedError(GatewayError):
    """The label cannot be read, or the link cannot be written. The message is for the administrator."""


def make(_: Parts) -> SubCommand:
    """Return the sub-command. It has no flags: NVIDIA's manifests set the environment."""
    return SubCommand(_no_arguments, lambda _: run(os.environ))


def _no_arguments(_: argparse.ArgumentParser) -> None:
    """Add nothing."""


def run(environment: Mapping[str, str], service_account: Path = SERVICE_ACCOUNT) -> int:
    """Link the chosen configuration, or wait for the end as a sidecar.

    Raises:
        InvalidValueError: a variable is missing or wrong, or no configuration can be chosen.
        NotLinkedError: the label cannot be read, or the link cannot be written.
    """
    if environment.get("ONESHOT", "") not in _TRUE:
        return _wait_for_end()
    if kubeconfig := environment.get("KUBECONFIG"):
        raise InvalidValueError(
            f"environment variable KUBECONFIG: {kubeconfig[:80]!r} is not read, only the service account of the pod; "
            "leave it empty"
        )
    for name in ("NODE_NAME", _FOLDER, _TARGET):
        if not environment.get(name):
            raise InvalidValueError(f"environment variable {name} is empty; config-manager needs it with ONESHOT")
    options = Options({each.name: kept_of(each, {}, environment) for each in _OPTIONS})
    label = asyncio.run(_label(options, KubernetesApi(environment, service_account)))
    chosen = choose_file(Path(environment[_FOLDER]), options, label)
    source, target = chosen.path or Path(os.devnull), Path(environment[_TARGET])
    _link(source, target)
    print_lines([f"{target} leads to {source}: {chosen.source}"])
    return 0


def _wait_for_end() -> int:
    sys.stderr.write(
        "config-manager does nothing as a sidecar of plugin-gateway: another label of the node takes effect when the "
        "pod starts again\n"
    )
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM, signal.SIGINT})
    signal.sigwait({signal.SIGTERM, signal.SIGINT})
    return 0


async def _label(options: Options, api: KubernetesApi) -> str:
    """Ask the API server for the label of this node. Empty if the node has none.

    Without an answer nothing is linked: a configuration that was chosen in its place would stay until the pod starts
    again. The kubelet starts an init container again that ended with an error.
    """
    label = NodeLabel(Target(options.node_name, options.config_label), api)
    value = await label.ask_within(PATIENCE)
    if value is None:
        why = label.problem or f"no answer within {PATIENCE:.0f} s"
        raise NotLinkedError(f"the label {options.config_label} of node {options.node_name} cannot be read: {why}")
    return value


def _link(source: Path, target: Path) -> None:
    """Make the link, or replace it as a whole. Whoever reads the target at that moment finds the old or the new one."""
    half_made = target.with_name(f".{target.name}.{os.getpid()}")
    try:
        half_made.symlink_to(source)
        half_made.replace(target)
    except OSError as error:
        with contextlib.suppress(OSError):
            half_made.unlink()
        raise NotLinkedError(f"{_TARGET}: {target} cannot be written: {error.strerror}") from error
