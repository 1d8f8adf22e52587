"""Which file of NVML is loaded, where there are several, and some are broken."""

import ctypes
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from driver.driver import LIBRARY, Call, Driver, built
from plugin_gateway.core.health.observations import DriverUnavailable, InventorySeen
from plugin_gateway.nvidia import library as library_module

from .watcher import mapped, watch

NEVER_WORKS = "int nvmlInit_v2(void) { return 18; } int nvmlShutdown(void) { return 0; }"
IS_NO_NVML = "int another_library(void) { return 0; }"


@pytest.fixture
def in_the_loaders_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder in which the dynamic loader looks before all others."""
    folder = tmp_path / "loader"
    folder.mkdir()
    monkeypatch.setenv("LD_LIBRARY_PATH", f":{folder}")
    return folder


def compile_library(folder: Path, code: str) -> Path:
    target = folder / LIBRARY
    command = ["cc", "-shared", "-fPIC", "-x", "c", "-o", str(target), "-"]
    subprocess.run(command, input=code, text=True, check=True, timeout=30)
    return target


def first_observation(driver: Driver, folder: Path | None = None) -> str:
    """Return what a backend reports first in a process of its own, whose loader looks into this folder first."""
    code = (
        "import queue; from plugin_gateway.nvidia.backend import NvmlBackend; seen = queue.SimpleQueue();"
        f"backend = NvmlBackend(driver_root={str(driver.root)!r}); backend.start(seen.put);"
        "print(seen.get(timeout=20)); backend.stop()"
    )
    environment = {**os.environ, **driver.environment} | ({"LD_LIBRARY_PATH": str(folder)} if folder else {})
    command = [sys.executable, "-c", code]
    shown = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False, env=environment)
    assert shown.returncode == 0, (shown.returncode, shown.stderr)
    return shown.stdout


@pytest.mark.parametrize("code", [NEVER_WORKS, IS_NO_NVML])
def test_the_library_below_a_driver_root_goes_before_a_broken_one_of_the_loader(
    driver: Driver, tmp_path: Path, code: str
) -> None:
    compile_library(tmp_path, code)
    assert first_observation(driver, tmp_path).startswith("InventorySeen")


@pytest.mark.parametrize(("code", "words"), [(NEVER_WORKS, "version mismatch"), (IS_NO_NVML, "no nvmlInit_v2")])
def test_after_a_library_that_cannot_be_initialised_the_next_one_is_tried(
    driver: Driver, in_the_loaders_path: Path, code: str, words: str
) -> None:
    driver.uninstall()
    broken = compile_library((driver.root / "usr/lib64"), code)
    with watch(driver) as watcher:
        problem = watcher.next(DriverUnavailable).problem
        assert f"{broken}: " in problem
        assert words in problem
        shutil.copy(built(old=False), in_the_loaders_path)
        watcher.next(InventorySeen)
        assert mapped(in_the_loaders_path / LIBRARY)
        assert not mapped(broken)


def test_every_library_that_failed_is_named(driver: Driver, in_the_loaders_path: Path) -> None:
    broken = compile_library(in_the_loaders_path, NEVER_WORKS)
    driver.fail(Call.INIT, 9)
    with watch(driver) as watcher:
        problem = watcher.next(DriverUnavailable).problem
    assert f"{driver.root}/usr/lib64/{LIBRARY}: NVML cannot be initialised: Driver Not Loaded" in problem
    assert f"{broken}: NVML cannot be initialised: RM has detected" in problem


def test_a_file_with_two_names_is_tried_once(driver: Driver, in_the_loaders_path: Path) -> None:
    (in_the_loaders_path / LIBRARY).symlink_to(built(old=False))
    driver.fail(Call.INIT, 9)
    with watch(driver, retry_seconds=60) as watcher:
        watcher.next(DriverUnavailable)
        assert driver.calls(Call.INIT) == 1


def test_the_loaders_cache_is_looked_into(driver: Driver, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder, cache = tmp_path / "only-in-the-cache", tmp_path / "ld.so.cache"
    folder.mkdir()
    shutil.copy(built(old=False), folder)
    (tmp_path / "ld.so.conf").write_text(f"{folder}\n")
    ldconfig = shutil.which("ldconfig", path="/sbin:/usr/sbin")
    assert ldconfig
    subprocess.run([ldconfig, "-X", "-f", str(tmp_path / "ld.so.conf"), "-C", str(cache)], check=True, timeout=30)
    monkeypatch.setattr(library_module, "LOADER_CACHE", str(cache))
    driver.uninstall()
    with watch(driver) as watcher:
        watcher.next(InventorySeen)
        assert mapped(folder / LIBRARY)


def test_a_library_that_is_being_copied_is_not_loaded(driver: Driver) -> None:
    """A page of a library that its file does not have yet would end the process with SIGBUS, so this is a process."""
    whole = built(old=False).read_bytes()
    target = driver.root / "usr/lib64" / LIBRARY
    driver.uninstall()
    for size in (0, 16, 63, 64, 1000, 4000, 8192, 12288):
        assert size < len(whole)
        target.write_bytes(whole[:size])
        assert f"{target} cannot be loaded: it is not whole ({size} bytes" in first_observation(driver)


def test_every_whole_library_of_this_machine_counts_as_whole() -> None:
    """What the dynamic loader has mapped into this very process must be accepted."""
    ctypes.CDLL("libm.so.6")
    maps = Path("/proc/self/maps").read_text()
    loaded = {line.split()[-1] for line in maps.splitlines() if ".so" in line.split()[-1]}
    assert loaded
    assert {name: library_module.lack_of(name) for name in loaded if Path(name).exists()} == dict.fromkeys(
        (name for name in loaded if Path(name).exists()), None
    )


def test_something_else_than_a_file_is_not_opened(driver: Driver) -> None:
    """A named pipe would let the thread wait for ever."""
    driver.uninstall()
    place = driver.root / "usr/lib64" / LIBRARY
    os.mkfifo(place)
    with watch(driver) as watcher:
        assert f"{place} cannot be loaded: it is no regular file" in watcher.next(DriverUnavailable).problem
