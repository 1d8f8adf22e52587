"""A gateway whose containers get their GPUs by CDI, as a process with a kubelet and the stand-in for the driver."""

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from driver.driver import Driver
from harness.cdi_schema import checked
from harness.process import Process, started
from plugin_gateway.adapters.fake_kubelet import FakeKubelet, release
from plugin_gateway.core.resources.assignment import Health

V, RESOURCE, KIND = "575.57.08", "nvidia.com/gpu", "k8s.device-plugin.nvidia.com/gpu"
FILE = "k8s.device-plugin.nvidia.com-gpu.json"


class Scene:
    """A gateway with CDI, and what it did."""

    def __init__(self, driver: Driver, kubelet: FakeKubelet, folder: Path, process: Process) -> None:
        self.driver = driver
        self.kubelet = kubelet
        self.folder = folder
        self.process = process

    @property
    def health(self) -> list[str]:
        return list(self.kubelet.devices(RESOURCE).values()) if RESOURCE in self.kubelet.resources else []

    def spec(self) -> Any:
        return checked((self.folder / FILE).read_bytes())

    async def wait_for_health(self, *health: Health) -> None:
        wanted = [each.value for each in health]
        await self.kubelet.wait_for(lambda: self.health == wanted, timeout=15, what=f"{wanted}, {self.health}")


@asynccontextmanager
async def running(
    driver: Driver,
    kubelet_dir: Path,
    folder: Path,
    *flags: str,
    strategies: str = "cdi-cri",
    kubelet: str = "1.37",
    environment: Mapping[str, str] | None = None,
    within: Sequence[str] = (),
) -> AsyncIterator[Scene]:
    arguments = (
        f"--kubelet-dir={kubelet_dir}",
        f"--driver-root={driver.root}",
        f"--cdi-spec-dir={folder}",
        f"--device-list-strategy={strategies}",
        *flags,
    )
    given = {**driver.environment, **(environment or {})}
    async with (
        FakeKubelet(kubelet_dir, release(kubelet)) as played,
        started(*arguments, environment=given, within=within) as process,
    ):
        yield Scene(driver, played, folder, process)


HEALTHY, UNHEALTHY = Health.HEALTHY, Health.UNHEALTHY
