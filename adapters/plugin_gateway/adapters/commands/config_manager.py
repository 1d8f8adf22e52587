"""`config-manager`: stands in for the program of that name in the image of NVIDIA's device plugin.

NVIDIA's chart and the GPU operator start it twice in the plugin's pod. With ONESHOT it links the configuration that the
node's label chooses to where the plugin reads it, by NVIDIA's rules. As a sidecar it would signal the plugin of another
label; here it only waits for its end, because nothing else may end such a pod's container.
"""

import argparse
import contextlib
import json
import os
import signal
import ssl
import sys
from collections.abc import Mapping, Sequence
from http.client import HTTPException, HTTPSConnection
from pathlib import Path
from urllib.parse import quote

from plugin_gateway.adapters.cluster.kubernetes_api import SERVICE_ACCOUNT
from plugin_gateway.adapters.commands.command_line import Parts, SubCommand
from plugin_gateway.adapters.support.terminal import print_lines
from plugin_gateway.core.errors import GatewayError, InvalidValueError

LABEL = "nvidia.com/device-plugin.config"
"""The label of a node that NVIDIA's program reads unless NODE_LABEL says otherwise."""
NAMED = "default"
"""The configuration that the fallback strategy `named` takes."""
TIMEOUT = 10.0
"""Seconds for each step of the call of the API server."""
MAX_ANSWER = 4 * 1024 * 1024
"""Bytes. A node with many images and labels needs less."""
_TRUE = frozenset({"1", "t", "T", "TRUE", "true", "True"})
"""What Go takes for true."""


class NotChosenError(GatewayError):
    """No configuration can be chosen, or the label cannot be read. The message is for the administrator."""


def make(_: Parts) -> SubCommand:
    """Return the sub-command. It has no flags: NVIDIA's manifests set the environment."""
    return SubCommand(_no_arguments, lambda _: run(os.environ))


def _no_arguments(_: argparse.ArgumentParser) -> None:
    """Add nothing."""


def run(environment: Mapping[str, str], service_account: Path = SERVICE_ACCOUNT) -> int:
    """Link the chosen configuration, or wait for the end as a sidecar.

    Raises:
        InvalidValueError: a variable is missing or wrong.
        NotChosenError: there is nothing to link.
    """
    if environment.get("ONESHOT", "") not in _TRUE:
        return _wait_for_end()
    folder, target = (Path(_needed(environment, name)) for name in ("CONFIG_FILE_SRCDIR", "CONFIG_FILE_DST"))
    strategies = [word.strip() for word in environment.get("FALLBACK_STRATEGIES", "").split(",") if word.strip()]
    wanted = _label_of_node(environment, service_account)
    chosen = choose(wanted, environment.get("DEFAULT_CONFIG", ""), strategies, _names(folder))
    source = folder / chosen if chosen else Path(os.devnull)
    _link(source, target)
    print_lines([f"{target} leads to {source}"])
    return 0


def _wait_for_end() -> int:
    sys.stderr.write(
        "config-manager does nothing as a sidecar of plugin-gateway: another label of the node takes effect when the "
        "pod starts again\n"
    )
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM, signal.SIGINT})
    signal.sigwait({signal.SIGTERM, signal.SIGINT})
    return 0


def choose(wanted: str, default: str, strategies: Sequence[str], names: Sequence[str]) -> str:
    """Return the name of the configuration to use. It is empty for one without content.

    ``wanted`` is the value of the label, ``default`` what is used without one, and ``strategies`` what is tried where
    both are empty: `named`, `single` and `empty`, in their order.

    Raises:
        NotChosenError: what is asked for is not there, or nothing is asked for and no strategy finds one.
        InvalidValueError: there is no such strategy.
    """
    there = f"there are {', '.join(sorted(names))}" if names else "there are none"
    for name, source in ((wanted, "the node's label"), (default, "DEFAULT_CONFIG")):
        if name and name not in names:
            raise NotChosenError(f"{source} asks for the configuration {name!r}; {there}")
        if name:
            return name
    for strategy in strategies:
        match strategy:
            case "named" if NAMED in names:
                return NAMED
            case "single" if len(names) == 1:
                return names[0]
            case "empty":
                return ""
            case "named" | "single":
                continue
            case _:
                raise InvalidValueError(f"FALLBACK_STRATEGIES: {strategy!r}, allowed are named, single and empty")
    raise NotChosenError(
        "no configuration is chosen: the node has no label, DEFAULT_CONFIG is empty, and "
        f"FALLBACK_STRATEGIES ({', '.join(strategies) or 'none'}) find none; {there}"
    )


