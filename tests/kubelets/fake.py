"""The fake kubelet with the interface of a genuine one, so that a scenario is written once for both."""

from collections.abc import Sequence
from pathlib import Path

from plugin_gateway.adapters.fake_kubelet import FakeKubelet, release
from plugin_gateway.adapters.fake_kubelet.releases import Release


def played(program: str) -> Release:
    """Return the release that the fake kubelet plays for this program, such as ``v1.36.3``."""
    return release(program.removeprefix("v"))


class FakeAsGenuine(FakeKubelet):
    """A fake kubelet whose release is named like a program, such as ``v1.36.3``."""

    def __init__(self, directory: Path, name: str) -> None:
        super().__init__(directory, played(name))
        self.expected: list[str] = []

    async def restart_as(self, name: str | None = None) -> None:
        """End as with kill -9, and start again; as another release if there is a name."""
        await self.restart(played(name) if name is not None else None, kill=True)

    def complaints(self) -> Sequence[str]:
        """Return complaints about the plugin: two streams of one resource at a time. Some releases fail with them."""
        return [f"two streams of {overlap.resource}" for overlap in self.overlaps]
