"""Builds the programs with genuine device managers: ``make kubelets``. The second time is short, with Go's cache."""

import json
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

HERE = Path(__file__).parent
PROGRAMS = HERE / "programs"
BUILT = HERE.parents[1] / "build" / "kubelets"
STAGED = re.compile(r"^\s*(k8s\.io/\S+) => \./\.staging/\S+$", re.MULTILINE)
"""Modules in go.mod that are copied from Kubernetes' own staging folder."""
LIMIT = 900
"""Seconds for one program, with the download of its modules."""


def main() -> int:
    """Build the releases that the arguments name, or all."""
    if shutil.which("go") is None:
        sys.stderr.write("make kubelets: no Go here; with it, any version from 1.26 will do\n")
        return 1
    releases = sys.argv[1:] or [path.name for path in sorted(PROGRAMS.glob("v*"))]
    for release in releases:
        began = time.monotonic()
        build(release)
        print(f"kubelet {release}: {time.monotonic() - began:.0f} s", flush=True)
    return 0


def build(release: str) -> None:
    program = PROGRAMS / release
    stage(program)
    # The constructors of device managers are not exported, and old versions of x/sys use names inside Go's runtime. Go
    # links both only without this check.
    command = ("go", "build", "-mod=readonly", "-ldflags=-checklinkname=0", "-o", str(BUILT / release), ".")
    subprocess.run(command, cwd=program, check=True, timeout=LIMIT)


def stage(program: Path) -> None:
    """Copy the modules below staging/src of the release that the module proxy does not serve separately."""
    modules = STAGED.findall((program / "go.mod").read_text())
    if not modules or (program / ".staging").is_dir():
        return
    release = f"k8s.io/kubernetes@{program.name}"
    shown = subprocess.run(
        ("go", "mod", "download", "-json", release), cwd="/", check=True, timeout=LIMIT, stdout=subprocess.PIPE
    )
    source = Path(json.loads(shown.stdout)["Dir"]) / "staging" / "src"
    half_made = program / ".staging.part"
    shutil.rmtree(half_made, ignore_errors=True)
    for module in modules:
        shutil.copytree(source / module, half_made / module, copy_function=shutil.copyfile)
        (half_made / module).chmod(0o755)
        (half_made / module / "go.mod").write_text(f"module {module}\n\ngo 1.26\n")
    half_made.rename(program / ".staging")


if __name__ == "__main__":
    sys.exit(main())
