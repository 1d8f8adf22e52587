"""The feature file of node-feature-discovery, and the name of the machine, which comes from a file, too."""

import errno
import os
import stat
from pathlib import Path

import pytest

from plugin_gateway.adapters.cluster.feature_file import MAX_SIZE, feature_text, remove_feature_file, write_feature_file
from plugin_gateway.adapters.gateway.machine_name import MachineName, read_machine_name

LABELS = {"b/y": "2", "a/x": ""}


def test_a_label_is_a_line() -> None:
    assert feature_text(LABELS) == "a/x=\nb/y=2\n"
    assert feature_text({}, "2026-12-01T00:00:00Z") == "# +expiry-time=2026-12-01T00:00:00Z\n"


def test_the_file_is_replaced_as_a_whole_and_all_may_read_it(tmp_path: Path) -> None:
    path = tmp_path / "gfd"
    write_feature_file(path, "a=1\n")
    before = path.stat().st_ino
    write_feature_file(path, "a=2\n")
    assert path.read_text() == "a=2\n"
    assert path.stat().st_ino != before
    assert stat.S_IMODE(path.stat().st_mode) == 0o644
    assert list(tmp_path.iterdir()) == [path]


def test_what_is_half_written_is_hidden_and_does_not_stay(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "gfd"
    seen: list[str] = []
    write_feature_file(path, "a=1\n")

    def fail(_descriptor: int, _mode: int) -> None:
        seen.extend(each.name for each in tmp_path.iterdir())
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fchmod", fail)
    with pytest.raises(OSError, match="No space left"):
        write_feature_file(path, "a=2\n")
    assert [name.startswith(".gfd.") for name in sorted(seen)] == [True, False]
    assert list(tmp_path.iterdir()) == [path]
    assert path.read_text() == "a=1\n"


def test_more_than_is_read_is_not_written(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="node-feature-discovery reads 65536"):
        write_feature_file(tmp_path / "gfd", "x" * (MAX_SIZE + 1))
    assert not list(tmp_path.iterdir())


def test_a_folder_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        write_feature_file(tmp_path / "none/gfd", "")


def test_a_file_that_is_gone_already_is_removed(tmp_path: Path) -> None:
    write_feature_file(tmp_path / "gfd", "")
    remove_feature_file(tmp_path / "gfd")
    remove_feature_file(tmp_path / "gfd")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("data", "name"), [(b"DGX H100\n", "DGX H100"), (b" \xffx ", "\ufffdx"), (b"y" * 9000, "y" * 4096)]
)
def test_the_name_of_the_machine_is_what_the_file_has(data: bytes, name: str, tmp_path: Path) -> None:
    (tmp_path / "product_name").write_bytes(data)
    assert read_machine_name(str(tmp_path / "product_name")) == MachineName(name)


def test_a_pipe_with_a_writer_and_nothing_in_it_has_no_name_of_the_machine(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    writer = os.open(tmp_path / "pipe", os.O_RDWR)
    assert read_machine_name(f"{tmp_path}/pipe") == MachineName(None, f"{tmp_path}/pipe is empty")
    os.close(writer)


def test_a_name_that_cannot_be_read_has_a_reason(tmp_path: Path) -> None:
    (tmp_path / "empty").write_text("\n")
    os.mkfifo(tmp_path / "pipe")
    assert read_machine_name(f"{tmp_path}/none").problem.endswith("none: No such file or directory")
    assert read_machine_name(str(tmp_path)).problem.endswith("Is a directory")
    assert read_machine_name(f"{tmp_path}/empty") == MachineName(None, f"{tmp_path}/empty is empty")
    assert read_machine_name(f"{tmp_path}/pipe").name is None
