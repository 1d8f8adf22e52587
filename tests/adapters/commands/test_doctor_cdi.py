"""What doctor says of CDI specs."""

import json
from pathlib import Path

import pytest

from driver.driver import Driver
from harness.process import run_to_end
from plugin_gateway.adapters.commands.doctor.cdi_checks import _runtime
from plugin_gateway.adapters.commands.doctor.findings import Verdict

KIND = "k8s.device-plugin.nvidia.com/gpu"
FILE = "k8s.device-plugin.nvidia.com-gpu.json"


async def shown(driver: Driver, kubelet_dir: Path, folder: Path, strategy: str = "cdi-cri") -> str:
    flags = (f"--kubelet-dir={kubelet_dir}", f"--driver-root={driver.root}")
    given = {**driver.environment, "DEVICE_LIST_STRATEGY": strategy, "CDI_SPEC_DIR": str(folder)}
    return (await run_to_end("doctor", *flags, environment=given))[1]


async def test_specs_that_are_there_and_files_of_others_are_said(
    driver: Driver, kubelet_dir: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "cdi"
    assert f"there is no CDI spec {folder / FILE} here yet" in await shown(driver, kubelet_dir, folder)
    folder.mkdir()
    for name in (FILE, "old.json"):
        (folder / name).write_text(json.dumps({"kind": KIND}))
    said = await shown(driver, kubelet_dir, folder)
    assert f"ok    the CDI spec {folder / FILE} is there" in said
    assert f"mend  other files have CDI devices of the same kind: {folder / 'old.json'}; a device in two" in said
    assert f"note  CDI specs are written to {folder}\n      -> let the container runtime look there as well" in said


async def test_a_folder_that_is_a_link_is_said(driver: Driver, kubelet_dir: Path, tmp_path: Path) -> None:
    (tmp_path / "cdi").symlink_to(tmp_path)
    said = await shown(driver, kubelet_dir, tmp_path / "cdi")
    assert f"mend  {tmp_path / 'cdi'} is a link\n      -> give the folder itself" in said


async def test_a_file_in_place_of_the_folder_is_said(driver: Driver, kubelet_dir: Path, tmp_path: Path) -> None:
    (tmp_path / "cdi").touch()
    said = await shown(driver, kubelet_dir, tmp_path / "cdi")
    todo = "put a folder in place of the file that is there, or give another --cdi-spec-dir"
    assert f"{tmp_path / 'cdi'}, for CDI specs, cannot be written: Not a directory\n      -> {todo}" in said


async def test_without_cdi_nothing_is_said(driver: Driver, kubelet_dir: Path, tmp_path: Path) -> None:
    assert str(tmp_path / "cdi") not in await shown(driver, kubelet_dir, tmp_path / "cdi", "envvar")


SECTION = '[plugins."io.containerd.{}"]\n  {}\n'


@pytest.mark.parametrize(
    ("text", "verdict", "words"),
    [
        (None, Verdict.HINT, "its settings are not seen here"),
        ("version = [\n", Verdict.HINT, "its settings are no TOML"),
        ("version = 3\n", Verdict.WELL, ""),
        ("version = 2\n", Verdict.HINT, "containerd 1.7 reads no CDI specs with"),
        ('version = 2\nimports = ["/etc/a"]\n', Verdict.HINT, "unless a file that it imports says so"),
        ("", Verdict.HINT, "containerd 1.7 reads no CDI specs with"),
        ("version = 2\n" + SECTION.format("grpc.v1.cri", "enable_cdi = true"), Verdict.WELL, ""),
        ("version = 2\n" + SECTION.format("grpc.v1.cri", "# enable_cdi = true"), Verdict.HINT, "containerd 1.7"),
        ("version = 2\n" + SECTION.format("grpc.v1.cri", "enable_cdi = false"), Verdict.MEND, "containerd reads no"),
        (
            "version = 3\n" + SECTION.format("cri.v1.runtime", "enable_cdi\t= false"),
            Verdict.MEND,
            "containerd reads no",
        ),
        ("version = 3\n" + SECTION.format("cri.v1.runtime", "# enable_cdi = false"), Verdict.WELL, ""),
        ("version = 3\nplugins = 1\n", Verdict.WELL, ""),
    ],
)
def test_a_runtime_that_reads_no_specs_is_said(text: str | None, verdict: Verdict, words: str, tmp_path: Path) -> None:
    file = tmp_path / "config.toml"
    if text is not None:
        file.write_text(text)
    found = _runtime(file)
    assert (found.verdict, words in found.what) == (verdict, True)
