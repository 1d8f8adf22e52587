"""What this machine must have to be the host of a cluster."""

import os
import shutil
from pathlib import Path

from image.build import install

PLUGINS = Path("/usr/lib/cni")
_PACKAGES = {
    "busybox": "busybox-static",
    "conntrack": "conntrack",
    "containerd": "containerd",
    "ip": "iproute2",
    "iptables": "iptables",
    "runc": "runc",
    "tini-static": "tini",
    str(PLUGINS / "bridge"): "containernetworking-plugins",
}
"""Debian's package of each program."""
_CGROUPS = Path("/sys/fs/cgroup")


class NeedsError(Exception):
    """What is missing here."""


def require() -> None:
    """Install the programs where this may be done; check what cannot be installed.

    Raises:
        NeedsError: something is missing.
    """
    if os.geteuid() != 0:
        raise NeedsError("needs root: it makes namespaces, control groups and device nodes")
    if (
        not any((_CGROUPS / name).is_dir() for name in ("memory", "cgroup.controllers"))
        and not (_CGROUPS / "cgroup.controllers").exists()
    ):
        raise NeedsError(f"needs control groups: none are mounted at {_CGROUPS}")
    if not os.access(_CGROUPS, os.W_OK):
        raise NeedsError(f"needs control groups that can be written: {_CGROUPS} cannot")
    if missing := [package for program, package in _PACKAGES.items() if shutil.which(program) is None]:
        if shutil.which("apt-get") is None:
            raise NeedsError(f"needs programs of Debian's packages {', '.join(missing)}")
        install(missing)
