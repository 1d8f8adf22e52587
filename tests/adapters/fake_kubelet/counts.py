"""A kubelet and a plugin of two devices, and the counts that the node then shows."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from adapters.fake_kubelet.plugin import OK, RESOURCE, Plugin
from plugin_gateway.adapters.fake_kubelet import AdmissionError, FakeKubelet, release

ALL = ("1.8", "1.9", "1.10", "1.36", "1.37")
V1BETA1 = ("1.10", "1.36", "1.37")
MODERN = ("1.36", "1.37")
Counts = tuple[int | None, int | None]


def counts(kubelet: FakeKubelet) -> Counts:
    return kubelet.capacity(RESOURCE), kubelet.allocatable(RESOURCE)


async def reach(kubelet: FakeKubelet, wanted: Counts) -> None:
    await kubelet.wait_for(lambda: counts(kubelet) == wanted, what=f"capacity and allocatable {wanted}")


@asynccontextmanager
async def registered(directory: Path, name: str, *, grace: float = 300.0) -> AsyncIterator[tuple[FakeKubelet, Plugin]]:
    """A kubelet, and a plugin with two devices that it has listed."""
    async with (
        FakeKubelet(directory, release(name), grace=grace) as kubelet,
        Plugin(directory, kubelet.release) as plugin,
    ):
        assert await plugin.register() == OK
        await reach(kubelet, (2, 2))
        yield kubelet, plugin


async def refused(kubelet: FakeKubelet, wanted: int = 1, pod: str = "refused") -> str:
    with pytest.raises(AdmissionError) as caught:
        await kubelet.allocate(RESOURCE, wanted, pod=pod)
    return str(caught.value)


def needs_pre_start(plugin: Plugin) -> None:
    plugin.options.pre_start_required = True


async def with_options(kubelet: FakeKubelet, plugin: Plugin, choose: Callable[[Plugin], None]) -> None:
    """Take a registration with these options."""
    choose(plugin)
    assert await plugin.register() == OK
    await reach(kubelet, (2, 2))
