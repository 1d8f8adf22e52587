"""Whether the state directory outlives the container of the gateway.

In a container without a mount for it, it is one of the container's own folders, and goes with the container: the next
one does not know which devices are unhealthy.
"""

import os
from collections.abc import Mapping
from pathlib import Path

from plugin_gateway.adapters.support.unix_files import MOUNTS, mount_of

TODO = "mount a folder of the host at {}, or give a --state-dir that is in one"
_EMPTY_DIR = "/kubernetes.io~empty-dir/"
"""In the path of a pod's `emptyDir` on the host. One in memory cannot be told from a file system of the host."""
_FIRST_PROCESS = 1


def lost_with(
    directory: Path, environment: Mapping[str, str] = os.environ, pid: int | None = None, mounts: str = MOUNTS
) -> str | None:
    """Return with what the directory is lost: `container` or `pod`.

    None if it is a folder of the host, if this process is in no container as far as it can tell, or if the mounts are
    not known. A kubelet sets KUBERNETES_SERVICE_HOST in every container. Elsewhere, the first process of a container is
    the gateway. ``pid`` is that of this process.
    """
    is_first = (os.getpid() if pid is None else pid) == _FIRST_PROCESS
    found = mount_of(directory, mounts) if is_first or environment.get("KUBERNETES_SERVICE_HOST") else None
    if found is None:
        return None
    if _EMPTY_DIR in found.root:
        return "pod"
    return "container" if found.path == "/" else None


def lost_words(directory: str, lost: str) -> str:
    """Return for people that the directory is lost, and with what."""
    return f"{directory} is no folder of the host: with the {lost} it is lost which devices are unhealthy"
