"""Hosts that stand in for the one with the device nodes."""

from collections.abc import Container, Mapping, Sequence
from types import MappingProxyType

from plugin_gateway.core.ports import matching


class EveryNode:
    """A host that has every device node."""

    def present(self, paths: Sequence[str]) -> Container[str]:
        return paths

    def generation(self) -> int:
        return 0

    def seen(self, patterns: Sequence[str]) -> Sequence[str]:
        return patterns

    def names_in(self, folder: str) -> Sequence[str] | None:  # noqa: ARG002 - there is no folder besides
        return None

    def is_visible(self) -> bool:
        return True


class Host(EveryNode):
    """A host with these device nodes. ``folders`` has the names in each other folder that is there."""

    def __init__(
        self, *paths: str, visible: bool = True, folders: Mapping[str, Sequence[str]] = MappingProxyType({})
    ) -> None:
        self._paths = paths
        self._visible = visible
        self._folders = folders

    def present(self, paths: Sequence[str]) -> Container[str]:
        return [path for path in paths if path in self._paths]

    def seen(self, patterns: Sequence[str]) -> Sequence[str]:
        return [path for pattern in patterns for path in matching(pattern, self._paths)]

    def names_in(self, folder: str) -> Sequence[str] | None:
        return self._folders.get(folder)

    def is_visible(self) -> bool:
        return self._visible
