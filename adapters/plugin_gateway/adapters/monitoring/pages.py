"""The paths that `--listen` serves."""

import time
from collections.abc import Callable, Mapping

from plugin_gateway.adapters.gateway.gateway import Gateway
from plugin_gateway.adapters.gateway.status import Status
from plugin_gateway.adapters.gateway.status_document import encode
from plugin_gateway.adapters.gateway.watched_backend import WatchedBackend
from plugin_gateway.adapters.monitoring import metrics, status_page
from plugin_gateway.adapters.monitoring.holders_look import HoldersLook
from plugin_gateway.adapters.monitoring.http_listener import Page, Pages
from plugin_gateway.adapters.monitoring.last_hour import last_hour
from plugin_gateway.adapters.monitoring.node_health import describe_health, side_by_side
from plugin_gateway.adapters.monitoring.page_look import POLICY
from plugin_gateway.adapters.support.terminal import as_json, printable
from plugin_gateway.core.health.remedies import Remedies

_STANDS_BY = ": another gateway of this node has it, and does not answer at a control socket in this state directory"
HTML = "text/html; charset=utf-8"
JSON = "application/json"


def make_pages(
    gateway: Gateway,
    status: Callable[[], Status],
    is_watching: Mapping[str, Callable[[], bool]],
    *,
    remedies: Remedies,
) -> Pages:
    """Return the pages of one gateway.

    ``is_watching`` has for each backend whether the thread that watches its driver is alive. ``remedies`` are the
    vendor's, for `/health`.
    """
    measured, look = metrics.Metrics(gateway, status), HoldersLook()

    async def show_metrics() -> Page:
        return Page(await measured.written(), metrics.CONTENT_TYPE)

    async def show_status() -> Page:
        held = await look.take(status().kubelet_dir)
        now, shown = time.time(), status()
        hour = last_hour(gateway, shown.unhealthy, now)
        return Page(status_page.render(shown, hour, held, remedies=remedies), HTML, policy=POLICY)

    return {
        "/": show_status,
        "/metrics": show_metrics,
        "/healthz": lambda: _verdict(_problems(gateway, is_watching)),
        "/readyz": lambda: _verdict(_unready(gateway)),
        "/status": lambda: _json(encode(status())),
        "/health": lambda: _json(_health(gateway, remedies)),
    }


def _json(value: object) -> Page:
    return Page(f"{as_json(value)}\n", JSON)


def _health(gateway: Gateway, remedies: Remedies) -> Mapping[str, object]:
    each = {backend.name: describe_health(backend.state, remedies, backend.device_word) for backend in gateway.backends}
    if len(each) == 1:
        return next(iter(each.values()))
    return side_by_side(each, [backend.device_word for backend in gateway.backends])


def _problems(gateway: Gateway, is_watching: Mapping[str, Callable[[], bool]]) -> list[str]:
    """Return the problems that a restart could fix. That there is an answer at all shows that the event loop runs."""
    ailments = []
    for backend in gateway.backends:
        state, whose = backend.state, _whose(gateway, backend)
        if not is_watching[backend.name]():
            ailments.append(f"{whose}nobody watches the driver")
        if state.driver_is_gone and state.restart_may_help:
            ailments.append(f"{whose}the driver cannot be opened from this process any more: {state.driver_problem}")
    return ailments + [f"{name} has no socket" for name in gateway.registrar.without_socket()]


def _unready(gateway: Gateway) -> list[str]:
    """Return why the devices of the node cannot be used. A node without devices has no resource, and is ready.

    A gateway that stands by is ready if the other one answers it, because it takes over as soon as that one leaves.
    """
    problems = []
    for backend in gateway.backends:
        state, whose = backend.state, _whose(gateway, backend)
        if state.unserved:
            unserved = f"no driver serves the devices of this machine ({state.unserved}): {state.driver_problem}"
            problems.append(f"{whose}{unserved}")
        if state.inventory is not None and not state.inventory.devices:
            found = state.inventory.rejected
            problems += [f"{whose}{each.place} cannot be offered: {each.problem}" for each in found]
    unregistered = [each for each in gateway.registrar.status() if each.stream_opened is None]
    return problems + [
        f"{each.resource} is not registered{_STANDS_BY if each.stands_by else ''}"
        for each in unregistered
        if not (each.stands_by and each.others_answer)
    ]


def _whose(gateway: Gateway, backend: WatchedBackend) -> str:
    """Return the words before a problem of a backend. None are needed if it is the only one."""
    return f"backend {backend.name}: " if len(gateway.backends) > 1 else ""


def _verdict(problems: list[str]) -> Page:
    """Return a page with the problems and status 503, or "ok" and status 200."""
    return Page("".join(f"{printable(each)}\n" for each in problems or ["ok"]), status=503 if problems else 200)
