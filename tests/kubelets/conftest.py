"""Genuine kubelets for the tests of this folder; without them it does not run at all."""

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest

from driver.driver import Driver
from kubelets.build import BUILT
from kubelets.contract import Kubelet
from kubelets.fake import FakeAsGenuine
from kubelets.genuine import GENUINE, GenuineKubelet
from kubelets.table import EVERY_RELEASE, GATEWAY, Table

KINDS: Mapping[str, type[Kubelet]] = {"genuine": GenuineKubelet, "fake": FakeAsGenuine}
NoteCell = Callable[[str, str, str, str], None]


def pytest_configure(config: pytest.Config) -> None:
    missing = [release for release in GENUINE if not (BUILT / release).exists()]
    if missing:
        pytest.exit(f"kubelets that are not built: {', '.join(missing)}; make kubelets builds them", returncode=1)
    config.addinivalue_line("markers", "column(name): the scenario's column in the table")
    if not hasattr(config, "workerinput"):  # with several processes it is the first one that tells
        config.pluginmanager.register(Table())


@pytest.fixture
def cell(request: pytest.FixtureRequest) -> NoteCell:
    """Says of the test which cell of the table it fills."""
    return lambda *cell: request.node.user_properties.append(("cell", cell))


@pytest.fixture(params=KINDS)
def make(request: pytest.FixtureRequest, cell: NoteCell) -> type[Kubelet]:
    """The genuine kubelet, and the fake one."""
    kind: str = request.param
    release = request.node.callspec.params.get("release", EVERY_RELEASE)
    cell(GATEWAY, release, request.node.get_closest_marker("column").args[0], kind)
    return KINDS[kind]


@pytest.fixture
def driver(tmp_path: Path) -> Iterator[Driver]:
    """A machine with eight GPUs; it is closed at the end."""
    made = Driver(tmp_path, gpus=8)
    yield made
    made.close()
