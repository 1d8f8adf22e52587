"""Two gateways on one node, of which each offers some devices in another form than the other one."""

import asyncio
from pathlib import Path

import pytest

from adapters.registration.waiting import A100
from harness.node import Node, running, until
from plugin_gateway.adapters.dialects.dialect import Dialect
from plugin_gateway.adapters.fake_kubelet import FakeKubelet, release
from plugin_gateway.adapters.fake_kubelet.endpoint import PluginEndpoint
from plugin_gateway.adapters.registration import registrar
from plugin_gateway.adapters.registration.endpoints import ResourceEndpoints
from plugin_gateway.adapters.serving.endpoint import Endpoint
from plugin_gateway.core.resources.names import ResourceName
from plugin_gateway.core.resources.rules import ResourceRule


@pytest.mark.parametrize("version", ["1.8", "1.10", "1.24", "1.36", "1.37"])
async def test_an_elder_registers_once_beside_a_gateway_that_does_not_say_what_it_offers(
    version: str, kubelet_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Kubelets up to 1.24 dial after they have answered. One on a busy node needs a while for it."""
    monkeypatch.setattr(registrar, "LOOK_INTERVAL", 0.05)
    dial = PluginEndpoint.dial

    async def dial_late(endpoint: PluginEndpoint, patience: float) -> bool:
        await asyncio.sleep(0.3)
        return await dial(endpoint, patience)

    monkeypatch.setattr(PluginEndpoint, "dial", dial_late)
    elder, younger = Node(kubelet_dir), Node(kubelet_dir, rules=(ResourceRule(name=ResourceName(A100)),))
    async with running(elder, devices=2), running(younger, devices=2):
        await until(lambda: len(list(kubelet_dir.glob("*.sock"))) == 2, "both sockets")
        async with FakeKubelet(kubelet_dir, release(version)) as kubelet:
            await kubelet.wait_for(lambda: bool(kubelet.resources), what="the devices")
            await asyncio.sleep(1)
            assert len([call for call in kubelet.registrations if call.error is None]) == 1


@pytest.mark.parametrize("version", ["1.8", "1.36", "1.37"])
async def test_of_two_gateways_that_start_at_the_same_moment_only_one_registers(
    version: str, kubelet_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each looks for others before the other one has a socket. The kubelet would have each GPU under two names."""
    fresh, first, both = ResourceEndpoints.fresh, list[ResourceEndpoints](), asyncio.Event()

    async def together(endpoints: ResourceEndpoints, dialect: Dialect) -> Endpoint:
        if endpoints not in first:
            first.append(endpoints)
            if len(first) == 2:
                both.set()
            await both.wait()
        return await fresh(endpoints, dialect)

    monkeypatch.setattr(ResourceEndpoints, "fresh", together)
    elder, younger = Node(kubelet_dir), Node(kubelet_dir, rules=(ResourceRule(name=ResourceName(A100)),))
    async with (
        FakeKubelet(kubelet_dir, release(version)) as kubelet,
        running(elder, devices=2),
        running(younger, devices=2),
    ):
        await kubelet.wait_for(lambda: bool(kubelet.resources), what="the devices")
        await asyncio.sleep(1)
        assert len(first) == 2
        assert len([call for call in kubelet.registrations if call.error is None]) == 1
