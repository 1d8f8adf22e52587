"""A folder for CDI specs that cannot be written, and files of other programs in the folders of the runtimes."""

import json
from pathlib import Path

import pytest

from driver.driver import Driver
from harness.confined import (
    NO_CAPABILITIES,
    close,
    full,
    needs_mounts,
    needs_root,
    read_only,
    with_folder,
    within_mounts,
)
from harness.process import run_to_end
from plugin_gateway.adapters.commands.doctor.findings import Verdict

from .cdi_scene import FILE, HEALTHY, KIND, UNHEALTHY, Scene, running
from .test_cdi import driver

__all__ = ["driver"]
NOT_GIVEN_OUT = "devices are in no CDI spec, so they are not given out"
FOREIGN = "other files have CDI devices of this kind; a device in two files of one folder resolves to nothing"


async def is_refused(scene: Scene, words: str) -> None:
    """Devices are listed as unhealthy, and the log says why."""
    await scene.wait_for_health(UNHEALTHY, UNHEALTHY)
    line = await scene.process.wait_for_event(NOT_GIVEN_OUT)
    assert line["problem"] == f"{scene.folder / FILE} cannot be written: {words}"
    assert line["hint"]


async def doctor_says(driver: Driver, kubelet_dir: Path, folder: Path, within: tuple[str, ...]) -> str:
    flags = (f"--kubelet-dir={kubelet_dir}", f"--driver-root={driver.root}")
    given = {**driver.environment, "DEVICE_LIST_STRATEGY": "cdi-cri", "CDI_SPEC_DIR": str(folder)}
    return (await run_to_end("doctor", *flags, environment=given, within=within))[1]


@needs_mounts
async def test_a_read_only_folder_is_named_and_written_as_soon_as_it_can_be(
    driver: Driver, kubelet_dir: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "cdi"
    folder.mkdir()
    async with running(driver, kubelet_dir, folder, within=read_only(folder)) as scene:
        await is_refused(scene, "its file system is read-only here")
        within_mounts(scene.process.pid, "mount", "-o", "remount,rw", str(folder))
        await scene.wait_for_health(HEALTHY, HEALTHY)
        within_mounts(scene.process.pid, "test", "-s", str(folder / FILE))
    said = await doctor_says(driver, kubelet_dir, folder, read_only(folder))
    assert f"{Verdict.MEND.value}  {folder}, for CDI specs, cannot be written: Read-only file system" in said


@needs_mounts
async def test_a_full_folder_is_named_and_nothing_half_made_stays(
    driver: Driver, kubelet_dir: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "cdi"
    folder.mkdir()
    async with running(driver, kubelet_dir, folder, within=full(folder)) as scene:
        await is_refused(scene, "No space left on device")
        shown = f'test "$(ls -A {folder})" = all'
        within_mounts(scene.process.pid, "sh", "-c", shown)
        within_mounts(scene.process.pid, "mount", "-o", "remount,size=1m", str(folder))
        await scene.wait_for_health(HEALTHY, HEALTHY)
        within_mounts(scene.process.pid, "test", "-s", str(folder / FILE))
    said = await doctor_says(driver, kubelet_dir, folder, full(folder))
    assert f"{Verdict.MEND.value}  {folder}, for CDI specs, cannot be written: No space left on device" in said


@needs_root
async def test_a_folder_of_somebody_else_is_named(driver: Driver, kubelet_dir: Path, tmp_path: Path) -> None:
    folder = tmp_path / "cdi"
    folder.mkdir()
    close(folder)
    async with running(driver, kubelet_dir, folder, within=NO_CAPABILITIES) as scene:
        await is_refused(scene, "not writable for user 0, which lacks CAP_DAC_OVERRIDE or is confined (SELinux)")
        folder.chmod(0o777)
        await scene.wait_for_health(HEALTHY, HEALTHY)
        assert scene.spec()


async def test_devices_that_need_no_spec_are_given_out_all_the_same(
    driver: Driver, kubelet_dir: Path, tmp_path: Path
) -> None:
    (tmp_path / "cdi").write_text("no folder")
    async with running(driver, kubelet_dir, tmp_path / "cdi", strategies="envvar") as scene:
        await scene.wait_for_health(HEALTHY, HEALTHY)
    async with running(driver, kubelet_dir, tmp_path / "cdi") as scene:
        await is_refused(scene, f"{tmp_path / 'cdi'} is no folder")


@needs_mounts
@pytest.mark.parametrize("place", ["/run/cdi", "/etc/cdi"])
async def test_a_file_of_our_kind_in_either_folder_of_the_runtimes_is_named_and_stays(
    driver: Driver, kubelet_dir: Path, tmp_path: Path, place: str
) -> None:
    content = tmp_path / "content"
    content.mkdir()
    for name in (FILE, "old plugin.yaml"):
        (content / name).write_text(json.dumps({"cdiVersion": "0.5.0", "kind": KIND, "devices": []}))
    within = with_folder(content, Path(place))
    foreign = [f"{place}/{name}" for name in (FILE, "old plugin.yaml")]
    async with running(driver, kubelet_dir, tmp_path / "cdi", within=within) as scene:
        assert (await scene.process.wait_for_event(FOREIGN))["files"] == foreign
        await scene.wait_for_health(HEALTHY, HEALTHY)
        for path in foreign:
            within_mounts(scene.process.pid, "test", "-s", path)
    said = await doctor_says(driver, kubelet_dir, tmp_path / "cdi", within)
    assert f"other files have CDI devices of the same kind: {', '.join(foreign)}; " in said
