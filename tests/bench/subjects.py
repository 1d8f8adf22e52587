"""The processes that are measured. Each has its own kubelet directory and fake kubelet."""

import asyncio
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Self

from plugin_gateway.adapters.fake_kubelet import FakeKubelet, release

RESOURCE = "nvidia.com/gpu"
FLOOR = Path(__file__).with_name("floor.py")
TIMEOUT = 30.0
GRPC_THREADS = ("event_engine", "grpc_global_tim", "lifeguard", "timer_manager")
"""The names of gRPC's own threads. The kernel cuts names after 15 characters."""


def environment(extra: Mapping[str, str]) -> dict[str, str]:
    """Return the environment of a subject. Compiled modules are kept and used, as in an image."""
    return {key: value for key, value in os.environ.items() if key != "PYTHONDONTWRITEBYTECODE"} | dict(extra)


class Subject:
    """One plugin process and its kubelet. Without arguments it is the floor, otherwise the gateway."""

    def __init__(self, name: str, arguments: Sequence[str] = (), extra: Mapping[str, str] | None = None) -> None:
        self.name = name
        self._folder = tempfile.TemporaryDirectory(prefix="bench-")
        self.directory = Path(self._folder.name) / "dp"  # the gateway watches the parent too, and others use /tmp
        self.directory.mkdir()
        self.kubelet = FakeKubelet(self.directory, release("1.36"))
        self._command = self._gateway(arguments) if arguments else [sys.executable, str(FLOOR), str(self.directory)]
        self._state = tempfile.TemporaryDirectory(prefix="bench-state-")
        self._environment = environment({"STATE_DIR": self._state.name, **(extra or {})})
        self._process: subprocess.Popen[bytes] | None = None
        self.spawned = 0.0

    def _gateway(self, arguments: Sequence[str]) -> list[str]:
        program = str(Path(sys.executable).with_name("plugin-gateway"))
        return [program, "run", "--kubelet-dir", str(self.directory), *arguments]

    async def __aenter__(self) -> Self:
        await self.kubelet.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        self.end()
        await self.kubelet.stop()
        self._folder.cleanup()
        self._state.cleanup()

    @property
    def pid(self) -> int:
        """Return the process id."""
        assert self._process is not None
        return self._process.pid

    def spawn(self) -> None:
        """Start the process. `spawned` is the time before that."""
        self.spawned = time.monotonic()
        self._process = subprocess.Popen(
            self._command, env=self._environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )

    def run_in_own_network(self) -> None:
        """Start the process in a network namespace of its own. It needs root."""
        self._command = ["unshare", "--net", *self._command]

    def end(self) -> None:
        """Kill the process."""
        if self._process is not None:
            self._process.kill()
            self._process.wait(TIMEOUT)
            self._process = None

    async def registered(self, registrations: int, lists: int) -> tuple[float, float]:
        """Wait for one more registration and list than these, and return their times."""
        kubelet = self.kubelet
        await kubelet.wait_for(
            lambda: len(kubelet.registrations) > registrations and len(kubelet.lists) > lists,
            timeout=TIMEOUT,
            what=f"{self.name}: a registration and a list",
        )
        return kubelet.registrations[registrations].time, kubelet.lists[lists].time

    async def listed(self, lists: int) -> float:
        """Wait for one more list than these, and return its time."""
        kubelet = self.kubelet
        await kubelet.wait_for(lambda: len(kubelet.lists) > lists, timeout=TIMEOUT, what=f"{self.name}: a list")
        return kubelet.lists[lists].time

    async def settle(self) -> None:
        """Wait until nothing is in progress."""
        await asyncio.sleep(0.3)

    def memory(self) -> tuple[float, float]:
        """Return RSS and PSS in MiB."""
        values = {}
        for line in Path(f"/proc/{self.pid}/smaps_rollup").read_text().splitlines()[1:]:
            key, value = line.split()[:2]
            values[key] = int(value) / 1024
        return values["Rss:"], values["Pss:"]

    def threads(self) -> int:
        """Return the number of threads."""
        return len(list(Path(f"/proc/{self.pid}/task").iterdir()))

    def wakes(self) -> int:
        """Return how often threads that are not gRPC's own have waited for something so far."""
        count = 0
        for task in Path(f"/proc/{self.pid}/task").iterdir():
            if (task / "comm").read_text().strip() not in GRPC_THREADS:
                lines = (task / "status").read_text().splitlines()
                count += next(int(line.split()[1]) for line in lines if line.startswith("voluntary_ctxt_switches"))
        return count

    def processor_ms(self) -> tuple[float, float]:
        """Return the processor time so far in milliseconds: of all threads, and of those that are not gRPC's own."""
        everybody = ours = 0.0
        for task in Path(f"/proc/{self.pid}/task").iterdir():
            spent = int((task / "schedstat").read_text().split()[0]) / 1e6
            everybody += spent
            if (task / "comm").read_text().strip() not in GRPC_THREADS:
                ours += spent
        return everybody, ours
