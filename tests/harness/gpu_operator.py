"""What NVIDIA's GPU operator gives the container of the device plugin."""

ENVIRONMENT = {
    "PASS_DEVICE_SPECS": "true",
    "FAIL_ON_INIT_ERROR": "true",
    "DEVICE_LIST_STRATEGY": "envvar",
    "DEVICE_ID_STRATEGY": "uuid",
    "NVIDIA_VISIBLE_DEVICES": "all",
    "NVIDIA_DRIVER_CAPABILITIES": "all",
    "MPS_ROOT": "/run/nvidia/mps",
    "MIG_STRATEGY": "single",
    "NVIDIA_MIG_MONITOR_DEVICES": "all",
    "CONFIG_FILE": "",
}
"""Without CDI."""
