"""What is kept about unhealthy devices: it comes back as it was, and a file that is no good harms nobody."""

import asyncio
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.node import until
from plugin_gateway.adapters.gateway import health_file, health_memory
from plugin_gateway.adapters.gateway.health_file import DamagedFileError
from plugin_gateway.adapters.gateway.health_memory import HealthMemory
from plugin_gateway.core.devices import DeviceId
from plugin_gateway.core.health.faults import Evidence, Fault
from plugin_gateway.core.health.memory import Memory
from plugin_gateway.core.health.observations import DriverSeen
from plugin_gateway.core.health.policy import DRIVER_GONE, NOT_ANSWERING, EvidenceKind, Needs
from plugin_gateway.core.health.state import State

GPU = DeviceId("GPU-1")
WORDS = st.text(max_size=20).filter(lambda text: text.isprintable())
TIMES = st.floats(0, 2e9)
FAULTS = st.builds(
    Fault,
    since=TIMES,
    evidence=st.lists(st.builds(Evidence, WORDS, TIMES), min_size=1, max_size=8).map(tuple),
    needs=st.sampled_from(Needs),
    problems=st.dictionaries(st.sampled_from((NOT_ANSWERING, DRIVER_GONE, EvidenceKind("link-down"))), WORDS),
    was_reset=st.booleans(),
    is_flapping=st.booleans(),
)
MEMORIES = st.builds(
    Memory,
    boot_id=WORDS,
    driver=st.none() | st.builds(DriverSeen, st.none() | WORDS, st.none() | WORDS),
    faults=st.dictionaries(st.sampled_from((GPU, DeviceId("GPU-2"))), FAULTS),
    taken_out=st.dictionaries(st.just(GPU), st.lists(TIMES, max_size=3).map(tuple)),
    unseen=st.frozensets(st.sampled_from((GPU, DeviceId("GPU-2")))),
)
KEPT = Memory(
    boot_id="boot",
    driver=DriverSeen("575", "12"),
    faults={GPU: Fault(since=5.0, evidence=(Evidence("XID 79", 5.0),), needs=Needs.REBOOT)},
    taken_out={GPU: (4.0,)},
    unseen=frozenset({GPU}),
)


@pytest.fixture
def path(state_dir: Path) -> Path:
    return state_dir / "health.json"


@given(memory=MEMORIES)
def test_what_was_written_is_read(memory: Memory, tmp_path_factory: pytest.TempPathFactory) -> None:
    path = tmp_path_factory.getbasetemp() / "health.json"
    health_file.write(path, memory)
    assert health_file.read(path) == memory


def test_the_directory_is_made_for_its_owner_alone(path: Path) -> None:
    health_file.write(path, KEPT)
    assert path.parent.stat().st_mode & 0o777 == 0o700
    assert [each.name for each in path.parent.iterdir()] == ["health.json"]


