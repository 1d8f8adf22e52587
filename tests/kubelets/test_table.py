"""Tests that only a complete run without failures writes the page, and that each failure is named."""

from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from kubelets import table
from kubelets.combinations import IN_CI, chosen_releases
from kubelets.genuine import GENUINE as RELEASES
from kubelets.table import COMPARED, EVERY_RELEASE, GATEWAY, UPGRADE, Cell, Table

BASICS, LISTS = Cell(COMPARED, "v1.8.15", "basics", ""), Cell(COMPARED, "v1.8.15", "lists", "")
NEWER = Cell(COMPARED, "v1.37.2", "basics", "")
GENUINE, FAKE = (Cell(GATEWAY, "v1.8.15", "stream dropped", kind) for kind in ("genuine", "fake"))
UPGRADES = tuple(Cell(GATEWAY, EVERY_RELEASE, UPGRADE, kind) for kind in ("genuine", "fake"))
EXPECTED = (GENUINE, FAKE, *UPGRADES, BASICS, LISTS, NEWER)


def report(cell: Cell, *, passed: bool = True) -> Any:
    return SimpleNamespace(user_properties=[("cell", tuple(cell))], passed=passed)


@pytest.fixture(autouse=True)
def page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(table, "PAGE", tmp_path / "page.md")
    return table.PAGE


def show(reports: Sequence[Any]) -> str:
    collected = Table(EXPECTED)
    for each in reports:
        collected.pytest_runtest_logreport(each)
    shown: list[str] = []
    collected.pytest_terminal_summary(cast("Any", SimpleNamespace(write_line=shown.append)))
    return "\n".join(shown)


def test_a_whole_run_without_a_failure_is_kept(page: Path) -> None:
    shown = show([report(cell) for cell in EXPECTED])
    text = page.read_text()
    assert shown.strip() in text
    assert "2 scenarios and 2 releases. In every scenario and release both kubelets behaved the same." in text
    assert "1 scenario and 1 release. Every scenario passed with both kubelets of every release." in text
    assert "1.8.15 ✓ · 1.37.2 ✓" in text
    assert "\n- basics\n- lists\n" in text
    assert "Upgrade through all and back: genuine kubelet passed, fake kubelet passed." in text
    assert "Failed" not in text


def test_a_run_that_misses_a_cell_is_not_kept(page: Path) -> None:
    shown = show([report(cell) for cell in EXPECTED if cell != LISTS])
    assert not page.exists()
    assert "1.8.15 ○ · 1.37.2 ✓" in shown
    assert "Not run: 1 of 3." in shown
    assert "behaved the same" not in shown


def test_a_difference_is_named_and_not_kept(page: Path) -> None:
    shown = show([report(cell, passed=cell != NEWER) for cell in EXPECTED])
    assert not page.exists()
    assert "1.8.15 ✓ · 1.37.2 ✗" in shown
    assert "- basics, 1.37.2: DIFFERENT" in shown
    assert "behaved the same" not in shown


@pytest.mark.parametrize(
    ("failing", "line"),
    [
        (FAKE, "- stream dropped, 1.8.15: genuine kubelet passed, fake kubelet FAILED"),
        (UPGRADES[0], "- upgrade through all and back, all releases: genuine kubelet FAILED, fake kubelet passed"),
    ],
)
def test_a_failure_of_the_gateway_is_named_with_its_kubelet(failing: Cell, line: str, page: Path) -> None:
    shown = show([report(cell, passed=cell != failing) for cell in EXPECTED])
    assert not page.exists()
    assert line in shown
    assert "Every scenario passed" not in shown


def test_an_end_that_fails_fails_the_cell(page: Path) -> None:
    show([*(report(cell) for cell in EXPECTED), report(LISTS, passed=False), report(LISTS)])
    assert not page.exists()


@pytest.mark.parametrize(
    ("text", "chosen"), [("", IN_CI), ("all", RELEASES), ("v1.9.7,v1.36.3", ["v1.9.7", "v1.36.3"])]
)
def test_releases_can_be_chosen(text: str, chosen: Sequence[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KUBELETS", text)
    assert list(chosen_releases()) == list(chosen)
    assert set(IN_CI) < set(RELEASES)


def test_a_release_without_a_program_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KUBELETS", "v1.9.7,1.36")
    with pytest.raises(ValueError, match=r"KUBELETS: no program for 1\.36; there are: all, v1\.8\.15, "):
        chosen_releases()
