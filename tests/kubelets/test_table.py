"""The page is written by a run that filled every cell, and by no other."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from kubelets import table
from kubelets.table import COMPARED, Cell, Table

FIRST, SECOND = Cell(COMPARED, "v1.8.15", "basics", ""), Cell(COMPARED, "v1.8.15", "lists", "")


def report(cell: Cell, *, passed: bool = True) -> Any:
    return SimpleNamespace(user_properties=[("cell", tuple(cell))], passed=passed)


@pytest.mark.parametrize(
    ("reports", "is_written"),
    [
        ((report(FIRST), report(SECOND)), True),
        ((report(FIRST),), False),
        ((report(FIRST), report(SECOND, passed=False)), False),
    ],
)
def test_a_whole_run_without_a_failure_is_kept(
    reports: Any, is_written: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(table, "PAGE", tmp_path / "page.md")
    collected = Table((FIRST, SECOND))
    for each in reports:
        collected.pytest_runtest_logreport(each)
    shown: list[str] = []
    collected.pytest_terminal_summary(cast("Any", SimpleNamespace(write_line=shown.append)))
    assert table.PAGE.exists() is is_written
    assert "| v1.8.15 |" in shown[0]
