"""Recordings that are made by a gateway, and what the replay says of recordings."""

import json
from collections.abc import Callable
from pathlib import Path

from driver.driver import Driver
from harness.node import RESOURCE
from harness.process import started
from harness.recordings import DEVICES, line, seen
from plugin_gateway.adapters.fake_kubelet import FakeKubelet, release
from plugin_gateway.core.health.observations import EvidenceReported
from plugin_gateway.nvidia.evidence import xid_kind


async def record(recording: Path, kubelet_dir: Path, driver: Driver, *releases: str, with_fault: bool = False) -> None:
    """Let a gateway meet these kubelets, one after the other, perhaps with a fault in between."""
    arguments = ("--kubelet-dir", str(kubelet_dir), "--driver-root", str(driver.root), "--quiet-time=1")
    async with (
        FakeKubelet(kubelet_dir, release(releases[0])) as kubelet,
        started(*arguments, f"--record={recording}", environment=driver.environment) as process,
    ):
        for number, name in enumerate(releases):
            if number:
                await kubelet.restart(release(name), kill=True)
            await kubelet.wait_for(lambda: kubelet.allocatable(RESOURCE) == 8, timeout=10, what="8 devices")
            await process.wait_for_event("registered", times=number + 1)
            await kubelet.allocate(RESOURCE, 2, pod=f"p{number}")
            if with_fault:
                driver.xid(3, 1000)
                await kubelet.wait_for(lambda: kubelet.allocatable(RESOURCE) == 7, timeout=10, what="7 devices")
                await kubelet.wait_for(lambda: kubelet.allocatable(RESOURCE) == 8, timeout=15, what="8 devices again")
            await kubelet.remove(f"p{number}")


def edited(recording: Path, change: Callable[[list[dict[str, object]]], object]) -> None:
    lines = [json.loads(line) for line in recording.read_text().splitlines()]
    change(lines)
    recording.write_text("".join(json.dumps(line) + "\n" for line in lines))


def first(lines: list[dict[str, object]], what: str, **fields: object) -> dict[str, object]:
    return next(
        line for line in lines if line.get("what") == what and all(line[name] == each for name, each in fields.items())
    )


ENDED = line("ended", 9.0, stream="1", by="kubelet")
UNWELL = seen(EvidenceReported(xid_kind(1000), DEVICES[1].id), 5.0)
PLAYED = "lines played, "
