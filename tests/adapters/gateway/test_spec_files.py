import json
import os
import resource
from dataclasses import replace
from pathlib import Path

import pytest

from harness.limits import no_descriptor_left
from plugin_gateway.adapters.gateway import spec_files
from plugin_gateway.adapters.gateway.spec_files import KnownKinds, foreign_files, host_nodes, write_spec
from plugin_gateway.adapters.support.unix_files import who_may
from plugin_gateway.core.cdi import CdiDevice, CdiEdits, CdiNode, CdiSpec
from plugin_gateway.core.resources.cdi_specs import HostNode

KIND, NAME = "k8s.example.com/card", "k8s.example.com-card.json"
SPEC = CdiSpec(KIND, (CdiDevice("one", CdiEdits(nodes=(CdiNode("/dev/one"),))),))


def test_a_spec_replaces_what_lies_there_and_leaves_nothing_else(tmp_path: Path) -> None:
    folder = tmp_path / "not" / "there yet"
    assert write_spec(folder, SPEC) == ""
    path = folder / NAME
    assert (path.read_bytes(), path.stat().st_mode & 0o777, list(folder.iterdir())) == (SPEC.encoded(), 0o644, [path])
    path.unlink()
    path.symlink_to(tmp_path / "elsewhere")
    assert write_spec(folder, SPEC) == ""
    assert (path.is_symlink(), (tmp_path / "elsewhere").exists()) == (False, False)


def test_a_spec_that_is_there_is_not_written_again(tmp_path: Path) -> None:
    write_spec(tmp_path, SPEC)
    before = (tmp_path / NAME).stat()
    write_spec(tmp_path, SPEC)
    assert (tmp_path / NAME).stat().st_ino == before.st_ino


def test_a_spec_that_is_there_counts_while_no_descriptor_is_left(tmp_path: Path) -> None:
    with no_descriptor_left():
        assert "Too many open files" in write_spec(tmp_path, SPEC)
    assert write_spec(tmp_path, SPEC) == ""
    with no_descriptor_left():
        assert write_spec(tmp_path, SPEC) == ""


def test_a_spec_that_somebody_closed_to_others_is_written_anew(tmp_path: Path) -> None:
    write_spec(tmp_path, SPEC)
    (tmp_path / NAME).chmod(0o600)
    write_spec(tmp_path, SPEC)
    assert (tmp_path / NAME).stat().st_mode & 0o777 == 0o644


def test_two_gateways_with_the_same_process_id_do_not_spoil_each_others_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In a roll-out both are process 1 of their container, and write at the same moment."""
    other = CdiSpec(KIND, (CdiDevice("two", CdiEdits(nodes=(CdiNode("/dev/two"),))),))
    replace, problems = Path.replace, list[str]()

    def replace_after_the_other(half_made: Path, target: Path) -> Path:
        monkeypatch.setattr(Path, "replace", replace)
        problems.append(write_spec(tmp_path, other))
        return replace(half_made, target)

    monkeypatch.setattr(Path, "replace", replace_after_the_other)
    problems.append(write_spec(tmp_path, SPEC))
    assert problems == ["", ""]
    assert (tmp_path / NAME).read_bytes() == SPEC.encoded()
    assert [path.name for path in tmp_path.iterdir()] == [NAME]


def test_a_folder_that_cannot_be_used_is_said_in_words(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path)
    assert "is a link" in write_spec(tmp_path / "link", SPEC)
    (tmp_path / "file").write_text("")
    assert "is no folder" in write_spec(tmp_path / "file", SPEC)
    assert "Not a directory" in write_spec(tmp_path / "file" / "below", SPEC)
    (tmp_path / NAME).mkdir()
    assert f"{tmp_path / NAME} cannot be written: " in write_spec(tmp_path, SPEC)
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []


def test_a_folder_that_nobody_may_write_is_said_with_who_may() -> None:
    """Sysfs takes no folders: it is read-only in a container, and refuses them elsewhere."""
    said = write_spec(Path("/sys/cdi"), SPEC)
    assert said.startswith(f"/sys/cdi/{NAME} cannot be written: ")
    assert any(words in said for words in ("read-only", "for user", who_may()))


def test_a_file_system_that_takes_no_more_keeps_the_spec_that_was_there(tmp_path: Path) -> None:
    """The limit of a file's size stands for a file system that is full: a part of the file is written."""
    assert write_spec(tmp_path, SPEC) == ""
    before, limits = (tmp_path / NAME).read_bytes(), resource.getrlimit(resource.RLIMIT_FSIZE)
    larger = replace(SPEC, edits=CdiEdits({"A": 2**16 * "b"}))
    resource.setrlimit(resource.RLIMIT_FSIZE, (2**12, limits[1]))
    try:
        said = write_spec(tmp_path, larger)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert said == f"{tmp_path / NAME} cannot be written: File too large"
    assert [(path.name, path.read_bytes()) for path in tmp_path.iterdir()] == [(NAME, before)]
    assert write_spec(tmp_path, larger) == ""
    assert (tmp_path / NAME).read_bytes() == larger.encoded()


