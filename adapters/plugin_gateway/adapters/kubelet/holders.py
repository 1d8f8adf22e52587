"""Finds the best word on who holds what: the kubelet's, else its checkpoint."""

from pathlib import Path
from typing import NamedTuple

from plugin_gateway.adapters.kubelet.checkpoint import CheckpointError, Holder, read_checkpoint
from plugin_gateway.adapters.kubelet.pod_resources import PodResourcesError, list_holders


class Found(NamedTuple):
    """Who holds what, and how that is known."""

    holders: tuple[Holder, ...]
    source: str
    """In words; why nothing is known where that is so."""


def find_holders(kubelet_dir: Path) -> Found:
    """Ask the kubelet whose device plugin directory this is, or read what it wrote."""
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
