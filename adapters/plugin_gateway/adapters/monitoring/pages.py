"""What `--listen` serves: metrics, probes, and the status for programs and people."""

import json
from collections.abc import Callable, Mapping
from typing import Any

from plugin_gateway.adapters.gateway.gateway import Gateway
from plugin_gateway.adapters.monitoring import metrics, status_page
from plugin_gateway.adapters.monitoring.http_listener import Page, Pages

HTML = "text/html; charset=utf-8"
JSON = "application/json"


def make_pages(gateway: Gateway, status: Callable[[], Mapping[str, Any]], is_watching: Callable[[], bool]) -> Pages:
    """Make the pages of one gateway."""
    registry = metrics.make_registry(gateway)
    return {
        "/": lambda: Page(status_page.render(status()), HTML),
        "/metrics": lambda: Page(metrics.written(registry), metrics.CONTENT_TYPE),
        "/healthz": lambda: _verdict(_ailments(gateway, is_watching)),
        "/readyz": lambda: _verdict(_unready(gateway)),
        "/status": lambda: Page(json.dumps(status(), indent=2) + "\n", JSON),
    }


def _ailments(gateway: Gateway, is_watching: Callable[[], bool]) -> list[str]:
    """List what a restart could mend; that somebody reads this shows that the event loop is well."""
    ailments = [] if is_watching() else ["nobody watches the driver"]
    return ailments + [f"{name} has no socket" for name in gateway.registrar.without_socket()]


def _unready(gateway: Gateway) -> list[str]:
    """List the resources whose stream is not open; a node without devices has none, and is ready."""
    return [f"{each.resource} is not registered" for each in gateway.registrar.status() if each.stream_opened is None]


def _verdict(problems: list[str]) -> Page:
    return Page("\n".join(problems or ["ok"]) + "\n", status=503 if problems else 200)
