"""Finds out why there is no driver, from what can be seen without one."""

import os
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from plugin_gateway.nvidia.library import LIBRARY
from plugin_gateway.nvidia.naming import CAPABILITIES_VARIABLE, VISIBILITY_VARIABLE
from plugin_gateway.nvidia.pci import DRIVER, PciBus, PciFunction

_CONTROL_NODE = "nvidiactl"
MAX_NAMED = 8
"""PCI addresses that are named in words."""
MAX_SHOWN = 80
"""Characters of a variable's value that are shown."""


class Cause(NamedTuple):
    """Why there is no driver."""

    words: str
    """What was seen. Empty if that says nothing."""
    todo: str
    """What to do about it. Empty if nothing is known."""
    unserved: int
    """How many GPUs the machine has for the driver. 0 if they cannot be seen."""


def find_cause(
    *, sysfs: str, proc: str, dev: Sequence[str], environment: Mapping[str, str], has_library: bool
) -> Cause:
    """Return what the kernel shows of GPUs and driver, and what follows from it.

    ``dev`` are the folders in which device nodes can be. A container that NVIDIA's container runtime did not start sees
    the folders of the kernel as the host does, but no device node. ``has_library`` says whether there is a file that
    may be the driver's library.
    """
    gpus = PciBus(sysfs).gpus()
    unserved = [gpu for gpu in gpus or () if gpu.is_for_nvml]
    is_loaded = _exists(f"{sysfs}/module/{DRIVER}") or _exists(f"{proc}/driver/{DRIVER}/version")
    has_nodes = any(_exists(f"{folder}/{_CONTROL_NODE}") for folder in dev)
    is_asked_for = is_loaded and environment.get(VISIBILITY_VARIABLE, "void") != "void"
    capabilities = environment.get(CAPABILITIES_VARIABLE) or "utility"
    if is_asked_for and not has_nodes:
        words, todo = NOT_BY_THE_RUNTIME, RUNTIME_TODO
    elif is_asked_for and not has_library and not {"utility", "all"} & set(capabilities.split(",")):
        words, todo = _hidden_by(capabilities), f"set {CAPABILITIES_VARIABLE}=compute,utility"
    elif gpus is None or (unserved and is_loaded):
        words, todo = "", ""
    elif unserved:
        words = f"the machine has {_named(unserved)}, and its kernel module {DRIVER} is not loaded"
        todo = f"install the driver, and load it with `modprobe {DRIVER}`; `dmesg` says why it does not load"
    else:
        others = f"other kernel drivers have NVIDIA's GPUs: {_others(gpus)}"
        words, todo = others if gpus else "the machine has no GPU of NVIDIA", "nothing, if that is right"
    return Cause(words, todo, len(unserved))


def _exists(path: str) -> bool:
    return os.path.exists(path)  # noqa: PTH110 - raises nothing


NOT_BY_THE_RUNTIME = (
    f"{VISIBILITY_VARIABLE} is set and the kernel module {DRIVER} is loaded, but there is no /dev/{_CONTROL_NODE}: "
    "NVIDIA's container runtime did not start this container"
)
RUNTIME_TODO = (
    "give the pod `runtimeClassName: nvidia` (k3s, RKE2 and Talos need it; runtimeClassName in the chart), make that "
    "runtime the default one, or mount the driver's root"
)


def _hidden_by(capabilities: str) -> str:
    return (
        f"{CAPABILITIES_VARIABLE} is {capabilities[:MAX_SHOWN]!r} here: without utility NVIDIA's container runtime "
        f"leaves {LIBRARY} out of this container"
    )


def _named(gpus: list[PciFunction]) -> str:
    more = f" and {len(gpus) - MAX_NAMED} more" if len(gpus) > MAX_NAMED else ""
    return (
        f"{len(gpus)} GPU{'s' if len(gpus) > 1 else ''} at {', '.join(gpu.address for gpu in gpus[:MAX_NAMED])}{more}"
    )


def _others(gpus: tuple[PciFunction, ...]) -> str:
    return ", ".join(f"{gpu.driver} has {gpu.address}" for gpu in gpus[:MAX_NAMED])
