"""What NVIDIA's device plugin ignores in a file: each such key is followed or ignored here, and named in a warning."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from plugin_gateway.adapters.configuration.document import Place

MAX_TOLD = 20
"""Keys that are named one by one."""


class IgnoredKeys:
    """The keys of one file that NVIDIA's device plugin ignores, each with the places at which it was found."""

    def __init__(self, *, are_ignored: bool) -> None:
        """``are_ignored`` is true with ``--config-compatibility=nvidia``: they are then ignored here, too."""
        self.are_ignored = are_ignored
        self._found: dict[str, list[Place]] = {}

    def note(self, key: str, place: "Place") -> bool:
        """Note a key, or what else is ignored, in words that a sentence can begin with.

        Returns:
            Whether it is ignored here, too.
        """
        self._found.setdefault(key, []).append(place)
        return self.are_ignored

    def told(self) -> tuple[str, ...]:
        """Return a sentence for each key."""
        told = [self._sentence(key, places) for key, places in self._found.items()]
        more = len(told) - MAX_TOLD
        return (*told[:MAX_TOLD], *([f"and {more} more"] if more > 0 else []))

    def _sentence(self, key: str, places: "list[Place]") -> str:
        others = f" (and {len(places) - 1} more)" if len(places) > 1 else ""
        decided = "is ignored, as by" if self.are_ignored else "is followed here, and ignored by"
        return f"{places[0]}{others}: {key} {decided} NVIDIA's device plugin"
