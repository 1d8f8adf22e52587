"""Hosts that stand in for the one with the device nodes."""

from collections.abc import Container, Sequence

from plugin_gateway.core.ports import matching


class EveryNode:
    """A host that has every device node."""

    def present(self, paths: Sequence[str]) -> Container[str]:
        return paths

    def generation(self) -> int:
        return 0

    def seen(self, patterns: Sequence[str]) -> Sequence[str]:
        return patterns

    def is_visible(self) -> bool:
        return True


class Host(EveryNode):
    """A host with these device nodes."""

    def __init__(self, *paths: str, visible: bool = True) -> None:
        self._paths = paths
        self._visible = visible

    def present(self, paths: Sequence[str]) -> Container[str]:
        return [path for path in paths if path in self._paths]

    def seen(self, patterns: Sequence[str]) -> Sequence[str]:
        return [path for pattern in patterns for path in matching(pattern, self._paths)]

    def is_visible(self) -> bool:
        return self._visible
