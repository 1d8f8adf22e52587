"""What doctor says of what containers get besides GPUs, and of mounts that name their GPUs."""

from pathlib import Path

import pytest

from driver.driver import Driver
from harness.process import run_to_end
from plugin_gateway.adapters.commands.doctor.extra_checks import MOUNTS_KEY, check_mounts
from plugin_gateway.adapters.commands.doctor.findings import Verdict

EVERYTHING = """\
version: v1
flags: {gdrcopyEnabled: true, gdsEnabled: true, plugin: {deviceListStrategy: volume-mounts}}
imex: {channelIDs: [0], required: REQUIRED}
"""


async def shown(driver: Driver, kubelet_dir: Path, folder: Path, text: str) -> str:
    file = folder / "config.yaml"
    file.write_text(text)
    flags = ("--kubelet-dir", str(kubelet_dir), "--driver-root", str(driver.root), "--config-file", str(file))
    return (await run_to_end("doctor", *flags, environment=driver.environment))[1]


async def test_what_is_asked_for_and_not_there_is_said(driver: Driver, kubelet_dir: Path, tmp_path: Path) -> None:
    for name in ("nvidia-fs0", "nvidia-fs1"):
        (driver.root / "dev" / name).touch()
    below = f"is not seen below {driver.root}"
    said = await shown(driver, kubelet_dir, tmp_path, EVERYTHING.replace("REQUIRED", "false"))
    assert f"note  gdrcopy: /dev/gdrdrv {below}; containers get NVIDIA_GDRCOPY=enabled, and no device node" in said
    assert "ok    gds: containers get /dev/nvidia-fs0, /dev/nvidia-fs1" in said
    channel = f"imex-channel: /dev/nvidia-caps-imex-channels/channel0 {below}"
    assert f"note  {channel}; containers get nothing of it\n      -> run nvidia-modprobe -i 0 on the host" in said
    assert "mofed" not in said
    assert "containers are told their GPUs by mounts" in said
    said = await shown(driver, kubelet_dir, tmp_path, EVERYTHING.replace("REQUIRED", "true"))
    assert f"mend  {channel}; no GPU is given out without it\n      -> run nvidia-modprobe -i 0 on the host" in said


async def test_where_nothing_is_asked_for_nothing_is_said(driver: Driver, kubelet_dir: Path, tmp_path: Path) -> None:
    said = await shown(driver, kubelet_dir, tmp_path, "version: v1\n")
    assert not [word for word in ("gdrcopy", "gds", "imex", "mounts") if word in said]


@pytest.mark.parametrize(
    ("text", "verdict", "todo"),
    [
        (f"{MOUNTS_KEY} = true", Verdict.WELL, ""),
        (f"{MOUNTS_KEY} = false", Verdict.MEND, f"set {MOUNTS_KEY} = true in it"),
        ("[nvidia-container-cli]", Verdict.MEND, f"set {MOUNTS_KEY} = true in it"),
        (f'{MOUNTS_KEY} = "true"', Verdict.MEND, f"set {MOUNTS_KEY} = true in it"),
        ("no toml", Verdict.HINT, f"see on the node that it has {MOUNTS_KEY} = true, and that"),
        (None, Verdict.HINT, f"see on the node that it has {MOUNTS_KEY} = true, and that"),
    ],
)
def test_the_runtime_has_to_look_for_mounts(text: str | None, verdict: Verdict, todo: str, tmp_path: Path) -> None:
    file = tmp_path / "config.toml"
    if text is not None:
        file.write_text(text)
    found = check_mounts(file)
    assert (found.verdict, found.todo.startswith(todo), str(file) in found.what) == (verdict, True, True)
