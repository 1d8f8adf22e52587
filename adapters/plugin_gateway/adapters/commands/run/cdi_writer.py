"""Has CDI specs written while the settings ask for them."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from plugin_gateway.adapters.commands.run.command import files_wanted
from plugin_gateway.adapters.gateway.specs import Specs, SpecSettings

if TYPE_CHECKING:
    from plugin_gateway.adapters.commands.run.backends import RunningBackend
    from plugin_gateway.adapters.configuration.settings import Settings
    from plugin_gateway.adapters.gateway.gateway import Gateway


class CdiWriter:
    """Connects the gateway, its CDI specs, and the backends that find what is to be in them."""

    def __init__(self, gateway: "Gateway", backends: "Sequence[RunningBackend]", settings: "Settings") -> None:
        """Begin with the first settings that ask for specs. `run` writes them."""
        self._gateway = gateway
        self._backends = backends
        self._specs = Specs(_spec_settings(settings), {each.name: each.files for each in backends})

    def follow(self, settings: "Settings") -> None:
        """Follow these settings, which may ask for no specs any more."""
        if settings.needs_specs:
            self._specs.follow(_spec_settings(settings))
        self._gateway.specs = self._specs if settings.needs_specs else None
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
