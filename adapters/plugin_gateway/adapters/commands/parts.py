"""What the sub-commands get from the composition root, the only module that knows vendors and dialects."""

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from typing import Protocol

    from plugin_gateway.adapters.configuration.parsers import Parse
    from plugin_gateway.adapters.dialects.dialect import Dialect
    from plugin_gateway.core.health.policy import HealthPolicy
    from plugin_gateway.core.ports import Backend

    class SimulatedBackend(Backend, Protocol):
        """A backend whose devices fail on demand."""

        def fail(self, index: int, xid: int) -> None:
            """Let the GPU with this index fail with an XID."""
            ...

        def reset(self, index: int) -> None:
            """Reset the GPU with this index."""
            ...


class Parts(NamedTuple):
    """Dialects and vendors. Most are functions, because they import what they return."""

    api_versions: Mapping[str, Sequence[str]]
    """The values of ``--api-version``, and the version strings that each stands for, the newest first."""
    dialects: "Callable[[], tuple[Dialect, ...]]"
    """Returns all dialects, the newest first."""
    parse_backend: "Parse"
    """Checks the value of ``--backend``."""
    make_backend: "Callable[[str, str], Backend]"
    """Returns the backend with this name, for the driver below this folder. It does not open the driver before it is
    started."""
    default_health: "Callable[[], HealthPolicy]"
    """Returns the health policy that holds unless an administrator decides otherwise."""
    simulate: "Callable[[int], SimulatedBackend]"
    """Returns a backend with so many simulated devices."""
