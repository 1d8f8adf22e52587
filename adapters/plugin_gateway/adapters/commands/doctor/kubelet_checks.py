"""Checks of the kubelet's side: its directory, its socket, other plugins, and its checkpoint."""

import errno
import os
import stat
from collections import defaultdict
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path

from plugin_gateway.adapters.commands.doctor.findings import Finding, hint, mend, unseen, well
from plugin_gateway.adapters.kubelet.checkpoint import CheckpointError, DamagedCheckpointError, read_checkpoint
from plugin_gateway.adapters.kubelet.directory import KUBELET_SOCKET
from plugin_gateway.adapters.kubelet.holders import find_holders, held_twice, mark_gone
from plugin_gateway.adapters.kubelet.plugin_sockets import parse_name
from plugin_gateway.adapters.registration.client import CURES
from plugin_gateway.adapters.support.terminal import printable
from plugin_gateway.adapters.support.unix_files import explain_closed, find_listener, identify_socket
from plugin_gateway.core.devices import device_of
from plugin_gateway.core.registration.failures import Failure
from plugin_gateway.core.resources.names import ResourceName

REGISTRY = "plugins_registry"
"""The folder in which a kubelet finds plugins by itself, beside its directory of device plugins."""
_NO_DEVICES = "-reg.sock"
"""How the names of those end that are for storage, or for resource claims."""
_OTHER_PLACES = (
    "it is /var/lib/kubelet/device-plugins, whatever the kubelet's --root-dir says; only k3s of its first years has "
    "/var/lib/rancher/k3s/agent/kubelet/device-plugins, and microk8s /var/snap/microk8s/common/var/lib/kubelet/"
    "device-plugins"
)


def check_directory(directory: Path) -> Iterator[Finding]:
    """Check that a kubelet listens in this directory, and that this user could register there."""
    try:
        is_directory = stat.S_ISDIR(directory.stat().st_mode)
    except PermissionError:
        yield unseen(f"{directory} cannot be looked into")
        return
    except OSError as error:
        yield mend(f"kubelet directory {directory}: {error.strerror}", f"give --kubelet-dir; {_OTHER_PLACES}")
        return
    if not is_directory:
        yield mend(f"kubelet directory {directory} is no directory", "give --kubelet-dir")
        return
    if not os.access(directory, os.R_OK | os.X_OK):
        yield unseen(f"{directory} cannot be looked into")
        return
    if problem := explain_closed(directory):
        yield hint(
            f"this user cannot make a socket in {directory}: {problem}",
            "mount it without readOnly"
            if "read-only" in problem
            else "the gateway has to run as a user who can, or root",
        )
    yield _check_socket(directory / KUBELET_SOCKET)


def _check_socket(path: Path) -> Finding:
    if not os.path.lexists(path):
        return mend(
            f"there is no {path}: no kubelet runs here, or it takes no device plugins",
            "start the kubelet; one of 1.8 or 1.9 needs --feature-gates=DevicePlugins=true",
        )
    try:
        is_socket, listener = stat.S_ISSOCK(path.stat().st_mode), find_listener(path)
    except FileNotFoundError:  # a link that leads nowhere
        is_socket, listener = False, None
    except PermissionError as error:
        what = f"{path}: this process may not connect to it: {error.strerror}"
        return unseen(what) if os.geteuid() != 0 else mend(what, CURES[Failure.NOT_ALLOWED])
    except OSError as error:
        return unseen(f"{path}: {error.strerror}", CURES[Failure.TOO_MANY_FILES] if error.errno == errno.EMFILE else "")
    if not is_socket:
        return mend(f"{path} is no socket", "remove it and restart the kubelet")
    if listener is None:
        return mend(f"{path} is there and nobody listens: the kubelet that made it is gone", "start the kubelet")
    return well(f"a kubelet listens on {path}{f', pid {listener.pid}' if listener.pid else ''}")


