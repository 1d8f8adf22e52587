"""Finds the best word on who holds what: the kubelet's, else its checkpoint."""

from pathlib import Path
from typing import NamedTuple

from plugin_gateway.adapters.kubelet.checkpoint import CheckpointError, Holding, read_checkpoint
from plugin_gateway.adapters.kubelet.pod_resources import PodResourcesError, list_holdings


class Found(NamedTuple):
    """Who holds what, and how that is known."""

    holdings: tuple[Holding, ...]
    source: str
    """In words; why nothing is known where that is so."""


def find_holdings(kubelet_dir: Path) -> Found:
    """Ask the kubelet whose device plugin directory this is, or read what it wrote."""
    path = kubelet_dir.parent / "pod-resources" / "kubelet.sock"
    problem = "no kubelet tells by pod-resources"
    if path.is_socket():
        try:
            return Found(list_holdings(path), "told by the kubelet")
        except PodResourcesError as error:
            problem = str(error)
    try:
        checkpoint = read_checkpoint(kubelet_dir)
    except CheckpointError as error:
        return Found((), f"{problem}; {error}")
    if checkpoint is None:
        return Found((), f"{problem}, and there is no checkpoint")
    return Found(checkpoint.holdings, "from the kubelet's checkpoint, which can name pods that have ended")
