"""Brings the cluster up for a person, and ends it: ``make cluster``, ``make cluster-down``."""

import shutil
import sys
import time
from pathlib import Path

from cluster.cluster import KUBECONFIG, KUBECTL, Cluster
from cluster.gateway import MANIFEST, write_manifest
from cluster.machine import MachineError
from cluster.needs import NeedsError, require


def main() -> int:
    """Do what the argument says; 1 where it cannot be done."""
    try:
        {"up": up, "down": down}[sys.argv[1]]()
    except (MachineError, NeedsError) as problem:
        sys.stderr.write(f"cluster {sys.argv[1]}: {problem}\n")
        return 1
    return 0


def up() -> None:
    """Bring it up, and say how to reach it."""
    require()
    began = time.monotonic()
    cluster = Cluster()
    cluster.up()
    write_manifest()
    cluster.machine.leave()
    print(f"up after {time.monotonic() - began:.0f} s: Kubernetes of one node with eight GPUs")
    print(f"export KUBECONFIG={KUBECONFIG}")
    print(f"{shutil.which('kubectl') or KUBECTL} apply -f {MANIFEST.relative_to(Path.cwd())}")


def down() -> None:
    """End it, whoever brought it up."""
    Cluster().down()


if __name__ == "__main__":
    sys.exit(main())
