"""Where the state directory goes with the container, log, status, page and doctor say that health is not kept."""

import asyncio
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.node import until
from harness.pages import page_with
from plugin_gateway.adapters.commands.doctor.findings import Verdict
from plugin_gateway.adapters.commands.doctor.node_checks import check_state_directory
from plugin_gateway.adapters.commands.status import show_status
from plugin_gateway.adapters.control.control_socket import ControlServer
from plugin_gateway.adapters.gateway import state_folder
from plugin_gateway.adapters.gateway.device_counter import DeviceCounter, Given
from plugin_gateway.adapters.gateway.state_folder import lost_with
from plugin_gateway.adapters.gateway.status_document import decode

PODS = "/var/lib/kubelet/pods/5a7d1e00/volumes"
MOUNTS = (
    "22 1 0:50 / / rw - overlay overlay rw\n"
    "23 22 0:5 /plugin-gateway /run/plugin-gateway rw - tmpfs tmpfs rw\n"
    f"24 22 8:2 {PODS}/kubernetes.io~empty-dir/state /state rw - ext4 /dev/sda1 rw\n"
    f"25 22 8:2 {PODS}/kubernetes.io~local-volume/state /claimed rw - ext4 /dev/sda1 rw\n"
)
POD = {"KUBERNETES_SERVICE_HOST": "10.96.0.1"}
WORDS = "/run/own is no folder of the host: with the container it is lost which devices are unhealthy"
TODO = "mount a folder of the host at /run/own, or give a --state-dir that is in one"


@pytest.mark.parametrize(
    ("path", "environment", "pid", "lost"),
    [
        ("/run/plugin-gateway", POD, 7, None),
        ("/run/plugin-gateway/below", POD, 1, None),
        ("/run/plugin", POD, 7, "container"),
        ("/run/plugin", {}, 1, "container"),
        ("/run/plugin", {}, 7, None),
        ("/state", POD, 7, "pod"),
        ("/state", {}, 7, None),
        ("/claimed", POD, 7, None),
    ],
)
def test_what_is_no_mount_of_the_host_is_lost(
    path: str, environment: Mapping[str, str], pid: int, lost: str | None, tmp_path: Path
) -> None:
    mounts = tmp_path / "mountinfo"
    mounts.write_text(MOUNTS)
    assert lost_with(Path(path), environment, pid, str(mounts)) == lost


@given(st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=20))
def test_mounts_that_are_not_known_are_no_reason_to_warn(name: str) -> None:
    assert lost_with(Path("/run") / name, POD, 1, "/nowhere/mountinfo") is None


@pytest.mark.parametrize("lost", ["container", None])
async def test_the_log_says_it_once_and_the_status_has_it(
    lost: str | None, state_dir: Path, told: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    event = "health is not kept over a restart, the state directory is no folder of the host"
    monkeypatch.setattr(state_folder, "lost_with", lambda _: lost)
    counter = DeviceCounter(state_dir, "GPU", Given(None, "default"), lambda *_: None)
    async with asyncio.TaskGroup() as tasks:
        task = tasks.create_task(counter.run())
        await until(lambda: counter.status().file_system is not None, "the look at the mounts")
        await asyncio.sleep(0.1)
        assert counter.status().lost_with == lost
        task.cancel()
    lines = [(line["level"], line["state_dir"], line["lost_with"]) for line in told if line["event"] == event]
    assert lines == ([("warning", str(state_dir), lost)] if lost else [])


def status(kubelet_dir: Path, lost: str | None) -> dict[str, Any]:
    return {
        "driver": {"version": "575", "problem": None, "events_problem": None},
        "kubelet_dir": str(kubelet_dir),
        "configuration_problem": None,
        "configuration": {},
        **{name: [] for name in ("resources", "devices", "absent", "rejected", "set_aside")},
        "device_count": {"kept_in": "/run/own/known-devices.json", "lost_with": lost},
    }


@pytest.mark.parametrize("lost", ["container", None])
async def test_status_says_what_to_do(
    lost: str | None, state_dir: Path, kubelet_dir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    async with asyncio.TaskGroup() as tasks:
        server = ControlServer(state_dir, "0000000001-aaaa", lambda _: status(kubelet_dir, lost))
        task = tasks.create_task(server.run())
        await until((state_dir / "control-0000000001-aaaa.sock").exists, "the socket")
        assert await asyncio.to_thread(show_status, state_dir, as_json=False) == 0
        task.cancel()
    shown = capsys.readouterr().out
    assert (f"health is not kept over a restart: {WORDS}\n  -> {TODO}\n" in shown) is (lost is not None)


@pytest.mark.parametrize("lost", ["container", None])
def test_the_page_says_it(lost: str | None, kubelet_dir: Path) -> None:
    page = page_with(decode(status(kubelet_dir, lost)))
    assert (f"health is not kept over a restart: {WORDS}" in page) is (lost is not None)


@pytest.mark.parametrize("lost", ["pod", None])
def test_doctor_looks_itself(lost: str | None, state_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    state_dir.mkdir()
    monkeypatch.setattr("plugin_gateway.adapters.commands.doctor.node_checks.lost_with", lambda _: lost)
    found = list(check_state_directory(state_dir))
    problems = [(each.what, each.todo) for each in found if each.verdict is Verdict.MEND]
    what = f"{state_dir} is no folder of the host: with the pod it is lost which devices are unhealthy"
    assert problems == ([(what, TODO.replace("/run/own", str(state_dir)))] if lost else [])
