"""How many devices there are: it is remembered over a restart, said once, and accepted by an operator."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.devices import inventory
from harness.node import device, until
from plugin_gateway.adapters.gateway import device_counter, kept_file, state_file
from plugin_gateway.adapters.gateway.device_counter import DeviceCounter, Given, NotAcceptedError
from plugin_gateway.adapters.gateway.known_devices import Remembered, decode, encode
from plugin_gateway.adapters.gateway.state_file import Decoded
from plugin_gateway.adapters.gateway.status import CountStatus
from plugin_gateway.core import device_count
from plugin_gateway.core.device_count import Known, KnownDevice
from plugin_gateway.core.devices import PhysicalId
from plugin_gateway.core.errors import InvalidValueError
from plugin_gateway.core.health.state import State

FORMS = Path(__file__).parent / "forms"
NOTHING_GIVEN = Given(None, "default")
MISSING = f"7 of 8 GPUs can be offered; {device(7).id} at 0000:08:00.0 is missing"
WORDS = st.text(max_size=20).filter(lambda text: text.isprintable())
DEVICES = st.dictionaries(st.integers(0, 99).map(lambda number: PhysicalId(f"GPU-{number}")), WORDS, max_size=5)
REMEMBERED = st.builds(
    lambda devices, more, told: Remembered(
        Known(len(devices) + more, tuple(KnownDevice(*each) for each in devices.items())), told
    ),
    DEVICES,
    st.integers(0, 3),
    st.none() | WORDS,
)


@pytest.fixture
def path(state_dir: Path) -> Path:
    return state_dir / "known-devices.json"


@pytest.fixture(autouse=True)
def no_long_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(device_count, "SETTLE_TIME", 0.1)


def having(count: int, **more: Any) -> State:
    return State(inventory=inventory(*(device(index) for index in range(count))), **more)


class Counting:
    """A counter that runs, and what it told."""

    def __init__(self, directory: Path, expected: Given) -> None:
        self.told: list[tuple[str | None, bool]] = []
        self.counter = DeviceCounter(directory, "GPU", expected, lambda *told: self.told.append(told))

    def status(self) -> CountStatus:
        return self.counter.status()

    async def told_so_often(self, times: int) -> None:
        await until(lambda: len(self.told) == times, f"{times} words")
        await asyncio.sleep(0.3)
        assert len(self.told) == times


@asynccontextmanager
async def counting(directory: Path, expected: Given = NOTHING_GIVEN) -> AsyncIterator[Counting]:
    made = Counting(directory, expected)
    async with asyncio.TaskGroup() as tasks:
        task = tasks.create_task(made.counter.run())
        try:
            yield made
        finally:
            task.cancel()


async def remember_eight(directory: Path) -> None:
    async with counting(directory) as made:
        made.counter.keep(having(8))
        await until((directory / "known-devices.json").exists, "the file")


def said(told: Sequence[dict[str, Any]], event: str) -> list[dict[str, Any]]:
    return [line for line in told if line["event"] == event]


async def test_seven_where_there_were_eight_is_said_once_and_so_is_its_end(
    state_dir: Path, told: list[dict[str, Any]]
) -> None:
    await remember_eight(state_dir)
    async with counting(state_dir) as made:
        made.counter.keep(having(7))
        await made.told_so_often(1)
        assert made.told == [(MISSING, True)]
        made.counter.keep(having(7, driver_problem="away"))
        made.counter.keep(having(7))
        await made.told_so_often(1)
        assert (made.status().expected, made.status().present, made.status().problem) == (8, 7, MISSING)
        assert made.status().missing == (KnownDevice(device(7).physical.id, "0000:08:00.0"),)
        made.counter.keep(having(8))
        await made.told_so_often(2)
        assert made.told[-1] == (None, True)
        assert (made.status().problem, made.status().missing) == (None, ())
    (line,) = said(told, "devices are missing")
    assert (line["level"], line["problem"], line["decided_by"]) == ("warning", MISSING, "what this node had before")
    (line,) = said(told, "no device is missing any more")
    assert (line["expected"], line["present"]) == (8, 8)


async def test_a_restart_does_not_say_the_same_again_but_says_the_end(
    state_dir: Path, told: list[dict[str, Any]]
) -> None:
    await remember_eight(state_dir)
    async with counting(state_dir) as made:
        made.counter.keep(having(7))
        await made.told_so_often(1)
    async with counting(state_dir) as made:
        made.counter.keep(having(7))
        await made.told_so_often(1)
        assert made.told == [(MISSING, False)]
    assert [line["problem"] for line in said(told, "devices were missing before")] == [MISSING]
    async with counting(state_dir) as made:
        made.counter.keep(having(8))
        await made.told_so_often(2)
        assert made.told == [(MISSING, False), (None, True)]


async def test_one_that_is_missing_for_a_moment_is_not_said(state_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    await remember_eight(state_dir)
    monkeypatch.setattr(device_count, "SETTLE_TIME", 0.5)
    async with counting(state_dir) as made:
        made.counter.keep(having(3))
        made.counter.keep(having(7))
        await asyncio.sleep(0.1)
        made.counter.keep(having(8))
        await asyncio.sleep(0.8)
        assert made.told == []


async def test_an_operator_accepts_what_is_here_for_the_next_start_too(state_dir: Path, path: Path) -> None:
    await remember_eight(state_dir)
    async with counting(state_dir) as made:
        made.counter.keep(having(7))
        await made.told_so_often(1)
        answer = made.counter.accept()
        assert answer == {"expected": 7, "before": 8, "missed": [f"{device(7).id} at 0000:08:00.0"], "word": "GPU"}
        await made.told_so_often(2)
        assert made.told[-1] == (None, True)
        assert made.counter.accept() == {"expected": 7, "before": 7, "missed": [], "word": "GPU"}
    assert json.loads(path.read_text())["number"] == 7
    async with counting(state_dir) as made:
        made.counter.keep(having(7))
        await asyncio.sleep(0.3)
        assert made.status().problem is None


@pytest.mark.parametrize(
    ("state", "expected", "words"),
    [
        (None, NOTHING_GIVEN, "the devices cannot be counted now: the driver has not answered"),
        (State(driver_problem="no driver"), NOTHING_GIVEN, "the devices cannot be counted now: no driver"),
        (having(7, driver_problem="gone"), NOTHING_GIVEN, "the devices cannot be counted now: gone"),
        (having(7, driver_is_silent=True), NOTHING_GIVEN, "counted now: the driver has not answered"),
        (having(7), Given(8, "flag --x"), "the number is given by flag --x: change it there"),
    ],
)
async def test_what_cannot_be_accepted_is_refused_with_the_reason(
    state: State | None, expected: Given, words: str, state_dir: Path
) -> None:
    async with counting(state_dir, expected) as made:
        await until(lambda: made.status().file_system is not None, "the start")
        if state is not None:
            made.counter.keep(state)
        with pytest.raises(NotAcceptedError, match=words):
            made.counter.accept()


async def test_a_number_that_is_given_needs_no_memory_and_can_change(
    state_dir: Path, told: list[dict[str, Any]]
) -> None:
    async with counting(state_dir, Given(8, "flag --x")) as made:
        made.counter.keep(having(7))
        await made.told_so_often(1)
        assert made.told == [("7 of 8 GPUs can be offered; their ids are not known", True)]
        assert made.status().decided_by == "flag --x"
        made.counter.expect(Given(6, "file f:1"))
        await made.told_so_often(2)
        assert (made.told[-1], made.status().decided_by) == ((None, True), "file f:1")
        made.counter.expect(NOTHING_GIVEN)
        assert (made.status().expected, made.status().decided_by) == (7, "what this node had before")
    (line,) = said(told, "there are more devices than expected")
    assert (line["level"], line["surplus"], line["expected"], line["present"]) == ("info", 1, 6, 7)


async def test_nothing_is_compared_before_the_first_inventory(state_dir: Path) -> None:
    async with counting(state_dir, Given(8, "flag --x")) as made:
        made.counter.keep(State(driver_problem="no driver"))
        await asyncio.sleep(0.3)
        assert made.told == []
        assert (made.status().expected, made.status().present) == (8, None)


@pytest.mark.parametrize("is_given", [True, False])
async def test_without_a_driver_all_expected_devices_are_missing_after_a_time(
    state_dir: Path, told: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch, is_given: bool
) -> None:
    if not is_given:
        await remember_eight(state_dir)
    monkeypatch.setattr(device_counter, "FIRST_LOOK_TIME", 0.3)
    async with counting(state_dir, Given(8, "flag --x") if is_given else NOTHING_GIVEN) as made:
        made.counter.keep(State(driver_problem="no driver"))
        assert made.status().present is None
        await made.told_so_often(1)
        assert made.told[0][0] is not None
        assert made.told[0][0].startswith("0 of 8 GPUs can be offered; ")
        assert (made.status().expected, made.status().present, len(made.status().missing)) == (
            8,
            0,
            0 if is_given else 8,
        )
        made.counter.keep(having(8))
        await made.told_so_often(2)
        assert made.told[-1] == (None, True)
    assert [line["level"] for line in said(told, "devices are missing")] == ["warning"]


async def test_a_number_that_cannot_be_kept_is_said_with_the_reason_until_it_can(
    state_dir: Path, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kept_file, "RETRY", 0.05)
    state_dir.write_text("no folder")
    async with counting(state_dir) as made:
        made.counter.keep(having(8))
        await until(lambda: made.status().not_kept is not None, "the problem")
        assert str(made.status().not_kept).startswith(f"{path}: ")
        state_dir.unlink()
        await until(lambda: made.status().not_kept is None, "the end of the problem")
    assert path.exists()


async def test_a_file_that_is_damaged_is_set_aside_and_the_node_learns_anew(path: Path) -> None:
    path.parent.mkdir()
    path.write_text("{}")
    async with counting(path.parent) as made:
        made.counter.keep(having(7))
        await until(lambda: made.status().expected == 7, "the number")
    assert json.loads(path.read_text())["number"] == 7
    assert path.with_suffix(".damaged").read_text() == "{}"


@given(memory=REMEMBERED)
def test_what_was_written_is_read(memory: Remembered, tmp_path_factory: pytest.TempPathFactory) -> None:
    path = tmp_path_factory.getbasetemp() / "known-devices.json"
    state_file.write(path, encode(memory))
    assert state_file.read(path, decode) == Decoded(memory, ())


def test_words_of_a_driver_that_fit_no_line_are_written_as_they_can_be_read() -> None:
    known = Known(1, (KnownDevice(PhysicalId("GPU-0"), "0000\x1b:01"),))
    decoded = decode(json.loads(json.dumps(encode(Remembered(known, "a\nb\x00c" + "d" * 9999)))))
    assert not decoded.problems
    assert decoded.memory.known.devices[0].pci_address == "0000 :01"
    assert decoded.memory.told is not None
    assert decoded.memory.told.startswith("a b cdd")


TWO = Known(2, (KnownDevice(PhysicalId("GPU-0"), "0000:01:00.0"), KnownDevice(PhysicalId("GPU-1"), "")))


@pytest.mark.parametrize(
    ("change", "expected", "problems"),
    [
        (lambda value: value.update(version=99, more=[]), Remembered(TWO, "x"), ()),
        (lambda value: value.pop("number"), Remembered(TWO, "x"), ()),
        (lambda value: value.pop("told"), Remembered(TWO, None), ()),
        (lambda value: value.update(number=-1), Remembered(TWO, "x"), ("number: -1",)),
        (lambda value: value.update(number=10**9), Remembered(TWO, "x"), ("number: 1000000000",)),
        (lambda value: value.update(number=1), Remembered(TWO, "x"), ()),
        (lambda value: value.update(told="a\x1b[2J"), Remembered(TWO, None), (r"told: 'a\x1b[2J'",)),
        (lambda value: value["devices"].update({"GPU-1": 5}), Remembered(TWO, "x"), ("address of GPU-1: 5",)),
        (
            lambda value: value["devices"].update({"a b": ""}) or value.pop("number"),
            Remembered(TWO._replace(number=3), "x"),
            ("device: 'a b'",),
        ),
    ],
)
def test_what_can_be_read_is_read_and_the_rest_is_named(
    change: Callable[[Any], object], expected: Remembered, problems: tuple[str, ...]
) -> None:
    value = json.loads(json.dumps(encode(Remembered(TWO, "x"))))
    change(value)
    assert decode(value) == Decoded(expected, problems)


@pytest.mark.parametrize("value", [5, [], {}, {"devices": []}, {"number": 8}])
def test_what_no_gateway_wrote_is_refused(value: object) -> None:
    with pytest.raises(InvalidValueError, match="where the devices of a node belong"):
        decode(value)


@pytest.mark.parametrize("form", sorted(FORMS.glob("known-devices-*.json")), ids=lambda path: path.name)
def test_every_form_that_was_ever_written_is_read(form: Path) -> None:
    decoded = decode(json.loads(form.read_text()))
    assert not decoded.problems
    assert decoded.memory.known.number == 3
    assert decoded.memory.told == "2 of 3 GPUs can be offered; GPU-2 is missing"
