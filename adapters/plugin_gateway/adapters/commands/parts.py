"""What only the composition root may name, as the sub-commands get it."""

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from plugin_gateway.adapters.commands.demo import SimulatedBackend
    from plugin_gateway.adapters.configuration.parsers import Parse
    from plugin_gateway.adapters.dialects.dialect import Dialect
    from plugin_gateway.core.ports import Backend


class Parts(NamedTuple):
    """Dialects and vendors; functions where making one takes time."""

    api_versions: Mapping[str, Sequence[str]]
    """What ``--api-version`` takes, and the version strings that it stands for, the newest first."""
    dialects: "Callable[[], tuple[Dialect, ...]]"
    """Every dialect there is, the newest first."""
    parse_backend: "Parse"
    make_backend: "Callable[[str, str], Backend]"
    """Makes the backend of this name, with the driver below this folder; it looks at nothing before it is started."""
    simulate: "Callable[[int], SimulatedBackend]"
    """Makes a backend with so many devices that fail when told to."""
