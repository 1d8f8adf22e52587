"""The images of the cluster's pods as archives: the gateway's as it is released, and those of the examples."""

import shutil
from importlib.metadata import version
from pathlib import Path

from cluster.machine import run
from image.build import BASE, IMAGE, buildah, replacing

GATEWAY = f"docker.io/library/plugin-gateway:{version('plugin-gateway')}"
NEXT_GATEWAY = "docker.io/library/plugin-gateway:next"
"""The same image with another tag, for an update of a DaemonSet."""
SHELL = "docker.io/library/debian:stable-slim"
"""The image of the examples. Here it is a busybox: it has the programs that they call, and a hundredth of Debian's
size."""
PYTHON = "docker.io/library/python:3-slim"
"""The image of the scheduler extender: Debian with Python."""
PAUSE = "localhost/pause:1"
"""The image of the container that keeps the namespaces of a pod."""
_PROGRAMS = {"busybox": "/bin/busybox", "tini-static": "/bin/tini"}


def archives(folder: Path) -> list[Path]:
    """Write an archive of each image, and return their paths. Archives of an earlier run are replaced."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    with replacing(SHELL, PAUSE):
        _make_shell()
    targets = {GATEWAY: IMAGE, NEXT_GATEWAY: IMAGE, PYTHON: BASE, SHELL: SHELL, PAUSE: PAUSE}
    written = []
    for number, (name, source) in enumerate(targets.items()):
        archive = folder / f"{number}.tar"
        buildah("push", "--quiet", source, f"docker-archive:{archive}:{name}")
        written.append(archive)
    return written


def _make_shell() -> None:
    """Make two images of two static programs: SHELL, and PAUSE."""
    container = buildah("from", "scratch").strip()
    for program, path in _PROGRAMS.items():
        found = shutil.which(program)
        assert found, program
        buildah("copy", "--quiet", container, found, path)
    tree = Path(buildah("mount", container).strip())
    for applet in run("busybox", "--list").split():
        if applet != "busybox":
            (tree / "bin" / applet).symlink_to("busybox")
    (tree / "tmp").mkdir(mode=0o1777, exist_ok=True)
    buildah("config", "--env=PATH=/bin", '--entrypoint=["/bin/tini","--","/bin/sleep","2147483647"]', container)
    buildah("commit", "--quiet", container, PAUSE)
    buildah("config", "--entrypoint=[]", "--cmd=/bin/sh", container)
    buildah("commit", "--quiet", "--rm", container, SHELL)
