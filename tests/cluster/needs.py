"""Checks what this machine needs to run a cluster."""

import os
import shutil
from pathlib import Path

from cluster.machine import CGROUPS, hierarchies
from image.build import install

PLUGINS = Path("/usr/lib/cni")
_PACKAGES = {
    "busybox": "busybox-static",
    "cc": "build-essential",
    "conntrack": "conntrack",
    "ip": "iproute2",
    "iptables": "iptables",
    "runc": "runc",
    "tini-static": "tini",
    str(PLUGINS / "bridge"): "containernetworking-plugins",
}
"""The Debian package of each program."""


class NeedsError(Exception):
    """Something is missing."""


def require() -> None:
    """Check what the cluster needs. Install missing programs if apt-get is there.

    Raises:
        NeedsError: something is missing and cannot be installed.
    """
    if os.geteuid() != 0:
        raise NeedsError("needs root: it makes namespaces, control groups and device nodes")
    found = list(hierarchies())
    if not found:
        raise NeedsError(f"needs control groups: none are mounted below {CGROUPS}")
    if readonly := [str(path) for path in found if not os.access(path, os.W_OK)]:
        raise NeedsError(f"needs control groups that can be written: {', '.join(readonly)}")
    if missing := [package for program, package in _PACKAGES.items() if shutil.which(program) is None]:
        if shutil.which("apt-get") is None:
            raise NeedsError(f"needs programs of Debian's packages {', '.join(missing)}")
        install(missing)
