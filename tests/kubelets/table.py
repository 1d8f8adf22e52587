"""What the suite found, as a table: a row for each release, a column for each scenario."""

from collections.abc import Collection, Mapping, Sequence
from enum import Enum
from pathlib import Path
from typing import NamedTuple

import pytest

PAGE = Path(__file__).parents[2] / "docs" / "kubelets.md"
GATEWAY = "The gateway with each kubelet"
COMPARED = "The fake kubelet beside the genuine one"
EVERY_RELEASE = "all"
UPGRADE = "upgrade through all and back"


class Column(Enum):
    """What the gateway is tried at with every kubelet."""

    EIGHT_GPUS = "eight GPUs, containers with 1 and 8"
    GPU_FAILS = "a GPU fails and comes back"
    KUBELET_KILLED = "kubelet killed and started"
    GATEWAY_KILLED = "gateway killed and started"
    SOCKET_DELETED = "own socket deleted"
    HANGUPS = "SIGHUP twenty times, then killed"
    STREAM_DROPPED = "stream dropped"
    UNHEALTHY_FIRST = "only 1.9.7 and 1.10.2 need `--unhealthy-first`"
    GIVEN_BACK = "given back and taken"


_ABOUT = """# Kubelets that it was tried with

Made by `make test-kubelets`, which rewrites this page when every test has passed. A genuine kubelet is the device
manager and the admission of that release, from its own Go module, with the grpc-go of its time, as a process; the fake
one is `plugin-gateway fake-kubelet` of the same release.
"""
_EXPLAINED = {
    GATEWAY: "The process that an admin starts, with a stand-in for the NVML library. Each cell: genuine / fake.",
    COMPARED: "A plugin that is not ours plays the same scenario to both. *same*: every answer, error text, count, "
    "container and call was the same.",
}
_PASSED, _FAILED = "passed", "FAILED"


class Cell(NamedTuple):
    """Where the outcome of a test stands."""

    table: str
    release: str
    column: str
    kind: str
    """Of kubelet; empty where both were compared."""


class Table:
    """Collects the outcome of every test; a plugin of pytest."""

    def __init__(self, expected: Collection[Cell]) -> None:
        self._expected = dict.fromkeys(expected)
        self._outcomes: dict[Cell, bool] = {}

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Note the outcome of one test, whose set-up and end count as well."""
        for name, value in report.user_properties:
            if name == "cell" and isinstance(value, list | tuple):
                cell = Cell(*value)
                self._outcomes[cell] = self._outcomes.get(cell, True) and report.passed

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        """Show the tables, and keep them if nothing is missing and nothing failed."""
        if not self._outcomes:
            return
        text = "\n".join(self._lines(name) for name in _EXPLAINED if any(cell.table == name for cell in self._outcomes))
        terminalreporter.write_line(f"\n{text}")
        if self._outcomes.keys() == self._expected.keys() and all(self._outcomes.values()):
            PAGE.parent.mkdir(exist_ok=True)
            PAGE.write_text(f"{_ABOUT}\n{text}")

    def _lines(self, name: str) -> str:
        cells = {cell: outcome for cell, outcome in self._outcomes.items() if cell.table == name}
        rows = sorted({cell.release for cell in cells if cell.release != EVERY_RELEASE}, key=_by_number)
        known = [cell.column for cell in self._expected if cell.table == name and cell.release != EVERY_RELEASE]
        columns = [column for column in dict.fromkeys(known) if any(cell.column == column for cell in cells)]
        lines = [f"## {name}", "", _EXPLAINED[name], "", _row(["", *columns]), _row(["---"] * (len(columns) + 1))]
        lines += [_row([row, *(_words(cells, name, row, column) for column in columns)]) for row in rows]
        lines += [
            f"\n{cell.column}: {_words(cells, name, EVERY_RELEASE, cell.column)}"
            for cell in sorted(cells)
            if cell.release == EVERY_RELEASE and cell.kind != "fake"
        ]
        return "\n".join([*lines, ""])


def _by_number(release: str) -> list[int]:
    return [int(part) for part in release.removeprefix("v").split(".")]


def _row(words: Sequence[str]) -> str:
    return f"| {' | '.join(words)} |"


def _words(cells: Mapping[Cell, bool], table: str, row: str, column: str) -> str:
    """Say what came of one cell, or of one that has a half for each kind; nothing where it was not tried."""
    both, genuine, fake = (cells.get(Cell(table, row, column, kind)) for kind in ("", "genuine", "fake"))
    if both is not None:
        return "same" if both else "DIFFERENT"
    if genuine is None and fake is None:
        return ""
    return " / ".join("—" if each is None else _PASSED if each else _FAILED for each in (genuine, fake))
