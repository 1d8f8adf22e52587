"""A gateway inside the process of the test, with the stand-in for the driver behind it and a look at its pods."""

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from unittest.mock import patch

from driver.driver import Driver
from harness.node import Node
from plugin_gateway.__main__ import PARTS
from plugin_gateway.adapters.commands.flags import options
from plugin_gateway.adapters.configuration.option import GivenFlag
from plugin_gateway.adapters.configuration.reading import decide
from plugin_gateway.adapters.configuration.settings import make_settings
from plugin_gateway.adapters.gateway import held_elsewhere
from plugin_gateway.adapters.gateway.device_nodes import DeviceNodes
from plugin_gateway.adapters.gateway.driver_access import DriverAccess
from plugin_gateway.adapters.gateway.held_elsewhere import look_for_holders, see_holders_before
from plugin_gateway.core.resources.policy import AllocationPolicy
from plugin_gateway.core.resources.rules import ResourceRule
from plugin_gateway.nvidia.backend import NvmlBackend
from plugin_gateway.nvidia.evidence import HEALTH_POLICY
from plugin_gateway.nvidia.naming import MigStrategy
from plugin_gateway.nvidia.pace import Pace

PACE = Pace(rescan=0.05, checkup=0.05, retry=0.05, settling=0.0, links=0.0, max_wait=0.1)


def rules_for(strategy: str, file: Path | None = None) -> tuple[ResourceRule, ...]:
    """Return the rules that follow from a value of ``--mig-strategy``, and from a configuration file."""
    given = {"mig_strategy": GivenFlag("--mig-strategy", strategy)}
    if file is not None:
        given["config_file"] = GivenFlag("--config-file", str(file))
    return make_settings(decide(options(PARTS), given, {}, PARTS.default_health)).resources


class DrivenNode(Node):
    """A gateway whose devices are those of the driver."""

    def __init__(
        self,
        directory: Path,
        driver: Driver,
        strategy: str,
        policy: AllocationPolicy | None = None,
        file: Path | None = None,
    ) -> None:
        super().__init__(directory, rules=rules_for(strategy, file), health=replace(HEALTH_POLICY, quiet_time=0.0))
        self.strategy = strategy
        self.kubelet_dir = directory
        self._driver = driver
        served = self.serving_policy._replace(nodes=DeviceNodes(str(driver.root)))
        self.serving_policy = served if policy is None else served._replace(policy=policy)
        self.gateway.apply(self.serving_policy)
        self.access: DriverAccess

    def make(self) -> NvmlBackend:
        """Return another backend with the strategy of this moment."""
        driver = self._driver
        return NvmlBackend(
            driver_root=str(driver.root),
            sysfs=str(driver.sysfs),
            proc=str(driver.proc),
            pace=PACE,
            mig_strategy=MigStrategy(self.strategy),
        )

    async def follow(self, strategy: str, file: Path | None = None) -> None:
        """Change the strategy and the file as another configuration does."""
        is_recut, rules = strategy != self.strategy, rules_for(strategy, file)
        self.strategy = strategy
        await see_holders_before(self.gateway, rules, self.kubelet_dir, is_recut=is_recut)
        self.serving_policy = self.serving_policy._replace(rules=rules)
        apply = partial(self.gateway.apply, self.serving_policy, is_recut=is_recut)
        if is_recut:
            self.access.replace(apply)
        else:
            apply()

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Run the gateway inside the block. An error that ends it earlier is raised."""
        backends: list[NvmlBackend] = []

        def make() -> NvmlBackend:
            backends.append(self.make())
            return backends[-1]

        interval = patch.object(held_elsewhere, "LOOK_INTERVAL", 0.05)
        with patch.dict(os.environ, self._driver.environment), interval:
            first = make()
            self.access = DriverAccess(first, make, self.observations.put)
            first.start(self.observations.put)
            try:
                async with asyncio.TaskGroup() as tasks:
                    running = [
                        tasks.create_task(self.gateway.run()),
                        tasks.create_task(look_for_holders(self.gateway, self.kubelet_dir)),
                    ]
                    try:
                        yield
                    finally:
                        for task in running:
                            task.cancel()
            finally:
                self.access.stop()
                self._driver.release()
                assert all(backend.join(5) for backend in backends)
