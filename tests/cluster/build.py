"""Builds the programs of a whole Kubernetes from their Go modules. The second time is short, with Go's cache."""

import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

PROGRAMS = Path(__file__).parent / "programs"
BUILT = Path(__file__).parents[2] / "build" / "cluster"
"""It has a folder for each folder of `programs`."""
RELEASE = "v1.37.2"
"""The release of all parts of the cluster."""
YEAR_BEFORE = "v1.34.4"
"""The release of the other kubelet."""
COMMANDS = {
    RELEASE: ("kubectl", "kubelet", "kube-apiserver", "kube-controller-manager", "kube-scheduler", "kube-proxy"),
    YEAR_BEFORE: ("kubelet",),
}
CONTAINERD = "v2.2.9"
"""The release of the container runtime. It reads CDI specs; those of Debian before 13 do not."""
CONTAINERD_COMMANDS = ("containerd", "containerd-shim-runc-v2", "ctr")
_LEFT_OUT = "no_btrfs,no_devmapper,no_zfs"
"""Parts of containerd that need headers of C libraries, or that nothing here uses."""
WANTED = {"cluster": (RELEASE,), "e2e": (RELEASE, YEAR_BEFORE)}
"""The releases that each target of make needs."""
LIMIT = 2400
"""Seconds for one folder without a cache, on two busy cores."""


class CannotBuildError(Exception):
    """Something needed is missing, or a build failed."""


def build(releases: Sequence[str]) -> None:
    """Build the programs of these releases, etcd and containerd.

    Raises:
        CannotBuildError: there is no Go, or a build failed.
    """
    if shutil.which("go") is None:
        message = "no Go here; with it, any version from 1.26 will do"
        raise CannotBuildError(message)
    for release in releases:
        packages = [f"k8s.io/kubernetes/cmd/{command}" for command in COMMANDS[release]]
        _go_build(release, packages, f"-s -w {_says_its_version(release)}")
    _go_build("etcd", ["go.etcd.io/etcd/server/v3"], "-s -w")
    module = "github.com/containerd/containerd/v2"
    packages = [f"{module}/cmd/{command}" for command in CONTAINERD_COMMANDS]
    _go_build("containerd", packages, f"-s -w -X {module}/version.Version={CONTAINERD}", f"-tags={_LEFT_OUT}")


def _go_build(folder: str, packages: list[str], linked: str, *flags: str) -> None:
    began = time.monotonic()
    target = BUILT / folder
    target.mkdir(parents=True, exist_ok=True)
    command = ("go", "build", "-mod=readonly", "-trimpath", f"-ldflags={linked}", *flags, "-o", f"{target}/", *packages)
    try:
        subprocess.run(command, cwd=PROGRAMS / folder, check=True, timeout=LIMIT)
    except subprocess.CalledProcessError as error:
        raise CannotBuildError(f"go did not build {folder}, see above") from error
    except subprocess.TimeoutExpired as error:
        raise CannotBuildError(f"go did not build {folder} within {LIMIT} s; what it built so far is kept") from error
    print(f"{folder}: {time.monotonic() - began:.0f} s", flush=True)


def _says_its_version(release: str) -> str:
    """Return the linker flags for the version. Without them the programs call themselves v0.0.0-master."""
    major, minor, _ = release.removeprefix("v").split(".")
    where = "k8s.io/component-base/version"
    return f"-X {where}.gitVersion={release} -X {where}.gitMajor={major} -X {where}.gitMinor={minor}"


if __name__ == "__main__":
    (target,) = sys.argv[1:]
    try:
        build(WANTED[target])
    except CannotBuildError as problem:
        sys.exit(f"make {target}: {problem}")
    except KeyboardInterrupt:
        sys.exit(130)
