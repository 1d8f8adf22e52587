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
    hierarchies = [path.parent for path in (*_CGROUPS.glob("cgroup.controllers"), *_CGROUPS.glob("*/cgroup.procs"))]
    if not hierarchies:
        raise NeedsError(f"needs control groups: none are mounted below {_CGROUPS}")
    if readonly := [str(path) for path in hierarchies if not os.access(path, os.W_OK)]:
        raise NeedsError(f"needs control groups that can be written: {', '.join(readonly)}")
    if missing := [package for program, package in _PACKAGES.items() if shutil.which(program) is None]:
        if shutil.which("apt-get") is None:
            raise NeedsError(f"needs programs of Debian's packages {', '.join(missing)}")
        install(missing)
