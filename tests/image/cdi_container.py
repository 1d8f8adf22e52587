"""A container that runc starts with what a CDI spec says, as a runtime that reads CDI specs does."""

import json
import os
import subprocess
from collections.abc import Mapping, Sequence
from itertools import count
from pathlib import Path
from typing import Any

_numbers = count(1)


def configuration(
    rootfs: Path, document: Mapping[str, Any], device: str, arguments: Sequence[str]
) -> Mapping[str, Any]:
    """The OCI configuration of a container with a device of a spec. There are no hooks."""
    own = next(each["containerEdits"] for each in document["devices"] if each["name"] == device)
    edits = [document.get("containerEdits", {}), own]
    assert not any("hooks" in each for each in edits)
    mounts = [mount for each in edits for mount in each.get("mounts", ())]
    return {
        "ociVersion": "1.0.2",
        "process": {
            "user": {"uid": 0, "gid": 0},
            "args": list(arguments),
            "env": ["PATH=/usr/bin:/bin", *(word for each in edits for word in each.get("env", ()))],
            "cwd": "/",
        },
        "root": {"path": str(rootfs)},
        "mounts": [
            {"destination": "/proc", "type": "proc", "source": "proc"},
            {"destination": "/dev", "type": "tmpfs", "source": "tmpfs", "options": ["mode=755"]},
            *(
                {
                    "destination": mount["containerPath"],
                    "type": "bind",
                    "source": mount["hostPath"],
                    "options": mount["options"],
                }
                for mount in mounts
            ),
        ],
        "linux": {"namespaces": [{"type": kind} for kind in ("mount", "pid", "ipc", "uts")]},
    }


def run(bundle: Path, settings: Mapping[str, Any]) -> str:
    """Run a container to its end, and return what it wrote."""
    (bundle / "config.json").write_text(json.dumps(settings))
    name = f"cdi-{os.getpid()}-{next(_numbers)}"
    done = subprocess.run(
        ["runc", "run", "--bundle", str(bundle), name],
        stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout
