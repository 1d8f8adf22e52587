"""What is kept about unhealthy devices: it comes back as it was, and a file that is no good harms nobody."""

import asyncio
import json
import os
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.node import until
from plugin_gateway.adapters.gateway import kept_file, state_file
from plugin_gateway.adapters.gateway.health_document import UNREADABLE, WrittenBy, decode, encode
from plugin_gateway.adapters.gateway.health_memory import BOOT_ID, HealthMemory
from plugin_gateway.adapters.gateway.state_file import DamagedFileError, Decoded
from plugin_gateway.core.devices import DeviceId, PhysicalId
from plugin_gateway.core.health.faults import Evidence, Fault, Source
from plugin_gateway.core.health.memory import Memory
from plugin_gateway.core.health.observations import DriverSeen
from plugin_gateway.core.health.policy import DRIVER_GONE, NOT_ANSWERING, EvidenceKind, Needs
from plugin_gateway.core.health.state import State

GPU, PHYSICAL = DeviceId("GPU-1"), PhysicalId("0000:3b:00.0")
FORMS = Path(__file__).parent / "forms"
WORDS = st.text(max_size=20).filter(lambda text: text.isprintable())
TIMES = st.floats(0, 2e9)
EVIDENCE = st.builds(Evidence, WORDS, TIMES, WORDS.map(EvidenceKind), st.sampled_from(Source), since=st.none() | TIMES)
FAULTS = st.builds(
    Fault,
    since=TIMES,
    evidence=st.lists(EVIDENCE, min_size=1, max_size=8).map(tuple),
    needs=st.sampled_from(Needs),
    problems=st.dictionaries(st.sampled_from((NOT_ANSWERING, DRIVER_GONE, EvidenceKind("link-down"))), WORDS),
    was_reset=st.booleans(),
    is_flapping=st.booleans(),
    quiet_time=st.none() | st.floats(0, 1e4),
)
FAULTS |= FAULTS.map(lambda fault: replace(fault, is_drivers_to_decide=fault.needs <= Needs.DRIVER))
MEMORIES = st.builds(
    Memory,
    boot_id=WORDS,
    driver=st.none() | st.builds(DriverSeen, st.none() | WORDS, st.none() | WORDS),
    faults=st.dictionaries(st.sampled_from((GPU, PHYSICAL)), FAULTS),
    taken_out=st.dictionaries(st.just(GPU), st.lists(TIMES, max_size=3).map(tuple)),
    unseen=st.frozensets(st.sampled_from((GPU, PHYSICAL))),
    repeated=st.dictionaries(
        st.just(GPU), st.dictionaries(WORDS.map(EvidenceKind), st.lists(TIMES, max_size=3).map(tuple), max_size=2)
    ),
)
KEPT = Memory(
    boot_id="boot",
    driver=DriverSeen("575", "12"),
    faults={GPU: Fault(since=5.0, evidence=(Evidence("XID 79", 5.0),), needs=Needs.REBOOT)},
    taken_out={GPU: (4.0,)},
    unseen=frozenset({GPU}),
)

REPEATED = KEPT._replace(repeated={GPU: {EvidenceKind("xid-94"): (4.0,)}})
MANY = KEPT._replace(repeated={GPU: {EvidenceKind("xid-94"): (1.0,) * 99 + (4.0,)}})


@pytest.fixture
def path(state_dir: Path) -> Path:
    return state_dir / "health.json"


def write(path: Path, memory: Memory, written_by: WrittenBy | None = None) -> None:
    state_file.write(path, encode(memory, written_by))


def read(path: Path) -> Decoded[Memory]:
    return state_file.read(path, decode)


@given(memory=MEMORIES)
def test_what_was_written_is_read(memory: Memory, tmp_path_factory: pytest.TempPathFactory) -> None:
    path = tmp_path_factory.getbasetemp() / "health.json"
    write(path, memory)
    assert read(path) == (memory, ())


def test_the_directory_is_made_for_its_owner_alone(path: Path) -> None:
    write(path, KEPT)
    assert path.parent.stat().st_mode & 0o777 == 0o700
    assert [each.name for each in path.parent.iterdir()] == ["health.json"]


