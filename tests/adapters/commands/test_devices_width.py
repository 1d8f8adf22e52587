"""The table of `plugin-gateway devices` in a file, and on a terminal that is narrower than it."""

from pathlib import Path

import pytest

from driver.driver import Driver
from harness.process import run_to_end
from plugin_gateway.__main__ import main

LONG = "NVIDIA RTX PRO 6000 Blackwell Max-Q Workstation Edition"


async def test_in_a_file_each_device_has_one_line_however_long_that_is(driver: Driver) -> None:
    driver.add(8, name=LONG)
    flags = ("--driver-root", str(driver.root))
    _, output, _ = await run_to_end("devices", *flags, environment=driver.environment)
    (line,) = [line for line in output.splitlines() if driver.uuid(8) in line]
    assert f" {LONG} " in line
    assert line.rstrip().endswith("0000:18:00.0")


@pytest.mark.parametrize("columns", [40, 60, 80])
def test_on_a_narrow_terminal_no_word_is_cut_and_no_column_left_out(
    columns: int, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("plugin_gateway.adapters.commands.device_tables.terminal_width", lambda: columns)
    file = tmp_path / "config.yaml"
    file.write_text("version: v1\nsharing: {timeSlicing: {resources: [{name: gpu, replicas: 12}]}}\n")
    main(["devices", "--backend=simulated:2xH100", f"--config-file={file}", f"--state-dir={tmp_path}"])
    output = capsys.readouterr().out
    assert "\u2026" not in output
    assert "nvidia.com/gpu: 2 devices, 24 with their replicas\n" in output
    for word in ("replicas", "PCI address", "GPU-262e864a-30c4-5179-95d8-d5796a34264b", "0000:04:00.0", "12"):
        assert word in output
    assert all(len(line) <= max(columns, 50) for line in output.splitlines())
