"""Finds out which container holds which device: from the kubelet, and from its checkpoint."""

import contextlib
import os
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from plugin_gateway.adapters.kubelet.checkpoint import CheckpointError, Holder, read_checkpoint
from plugin_gateway.adapters.kubelet.pod_resources import PodResourcesError, list_holders
from plugin_gateway.core.devices import device_of

SHORT_TIMEOUT = 2.0
"""Seconds that a kubelet has to answer where an operator waits for what the gateway does with the answer."""
MAX_NAMES = 8
"""Containers that are named for one device. A thousand can share one."""


class Found(NamedTuple):
    """The containers with devices, and the source."""

    holders: tuple[Holder, ...]
    source: str
    """The source in words. If nothing is known, the reason."""


def find_holders(kubelet_dir: Path) -> Found:
    """Return the containers that hold devices of this kubelet.

    ``kubelet_dir`` is its device plugin directory. The kubelet is asked first. What only its checkpoint knows is added:
    such a pod has often ended. It is marked if its folder is gone.
    """
    path = kubelet_dir.parent / "pod-resources" / "kubelet.sock"
    told: tuple[Holder, ...] | None = None
    problem = ""
    try:
        told = list_holders(path)
    except PodResourcesError as error:
        problem = str(error)
    try:
        checkpoint = read_checkpoint(kubelet_dir)
    except CheckpointError as error:
        return Found(told, "told by the kubelet") if told is not None else Found((), f"{problem}; {error}")
    kept = mark_gone(checkpoint.holders, kubelet_dir) if checkpoint is not None else ()
    if told is not None:
        others = not_told(kept, told)
        return Found(told + others, f"told by the kubelet{', some only by its checkpoint' if others else ''}")
    if checkpoint is None:
        return Found((), f"{problem}, and there is no checkpoint")
    source = "from the kubelet's checkpoint, which can name pods that have ended"
    return Found(kept, f"{source}; the kubelet cannot be asked: {problem}")


def living_holders(kubelet_dir: Path) -> tuple[Holder, ...]:
    """Return the containers that hold devices now, as far as it can be told.

    What the kubelet says counts, and each pod of its checkpoint that has a folder: a kubelet that has just started
    does not know all of its pods. Where no folders can be seen, its checkpoint counts only if it does not answer. A
    kubelet without a checkpoint has given out nothing.

    Raises:
        CheckpointError: the kubelet does not answer, and its checkpoint cannot be read.
    """
    told: tuple[Holder, ...] | None = None
    with contextlib.suppress(PodResourcesError):
        told = list_holders(kubelet_dir.parent / "pod-resources" / "kubelet.sock", SHORT_TIMEOUT)
    if told is not None and pod_folders(kubelet_dir) is None:
        return told
    try:
        checkpoint = read_checkpoint(kubelet_dir)
    except CheckpointError:
        if told is None:
            raise
        return told
    kept = mark_gone(checkpoint.holders, kubelet_dir) if checkpoint is not None else ()
    living = (holder for holder in kept if not holder.is_gone)
    return (*(told or ()), *not_told(living, told or ()))


def known_answers(kubelet_dir: Path) -> Mapping[tuple[str, str], bytes]:
    """Return what device plugins answered for the ids that containers hold, by resource and id, as far as it is known.

    Only the checkpoint has it.
    """
    with contextlib.suppress(CheckpointError):
        checkpoint = read_checkpoint(kubelet_dir)
        return checkpoint.answers if checkpoint is not None else {}
    return {}


def not_told(kept: Iterable[Holder], told: Iterable[Holder]) -> tuple[Holder, ...]:
    """Return the holders of the checkpoint of which the kubelet did not tell.

    It tells names and the checkpoint UIDs, so all else is compared.
    """
    by_device: dict[tuple[str, str, str | None], list[frozenset[str]]] = {}
    for each in told:
        for device in (None, *each.devices):
            by_device.setdefault((each.container, each.resource, device), []).append(each.devices)

    def is_told(holder: Holder) -> bool:
        one = next(iter(holder.devices), None)
        return any(holder.devices <= each for each in by_device.get((holder.container, holder.resource, one), ()))

    return tuple(holder for holder in kept if not is_told(holder))


def pod_folders(kubelet_dir: Path) -> Collection[str] | None:
    """Return the names of the folders of the pods, which are their UIDs. None where they cannot be seen."""
    try:
        return set(os.listdir(kubelet_dir.parent / "pods"))  # noqa: PTH208 - names, to be compared
    except OSError:
        return None


def mark_gone(holders: Sequence[Holder], kubelet_dir: Path) -> tuple[Holder, ...]:
    """Mark the holders of a checkpoint whose pod has no folder any more. Nothing is known where none can be seen."""
    here = pod_folders(kubelet_dir)
    if here is None:
        return tuple(holders)
    return tuple(holder._replace(is_gone=holder.pod not in here) for holder in holders)


def names_by_device(holders: Iterable[Holder], most: int = MAX_NAMES) -> Mapping[str, str]:
    """Return the containers that hold each device or a replica of it, in words. ``most`` of them are named."""
    return _names((({device_of(each) for each in holder.devices}, holder) for holder in holders), most)


def names_by_resource(holders: Iterable[Holder], most: int = MAX_NAMES) -> Mapping[str, str]:
    """Return the containers that hold anything of each resource, in words. ``most`` of them are named."""
    return _names((({holder.resource}, holder) for holder in holders), most)


def _names(held: Iterable[tuple[Collection[str], Holder]], most: int) -> Mapping[str, str]:
    names: dict[str, list[str]] = {}
    for keys, holder in held:
        for key in keys:
            names.setdefault(key, []).append(f"{holder.pod} {holder.container}{' (gone)' if holder.is_gone else ''}")
    return {key: listed(each, most) for key, each in names.items()}


def held_twice(holders: Sequence[Holder]) -> Mapping[str, Sequence[str]]:
    """Return the devices that two living pods hold, with the pods. A device whose parts several pods hold is shared.

    Pods of the checkpoint are not compared with those of the kubelet's answer. It has UIDs and the answer has names, so
    the same pod can be in both.
    """
    found: dict[str, Sequence[str]] = {}
    for has_name in (False, True):
        living = [each for each in holders if not each.is_gone and ("/" in each.pod) is has_name]
        found |= _held_twice({(device, each.pod) for each in living for device in each.devices})
    return found


def _held_twice(held: Collection[tuple[str, str]]) -> Mapping[str, Sequence[str]]:
    pods: dict[str, set[str]] = {}
    for device, pod in held:
        pods.setdefault(device, set()).add(pod)
    found: dict[str, set[str]] = {}
    for device, holding in pods.items():
        whole = device_of(device)
        if len(others := holding | pods.get(whole, set())) > 1:
            found[whole] = found.get(whole, set()) | others
    return {device: tuple(sorted(holding)) for device, holding in found.items()}


def listed(names: Sequence[str], most: int = MAX_NAMES) -> str:
    """Return names in words, ``most`` of them, and how many more there are."""
    more = len(names) - most
    return ", ".join((*names[:most], f"and {more} more") if more > 0 else names)