def test_device_nodes_have_their_numbers_and_files_in_their_place_have_none(tmp_path: Path) -> None:
    found = host_nodes("/", ["/dev/null", "/dev/none", "/dev"])
    assert found.keys() == {"/dev/null"}
    null = found["/dev/null"]
    assert isinstance(null, HostNode)
    assert (null.major, null.minor, null.mode) == (1, 3, 0o666)
    (tmp_path / "dev").mkdir()
    (tmp_path / "dev/card").touch()
    assert host_nodes(str(tmp_path), ["/dev/card"]) == {"/dev/card": None}


@pytest.mark.parametrize(
    ("name", "text", "is_found"),
    [
        ("a.json", json.dumps({"cdiVersion": "0.5.0", "kind": KIND}), True),
        ("a.json", json.dumps({"kind": KIND}, indent=2), True),
        ("a.yaml", f"cdiVersion: 0.5.0\nkind: {KIND}\n", True),
        ("a.yaml", f'"kind" : "{KIND}"\n', True),
        ("a.json", json.dumps({"kind": f"{KIND}s"}), False),
        ("a.txt", json.dumps({"kind": KIND}), False),
        ("a.json", "no spec", False),
        (NAME, json.dumps({"kind": KIND}), False),
    ],
)
def test_files_of_others_with_the_same_kind_are_found(tmp_path: Path, name: str, text: str, is_found: bool) -> None:
    own, other = tmp_path / "own", tmp_path / "other"
    own.mkdir()
    other.mkdir()
    (own / name).write_text(text)
    os.mkfifo(own / "pipe.json")
    (own / "folder.json").mkdir()
    (tmp_path / "link").symlink_to(own)
    found = foreign_files([KIND], tmp_path / "link", [str(own), str(other), str(tmp_path / "none")])
    assert found == ([str(own / name)] if is_found else [])


def test_a_file_with_our_name_in_the_other_folder_is_found(tmp_path: Path) -> None:
    (tmp_path / "own").mkdir()
    (tmp_path / NAME).write_bytes(SPEC.encoded())
    assert foreign_files([KIND], tmp_path / "own", [str(tmp_path)]) == [str(tmp_path / NAME)]


def test_a_file_of_another_program_is_read_again_only_if_it_has_changed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """There can be thousands of them, and the folder is looked at every few seconds."""
    read, opened = spec_files._read, list[str]()

    def noted(path: str) -> bytes:
        opened.append(Path(path).name)
        return read(path)

    monkeypatch.setattr(spec_files, "_read", noted)
    for number in range(3):
        (tmp_path / f"{number}.json").write_text(json.dumps({"kind": "example.com/other"}))
    known: KnownKinds = {}
    assert foreign_files([KIND], tmp_path, [], known) == []
    assert opened == ["0.json", "1.json", "2.json"]
    (tmp_path / "1.json").write_text(json.dumps({"kind": KIND}))
    (tmp_path / "2.json").unlink()
    assert foreign_files([KIND], tmp_path, [], known) == [str(tmp_path / "1.json")]
    assert foreign_files([KIND], tmp_path, [], known) == [str(tmp_path / "1.json")]
    assert opened[3:] == ["1.json"]
    assert len(known) == 2