def _needed(environment: Mapping[str, str], name: str) -> str:
    if not (value := environment.get(name, "")):
        raise InvalidValueError(f"environment variable {name} is empty; config-manager needs it with ONESHOT")
    return value


def _names(folder: Path) -> Sequence[str]:
    """Return the names of the configurations. The kubelet's own entries in a mounted ConfigMap begin with `..`."""
    try:
        return sorted(path.name for path in folder.iterdir() if path.is_file() and not path.name.startswith(".."))
    except OSError as error:
        raise NotChosenError(f"CONFIG_FILE_SRCDIR: {folder}: {error.strerror}") from error


def _link(source: Path, target: Path) -> None:
    """Make the link, or replace it as a whole. Whoever reads the target at that moment finds the old or the new one."""
    half_made = target.with_name(f".{target.name}.{os.getpid()}")
    try:
        half_made.symlink_to(source)
        half_made.replace(target)
    except OSError as error:
        with contextlib.suppress(OSError):
            half_made.unlink()
        raise NotChosenError(f"CONFIG_FILE_DST: {target} cannot be written: {error.strerror}") from error


def _label_of_node(environment: Mapping[str, str], service_account: Path) -> str:
    """Ask the API server for the label of this node. Empty if the node has none.

    There is no other way to go on without an answer: a configuration that was chosen in its place would stay until the
    pod starts again. The kubelet starts an init container that ended with an error again.
    """
    if environment.get("KUBECONFIG"):
        raise InvalidValueError(
            f"environment variable KUBECONFIG: {environment['KUBECONFIG'][:80]!r} is not read, only the service "
            "account of the pod; leave it empty"
        )
    node, label = _needed(environment, "NODE_NAME"), environment.get("NODE_LABEL") or LABEL
    where = f"the label {label} of node {node} cannot be read"
    try:
        answer = _get(f"/api/v1/nodes/{quote(node, safe='')}", environment, service_account)
        found = json.loads(answer)["metadata"].get("labels", {}).get(label, "")
    except (OSError, HTTPException, ValueError) as error:
        raise NotChosenError(f"{where}: {error}") from error
    except (AttributeError, KeyError, TypeError) as error:
        raise NotChosenError(f"{where}: the answer is no node") from error
    return str(found)


def _get(path: str, environment: Mapping[str, str], service_account: Path) -> bytes:
    """Return the answer of the API server. An HTTP status that is no success is raised as OSError with its words."""
    host = environment.get("KUBERNETES_SERVICE_HOST", "").strip("[]")
    if not host:
        raise OSError("KUBERNETES_SERVICE_HOST is not set, so this is no pod")
    token = (service_account / "token").read_text().strip()
    context = ssl.create_default_context(cafile=str(service_account / "ca.crt"))
    port = int(environment.get("KUBERNETES_SERVICE_PORT_HTTPS") or environment.get("KUBERNETES_SERVICE_PORT", "443"))
    with contextlib.closing(HTTPSConnection(host, port, timeout=TIMEOUT, context=context)) as connection:
        connection.request("GET", path, headers={"Authorization": f"Bearer {token}", "Connection": "close"})
        with connection.getresponse() as response:
            body = response.read(MAX_ANSWER)
    if response.status != 200:  # noqa: PLR2004 - OK
        raise OSError(f"GET {path}: {response.status} {response.reason}; the account needs `get` of `nodes`")
    return body
