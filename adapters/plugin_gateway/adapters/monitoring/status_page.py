"""The status as an HTML page for people. It is whole without its script, and loads nothing from elsewhere."""

from collections.abc import Iterable, Sequence

from plugin_gateway.adapters.gateway.device_status import DeviceStatus
from plugin_gateway.adapters.gateway.state_folder import lost_words
from plugin_gateway.adapters.gateway.status import CountStatus, DriverStatus, OfferedResource, Status
from plugin_gateway.adapters.monitoring.device_tiles import Holders, tiles
from plugin_gateway.adapters.monitoring.holders_look import Held
from plugin_gateway.adapters.monitoring.hour_bars import hour_bars
from plugin_gateway.adapters.monitoring.last_hour import LastHour
from plugin_gateway.adapters.monitoring.markup import joined, moment, text
from plugin_gateway.adapters.monitoring.page_look import HEAD, TAIL
from plugin_gateway.core.health.remedies import Remedies

MAX_EVENTS = 16
"""Registrations and failures of a resource that are listed, the latest ones. `/status` has more."""
_LINKS = {
    "metrics": "metrics",
    "status": "status as JSON",
    "health": "health as JSON",
    "healthz": "healthz",
    "readyz": "readyz",
}
"""The other pages. They are relative, because a proxy can serve this one below another path."""


def render(status: Status, hour: LastHour, held: Held | None, *, remedies: Remedies) -> str:
    """Return the page. ``hour`` ends at the time of the page. ``held`` is None if the holders are not known."""
    holders = held.by_device if held is not None else None
    node = text(status.gateway.host or "plugin-gateway")
    resources = (_resource(each, number, status, held) for number, each in enumerate(status.resources))
    parts = [
        HEAD,
        f"<title>{node}: {_healthy(status.devices)}</title>",
        "<p id=away class=problem role=status>the gateway does not answer; this is what it said last</p><main>",
        f"<header><h1>{node}</h1>{_about(status, hour.now)}{_sum(status, holders)}</header>",
        *_problems(status),
        f"<h2>Devices</h2>{_number(status.device_count)}",
        tiles(status, holders, remedies),
        f"<h2>Last hour</h2>{hour_bars(hour)}",
        *resources,
        f"<nav>{' '.join(f'<a href={path}>{words}</a>' for path, words in _LINKS.items())}</nav></main>",
        TAIL,
    ]
    return "\n".join(parts)


def _about(status: Status, now: float) -> str:
    """Return the versions of the gateway, of the drivers and of the API, and the time of the page."""
    named = ((f"backend {name}, " if name is not None else "", name) for name, _ in status.drivers)
    drivers = "".join(f"<p>{text(f'{before}{status.driver_words(name)}')}</p>" for before, name in named)
    dialects = sorted({each.api_version for each in status.resources if each.api_version is not None})
    version = f"plugin-gateway {status.gateway.version or 'of unknown version'}"
    return f"<p>{joined(version, ', '.join(dialects), moment(now))}</p>{drivers}"


def _sum(status: Status, holders: Holders | None) -> str:
    """Return the line that says how the node is."""
    offered = [device.id for device in status.devices if device.resource is not None and not device.is_pooled]
    held = f"{sum(device in holders for device in offered)} held" if holders is not None else None
    served = [each for each in status.resources if each.stream_opened is not None or each.stands_by]
    registered = f"{len(served)}/{len(status.resources)} resources registered"
    return f"<p class=sum>{joined(_healthy(status.devices), held, registered)}</p>"


def _healthy(devices: Sequence[DeviceStatus]) -> str:
    return f"{sum(device.is_healthy for device in devices)}/{len(devices)} healthy"


def _problems(status: Status) -> Iterable[str]:
    """Yield a paragraph for each problem that is not one of a device alone."""
    file, number = status.configuration_file, status.device_count
    found: list[tuple[str, str | None, str | None]] = [
        (
            "the configuration file",
            "it was changed after it was read" if file is not None and file.changed else None,
            None,
        ),
        *(
            (f"backend {backend}: {what}" if backend is not None else what, problem, todo)
            for backend, driver in status.drivers
            for what, problem, todo in _driver_problems(driver)
        ),
        ("the configuration file", status.configuration_problem, None),
        ("the label of the node that chooses the configuration", status.label_problem, None),
        ("the labels of the node", status.labels.problem if status.labels is not None else None, None),
        ("devices are missing", number.problem, None),
        ("health is not kept over a restart", _lost(number), None),
        *((f"{each.place} cannot be offered", each.problem, each.todo) for each in status.rejected),
        *(("another device plugin", each.what, each.todo) for each in status.conflicts),
        *(("devices are not given out", each, None) for each in status.waiting),
    ]
    for what, problem, todo in found:
        if problem:
            cure = f"<br><span class=todo>{text(todo)}</span>" if todo else ""
            yield f"<p class=problem>{text(what)}: {text(problem)}{cure}</p>"


def _driver_problems(driver: DriverStatus) -> Sequence[tuple[str, str | None, str | None]]:
    return (
        ("the driver", driver.problem, driver.todo),
        ("the driver's events", driver.events_problem, None),
        ("the kernel's log", driver.kernel_log.problem if driver.kernel_log is not None else None, None),
    )


def _lost(number: CountStatus) -> str | None:
    if number.lost_with is None or number.kept_in is None:
        return None
    return lost_words(number.kept_in.rpartition("/")[0], number.lost_with)


def _number(number: CountStatus) -> str:
    """Return how many devices there are, and should be. Empty before that is known."""
    if number.present is None or number.expected is None:
        return ""
    words = f"{text(number.word)}s" if number.word else "physical devices"
    return f"<p>{number.present} {words}, {number.expected} are expected: {text(number.decided_by or '')}</p>"


def _resource(resource: OfferedResource, number: int, status: Status, held: Held | None) -> str:
    is_pool = any(device.is_pooled for device in status.devices if device.resource == resource.name)
    holders = held.by_resource.get(resource.name, "nobody") if held is not None else "nobody that is known"
    pool = f"<p>the pool is held by {text(holders)}</p>" if is_pool else ""
    fallback = f"<p class=problem>{text(resource.fallback)}</p>" if resource.fallback else ""
    return f"<h2>{text(resource.name)}</h2>{_state(resource)}{pool}{fallback}{_timeline(resource, number)}"


def _state(resource: OfferedResource) -> str:
    if resource.stream_opened is not None:
        since = moment(resource.stream_opened)
        return f"<p class=open>registered as {text(resource.api_version or '')}, stream open since {since}</p>"
    if resource.stands_by:
        return "<p>standing by: another gateway of this node has it</p>"
    problem = resource.problem
    why = f": {': '.join(filter(None, (problem.cause, problem.words)))}" if problem is not None else ""
    return f"<p class=failed>not registered{text(why)}</p>"


def _timeline(resource: OfferedResource, number: int) -> str:
    """Return a list of the latest registrations and failures, the newest first."""
    events = [
        (each.at, "open", f"registered as {each.api_version}: {each.reason}, {each.took_ms:g} ms")
        for each in resource.registrations
    ]
    events += [(each.at, "failed", ": ".join(filter(None, (each.cause, each.words)))) for each in resource.failures]
    items = [
        f"<li><time>{moment(at)}</time><span class={kind}>{text(words)}</span></li>"
        for at, kind, words in sorted(events, reverse=True)[:MAX_EVENTS]
    ]
    if not items:
        return ""
    return (
        f"<details id=history-{number}><summary>registrations and failures</summary><ol>{''.join(items)}</ol></details>"
    )
