"""The images of the cluster's pods, as archives: ours as it is released, and what the examples name."""

import shutil
from importlib.metadata import version
from pathlib import Path

from cluster.machine import run
from image.build import BASE, IMAGE, buildah, replacing

GATEWAY = f"docker.io/library/plugin-gateway:{version('plugin-gateway')}"
NEXT_GATEWAY = "docker.io/library/plugin-gateway:next"
"""The same under another tag, for a DaemonSet to be rolled to."""
SHELL = "docker.io/library/debian:stable-slim"
"""What the examples run: a busybox here, which has what they call and is as large as a hundredth of Debian."""
PYTHON = "docker.io/library/python:3-slim"
"""What the scheduler's extender runs: Debian with Python."""
PAUSE = "localhost/pause:1"
_PROGRAMS = {"busybox": "/bin/busybox", "tini-static": "/bin/tini"}


def archives(folder: Path) -> list[Path]:
    """Write an archive of each image; those that are there from another run are written again."""
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
    """Make an image of two static programs, and of it the one that holds a pod's namespaces."""
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
