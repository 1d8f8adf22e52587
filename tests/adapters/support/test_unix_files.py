"""Whether anything came or went in a folder, and which file system it is on."""

import os
import time
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from plugin_gateway.adapters.support.unix_files import SETTLED_NS, FolderChanges, file_system_of


def settle(folder: Path, seconds_ago: int = 10) -> None:
    """Have the folder look as if the last change was so long ago."""
    then = time.time_ns() - seconds_ago * SETTLED_NS
    os.utime(folder, ns=(then, then))


def test_the_first_question_is_answered_with_yes_and_the_next_with_no(tmp_path: Path) -> None:
    settle(tmp_path)
    changes = FolderChanges(str(tmp_path))
    assert [changes.any(), changes.any(), changes.any()] == [True, False, False]


def test_a_folder_that_changed_a_moment_ago_is_not_trusted(tmp_path: Path) -> None:
    settle(tmp_path, 0)
    changes = FolderChanges(str(tmp_path))
    assert [changes.any(), changes.any()] == [True, True]


def test_a_folder_from_the_future_is_not_trusted(tmp_path: Path) -> None:
    """Somebody set the clock back."""
    settle(tmp_path, -3600)
    changes = FolderChanges(str(tmp_path))
    assert [changes.any(), changes.any()] == [True, True]


def test_a_folder_that_is_gone_or_another_one_is_a_change(tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    settle(folder)
    changes = FolderChanges(str(folder))
    assert [changes.any(), changes.any()] == [True, False]
    folder.rename(tmp_path / "other")
    assert [changes.any(), changes.any()] == [True, True]
    folder.mkdir()
    settle(folder)
    assert [changes.any(), changes.any()] == [True, False]


@settings(max_examples=50, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.sampled_from(("make", "remove", "rename", "nothing"))))
def test_no_change_is_missed(tmp_path: Path, steps: list[str]) -> None:
    names = [path.name for path in tmp_path.iterdir()]
    changes = FolderChanges(str(tmp_path))
    changes.any()
    for number, step in enumerate(steps):
        changed = step == "make" or (step != "nothing" and bool(names))
        if step == "make":
            (tmp_path / f"file{number}").touch()
        elif step == "remove" and names:
            (tmp_path / names[0]).unlink()
        elif step == "rename" and names:
            (tmp_path / names[0]).rename(tmp_path / f"renamed{number}")
        names = [path.name for path in tmp_path.iterdir()]
        assert changes.any() or not changed


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/run/plugin-gateway", "tmpfs"),
        ("/run", "tmpfs"),
        ("/runs", "ext4"),
        ("/var/lib/a b/state", "xfs"),
        ("/data", "btrfs"),
        ("/", "ext4"),
    ],
)
def test_a_path_is_on_the_file_system_of_the_nearest_mount(path: str, expected: str, tmp_path: Path) -> None:
    mounts = tmp_path / "mountinfo"
    mounts.write_text(
        "22 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw\n"
        "23 22 0:5 / /run rw shared:2 master:3 - tmpfs tmpfs rw\n"
        "24 22 8:2 / /var/lib/a\\040b rw - xfs /dev/sdb rw\n"
        "25 22 8:3 / /data rw - ext4 /dev/sdc rw\n"
        "26 25 0:6 / /data rw - btrfs /dev/sdd rw\n"
    )
    assert file_system_of(Path(path), str(mounts)) == expected


def test_without_the_kernels_file_the_file_system_is_not_known(tmp_path: Path) -> None:
    assert file_system_of(tmp_path, str(tmp_path / "none")) is None
    assert file_system_of(tmp_path) is not None
