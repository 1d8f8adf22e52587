"""The names that NVIDIA's driver and container runtime go by."""

DEVICE_WORD = "GPU"
VISIBILITY_VARIABLE = "NVIDIA_VISIBLE_DEVICES"

SHARED_NODES = ("/dev/nvidiactl", "/dev/nvidia-uvm", "/dev/nvidia-uvm-tools", "/dev/nvidia-modeset")
"""What every container with a GPU needs, as far as the driver made it."""


def device_node(minor: int) -> str:
    """Name the device node of one GPU."""
    return f"/dev/nvidia{minor}"
