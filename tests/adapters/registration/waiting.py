"""What a test waits for in a kubelet, and reads in a registration."""

from harness.node import EVERYTHING, RESOURCE, Node, device
from plugin_gateway.adapters.fake_kubelet import FakeKubelet
from plugin_gateway.core.registration.failures import Reason
from plugin_gateway.core.registration.states import State
from plugin_gateway.core.resources.names import ResourceName, parse_resource_name
from plugin_gateway.core.resources.rules import ResourceRule, Selector

A100 = parse_resource_name("nvidia.com/a100")
TWO = (ResourceRule(selector=Selector(products=("*A100*",)), name=A100), *EVERYTHING)


async def allocatable(kubelet: FakeKubelet, count: int = 8, resource: ResourceName = RESOURCE) -> None:
    await kubelet.wait_for(lambda: kubelet.allocatable(resource) == count, what=f"{count} allocatable devices")


def reason(node: Node, resource: ResourceName = RESOURCE) -> Reason:
    return node.registrar._resources[resource].registration.retry.reason


def state(node: Node, resource: ResourceName = RESOURCE) -> type[State]:
    return type(node.registrar._resources[resource].registration.state)


def see_both(node: Node) -> None:
    node.see([device(0), device(1, "NVIDIA A100-SXM4-80GB")])
