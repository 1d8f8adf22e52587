"""Names that NVIDIA's driver and container runtime use."""

from plugin_gateway.core.devices import Kind, Recipe

DEVICE_WORD = "GPU"
"""The common word for a device."""
GPU = Kind("gpu")
"""The kind of a whole GPU."""
VISIBILITY_VARIABLE = "NVIDIA_VISIBLE_DEVICES"
"""The environment variable that names the GPUs of a container."""
CAPABILITIES_VARIABLE = "NVIDIA_DRIVER_CAPABILITIES"
"""The environment variable that tells NVIDIA's container runtime which parts of the driver a container gets."""

SHARED_NODES = ("/dev/nvidiactl", "/dev/nvidia-uvm")
"""Device nodes that every container with a GPU needs."""
OPTIONAL_NODES = ("/dev/nvidia-uvm-tools", "/dev/nvidia-modeset")
"""Device nodes that every container with a GPU gets if the driver has created them."""

RECIPES = {
    GPU: Recipe(visibility_variable=VISIBILITY_VARIABLE, shared_nodes=SHARED_NODES, optional_nodes=OPTIONAL_NODES)
}
"""How a container gets GPUs."""

DISPLAY_PRODUCTS = frozenset({"DGX Display", "NVIDIA DGX Display"})
"""GPUs of a workstation that only drive its screens. NVIDIA's device plugin leaves them out by these names."""


def device_node(minor: int) -> str:
    """Return the path of the device node of a GPU."""
    return f"/dev/nvidia{minor}"
