"""The pages of a gateway that runs in this process."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from harness.node import Node
from plugin_gateway.adapters.monitoring.http_listener import Page, Pages
from plugin_gateway.adapters.monitoring.metrics import Numbers, Refusals
from plugin_gateway.adapters.monitoring.pages import make_pages
from plugin_gateway.nvidia.remedies import remedy_for

NOTHING_REFUSED = Refusals(0, last_was_refused=False)
NOWHERE = Path("/nonexistent")


def pages_of(
    node: Node,
    kubelet_dir: Path = NOWHERE,
    refusals: Refusals = NOTHING_REFUSED,
    status: Callable[[], Mapping[str, Any]] = dict,
) -> Pages:
    numbers = Numbers(compare=lambda: None, refusals=lambda: refusals, kubelet_dir=kubelet_dir)
    return make_pages(node.gateway, status, lambda: True, numbers=numbers, remedies=remedy_for, device_word="GPU")


async def shown(pages: Pages, path: str) -> Page:
    made = pages[path]()
    return made if isinstance(made, Page) else await made


async def page_of(node: Node, path: str, kubelet_dir: Path = NOWHERE) -> Page:
    return await shown(pages_of(node, kubelet_dir), path)
