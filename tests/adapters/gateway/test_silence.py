"""The first sign of a driver that was silent for a time."""

from dataclasses import replace
from pathlib import Path

from harness.node import Node, device, running, until
from plugin_gateway.core.health.faults import Stage
from plugin_gateway.core.health.observations import DriverSilence
from plugin_gateway.nvidia.evidence import HEALTH_POLICY


async def test_the_check_that_ends_a_silence_counts(kubelet_dir: Path) -> None:
    """The next one would come only when a check is due again."""
    node = Node(kubelet_dir, health=replace(HEALTH_POLICY, quiet_time=3600.0))
    async with running(node):
        await until(lambda: node.gateway.state.inventory is not None, "the GPUs")
        node.silence = 31.0
        node.observations.put(DriverSilence(31.0))
        await until(lambda: node.gateway.state.stage_of(device(0).id) is Stage.UNHEALTHY, "a GPU that is out")
        node.silence = 0.0
        node.check()
        await until(lambda: node.gateway.state.stage_of(device(0).id) is Stage.PROBATION, "probation", limit=2.0)
