"""Names that NVIDIA's driver and container runtime use."""

from collections.abc import Mapping
from dataclasses import replace
from enum import Enum

from plugin_gateway.core.devices import RESOURCE_MARK, DaemonRecipe, Extra, Kind, Recipe

DOMAIN = "nvidia.com"
"""The domain of NVIDIA's resources."""
DEVICE_WORD = "GPU"
"""The common word for a device."""
GPU = Kind("gpu")
"""The kind of a whole GPU."""
MIG = Kind("mig")
"""The kind of a MIG device, which is a part of a GPU."""
_CDI_VENDOR = "k8s.device-plugin.nvidia.com"
CDI_KIND = f"{_CDI_VENDOR}/gpu"
"""Vendor and class of GPUs and MIG devices in the CDI specs of NVIDIA's device plugin."""
VISIBILITY_VARIABLE = "NVIDIA_VISIBLE_DEVICES"
"""The environment variable that names the GPUs of a container."""
CAPABILITIES_VARIABLE = "NVIDIA_DRIVER_CAPABILITIES"
"""The environment variable that tells NVIDIA's container runtime which parts of the driver a container gets."""

SHARED_NODES = ("/dev/nvidiactl", "/dev/nvidia-uvm")
"""Device nodes that every container with a GPU needs."""
OPTIONAL_NODES = ("/dev/nvidia-uvm-tools", "/dev/nvidia-modeset")
"""Device nodes that every container with a GPU gets if the driver has created them."""

MPS = "mps"
"""The word for NVIDIA's Multi-Process Service, as NVIDIA's device plugin has it."""
MPS_DAEMONS: Mapping[str, DaemonRecipe] = {
    MPS: DaemonRecipe(
        ready_file=f"{RESOURCE_MARK}/.started",
        socket=f"{RESOURCE_MARK}/pipe/control",
        environment={"CUDA_MPS_PIPE_DIRECTORY": f"/mps/{RESOURCE_MARK}/pipe"},
        mounts={f"{RESOURCE_MARK}/pipe": f"/mps/{RESOURCE_MARK}/pipe", "shm": "/dev/shm"},  # noqa: S108 - the container's
        threads_variable="CUDA_MPS_ACTIVE_THREAD_PERCENTAGE",
        memory_variable="CUDA_MPS_PINNED_DEVICE_MEM_LIMIT",
        todo="run NVIDIA's MPS control daemon on this node, with the same configuration and the same --mps-root",
    )
}
"""How containers share a GPU through the MPS control daemon of NVIDIA's device plugin 0.20.0: where its files are.

The two limits are those of a client. NVIDIA's guide to MPS says that they can only lower those of the daemon, and that
memory is limited by UUID or by index.
"""
MOUNTS_FOLDER = "/var/run/nvidia-container-devices"
"""In it NVIDIA's container runtime looks for mounts that name GPUs, if its own configuration says so."""
GDS, IMEX_CHANNEL = "gds", "imex-channel"
EXTRAS: Mapping[str, Extra] = {
    "gdrcopy": Extra(
        environment={"NVIDIA_GDRCOPY": "enabled"}, nodes=("/dev/gdrdrv",), cdi_kind=f"{_CDI_VENDOR}/gdrcopy"
    ),
    GDS: Extra(environment={"NVIDIA_GDS": "enabled"}, nodes=("/dev/nvidia-fs*",), cdi_kind=f"{_CDI_VENDOR}/{GDS}"),
    "mofed": Extra(
        environment={"NVIDIA_MOFED": "enabled"},
        nodes=("/dev/infiniband/uverbs*", "/dev/infiniband/rdma_cm"),
        cdi_kind=f"{_CDI_VENDOR}/mofed",
    ),
    IMEX_CHANNEL: Extra(
        names={"NVIDIA_IMEX_CHANNELS": "0"},
        mount="imex/0",
        nodes=("/dev/nvidia-caps-imex-channels/channel0",),
        needs_nodes=True,
        todo="run nvidia-modprobe -i 0 on the host, and see that the gateway's container has the node: it needs the "
        "host's /dev, or NVIDIA_IMEX_CHANNELS=0 in its own environment",
        cdi_kind=f"{_CDI_VENDOR}/{IMEX_CHANNEL}",
        cdi_name="0",
    ),
}
"""What NVIDIA's device plugin 0.20.0 gives besides GPUs, by the names of its CDI classes. The variables are those of
NVIDIA's container runtime, which gives the nodes and files by them. The nodes are those of NVIDIA's CDI classes."""
_GPU_RECIPE = Recipe(
    visibility_variable=VISIBILITY_VARIABLE,
    shared_nodes=SHARED_NODES,
    optional_nodes=OPTIONAL_NODES,
    cdi_kind=CDI_KIND,
    daemons=MPS_DAEMONS,
    mounts_folder=MOUNTS_FOLDER,
    extras=EXTRAS,
)
RECIPES = {GPU: _GPU_RECIPE, MIG: replace(_GPU_RECIPE, daemons={})}
"""How a container gets GPUs and MIG devices. NVIDIA's device plugin offers no MIG device through MPS either."""

DISPLAY_PRODUCTS = frozenset({"DGX Display", "NVIDIA DGX Display"})
"""GPUs of a workstation that only drive its screens. NVIDIA's device plugin leaves them out by these names."""


class MigStrategy(Enum):
    """Which MIG devices are offered, and under which names. The words are those of NVIDIA's device plugin."""

    NONE = "none"
    """No MIG devices. A GPU in MIG mode is not offered either, because CUDA refuses to use it as a whole."""
    SINGLE = "single"
    """MIG devices of one profile, or whole GPUs, under the name of whole GPUs."""
    MIXED = "mixed"
    """Every MIG device under the name of its profile, and whole GPUs beside them."""


def device_node(minor: int) -> str:
    """Return the path of the device node of a GPU."""
    return f"/dev/nvidia{minor}"
