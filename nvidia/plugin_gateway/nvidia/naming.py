"""Names that NVIDIA's driver and container runtime use."""

from enum import Enum

from plugin_gateway.core.devices import Kind, Recipe

DOMAIN = "nvidia.com"
"""The domain of NVIDIA's resources."""
DEVICE_WORD = "GPU"
"""The common word for a device."""
GPU = Kind("gpu")
"""The kind of a whole GPU."""
MIG = Kind("mig")
"""The kind of a MIG device, which is a part of a GPU."""
VISIBILITY_VARIABLE = "NVIDIA_VISIBLE_DEVICES"
"""The environment variable that names the GPUs of a container."""
CAPABILITIES_VARIABLE = "NVIDIA_DRIVER_CAPABILITIES"
"""The environment variable that tells NVIDIA's container runtime which parts of the driver a container gets."""

SHARED_NODES = ("/dev/nvidiactl", "/dev/nvidia-uvm")
"""Device nodes that every container with a GPU needs."""
OPTIONAL_NODES = ("/dev/nvidia-uvm-tools", "/dev/nvidia-modeset")
"""Device nodes that every container with a GPU gets if the driver has created them."""

RECIPES = dict.fromkeys(
    (GPU, MIG),
    Recipe(visibility_variable=VISIBILITY_VARIABLE, shared_nodes=SHARED_NODES, optional_nodes=OPTIONAL_NODES),
)
"""How a container gets GPUs and MIG devices."""

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
