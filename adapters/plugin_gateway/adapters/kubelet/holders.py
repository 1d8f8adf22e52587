"""Finds out which container holds which device: from the kubelet, or from its checkpoint."""

from pathlib import Path
from typing import NamedTuple

from plugin_gateway.adapters.kubelet.checkpoint import CheckpointError, Holder, read_checkpoint
from plugin_gateway.adapters.kubelet.pod_resources import PodResourcesError, list_holders


class Found(NamedTuple):
    """The containers with devices, and the source."""

    holders: tuple[Holder, ...]
    source: str
    """The source in words. If nothing is known, the reason."""


def find_holders(kubelet_dir: Path) -> Found:
    """Return the containers that hold devices of this kubelet.

    ``kubelet_dir`` is its device plugin directory. The kubelet is asked first. If it does not answer, its checkpoint is
    read.
    """
    path = kubelet_dir.parent / "pod-resources" / "kubelet.sock"
    problem = "no kubelet tells by pod-resources"
    if path.is_socket():
        try:
            return Found(list_holders(path), "told by the kubelet")
        except PodResourcesError as error:
            problem = str(error)
    try:
        checkpoint = read_checkpoint(kubelet_dir)
    except CheckpointError as error:
        return Found((), f"{problem}; {error}")
    if checkpoint is None:
        return Found((), f"{problem}, and there is no checkpoint")
    return Found(checkpoint.holders, "from the kubelet's checkpoint, which can name pods that have ended")
