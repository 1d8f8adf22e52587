"""Tests that a genuine kubelet survives when a device vanishes while it is allocated."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from harness.node import RESOURCE, Node, device, running
from kubelets.genuine import GENUINE, GenuineKubelet
from plugin_gateway.adapters.serving import resource as served
from plugin_gateway.core.resources.allocation import allocate

TIMES = 10
"""Without the grace time that is tested here, one of ten times is enough to end 1.36.3 and 1.37.2 with a nil
pointer."""


@pytest.mark.parametrize("name", GENUINE)
async def test_a_device_that_vanishes_as_it_is_granted_ends_no_kubelet(
    name: str, kubelet_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    node = Node(kubelet_dir)
    monkeypatch.setattr(served, "GRANT_GRACE", 0.5)

    def allocate_and_lose(advertised: Any, ids: Sequence[str], *others: Any) -> Any:
        node.see([device(index) for index in range(2) if device(index).id not in ids])
        return allocate(advertised, ids, *others)

    monkeypatch.setattr(served, "allocate", allocate_and_lose)
    async with GenuineKubelet(kubelet_dir, name) as kubelet, running(node, devices=2):
        for time in range(TIMES):
            await kubelet.wait_for(lambda: kubelet.allocatable(RESOURCE) == 2, what="two devices")
            await kubelet.allocate(RESOURCE, pod=f"p{time}")
            await kubelet.wait_for(lambda: kubelet.capacity(RESOURCE) == 1, what="a list without it")
            await kubelet.remove(f"p{time}")
            node.see([device(0), device(1)])
