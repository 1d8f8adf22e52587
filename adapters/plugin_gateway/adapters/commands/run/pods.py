"""Who holds devices: what the gateway looks at before it offers one in another form than an earlier gateway did."""

from collections.abc import Callable, Coroutine, Mapping
from typing import Any

from plugin_gateway.adapters.configuration.settings import Settings
from plugin_gateway.adapters.gateway.checkpoint_look import CheckpointLook
from plugin_gateway.adapters.gateway.gateway import Gateway
from plugin_gateway.adapters.gateway.parts_memory import PartsMemory
from plugin_gateway.core.health.state import State
from plugin_gateway.core.registration.failures import Reason

_MODULES = (
    "plugin_gateway.adapters.gateway.held_elsewhere",
    "plugin_gateway.adapters.gateway.forms",
    "plugin_gateway.adapters.kubelet.holders",
)
"""The modules that the looks at the pods use."""


class Pods:
    """The looks at the pods, and the memory of the parts that they can hold."""

    def __init__(
        self, gateway: Gateway, settings: Settings, may_write: Callable[[], bool], read_again: Callable[[], None]
    ) -> None:
        """``read_again`` takes over what another gateway knew of the devices."""
        self._read_again = read_again
        self._gateway = gateway
        self._kubelet_dir = settings.kubelet_dir
        self._parts = PartsMemory(settings.state_dir, may_write)
        self._checkpoint = CheckpointLook(gateway, settings.kubelet_dir, self._parts.recall)

    def before_register(self, reason: Reason) -> None:
        """Take over what a gateway knew that served the kubelet until now, and look into the checkpoint."""
        self._gateway.before_register()
        self._read_again()
        self._checkpoint.before_register(reason)

    def keep(self, backend: str, state: State) -> None:
        """Remember the parts of a backend's devices. Returns at once."""
        self._parts.keep(backend, state.inventory)

    async def registered(self) -> Mapping[str, frozenset[str]]:
        """Return the ids that the kubelet has, by resource, of all device plugins."""
        from plugin_gateway.adapters.kubelet.registered import read_registered  # noqa: PLC0415 - with two gateways

        return (await read_registered(self._kubelet_dir)).devices

    async def keep_parts(self) -> None:
        """Write the parts of devices into their file until cancelled."""
        await self._parts.run()

    async def look(self, import_later: Callable[..., Coroutine[Any, Any, None]]) -> None:
        """Look who holds devices, now and as long as any is withheld, until cancelled."""
        await import_later(*_MODULES)
        from plugin_gateway.adapters.gateway.held_elsewhere import look_for_holders  # noqa: PLC0415 - see above

        await look_for_holders(self._gateway, self._kubelet_dir)
