"""Builds the image as it is released, on a base of this machine's own, and unpacks it: ``make image``.

With the argument `operator` it also builds the image that has what the script of NVIDIA's GPU operator calls.
"""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

PROJECT = Path(__file__).parents[2]
BUILT = PROJECT / "build" / "image"
BASE, IMAGE = "localhost/plugin-gateway-base", "localhost/plugin-gateway"
ROOTFS, OPERATOR_ROOTFS = BUILT / "rootfs", BUILT / "operator"
OPERATOR = "operator"
"""The target of the Containerfile with the tools, and the tag of its image here."""
SUITE = "trixie"
"""What `debian:trixie-slim` is made of, the base elsewhere."""
PACKAGES = {"buildah": "buildah", "mmdebstrap": "mmdebstrap", "runc": "runc"}
"""Debian's package of each program."""
LIMIT = 600
_FROM_HERE = ("/etc/pip.conf", "/etc/ssl/certs")
"""How this machine reaches a package index, where it says."""


def main() -> int:
    """Build it; 1 where this machine cannot."""
    missing = [package for program, package in PACKAGES.items() if shutil.which(program) is None]
    if missing and os.geteuid() == 0 and shutil.which("apt-get"):
        install(missing)
    elif missing or os.geteuid() != 0:
        sys.stderr.write(f"make image: needs root, and {', '.join(PACKAGES)}\n")
        return 1
    BUILT.mkdir(parents=True, exist_ok=True)
    if not buildah("images", "--quiet", "--filter", f"reference={BASE}").strip():
        make_base(BUILT / "base.tar")
    build(f"{IMAGE}:latest", ROOTFS)
    if OPERATOR in sys.argv[1:]:
        build(f"{IMAGE}:{OPERATOR}", OPERATOR_ROOTFS, f"--target={OPERATOR}")
    return 0


def build(name: str, rootfs: Path, *flags: str) -> None:
    """Build the image of this name, and unpack it into a folder."""
    volumes = [f"--volume={path}:{path}:ro" for path in _FROM_HERE if Path(path).exists()]
    revision = run("git", "-C", str(PROJECT), "rev-parse", "HEAD").strip()
    with replacing(name):
        buildah(
            "build", "--isolation=chroot", "--network=host", *volumes, *flags,
            f"--build-arg=BASE={BASE}", f"--build-arg=REVISION={revision}",
            f"--file={PROJECT / 'deploy/Containerfile'}", f"--tag={name}", str(PROJECT),
        )  # fmt: skip
    unpack(name, rootfs)


@contextmanager
def replacing(*names: str) -> Iterator[None]:
    """Remove the images that have lost these names to others in the block: nothing would find them again."""
    before = {_image_id(name) for name in names}
    yield
    for image in before - {_image_id(name) for name in names} - {""}:
        buildah("rmi", "--force", image)


def _image_id(name: str) -> str:
    return buildah("images", "--quiet", "--no-trunc", "--filter", f"reference={name}").strip()


def install(packages: Sequence[str]) -> None:
    """Install Debian packages, with new lists where the old ones do not know them."""
    command = ("apt-get", "install", "--yes", "--no-install-recommends", *packages)
    try:
        run(*command)
    except subprocess.CalledProcessError:
        run("apt-get", "update")
        run(*command)


def make_base(archive: Path) -> None:
    """Make Debian with Python out of its packages: no image registry is asked."""
    run("mmdebstrap", "--variant=minbase", "--include=python3,python3-venv,ca-certificates", SUITE, str(archive))
    container = buildah("from", "scratch").strip()
    buildah("add", "--quiet", container, str(archive), "/")
    buildah("commit", "--quiet", "--rm", container, BASE)
    archive.unlink()


def unpack(image: str, rootfs: Path) -> None:
    """Make a folder of the image, as a container runtime does."""
    container = buildah("from", image).strip()
    mounted = buildah("mount", container).strip()
    shutil.rmtree(rootfs, ignore_errors=True)
    shutil.copytree(mounted, rootfs, symlinks=True)
    buildah("rm", container)


def buildah(*arguments: str) -> str:
    """Run buildah, whose images lie in plain folders: what needs no mount works everywhere."""
    return run("buildah", "--storage-driver=vfs", *arguments)


def run(*command: str) -> str:
    """Run a program; what it complains about is seen."""
    return _run(command)


def _run(command: Sequence[str]) -> str:
    return subprocess.run(command, check=True, timeout=LIMIT, stdout=subprocess.PIPE, text=True).stdout


if __name__ == "__main__":
    sys.exit(main())
