"""Starts the cluster for people, ends it, and checks its needs: ``make cluster``, ``make cluster-down``."""

import subprocess
import sys
import time
from pathlib import Path

from cluster.build import BUILT, RELEASE
from cluster.cluster import KUBECTL, Cluster
from cluster.configuration import KUBECONFIG
from cluster.gateway import MANIFEST, write_manifest
from cluster.machine import MachineError
from cluster.needs import NeedsError, require


def main() -> int:
    """Do what the argument says. Return 1 if that is not possible."""
    try:
        {"needs": require, "up": up, "down": down}[sys.argv[1]]()
    except (MachineError, NeedsError) as problem:
        sys.stderr.write(f"cluster: {problem}\n")
        return 1
    except (subprocess.CalledProcessError, subprocess.TimeoutExpired) as problem:  # from the build of the image
        sys.stderr.write(f"cluster: {problem}; what it said is above\n")
        return 1
    except KeyboardInterrupt:
        return 130
    return 0


def up() -> None:
    """Start the cluster, and print how to reach it."""
    require()
    began = time.monotonic()
    cluster = Cluster()
    cluster.up()
    write_manifest()
    _write_kubectl()
    cluster.machine.leave()
    here = BUILT.relative_to(Path.cwd())
    print(f"up after {time.monotonic() - began:.0f} s: Kubernetes {RELEASE} of one node with eight GPUs, for example:")
    print(f"  {here}/kubectl apply -f {here}/{MANIFEST.name} -f deploy/examples/pod.yaml")
    print(f"  {here}/kubectl logs two-gpus")
    print(f"or with a kubectl of your own: export KUBECONFIG={KUBECONFIG}")
    print("It is ended by: make cluster-down")


def _write_kubectl() -> None:
    """Write a script that runs kubectl for this cluster."""
    script = BUILT / "kubectl"
    script.write_text(f'#!/bin/sh\nexec {KUBECTL} --kubeconfig={KUBECONFIG} "$@"\n')
    script.chmod(0o755)


def down() -> None:
    """End the cluster. It need not be this process that started it."""
    Cluster().down()


if __name__ == "__main__":
    sys.exit(main())
