"""Names that NVIDIA's driver and container runtime use."""

DEVICE_WORD = "GPU"
"""The common word for a device."""
VISIBILITY_VARIABLE = "NVIDIA_VISIBLE_DEVICES"
"""The environment variable that names the GPUs of a container."""

SHARED_NODES = ("/dev/nvidiactl", "/dev/nvidia-uvm")
"""Device nodes that every container with a GPU needs."""
OPTIONAL_NODES = ("/dev/nvidia-uvm-tools", "/dev/nvidia-modeset")
"""Device nodes that every container with a GPU gets if the driver has created them."""


def device_node(minor: int) -> str:
    """Return the path of the device node of a GPU."""
    return f"/dev/nvidia{minor}"
