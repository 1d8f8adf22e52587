"""What keeps a gateway from files and sockets has a name and a cure of its own, and root is not told to be root."""

import os
from pathlib import Path

import pytest

from harness.confined import NO_CAPABILITIES, closed_socket, full, needs_mounts, needs_root, read_only
from harness.process import run_to_end
from plugin_gateway.adapters.commands.doctor import kubelet_checks
from plugin_gateway.adapters.commands.doctor.findings import Verdict

SIMULATED = ("--backend", "simulated:1xH100")


@needs_root
async def test_a_kubelet_socket_that_is_closed_to_root_is_told_with_its_cure(kubelet_dir: Path) -> None:
    path = kubelet_dir / "kubelet.sock"
    with closed_socket(path):
        status, output, _ = await run_to_end(
            "doctor", "--kubelet-dir", str(kubelet_dir), *SIMULATED, within=NO_CAPABILITIES
        )
    assert status == 1
    assert f"mend  {path}: this process may not connect to it: Permission denied\n      -> where SELinux" in output
    assert "run it as root" not in output


@needs_root
async def test_a_folder_that_is_closed_ends_no_check(
    kubelet_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o700)
    os.chown(closed, 65534, 65534)
    (kubelet_dir / "kubelet.sock").symlink_to(closed / "kubelet.sock")
    monkeypatch.setenv("STATE_DIR", str(closed / "state"))
    arguments = ("doctor", "--kubelet-dir", str(kubelet_dir), *SIMULATED)
    status, output, errors = await run_to_end(*arguments, within=NO_CAPABILITIES)
    assert (status, errors) == (1, "")
    assert f"mend  {kubelet_dir}/kubelet.sock: this process may not connect to it: Permission denied" in output
    assert f"mend  {closed}/state cannot be written: Permission denied" in output


@pytest.mark.parametrize(
    ("text", "words"), [("", "it is empty"), ('{"Data":{"PodDeviceEntries":[{"PodUID":"p"', "it is cut")]
)
def test_a_checkpoint_that_is_damaged_needs_no_other_user(text: str, words: str, tmp_path: Path) -> None:
    (tmp_path / "kubelet_internal_checkpoint").write_text(text)
    (finding,) = kubelet_checks.check_checkpoint(tmp_path, [], frozenset())
    assert finding.verdict is Verdict.MEND
    assert words in finding.what
    assert "before you restart the kubelet, drain the node" in finding.todo


@needs_mounts
async def test_a_read_only_folder_is_no_matter_of_users(kubelet_dir: Path) -> None:
    arguments = ("--kubelet-dir", str(kubelet_dir), *SIMULATED)
    status, _, errors = await run_to_end("run", *arguments, within=read_only(kubelet_dir))
    assert (status, errors) == (
        2,
        f"plugin-gateway: kubelet directory {kubelet_dir}: its file system is read-only here\n",
    )
    _, output, _ = await run_to_end("doctor", *arguments, within=read_only(kubelet_dir))
    assert f"this user cannot make a socket in {kubelet_dir}: its file system is read-only here" in output
    assert "-> mount it without readOnly" in output


@needs_mounts
async def test_a_full_or_read_only_state_folder_cannot_be_written(kubelet_dir: Path, state_dir: Path) -> None:
    state_dir.mkdir()
    arguments = ("doctor", "--kubelet-dir", str(kubelet_dir), *SIMULATED)
    _, output, _ = await run_to_end(*arguments, within=full(state_dir))
    assert f"mend  {state_dir} cannot be written: No space left on device; a restart" in output
    assert "-> free space on its file system" in output
    _, output, _ = await run_to_end(*arguments, within=read_only(state_dir))
    assert f"mend  {state_dir} cannot be written: Read-only file system; a restart" in output
    _, output, _ = await run_to_end(*arguments)
    assert f"ok    {state_dir} can be written" in output
    assert list(state_dir.iterdir()) == []


def test_no_root_dir_of_a_kubelet_is_proposed_because_none_moves_the_folder(tmp_path: Path) -> None:
    (finding,) = kubelet_checks.check_directory(tmp_path / "nowhere")
    assert (
        "give --kubelet-dir; it is /var/lib/kubelet/device-plugins, whatever the kubelet's --root-dir" in finding.todo
    )
