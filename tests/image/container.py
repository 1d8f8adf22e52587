"""A container of the image as a container runtime starts it from the DaemonSet: no capability, nothing writable."""

import asyncio
import json
import os
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from functools import cache
from itertools import count
from pathlib import Path
from typing import Any, NamedTuple

from harness.process import Process
from image.build import IMAGE, ROOTFS, buildah

KUBELET_DIR, STATE_DIR = "/var/lib/kubelet/device-plugins", "/run/plugin-gateway"
_numbers = count(1)


class Mount(NamedTuple):
    """A folder of the host in the container."""

    host: Path
    path: str
    writable: bool = False


@cache
def settings() -> Mapping[str, Any]:
    """Tell what the image says of itself."""
    told: Mapping[str, Any] = json.loads(buildah("inspect", "--type=image", IMAGE))["OCIv1"]["config"]
    return told


def _configuration(
    command: Sequence[str], rootfs: Path, mounts: Sequence[Mount], environment: Mapping[str, str], user: int
) -> Mapping[str, Any]:
    """Write an OCI bundle's configuration; the environment is the image's own, and this."""
    image = settings()
    nothing = dict.fromkeys(("bounding", "effective", "permitted", "inheritable", "ambient"), ())
    return {
        "ociVersion": "1.0.2",
        "process": {
            "user": {"uid": user, "gid": user},
            "args": command,
            "env": [*image["Env"], *(f"{name}={value}" for name, value in environment.items())],
            "cwd": "/",
            "capabilities": nothing,
            "noNewPrivileges": True,
        },
        "root": {"path": str(rootfs), "readonly": True},
        "mounts": [
            {"destination": "/proc", "type": "proc", "source": "proc"},
            {"destination": "/dev", "type": "tmpfs", "source": "tmpfs", "options": ["nosuid", "mode=755"]},
            *(
                {
                    "destination": mount.path,
                    "type": "bind",
                    "source": str(mount.host),
                    "options": ["rbind", "rw" if mount.writable else "ro"],
                }
                for mount in mounts
            ),
        ],
        "linux": {"namespaces": [{"type": kind} for kind in ("mount", "pid", "ipc", "uts")]},
    }


@asynccontextmanager
async def running(
    bundle: Path,
    *arguments: str,
    mounts: Sequence[Mount] = (),
    environment: Mapping[str, str] | None = None,
    user: int = 0,
    command: Sequence[str] = (),
    rootfs: Path = ROOTFS,
) -> AsyncIterator[Process]:
    """Run the gateway in a container, read its log, and end it at the end of the block where it still runs.

    ``command`` replaces the image's own program and `run`, as `command` in the manifest of a pod does.
    """
    bundle.mkdir()
    started = [*(command or (*settings()["Entrypoint"], "run")), *arguments]
    configuration = _configuration(started, rootfs, mounts, environment or {}, user)
    (bundle / "config.json").write_text(json.dumps(configuration))
    name = f"plugin-gateway-{os.getpid()}-{next(_numbers)}"
    child = await asyncio.create_subprocess_exec(
        "runc", "run", "--bundle", str(bundle), name,
        stdin=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    process = Process(child)
    async with asyncio.TaskGroup() as tasks:
        reading = tasks.create_task(process.read())
        try:
            yield process
        finally:
            if child.returncode is None:
                child.terminate()
            try:
                await process.ended()
            except TimeoutError:
                await (await asyncio.create_subprocess_exec("runc", "delete", "--force", name)).wait()
                raise
            await reading


async def container_of(
    bundle: Path,
    *command: str,
    mounts: Sequence[Mount] = (),
    environment: Mapping[str, str] | None = None,
    rootfs: Path = ROOTFS,
) -> tuple[int | None, str, str]:
    """Run another program of the image to its end, and return its exit status, output and errors."""
    bundle.mkdir()
    configuration = _configuration(command, rootfs, mounts, environment or {}, 0)
    (bundle / "config.json").write_text(json.dumps(configuration))
    name = f"plugin-gateway-{os.getpid()}-{next(_numbers)}"
    child = await asyncio.create_subprocess_exec(
        "runc", "run", "--bundle", str(bundle), name,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    try:
        out, errors = await asyncio.wait_for(child.communicate(), 30)
    except TimeoutError:
        await (await asyncio.create_subprocess_exec("runc", "delete", "--force", name)).wait()
        raise
    return child.returncode, out.decode(), errors.decode()
