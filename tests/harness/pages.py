"""The pages of a gateway that runs in this process."""

from pathlib import Path

from harness.node import Node
from plugin_gateway.adapters.gateway.device_counter import DeviceCounter, Given
from plugin_gateway.adapters.gateway.status import ProcessStatus, Status
from plugin_gateway.adapters.gateway.status_making import make_status
from plugin_gateway.adapters.monitoring.http_listener import Page, Pages
from plugin_gateway.adapters.monitoring.last_hour import HOUR, LastHour, Row, Span
from plugin_gateway.adapters.monitoring.pages import make_pages
from plugin_gateway.adapters.monitoring.status_page import render
from plugin_gateway.nvidia.remedies import remedy_for

NOWHERE = Path("/nonexistent")


def process_status(kubelet_dir: Path = NOWHERE, problem: str | None = None, refused: int = 0) -> ProcessStatus:
    return ProcessStatus(
        kubelet_dir=str(kubelet_dir), configuration_problem=problem, configurations_refused=refused, configuration={}
    )


def status_of(node: Node, process: ProcessStatus) -> Status:
    """The status of a gateway that counts no devices."""
    counter = DeviceCounter(NOWHERE, "GPU", Given(None, ""), lambda *_: None)
    return make_status(node.gateway, counter, {}, process)


def pages_of(node: Node, process: ProcessStatus | None = None) -> Pages:
    known = process_status() if process is None else process
    return make_pages(
        node.gateway,
        lambda: status_of(node, known),
        {each.name: lambda: True for each in node.gateway.backends},
        remedies=remedy_for,
    )


async def shown(pages: Pages, path: str) -> Page:
    made = pages[path]()
    return made if isinstance(made, Page) else await made


async def page_of(node: Node, path: str, kubelet_dir: Path = NOWHERE) -> Page:
    return await shown(pages_of(node, process_status(kubelet_dir)), path)


def page_with(status: Status) -> str:
    """The page of a gateway that has just started, with this status."""
    nothing = Row(Span(HOUR, HOUR), (), ())
    return render(status, LastHour(HOUR, nothing, {}), None, remedies=remedy_for)