def test_a_file_is_replaced_as_a_whole_or_not_at_all(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    health_file.write(path, KEPT)

    def fail(_path: Path, _text: str) -> int:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(Path, "write_text", fail)
        with pytest.raises(OSError, match="No space left"):
            health_file.write(path, Memory(boot_id="x", driver=None, faults={}, taken_out={}, unseen=frozenset()))
    assert health_file.read(path) == KEPT
    assert [each.name for each in path.parent.iterdir()] == ["health.json"]


def changed(change: Callable[[Any], object]) -> Callable[[Path], object]:
    def spoil(path: Path) -> None:
        value = json.loads(path.read_text())
        change(value)
        path.write_text(json.dumps(value))

    return spoil


def fault(name: str, value: object) -> Callable[[Path], object]:
    return changed(lambda kept: kept["faults"][GPU].update({name: value}))


def test_evidence_that_only_another_version_knows_is_kept(path: Path) -> None:
    health_file.write(path, KEPT)
    fault("problems", {"moon": "full"})(path)
    assert health_file.read(path).faults[GPU].problems == {"moon": "full"}


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda path: path.write_text(""), "Expecting value"),
        (lambda path: path.write_bytes(b"{\xff}"), "codec can't decode"),
        (lambda path: path.write_text("[" * 100_000), "recursion"),
        (lambda path: path.write_text("5"), "5 where names with values belong"),
        (lambda path: path.write_text(path.read_text()[:-20]), "Unterminated string"),
        (changed(lambda kept: kept.update(version=2)), "version 2, known is 1"),
        (changed(lambda kept: kept.update(more=1)), "where version, boot_id, driver, faults, taken_out, unseen belong"),
        (changed(lambda kept: kept.pop("boot_id")), "where version, boot_id, driver, faults, taken_out, unseen belong"),
        (changed(lambda kept: kept.update(boot_id=5)), "5 where a text belongs"),
        (changed(lambda kept: kept.update(driver=[])), r"\[\] where names with values belong"),
        (changed(lambda kept: kept.update(taken_out={GPU: [True]})), "True where a number belongs"),
        (changed(lambda kept: kept.update(taken_out={GPU: 5})), "5 where a list belongs"),
        (changed(lambda kept: kept["faults"].update({"": {}})), "device id '' has 0 characters"),
        (fault("needs", "luck"), "'luck' where one of check, reset, reboot belongs"),
        (fault("needs", ["reset"]), r"\['reset'\] where one of"),
        (fault("evidence", []), "a device is unhealthy for no reason"),
        (fault("since", float("nan")), "nan where a number belongs"),
        (fault("since", float("inf")), "inf where a number belongs"),
        (fault("since", 10**400), "1000.* where a number belongs"),
        (fault("since", 1e300), "1e\\+300 where a number belongs"),
        (fault("since", -1), "-1 where a number belongs"),
        (fault("evidence", [{"what": "\x1b[31m", "at": 1}]), "where a text belongs"),
        (fault("was_reset", 1), "1 where true or false belongs"),
        (fault("evidence", [{"what": "x" * 5000, "at": 1}]), "where a text belongs"),
    ],
)
def test_a_file_that_is_no_good_is_set_aside(spoil: Callable[[Path], object], words: str, path: Path) -> None:
    health_file.write(path, KEPT)
    spoil(path)
    with pytest.raises(DamagedFileError, match=words) as caught:
        health_file.read(path)
    assert str(caught.value).endswith("; set aside as health.damaged")
    assert [each.name for each in path.parent.iterdir()] == ["health.damaged"]


def test_what_is_no_file_is_set_aside_and_nothing_waits_for_it(path: Path) -> None:
    path.parent.mkdir()
    os.mkfifo(path)
    with pytest.raises(DamagedFileError, match="it is no regular file; set aside"):
        health_file.read(path)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file away")
def test_a_file_of_somebody_else_is_set_aside(path: Path) -> None:
    health_file.write(path, KEPT)
    os.chown(path, 12345, 12345)
    with pytest.raises(DamagedFileError, match="it belongs to user 12345; set aside"):
        health_file.read(path)


def test_a_link_is_not_followed(path: Path, tmp_path: Path) -> None:
    path.parent.mkdir()
    path.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(DamagedFileError, match="Too many levels of symbolic links; set aside"):
        health_file.read(path)


def test_words_of_a_driver_that_fit_no_line_are_written_as_they_can_be_read(path: Path) -> None:
    words = "a\nb\x00c\u00a0d\ud800" + "e" * 5000
    fault = Fault(since=5.0, evidence=(Evidence(words, 5.0),), needs=Needs.CHECK, problems={NOT_ANSWERING: words})
    health_file.write(path, KEPT._replace(faults={GPU: fault}, driver=DriverSeen(words, None)))
    read = health_file.read(path)
    assert read.faults[GPU].reason.startswith("a b c d ee")
    assert read.driver is not None


@pytest.mark.parametrize("spoil", [Path.unlink, lambda path: path.write_text("{}")])
async def test_a_file_that_somebody_deletes_or_changes_is_written_again(
    spoil: Callable[[Path], object], path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(health_memory, "LOOK_INTERVAL", 0.05)
    memory = HealthMemory(path.parent)
    async with asyncio.TaskGroup() as tasks:
        task = tasks.create_task(memory.run())
        memory.keep(State(faults=KEPT.faults))
        await until(path.exists, "the file")
        before = path.read_text()
        spoil(path)
        await until(lambda: path.exists() and path.read_text() == before, "the same file again")
        task.cancel()
