"""What an admin can decide about `plugin-gateway run`."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from plugin_gateway.core.allocations import DeviceIdStrategy
from plugin_gateway.core.resources import ResourceRule

DEFAULT_KUBELET_DIR = Path("/var/lib/kubelet/device-plugins")


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Everything decided, whatever it came from."""

    kubelet_dir: Path
    """The kubelet's device plugin directory, from which every path derives. Decided at start."""
    backend: str
    """``nvml``, or ``simulated`` with the GPUs to simulate. Decided at start."""
    api_version: str
    """Which dialects may be tried."""
    driver_root: str
    """Where the driver is installed, as the host sees it."""
    dev_root: str
    """Below which folder the device nodes lie, as the host sees it."""
    container_driver_root: str
    """Where this process sees the driver root."""
    fail_on_init_error: bool
    """Whether a node without driver or device ends the process instead of being waited for."""
    pass_device_specs: bool
    """Whether containers get the device nodes, so that they work without NVIDIA's container runtime."""
    device_id_strategy: DeviceIdStrategy
    """How the container runtime is told which GPUs to show."""
    resources: tuple[ResourceRule, ...]
    """Which GPUs are offered under which name."""
    log_level: str
    log_format: str
    config_file: Path | None
    sources: Mapping[str, str] = field(compare=False)
    """Where each value came from: a flag, a variable, a place in the file, or the default."""