def test_a_file_is_replaced_as_a_whole_or_not_at_all(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(path, KEPT)

    def fail(_path: Path, _data: bytes) -> int:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(Path, "write_bytes", fail)
        with pytest.raises(OSError, match="No space left"):
            write(path, Memory(boot_id="x", driver=None, faults={}, taken_out={}, unseen=frozenset()))
    assert read(path) == (KEPT, ())
    assert [each.name for each in path.parent.iterdir()] == ["health.json"]


def _containers(inner: st.SearchStrategy[object]) -> st.SearchStrategy[object]:
    keys = st.sampled_from(("since", "evidence", "needs", "problems", "what", "at", "was_reset", GPU))
    return st.lists(inner, max_size=3) | st.dictionaries(keys, inner, max_size=4)


def changed(change: Callable[[Any], object]) -> Callable[[Path], object]:
    def spoil(path: Path) -> None:
        value = json.loads(path.read_text())
        change(value)
        path.write_text(json.dumps(value))

    return spoil


def fault(name: str, value: object) -> Callable[[Path], object]:
    return changed(lambda kept: kept["faults"][GPU].update({name: value}))


KEPT_FAULT = KEPT.faults[GPU]
QUIET = KEPT._replace(faults={GPU: replace(KEPT_FAULT, quiet_time=40.0)})


def test_the_quiet_time_of_a_device_that_comes_and_goes_is_read_again_and_a_file_without_it_has_none(
    path: Path,
) -> None:
    write(path, QUIET)
    assert read(path) == (QUIET, ())
    fault("quiet_time", "long")(path)
    assert read(path) == (KEPT, ("quiet_time: 'long'",))
    changed(lambda kept: kept["faults"][GPU].pop("quiet_time"))(path)
    assert read(path) == (KEPT, ())


UNREADABLE_FAULT = replace(KEPT_FAULT, evidence=(Evidence(UNREADABLE, 5.0),), needs=Needs.RESET)


@pytest.mark.parametrize(
    ("spoil", "expected", "problem"),
    [
        (changed(lambda kept: kept.update(version=99)), KEPT, None),
        (changed(lambda kept: kept.update(more=1)), KEPT, None),
        (changed(lambda kept: kept.pop("version")), KEPT, None),
        (changed(lambda kept: kept.pop("boot_id")), KEPT._replace(boot_id=""), None),
        (changed(lambda kept: kept.pop("taken_out")), KEPT._replace(taken_out={}), None),
        (changed(lambda kept: kept.update(boot_id=5)), KEPT._replace(boot_id=""), "boot_id: 5"),
        (changed(lambda kept: kept.update(driver=[])), KEPT._replace(driver=DriverSeen(None, None)), "driver: []"),
        (changed(lambda kept: kept.update(taken_out={GPU: [True, 4]})), KEPT, f"taken_out of {GPU}: True"),
        (changed(lambda kept: kept.pop("repeated")), KEPT, None),
        (
            changed(lambda kept: kept.update(repeated={GPU: {"xid-94": [True, 4]}})),
            REPEATED,
            f"repeated of {GPU}: True",
        ),
        (changed(lambda kept: kept.update(repeated={GPU: {"xid-94": [1] * 200 + [4]}})), MANY, None),
        (
            changed(lambda kept: kept.update(repeated={GPU: 5})),
            KEPT._replace(repeated={GPU: {}}),
            f"repeated of {GPU}: 5",
        ),
        (changed(lambda kept: kept.update(taken_out={GPU: 5})), KEPT._replace(taken_out={GPU: ()}), None),
        (changed(lambda kept: kept["faults"].update({"": {}})), KEPT, "device: ''"),
    ],
)
def test_what_can_be_read_is_read_and_the_rest_is_named(
    spoil: Callable[[Path], object], expected: Memory, problem: str | None, path: Path
) -> None:
    write(path, KEPT)
    spoil(path)
    found, problems = read(path)
    assert found == expected
    if problem is not None:
        assert problems == (problem,)


@pytest.mark.parametrize(
    ("spoil", "expected"),
    [
        (fault("needs", "luck"), replace(KEPT_FAULT, needs=Needs.RESET)),
        (fault("needs", ["reboot"]), replace(KEPT_FAULT, needs=Needs.RESET)),
        (fault("since", float("nan")), KEPT_FAULT),
        (fault("since", float("inf")), KEPT_FAULT),
        (fault("since", 10**400), KEPT_FAULT),
        (fault("since", -1), KEPT_FAULT),
        (fault("was_reset", 1), KEPT_FAULT),
        (fault("problems", {"moon": 5, "sun": "out"}), replace(KEPT_FAULT, problems={EvidenceKind("sun"): "out"})),
        (fault("evidence", []), UNREADABLE_FAULT),
        (fault("evidence", "XID 79"), UNREADABLE_FAULT),
        (fault("evidence", [{"what": 5}]), UNREADABLE_FAULT),
        (changed(lambda kept: kept["faults"].update({GPU: 5})), replace(UNREADABLE_FAULT, since=0.0)),
    ],
)
def test_no_word_that_cannot_be_read_gives_a_device_back(
    spoil: Callable[[Path], object], expected: Fault, path: Path
) -> None:
    write(path, KEPT)
    spoil(path)
    found, problems = read(path)
    assert replace(found.faults[GPU], evidence=expected.evidence) == expected
    assert [evidence.what for evidence in found.faults[GPU].evidence] == [each.what for each in expected.evidence]
    assert problems


@pytest.mark.parametrize("form", sorted(FORMS.glob("health-*.json")), ids=lambda path: path.name)
def test_every_form_that_was_ever_written_is_read(form: Path) -> None:
    decoded = decode(json.loads(form.read_text()))
    assert not decoded.problems
    assert [(fault.reason, fault.needs) for fault in decoded.memory.faults.values()] == [
        ("XID 79", Needs.REBOOT),
        ("double-bit-ecc", Needs.RESET),
    ]
    evidence = [each for fault in decoded.memory.faults.values() for each in fault.evidence]
    assert {(each.kind, each.source) for each in evidence} == {("", Source.UNKNOWN)}


def test_a_source_that_a_later_version_knows_is_unknown(path: Path) -> None:
    write(path, KEPT)
    evidence = {"what": "XID 79", "at": 5.0, "kind": "xid-79", "source": "telepathy", "since": 4.0}
    fault("evidence", [evidence])(path)
    memory, problems = read(path)
    assert not problems
    assert memory.faults[GPU].evidence == (Evidence("XID 79", 5.0, EvidenceKind("xid-79"), Source.UNKNOWN, 4.0),)


def test_the_file_says_who_wrote_it(path: Path) -> None:
    write(path, KEPT, WrittenBy("1.2.3", "node-1", "6.1", "575", "grpc-go/1.80"))
    assert json.loads(path.read_text())["written_by"] == {
        "gateway": "1.2.3",
        "node": "node-1",
        "kernel": "6.1",
        "driver": "575",
        "kubelet": "grpc-go/1.80",
    }
    assert read(path) == (KEPT, ())


@given(value=st.recursive(st.none() | st.booleans() | st.floats() | st.text(max_size=5), _containers, max_leaves=10))
def test_whatever_json_has_keeps_the_device_out(value: object) -> None:
    decoded = decode({"faults": {GPU: value}, "taken_out": value, "unseen": value, "driver": value})
    assert GPU in decoded.memory.faults


def test_evidence_that_only_another_version_knows_is_kept(path: Path) -> None:
    write(path, KEPT)
    fault("problems", {"moon": "full"})(path)
    assert read(path).memory.faults[GPU].problems == {"moon": "full"}


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda path: path.write_text(""), "Expecting value"),
        (lambda path: path.write_bytes(b"{\xff}"), "codec can't decode"),
        (lambda path: path.write_text("[" * 100_000), "recursion"),
        (lambda path: path.write_text("5"), "5 where the faults of devices belong"),
        (lambda path: path.write_text("{}"), "{} where the faults of devices belong"),
        (lambda path: path.write_text('{"faults": []}'), r"faults: \[\] where the faults of devices belong"),
        (lambda path: path.write_text(path.read_text()[:-20]), "Unterminated string"),
    ],
)
def test_a_file_that_is_no_good_is_set_aside(spoil: Callable[[Path], object], words: str, path: Path) -> None:
    write(path, KEPT)
    spoil(path)
    with pytest.raises(DamagedFileError, match=words) as caught:
        read(path)
    assert str(caught.value).endswith("; set aside as health.damaged")
    assert [each.name for each in path.parent.iterdir()] == ["health.damaged"]


