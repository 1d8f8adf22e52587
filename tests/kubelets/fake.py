"""The fake kubelet as the tests drive a genuine one, so that a scenario is written once for both."""

from collections.abc import Sequence
from pathlib import Path

from plugin_gateway.adapters.fake_kubelet import FakeKubelet, release
from plugin_gateway.adapters.fake_kubelet.releases import Release


def played(program: str) -> Release:
    """Tell how the release is played whose genuine kubelet is this program, such as ``v1.36.3``."""
    return release(program.removeprefix("v"))


class FakeAsGenuine(FakeKubelet):
    """Plays a release that is named as its program is, such as ``v1.36.3``."""

    def __init__(self, directory: Path, name: str) -> None:
        super().__init__(directory, played(name))
        self.expected: list[str] = []

    async def restart_as(self, name: str | None = None) -> None:
        """End as kill -9 does, and start again, perhaps as another release."""
        await self.restart(played(name) if name is not None else None, kill=True)

    def complaints(self) -> Sequence[str]:
        """List what it logged against the plugin: two streams of one resource at once, which are bound to go wrong."""
        return [f"two streams of {overlap.resource}" for overlap in self.overlaps]
