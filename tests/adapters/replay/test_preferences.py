"""A replay prefers the same devices: by the links that were recorded, and without them by NUMA node and index."""

import signal
from collections.abc import Sequence
from pathlib import Path

import pytest

from adapters.registration.waiting import allocatable
from core.resources.machines import DGX1_V100
from driver import topology
from driver.driver import Driver
from harness.node import RESOURCE, device, until
from harness.process import run_to_end, started
from harness.recordings import (
    CALLED,
    Line,
    head,
    inventory,
    line,
    listed,
    opened,
    registration,
    said_of,
    seen,
    write,
)
from plugin_gateway.adapters.dialects.v1beta1 import V1BETA1
from plugin_gateway.adapters.fake_kubelet import FakeKubelet, release
from plugin_gateway.core.devices import Links, Pair
from plugin_gateway.core.health.observations import LinksSeen
from plugin_gateway.core.resources.preference import PreferenceRequest

DEVICES = [device(number) for number in range(8)]
LINKS = Links(
    tuple(each.physical.id for each in DEVICES),
    tuple(tuple(Pair(score % 100, score // 100) for score in row) for row in DGX1_V100),
)


def asked(size: int, *answer: int) -> Line:
    """A question for so many of all devices, and what was answered then."""
    method = V1BETA1.preference
    assert method is not None
    request = method.write_request([PreferenceRequest([each.id for each in DEVICES], size=size)])
    then = method.write_answer([[DEVICES[index].id for index in answer]])
    return line("call", **CALLED, method=method.name, request=request.hex(), answer=then.hex(), error=None)


def recorded(*more: Line, **settings: object) -> Sequence[Line]:
    before = [head(**settings), line("kubelet", is_there=True), inventory(DEVICES), *registration(), opened()]
    return [*before, listed(devices=DEVICES), *more, line("end")]


@pytest.mark.parametrize(
    "lines",
    [
        recorded(asked(2, 0, 1), seen(LinksSeen(LINKS)), asked(2, 2, 3), asked(3, 0, 2, 3)),
        recorded(asked(2, 0, 1), asked(3, 0, 1, 2)),
        recorded(seen(LinksSeen(LINKS)), asked(2, 0, 3), preferred_allocation="partition"),
    ],
    ids=["by links from when they are known on", "by NUMA node and index", "by the option that was in force"],
)
def test_the_same_devices_are_preferred(lines: Sequence[Line], recording: Path) -> None:
    said = said_of(write(recording, lines))
    assert (said.status, said.summary) == (0, f"{len(lines) - 1} lines played, no difference")


def test_other_devices_are_a_difference(recording: Path) -> None:
    said = said_of(write(recording, recorded(seen(LinksSeen(LINKS)), asked(2, 0, 1))))
    assert (said.status, len(said.remarks)) == (1, 1)
    changed = [each.split('"')[1] for each in said.output.splitlines() if each.startswith("+ ")]
    assert changed == [DEVICES[2].id, DEVICES[3].id]


async def test_a_reload_changes_what_is_preferred_and_a_recording_has_it(
    recording: Path, kubelet_dir: Path, tmp_path: Path, driver: Driver
) -> None:
    driver.topology.build(topology.DGX1_V100, 8)
    config = tmp_path / "config.yaml"
    config.write_text("version: v1\n")
    arguments = ("--kubelet-dir", str(kubelet_dir), "--driver-root", str(driver.root))
    async with (
        FakeKubelet(kubelet_dir, release("1.37")) as kubelet,
        started(
            *arguments, f"--config-file={config}", f"--record={recording}", environment=driver.environment
        ) as process,
    ):
        await allocatable(kubelet)
        await until(lambda: LinksSeen.__name__ in recording.read_text(), "the links")
        for preference, expected in (("best", (2, 3)), ("partition", (0, 3))):
            config.write_text(f"version: v1\nflags: {{plugin: {{preferredAllocation: {preference}}}}}\n")
            process.send(signal.SIGHUP)
            await until(lambda: any("again" in each or "changed" in each for each in process.events()), "the file")
            container = await kubelet.allocate(RESOURCE, 2, pod="pod")
            assert sorted(container.ids) == [driver.uuid(index) for index in expected]
            await kubelet.remove("pod")
            process.lines.clear()
    status, output, _ = await run_to_end("replay", str(recording))
    assert (status, "no difference" in output) == (0, True), output