def test_what_is_no_file_is_set_aside_and_nothing_waits_for_it(path: Path) -> None:
    path.parent.mkdir()
    os.mkfifo(path)
    with pytest.raises(DamagedFileError, match="it is no regular file; set aside"):
        read(path)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file away")
def test_a_file_of_somebody_else_is_set_aside(path: Path) -> None:
    write(path, KEPT)
    os.chown(path, 12345, 12345)
    with pytest.raises(DamagedFileError, match="it belongs to user 12345; set aside"):
        read(path)


def test_a_link_is_not_followed(path: Path, tmp_path: Path) -> None:
    path.parent.mkdir()
    path.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(DamagedFileError, match="Too many levels of symbolic links; set aside"):
        read(path)


def test_words_of_a_driver_that_fit_no_line_are_written_as_they_can_be_read(path: Path) -> None:
    words = "a\nb\x00c\u00a0d\ud800" + "e" * 5000
    fault = Fault(since=5.0, evidence=(Evidence(words, 5.0),), needs=Needs.CHECK, problems={NOT_ANSWERING: words})
    write(path, KEPT._replace(faults={GPU: fault}, driver=DriverSeen(words, None)))
    found, problems = read(path)
    assert not problems
    assert found.faults[GPU].reason.startswith("a b c d ee")
    assert found.driver is not None


