"""Fixtures with genuine and fake kubelets. Without built genuine ones, no test in this folder runs."""

from collections.abc import Callable, Mapping

import pytest

from kubelets import calls, contract, ways
from kubelets.build import BUILT
from kubelets.combinations import COMBINATIONS, IN_CI
from kubelets.fake import FakeAsGenuine
from kubelets.genuine import GENUINE, GenuineKubelet
from kubelets.scene import Kubelet
from kubelets.table import (
    CARDS,
    COMBINED,
    COMPARED,
    EVERY_RELEASE,
    GATEWAY,
    TOLD,
    UPGRADE,
    Cell,
    Column,
    OfCards,
    Table,
)

KINDS: Mapping[str, type[Kubelet]] = {"genuine": GenuineKubelet, "fake": FakeAsGenuine}
NoteCell = Callable[[Cell], None]
EXPECTED = (
    *(Cell(GATEWAY, release, column.value, kind) for column in Column for release in GENUINE for kind in KINDS),
    *(Cell(GATEWAY, EVERY_RELEASE, UPGRADE, kind) for kind in KINDS),
    *(
        Cell(COMBINED, release, combination.column(scenario), kind)
        for combination in COMBINATIONS
        for scenario in combination.scenarios
        for release in IN_CI
        for kind in KINDS
    ),
    *(
        Cell(TOLD, release, column.value, kind)
        for column in ways.Column
        for release in column.releases
        for kind in KINDS
    ),
    *(Cell(CARDS, release, column.value, kind) for column in OfCards for release in IN_CI for kind in KINDS),
    *(Cell(COMPARED, release, name, "") for name in (*contract.SCENARIOS, *calls.SCENARIOS) for release in GENUINE),
)
"""The cells of a complete run. A run with fewer cells leaves the page as it is."""


def pytest_configure(config: pytest.Config) -> None:
    missing = [release for release in GENUINE if not (BUILT / release).exists()]
    if missing:
        pytest.exit(f"kubelets that are not built: {', '.join(missing)}; make kubelets builds them", returncode=1)
    config.addinivalue_line("markers", "column(name, table): the scenario's column in the table")
    if not hasattr(config, "workerinput"):  # with several processes only the main one writes the table
        config.pluginmanager.register(Table(EXPECTED))


@pytest.fixture
def cell(request: pytest.FixtureRequest) -> NoteCell:
    """Records which cell of the table the test fills."""
    return lambda cell: request.node.user_properties.append(("cell", tuple(cell)))


@pytest.fixture(params=KINDS)
def make(request: pytest.FixtureRequest, cell: NoteCell) -> type[Kubelet]:
    """The class of the genuine kubelet, and that of the fake one."""
    kind: str = request.param
    release = request.node.callspec.params.get("release", EVERY_RELEASE)
    marker = request.node.get_closest_marker("column")
    (column,), table = marker.args, marker.kwargs.get("table", GATEWAY)
    cell(Cell(table, release, column if isinstance(column, str) else column.value, kind))
    return KINDS[kind]
