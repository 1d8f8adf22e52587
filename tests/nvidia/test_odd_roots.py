"""Driver roots as a hurried administrator leaves them: whatever lies there, a spec names files of the driver alone."""

import os
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import event, given, settings
from hypothesis import strategies as st

from harness.devices import device, inventory
from harness.driver_root import compiled, write
from plugin_gateway.core.cdi import FilesWanted
from plugin_gateway.nvidia.injection import files_of

V, OTHER = "580.95.05", "570.1"
FOLDERS = ("usr/lib64", "usr/lib", "lib/x86_64-linux-gnu", "usr/lib/x86_64-linux-gnu", "opt/the driver")
NAMES = (f"libcuda.so.{V}", "libcuda.so.1", f"libcuda.so.{OTHER}", f"libnvidia-ml.so.{V}", f"a b.so.{V}")
TARGETS = (
    *(f"/{folder}/{name}" for folder in FOLDERS[:2] for name in NAMES[:2]),
    NAMES[0],
    f"../lib/{NAMES[0]}",
    "/nowhere",
    "../../../../outside.so",
    "{outside}",
    "..",
    "/proc/self/root{outside}",
)
HOST = "/run/the driver"
HOOK = "/usr/bin/nvidia-cdi-hook"
_WHOLE = compiled("libcuda.so.1")
CONTENTS = {"library": _WHOLE, "of 32 bits": _WHOLE[:4] + b"\x01" + _WHOLE[5:], "text": b"text"}


PLACES = st.tuples(st.sampled_from(FOLDERS), st.sampled_from(NAMES))
FILES = st.sampled_from(("library", "of 32 bits", "text", "folder", "pipe")) | st.sampled_from(TARGETS)
LINKED = st.dictionaries(
    st.sampled_from(("lib", "lib64", "usr/lib64", "usr")),
    st.sampled_from(("usr/lib", "/usr/lib", "opt/the driver", "lib", "/", "{outside}")),
    max_size=2,
)


def put(root: Path, name: str, what: str, outside: Path) -> None:
    """Put something at a path below the root. Nothing if a link of a folder leads elsewhere, or something is there."""
    path = root / name
    if not os.path.realpath(path.parent).startswith(str(root)) or os.path.lexists(path):
        return
    with suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        if what == "pipe":
            os.mkfifo(path)
        elif what == "folder":
            path.mkdir()
        elif what in CONTENTS:
            write(path, CONTENTS[what], 0o755)
        else:
            path.symlink_to(what.format(outside=outside))


@pytest.mark.timeout(120)
@settings(max_examples=200, deadline=None)
@given(
    good=st.sampled_from(FOLDERS),
    links=LINKED,
    files=st.dictionaries(PLACES, FILES, max_size=8),
    has_hook=st.booleans(),
)
def test_a_spec_names_only_files_below_the_root_that_lie_where_it_says(
    tmp_path_factory: pytest.TempPathFactory,
    good: str,
    links: dict[str, str],
    files: dict[tuple[str, str], str],
    has_hook: bool,
) -> None:
    folder = tmp_path_factory.mktemp("node")
    root, outside = folder / "root", write(folder / f"outside.so.{V}", CONTENTS["library"])
    root.mkdir()
    for path, target in links.items():
        put(root, path, target, folder)
    put(root, f"{good}/{NAMES[0]}", "library", outside)
    for (place, name), what in files.items():
        put(root, f"{place}/{name}", what, outside)
    if has_hook:
        put(root, "usr/bin/nvidia-cdi-hook", "text", outside)
    wanted = FilesWanted(HOST, HOOK if has_hook else "", (), lambda _: None)
    found = files_of(wanted, str(root), str(folder / "sys"), (V, "1"), inventory(device(0)))
    mounts = found.common.mounts
    event("problem" if found.problem else "found")
    if found.problem:
        assert not mounts
        return
    assert any(mount.host_path.endswith(".so") or ".so." in mount.host_path for mount in mounts)
    assert len({mount.container_path for mount in mounts}) == len(mounts)
    for mount in mounts:
        assert mount.host_path.startswith(f"{HOST}/")
        here = Path(str(root) + mount.host_path.removeprefix(HOST))
        assert os.path.realpath(here) == str(here), "a runtime would follow a link from the root of the host"
        assert here.is_file()
        assert here.read_bytes()[4:5] != b"\x01", "no program of this machine can load it"
        assert OTHER not in here.name
