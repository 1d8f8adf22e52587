"""A backend of GPUs in a test, on the stand-in for NVML."""

import time
from collections.abc import Callable, Mapping
from pathlib import Path

from driver.driver import Driver
from harness.watching import Watching
from plugin_gateway.core.devices import DeviceId
from plugin_gateway.core.health.observations import DevicesChecked
from plugin_gateway.core.health.policy import EvidenceKind
from plugin_gateway.core.ports import Backend
from plugin_gateway.nvidia.backend import NvmlBackend
from plugin_gateway.nvidia.naming import MigStrategy
from plugin_gateway.nvidia.pace import Pace

LIMIT = 5.0


class Watcher(Watching[Backend]):
    """Runs a backend of GPUs, and waits for what its checks find."""

    def checked(self, device: str, problem: EvidenceKind | None = None) -> str | None:
        """Wait until the latest check finds this problem of a device, or none; tells it in words."""

        def latest() -> Mapping[EvidenceKind, str] | None:
            found = self.of(DevicesChecked)
            checkup = found[-1].checkups.get(DeviceId(device)) if found else None
            return checkup.problems if checkup is not None else None

        def is_as_expected() -> bool:
            problems = latest()
            return problems is not None and set(problems) == ({problem} if problem is not None else set())

        with self._more:
            assert self._more.wait_for(is_as_expected, LIMIT), self.seen[-1]
            return (latest() or {}).get(problem) if problem is not None else None


def watch(
    driver: Driver,
    *,
    rescan_seconds: float = 0.05,
    retry_seconds: float = 0.05,
    checkup_seconds: float = 0.05,
    decision_seconds: float = 0.0,
    training_seconds: float = 60.0,
    kernel_log: str = "",
    mig: str = "none",
) -> Watcher:
    pace = Pace(
        rescan=rescan_seconds,
        checkup=checkup_seconds,
        retry=retry_seconds,
        settling=0.0,
        training=training_seconds,
        links=0.0,
        max_wait=0.2,
    )
    backend = NvmlBackend(
        driver_root=str(driver.root),
        sysfs=str(driver.sysfs),
        proc=str(driver.proc),
        pace=pace,
        kernel_log=kernel_log,
        mig_strategy=MigStrategy(mig),
    )
    backend.decision_time = decision_seconds
    return Watcher(backend)


def eventually(what: Callable[[], bool]) -> None:
    """Wait for something that no observation tells."""
    end = time.monotonic() + LIMIT
    while not what():
        assert time.monotonic() < end
        time.sleep(0.005)


def mapped(path: Path) -> bool:
    """Whether this process has the file in its memory."""
    return str(path.resolve()) in Path("/proc/self/maps").read_text()