def storm(number: int) -> State:
    """The state after many reports of two kinds, and as many of one that has to be repeated."""
    kinds = (EvidenceKind("xid-79"), EvidenceKind("xid-13"))
    latest = tuple(Evidence(kinds[each % 2], 6.0 + each, kinds[each % 2]) for each in range(number, number + 2))
    fault = replace(KEPT.faults[GPU], evidence=(*KEPT.faults[GPU].evidence, *latest))
    return State(faults={GPU: fault}, repeated={GPU: {EvidenceKind("xid-94"): (float(number),)}})


async def test_a_storm_is_written_once_a_second_and_a_new_fault_in_it_at_once(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written: list[object] = []
    write = state_file.write

    def counted(path: Path, value: Mapping[str, object]) -> state_file.Written | None:
        result = write(path, value)
        written.append(value)
        return result

    monkeypatch.setattr(state_file, "write", counted)
    monkeypatch.setattr(kept_file, "PAUSE", 60.0)
    memory = HealthMemory(path.parent)
    async with asyncio.TaskGroup() as tasks:
        task = tasks.create_task(memory.run())
        memory.keep(storm(0))
        await until(lambda: len(written) == 1, "the first write")
        for number in range(50):
            memory.keep(storm(number))
            await asyncio.sleep(0.005)
        assert len(written) == 1
        other = DeviceId("GPU-2")
        memory.keep(replace(storm(50), faults={**storm(50).faults, other: KEPT.faults[GPU]}))
        await until(lambda: len(written) == 2, "the new fault")
        assert read(path).memory.faults.keys() == {GPU, other}
        monkeypatch.setattr(kept_file, "PAUSE", 0.05)
        await asyncio.sleep(0.05)
        memory.keep(storm(51))
        memory.keep(storm(52))
        await until(lambda: len(written) == 3, "the end of the storm")
        memory.keep(storm(53))
        await until(lambda: len(written) == 4, "more of it a moment later")
        memory.keep(storm(54))
        task.cancel()
    assert read(path).memory.faults[GPU] == storm(54).faults[GPU], "the last word at the end"


@pytest.mark.parametrize("spoil", [Path.unlink, lambda path: path.write_text("{}")])
async def test_a_file_that_somebody_deletes_or_changes_is_written_again(
    spoil: Callable[[Path], object], path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kept_file, "LOOK_INTERVAL", 0.05)
    memory = HealthMemory(path.parent)
    async with asyncio.TaskGroup() as tasks:
        task = tasks.create_task(memory.run())
        memory.keep(State(faults=KEPT.faults))
        await until(path.exists, "the file")
        before = path.read_text()
        spoil(path)
        await until(lambda: path.exists() and path.read_text() == before, "the same file again")
        task.cancel()


def test_a_file_that_is_read_in_part_is_copied_before_it_is_replaced(path: Path, told: list[dict[str, Any]]) -> None:
    write(path, KEPT)
    fault("needs", "luck")(path)
    original = path.read_text()
    HealthMemory(path.parent).recall()
    copy = path.with_suffix(".unread")
    assert copy.read_text() == original
    (line,) = [each for each in told if "in part" in each["event"]]
    assert line["copy"] == str(copy)
    assert line["problems"] == (f"faults of {GPU}: needs: 'luck'",)
    changed(lambda kept: kept.update(boot_id=5))(path)
    HealthMemory(path.parent).recall()
    assert copy.read_text() == path.read_text()
    assert sorted(each.name for each in path.parent.iterdir()) == ["health.json", "health.unread"]


def test_a_copy_that_cannot_be_made_is_said(path: Path, told: list[dict[str, Any]]) -> None:
    write(path, KEPT._replace(unseen=frozenset()))
    fault("needs", "luck")(path)
    path.with_suffix(".unread").mkdir()
    assert GPU in HealthMemory(path.parent).recall().faults
    (line,) = [each for each in told if "in part" in each["event"]]
    assert line["copy"] == "none: Is a directory"


async def test_only_the_gateway_that_may_write_writes_and_it_does_so_as_soon_as_it_may(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kept_file, "LOOK_INTERVAL", 0.05)
    may_write = False
    memory = HealthMemory(path.parent, may_write=lambda: may_write)
    for leads in (False, True):
        may_write = leads
        async with asyncio.TaskGroup() as tasks:
            task = tasks.create_task(memory.run())
            memory.keep(State(faults=KEPT.faults))
            await asyncio.sleep(0.2)
            task.cancel()
        assert path.exists() is leads


async def test_what_another_gateway_wrote_meanwhile_is_read_once(path: Path) -> None:
    boot_id = BOOT_ID.read_text().strip()
    memory = HealthMemory(path.parent)
    assert memory.read_again() is None
    write(path, KEPT._replace(boot_id=boot_id))
    read = memory.read_again()
    assert read is not None
    assert read.faults == KEPT.faults
    assert memory.read_again() is None
    write(path, KEPT._replace(boot_id=boot_id, faults={}))
    memory.recall()
    assert memory.read_again() is None
