"""A made-up dialect is one file in `api`, one in `dialects`, and its row in the table of that package.

The program is copied, and the copy gets nothing else. The gateway, `inspect` and `replay` run from the copy as their
users run them.
"""

import json
import shutil
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

import generate
from driver.driver import Driver
from harness.node import RESOURCE
from harness.process import run_to_end, started
from plugin_gateway import api
from plugin_gateway.adapters import dialects
from plugin_gateway.adapters.fake_kubelet import FakeKubelet, Release, release

ROOT = Path(__file__).parents[3]
FOURTH = Path(__file__).with_name("fourth")
TABLE = "MODULES: Mapping[str, tuple[str, ...]] = {\n"
ROW = '    "v2": ("v2",),\n'


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The program with a fourth dialect. The path is that of its package."""
    root = tmp_path_factory.mktemp("copy")
    package = root / "plugin_gateway"
    for part in ("api", "adapters", "core", "linux", "nvidia", "rdma", "solarflare"):
        shutil.copytree(
            ROOT / part / "plugin_gateway", package, dirs_exist_ok=True, ignore=shutil.ignore_patterns("__pycache__")
        )
    (package / "api/v2").mkdir()
    (package / "api/v2/__init__.py").touch()
    shutil.copy(FOURTH / "api.proto", package / "api/v2")
    generate.generate(package / "api/v2/api.proto", root)
    shutil.copy(FOURTH / "v2.py", package / "adapters/dialects")
    table = package / "adapters/dialects/__init__.py"
    table.write_text(table.read_text().replace(TABLE, TABLE + ROW))
    assert ROW in table.read_text()
    return package


@pytest.fixture
def of_the_future(copy: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Release]:
    """A release of the fake kubelet that speaks the fourth dialect. Every process that is started knows it too."""
    before = set(sys.modules)
    monkeypatch.setattr(api, "__path__", [*api.__path__, str(copy / "api")])
    monkeypatch.setattr(dialects, "__path__", [*dialects.__path__, str(copy / "adapters/dialects")])
    monkeypatch.setattr(dialects, "MODULES", {"v2": ("v2",), **dialects.MODULES})
    monkeypatch.setenv("PYTHONPATH", str(copy.parent))
    words = 'requested API version "{asked}" is not supported by kubelet. Supported version is ["v2"]'
    yield replace(release("1.37"), name="2.0", api_version="v2", version_error=words)
    for name in set(sys.modules) - before:
        if name.endswith((".v2", ".v2.api_pb2")):
            del sys.modules[name]


async def test_a_fourth_dialect_is_served_recorded_inspected_and_played_again(
    of_the_future: Release, kubelet_dir: Path, driver: Driver, recording: Path
) -> None:
    run = ("--kubelet-dir", str(kubelet_dir), "--driver-root", str(driver.root), f"--record={recording}")
    async with (
        FakeKubelet(kubelet_dir, of_the_future) as kubelet,
        started(*run, environment=driver.environment) as process,
    ):
        await kubelet.wait_for(lambda: kubelet.allocatable(RESOURCE) == 8, timeout=10, what="8 devices")
        registered = await process.wait_for_event("registered")
        container = await kubelet.allocate(RESOURCE, 2, pod="p")
        inspected = await run_to_end(
            "inspect", "--json", "--kubelet-dir", str(kubelet_dir), "--allocate", *container.ids
        )
    assert [(call.version, call.error) for call in kubelet.registrations] == [("v2", None)]
    assert registered["api_version"] == "v2"
    assert container.environment == {"NVIDIA_VISIBLE_DEVICES": ",".join(container.ids)}
    check_report(inspected, container.ids)
    assert '"service": "devices.DevicePlugin", "method": "Allocate"' in recording.read_text()
    status, output, errors = await run_to_end("replay", str(recording))
    assert (status, errors) == (0, "")
    assert output.endswith(" skipped (of another client than the kubelet), no difference\n")  # that is `inspect`


def check_report(inspected: tuple[int, str, str], ids: tuple[str, ...]) -> None:
    status, output, errors = inspected
    assert (status, errors) == (0, "")
    (report,) = json.loads(output)
    assert (report["package"], report["kubernetes"]) == ("devices", "2.0 and later")
    assert report["in_force"] == ["devices.DevicePlugin"]
    assert report["options"] == {"pre_start_required": False, "get_preferred_allocation_available": True}
    assert {each["health"] for each in report["devices"]} == {"Healthy"}
    assert report["allocated"]["variables"] == {"NVIDIA_VISIBLE_DEVICES": ",".join(ids)}


async def test_a_difference_in_a_fourth_dialect_is_shown_as_its_message(
    of_the_future: Release, kubelet_dir: Path, driver: Driver, recording: Path
) -> None:
    run = ("--kubelet-dir", str(kubelet_dir), "--driver-root", str(driver.root), f"--record={recording}")
    async with FakeKubelet(kubelet_dir, of_the_future) as kubelet, started(*run, environment=driver.environment):
        await kubelet.wait_for(lambda: kubelet.allocatable(RESOURCE) == 8, timeout=10, what="8 devices")
        await kubelet.allocate(RESOURCE, pod="p")
    recording.write_text(recording.read_text().replace('"device_id_strategy": "uuid"', '"device_id_strategy": "index"'))
    status, output, _ = await run_to_end("replay", str(recording))
    assert status == 1
    assert "Allocate differs" in output
    assert '+    "NVIDIA_VISIBLE_DEVICES": "0"' in output


@pytest.mark.usefixtures("of_the_future")
async def test_the_command_line_has_a_fourth_dialect() -> None:
    _, words, _ = await run_to_end("run", "--help")
    assert "auto, v2, v1beta1, v1alpha, v1alpha2, 0.1" in " ".join(words.split())
