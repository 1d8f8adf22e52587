"""What the suite found, as a table: a row for each release, a column for each scenario."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

PAGE = Path(__file__).parents[2] / "docs" / "kubelets.md"
GATEWAY = "The gateway with each kubelet"
COMPARED = "The fake kubelet beside the genuine one"
EVERY_RELEASE = "all"
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

Cell = tuple[str, str, str, str]
"""Table, release, scenario, and the kind of kubelet, which is empty where both were compared."""


class Table:
    """Collects the outcome of every test; a plugin of pytest."""

    def __init__(self) -> None:
        self._outcomes: dict[Cell, bool] = {}

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Note the outcome of one test, whose set-up and end count as well."""
        for name, value in report.user_properties:
            if name == "cell" and isinstance(value, list | tuple):
                table, row, column, kind = value
                cell = (table, row, column, kind)
                self._outcomes[cell] = self._outcomes.get(cell, True) and report.passed

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        """Show the tables, and keep them if nothing is missing and nothing failed."""
        if not self._outcomes:
            return
        text = "\n".join(self._lines(name) for name in _EXPLAINED if any(cell[0] == name for cell in self._outcomes))
        terminalreporter.write_line(f"\n{text}")
        if self._is_complete() and all(self._outcomes.values()):
            PAGE.parent.mkdir(exist_ok=True)
            PAGE.write_text(f"{_ABOUT}\n{text}")

    def _lines(self, name: str) -> str:
        cells = {cell: outcome for cell, outcome in self._outcomes.items() if cell[0] == name}
        rows = sorted({cell[1] for cell in cells if cell[1] != EVERY_RELEASE}, key=_by_number)
        columns = list(dict.fromkeys(cell[2] for cell in sorted(cells) if cell[1] != EVERY_RELEASE))
        lines = [f"## {name}", "", _EXPLAINED[name], "", _row(["", *columns]), _row(["---"] * (len(columns) + 1))]
        lines += [_row([row, *(_words(cells, (name, row, column)) for column in columns)]) for row in rows]
        lines += [
            f"\n{cell[2]}: {_words(cells, cell[:3])}"
            for cell in sorted(cells)
            if cell[1] == EVERY_RELEASE and cell[3] != "fake"
        ]
        return "\n".join([*lines, ""])

    def _is_complete(self) -> bool:
        return {cell[0] for cell in self._outcomes} == _EXPLAINED.keys() and all(
            "|  |" not in self._lines(name).partition("---")[2] for name in _EXPLAINED
        )


def _by_number(release: str) -> list[int]:
    return [int(part) for part in release.removeprefix("v").split(".")]


def _row(words: Sequence[str]) -> str:
    return f"| {' | '.join(words)} |"


def _words(cells: Mapping[Cell, bool], of: tuple[str, str, str]) -> str:
    """Say what came of one cell; nothing where it was not tried."""
    if (*of, "") in cells:
        return "same" if cells[(*of, "")] else "DIFFERENT"
    kinds = [cells.get((*of, kind)) for kind in ("genuine", "fake")]
    if kinds == [None, None]:
        return ""
    return " / ".join("—" if each is None else _PASSED if each else _FAILED for each in kinds)
