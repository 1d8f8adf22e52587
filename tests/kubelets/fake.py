"""The fake kubelet as the tests drive a genuine one, so that a scenario is written once for both."""

from collections.abc import Sequence
from pathlib import Path

from plugin_gateway.adapters.fake_kubelet import FakeKubelet, release


class FakeAsGenuine(FakeKubelet):
    """Plays a release that is named as its program is, such as ``v1.36.3``."""

    def __init__(self, directory: Path, name: str) -> None:
        super().__init__(directory, release(name.removeprefix("v")))
        self.expected: list[str] = []

    async def restart_as(self, name: str | None = None) -> None:
        """End as kill -9 does, and start again, perhaps as another release."""
        await self.restart(release(name.removeprefix("v")) if name is not None else None, kill=True)

    async def remove(self, pod: str) -> None:
        """Give its devices back."""
        self.remove_pod(pod)

    def complaints(self) -> Sequence[str]:
        """List what it logged against the plugin: two streams of one resource at once, which are bound to go wrong."""
        return [f"two streams of {overlap.resource}" for overlap in self.overlaps]
