"""Has CDI specs written while the settings ask for them."""

import asyncio
import contextlib
from typing import TYPE_CHECKING

from plugin_gateway.adapters.commands.run.command import files_wanted
from plugin_gateway.adapters.gateway.specs import Specs, SpecSettings

if TYPE_CHECKING:
    from plugin_gateway.adapters.commands.run.backend_set import BackendSet
    from plugin_gateway.adapters.configuration.settings import Settings
    from plugin_gateway.adapters.gateway.gateway import Gateway

PREPARED_WITHIN = 10.0
"""Seconds after which settings count although it is not known yet which devices are in a spec."""


class CdiWriter:
    """Connects the gateway, its CDI specs, and the backends that find what is to be in them."""

    def __init__(self, gateway: "Gateway", backends: "BackendSet", settings: "Settings") -> None:
        """Begin with the first settings that ask for specs. `run` writes them."""
        self._gateway = gateway
        self._backends = backends
        self._specs = Specs(_spec_settings(settings), backends.files)

    def follow(self, settings: "Settings") -> None:
        """Follow these settings, which may ask for no specs any more."""
        self._write_by(settings)
        self._gateway.specs = self._specs if settings.needs_specs else None

    async def prepare(self, settings: "Settings") -> None:
        """Have specs written that these settings ask for, and those in force do not.

        A backend can wait for an event before it finds the files of its driver. Containers get their devices as before
        until then: without specs no device would be healthy, and the kubelet would refuse every pod.
        """
        if settings.needs_specs and self._gateway.specs is None:
            self._write_by(settings)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(PREPARED_WITHIN):
                    await self._specs.is_ready.wait()

    def _write_by(self, settings: "Settings") -> None:
        """Have specs written by these settings, if they ask for any."""
        self._specs.is_wanted = settings.needs_specs
        if settings.needs_specs:
            self._specs.follow(_spec_settings(settings))
        for each in self._backends:
            each.driver.want_files(files_wanted(settings, each.files))

    async def until_ready(self) -> None:
        """Wait until it is known which devices are in a spec, if the settings ask for specs."""
        if self._gateway.specs is not None:
            await self._gateway.specs.is_ready.wait()

    async def run(self) -> None:
        """Write the specs until cancelled, while the settings ask for them."""
        await self._specs.run(self._gateway)


def _spec_settings(settings: "Settings") -> SpecSettings:
    return SpecSettings(
        policy=settings.policy,
        folder=settings.cdi_spec_dir,
        dev_root=settings.visible_dev_root,
    )
