"""The image can be built for both machines: every library of it exists as a wheel there, in the version of ours."""

import json
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from image.build import PROJECT

PYTHON = "3.13"
"""Of the image's Debian."""


@pytest.mark.parametrize("machine", ["x86_64", "aarch64"])
def test_every_library_is_there(machine: str, tmp_path: Path) -> None:
    needed = tomllib.loads((PROJECT / "pyproject.toml").read_text())["project"]["dependencies"]
    shown = subprocess.run(
        (
            sys.executable, "-m", "pip", "install", "--quiet", "--dry-run", "--report=-", "--only-binary=:all:",
            f"--platform=manylinux_2_28_{machine}", f"--platform=manylinux2014_{machine}", f"--python-version={PYTHON}",
            f"--target={tmp_path}", f"--constraint={PROJECT / 'requirements-dev.txt'}", *needed,
        ),
        check=True,
        stdout=subprocess.PIPE,
        timeout=50,
    )  # fmt: skip
    files = {each["download_info"]["url"].rsplit("/", 1)[-1] for each in json.loads(shown.stdout)["install"]}
    assert len(files) >= len(needed)
    (grpcio,) = (name for name in files if name.partition("-")[0] == "grpcio")
    assert grpcio.endswith(f"{machine}.whl")
