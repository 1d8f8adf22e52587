"""What a backend has seen of network cards outlives the gateway, and a file that nobody can use is no harm."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from plugin_gateway.adapters.gateway.card_memory import NAME, CardMemory
from plugin_gateway.adapters.support.logs import log
from plugin_gateway.core.errors import InvalidValueError


@pytest.fixture
def said() -> Iterator[list[str]]:
    """What was logged."""
    events: list[str] = []
    log.write_to(lambda _level, line: events.append(str(line["event"])))
    yield events
    log.write_to(None)


def parse(text: str) -> str:
    if '"version": 1' not in text:
        raise InvalidValueError("another version")
    return text


def test_what_is_kept_is_recalled(tmp_path: Path) -> None:
    folder = tmp_path / "state"
    CardMemory(folder, may_write=True).keep('{"version": 1, "cards": {}}')
    assert CardMemory(folder, may_write=True).recall(parse) == '{"version": 1, "cards": {}}'
    assert CardMemory(folder, may_write=False).recall(parse) == '{"version": 1, "cards": {}}'
    assert [each.name for each in folder.iterdir()] == [NAME]


def test_nothing_is_recalled_where_nothing_was_kept(tmp_path: Path, said: list[str]) -> None:
    assert CardMemory(tmp_path / "none", may_write=True).recall(parse) is None
    assert not said


@pytest.mark.parametrize("damaged", [b"", b"{", b"\xff", b'{"version": 2}', b"[" * 100_000])
def test_a_file_that_cannot_be_used_is_set_aside_and_that_is_said(
    damaged: bytes, tmp_path: Path, said: list[str]
) -> None:
    (tmp_path / NAME).write_bytes(damaged)
    assert CardMemory(tmp_path, may_write=False).recall(parse) is None
    assert (tmp_path / NAME).read_bytes() == damaged, "a look changes nothing"
    assert CardMemory(tmp_path, may_write=True).recall(parse) is None
    assert said == ["what was kept about network cards cannot be used"]
    assert (tmp_path / "cards.damaged").read_bytes() == damaged
    CardMemory(tmp_path, may_write=True).keep('{"version": 1}')
    assert CardMemory(tmp_path, may_write=True).recall(parse) == '{"version": 1}'


def test_a_single_look_does_not_wait_for_a_pipe(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / NAME)
    assert CardMemory(tmp_path, may_write=False).recall(parse) is None
    assert [each.name for each in tmp_path.iterdir()] == [NAME]


def test_a_single_look_keeps_nothing(tmp_path: Path) -> None:
    CardMemory(tmp_path, may_write=False).keep('{"version": 1}')
    assert not list(tmp_path.iterdir())


def test_a_folder_that_cannot_be_written_is_told_once(tmp_path: Path, said: list[str]) -> None:
    (tmp_path / "file").write_text("")
    memory = CardMemory(tmp_path / "file", may_write=True)
    for _ in range(3):
        memory.keep('{"version": 1}')
    assert said == ["what is known about network cards cannot be kept"]


def test_it_is_known_whether_what_was_kept_is_still_there(tmp_path: Path, said: list[str]) -> None:
    folder = tmp_path / "file"
    folder.write_text("")
    memory = CardMemory(folder, may_write=True)
    memory.keep('{"version": 1}')
    assert not memory.is_kept()
    folder.unlink()
    memory.keep('{"version": 1}')
    assert memory.is_kept()
    assert said[1:] == ["what is known about network cards is kept again"]
    (folder / NAME).unlink()
    assert not memory.is_kept()
    assert CardMemory(folder, may_write=False).is_kept(), "a single look has nothing to keep"
