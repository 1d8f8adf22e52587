"""What NVIDIA's manifests rely on without saying it. It holds where the program is called by the name of its plugin."""

import os
from collections.abc import Sequence

from plugin_gateway.adapters.configuration.option import Option
from plugin_gateway.adapters.configuration.options import Options, is_nvidias

DRIVER_ROOT = "/driver-root"
"""Where NVIDIA's manifests mount the driver's root, if they do. They do not say so, because it is the default there."""

MPS_ROOT = "/mps"
"""Where NVIDIA's manifests mount the folder of the MPS control daemon. Their MPS_ROOT is its path on the host."""


def with_nvidias(options: Sequence[Option[object]], driver_root: str = DRIVER_ROOT) -> tuple[Option[object], ...]:
    """Return the options with these defaults.

    The driver is below ``driver_root`` if something is mounted there: our image has it as an empty folder. Otherwise
    NVIDIA's container runtime has put the driver's library to where every program finds it.
    """
    if not _has_content(driver_root):
        return tuple(options)
    name = Options.container_driver_root.name
    return tuple(each.with_default(driver_root) if each.name == name else each for each in options)


def as_discovery(options: Sequence[Option[object]]) -> tuple[Option[object], ...]:
    """Return the options as NVIDIA's GPU feature discovery has them: some variables have a prefix there.

    It reads the configuration of the device plugin, and does not need the folder of the MPS control daemon for it.
    """
    prefixed = {each.name for each in (Options.mig_strategy, Options.fail_on_init_error, Options.config_file)}
    found = [each.with_variables(f"GFD_{each.variables[0]}") if each.name in prefixed else each for each in options]
    return tuple(each.with_default(MPS_ROOT) if each.name == Options.mps_root.name else each for each in found)


def visible_daemon_root(root: str, program: str, mounted: str = MPS_ROOT) -> str:
    """Return where this process sees ``root``, the folder of the MPS control daemon on the host.

    ``program`` is the name or the path with which the program was called.
    """
    return mounted if is_nvidias(program) and os.path.isdir(mounted) else root  # noqa: PTH112 - raises nothing


def _has_content(folder: str) -> bool:
    try:
        with os.scandir(folder) as entries:
            return next(entries, None) is not None
    except OSError:
        return False