def check_neighbours(directory: Path) -> Iterator[Finding]:
    """Check the other sockets: gateways with the same resource, other plugins, and sockets without a process."""
    instances: dict[str, set[str]] = defaultdict(set)
    others, dead = [], []
    for path in _sockets(directory):
        try:
            listener = find_listener(path)
        except OSError:
            continue  # check_directory reports what this user may not see
        name = parse_name(path.name)
        if listener is None:
            dead.append(path.name)
        elif name is None:
            others.append(f"{path.name}{f' (pid {listener.pid})' if listener.pid else ''}")
        else:
            instances[name.resource].add(name.instance)
    for found in instances.values():
        if len(found) > 1:
            yield mend(
                f"{len(found)} gateways offer the same resource ({', '.join(sorted(found))}): one stands by",
                "in a roll-out the old one ends by itself; otherwise end one, each log names the pid of the other",
            )
    if others:
        yield hint(
            f"other device plugins are here: {', '.join(others)}",
            "`plugin-gateway inspect` shows what they offer; some, such as NVIDIA's, tell a change of health to one "
            "stream alone, so do it while nothing happens to their devices",
        )
    if dead:
        yield hint(f"sockets that nobody listens on: {', '.join(dead)}", "they harm nobody")


def _sockets(directory: Path) -> Sequence[Path]:
    """Return all sockets but the kubelet's; none if the directory cannot be read."""
    try:
        found = sorted(directory.iterdir())
    except OSError:
        return []
    return [path for path in found if path.name != KUBELET_SOCKET and identify_socket(path) is not None]


def check_registry(directory: Path) -> Iterator[Finding]:
    """Report other plugins that wait for the kubelet in its folder for plugins. Some for network cards do.

    The gateway does not use that folder. It is where ``--root-dir`` of the kubelet says; the one beside this directory
    can be that of another kubelet, in which a plugin waits for ever.
    """
    folder = directory.parent / REGISTRY
    others = [path.name for path in _sockets(folder) if not path.name.endswith(_NO_DEVICES) and _is_heard(path)]
    if others:
        yield hint(
            f"other plugins wait for a kubelet in {folder}: {', '.join(others)}",
            "see that none of them offers the same network cards; a plugin that waits there and is in no kubelet is "
            "where the --root-dir of the kubelet does not say",
        )


def _is_heard(path: Path) -> bool:
    try:
        return find_listener(path) is not None
    except OSError:
        return False


def check_checkpoint(directory: Path, resources: Sequence[ResourceName], present: Collection[str]) -> Iterator[Finding]:
    """Check that the kubelet's checkpoint has no device that is gone. Such a device can keep pods from starting."""
    try:
        checkpoint = read_checkpoint(directory)
    except DamagedCheckpointError as error:
        yield mend(
            str(error),
            "see that the disk is not full; the kubelet writes it again when a pod gets devices; before you restart "
            "the kubelet, drain the node: a kubelet that starts without it forgets which pods hold devices",
        )
        return
    except CheckpointError as error:
        yield unseen(str(error))
        return
    if checkpoint is None:
        return
    gone = [
        (f"{holding.pod}{' (gone)' if holding.is_gone else ''}", devices)
        for holding in mark_gone(checkpoint.holders, directory)
        if holding.resource in resources
        and (devices := sorted(each for each in holding.devices if device_of(each) not in present))
    ]
    for pod, devices in gone:
        yield mend(
            f"the kubelet's checkpoint has pod {pod} hold {', '.join(devices)}, which this node does not have",
            "delete the pod if it still runs; without it the kubelet forgets the devices by itself",
        )
    if not gone:
        yield well("the kubelet's checkpoint names no device that is gone")


def check_holders(directory: Path, present: Collection[str]) -> Iterator[Finding]:
    """Check that no device of this node is held by two pods. Two containers would disturb each other on it."""
    found = find_holders(directory)
    twice = {device: pods for device, pods in held_twice(found.holders).items() if device in present}
    for device, pods in twice.items():
        yield mend(
            f"{device} is held by {len(pods)} pods: {', '.join(map(printable, pods))}",
            "delete all of them but one; another device plugin, or a change from kubelet 1.8 to another, can cause it",
        )
    if found.holders and not twice:
        yield well("no device is held by two pods")
