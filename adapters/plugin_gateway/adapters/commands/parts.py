"""What only the composition root may name, as the sub-commands get it."""

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from typing import Protocol

    from plugin_gateway.adapters.configuration.parsers import Parse
    from plugin_gateway.adapters.dialects.dialect import Dialect
    from plugin_gateway.core.health.policy import HealthPolicy
    from plugin_gateway.core.ports import Backend

    class SimulatedBackend(Backend, Protocol):
        """A backend whose devices fail when told to."""

        def fail(self, index: int, xid: int) -> None:
            """Make the GPU of this index fail with an XID."""
            ...

        def reset(self, index: int) -> None:
            """Reset the GPU of this index."""
            ...


class Parts(NamedTuple):
    """Dialects and vendors; functions where making one takes time."""

    api_versions: Mapping[str, Sequence[str]]
    """What ``--api-version`` takes, and the version strings that it stands for, the newest first."""
    dialects: "Callable[[], tuple[Dialect, ...]]"
    """Every dialect there is, the newest first."""
    parse_backend: "Parse"
    make_backend: "Callable[[str, str], Backend]"
    """Makes the backend of this name, with the driver below this folder; it looks at nothing before it is started."""
    default_health: "Callable[[], HealthPolicy]"
    """Makes what follows from each kind of evidence unless an admin decides otherwise."""
    simulate: "Callable[[int], SimulatedBackend]"
    """Makes a backend with so many devices that fail when told to."""
