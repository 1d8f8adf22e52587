"""Has CDI specs written while the settings ask for them."""

import asyncio
from collections.abc import Sequence
from typing import TYPE_CHECKING

from plugin_gateway.adapters.commands.run.command import files_wanted
from plugin_gateway.adapters.commands.run.serving_policy import serving_policy

if TYPE_CHECKING:
    from plugin_gateway.adapters.commands.run.backends import RunningBackend
    from plugin_gateway.adapters.configuration.settings import Settings
    from plugin_gateway.adapters.gateway.gateway import Gateway
    from plugin_gateway.adapters.gateway.specs import Specs, SpecSettings


class CdiWriter:
    """Connects the gateway, its CDI specs, and the backends that find what is to be in them."""

    def __init__(self, gateway: "Gateway", backends: "Sequence[RunningBackend]", settings: "Settings") -> None:
        """Begin with these settings. `run` writes the specs."""
        self._gateway = gateway
        self._backends = backends
        self._boxes = {each.name: each.files for each in backends}
        self._specs: Specs | None = None
        self._is_needed = asyncio.Event()
        if settings.needs_specs:
            self.follow(settings)

    def follow(self, settings: "Settings") -> None:
        """Follow other settings."""
        if settings.needs_specs:
            from plugin_gateway.adapters.gateway.specs import Specs  # noqa: PLC0415 - only where asked for

            if self._specs is None:
                self._specs = Specs(_spec_settings(settings), self._boxes)
            self._specs.follow(_spec_settings(settings))
            self._is_needed.set()
        self._gateway.specs = self._specs if settings.needs_specs else None
        for each in self._backends:
            each.driver.want_files(files_wanted(settings, each.files))

    async def run(self) -> None:
        """Write the specs until cancelled, as soon as the settings ask for them."""
        await self._is_needed.wait()
        if self._specs is not None:
            await self._specs.run(self._gateway)


def _spec_settings(settings: "Settings") -> "SpecSettings":
    from plugin_gateway.adapters.gateway.specs import SpecSettings  # noqa: PLC0415 - only where asked for

    return SpecSettings(
        policy=serving_policy(settings).policy,
        folder=settings.cdi_spec_dir,
        dev_root=settings.visible_dev_root,
    )
