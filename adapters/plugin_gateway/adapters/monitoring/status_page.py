"""The status as an HTML page for people. It has no script, and loads nothing."""

from collections.abc import Sequence
from datetime import UTC, datetime
from html import escape

from plugin_gateway.adapters.gateway.device_status import DeviceStatus
from plugin_gateway.adapters.gateway.state_folder import lost_words
from plugin_gateway.adapters.gateway.status import CountStatus, DriverStatus, OfferedResource, Status
from plugin_gateway.adapters.support.terminal import printable
from plugin_gateway.core.cards import function_words, interface_words, is_card

_STYLE = """
:root { color-scheme: light dark; --line: #8884; --good: #1a7f37; --bad: #d1242f; --wait: #9a6700 }
body { font: 15px/1.5 system-ui, sans-serif; max-width: 72rem; margin: 2rem auto; padding: 0 1rem }
h1 { font-size: 1.4rem } h2 { font-size: 1.1rem; margin-top: 2rem }
table { border-collapse: collapse; width: 100% } th { text-align: left; font-weight: 600 }
td, th { padding: .3rem .8rem .3rem 0; border-bottom: 1px solid var(--line); vertical-align: top }
.healthy, .open { color: var(--good) } .unhealthy, .failed { color: var(--bad) } .probation { color: var(--wait) }
td { white-space: nowrap } .why { white-space: normal; min-width: 14rem } .wide { overflow-x: auto }
code { font-size: .9em } ol { list-style: none; padding-left: 0; border-left: 2px solid var(--line) }
li { padding: .15rem 0 .15rem 1rem } time { opacity: .7; margin-right: .8rem }
.problem { border-left: 4px solid var(--bad); padding: .3rem 1rem }
"""


def render(status: Status) -> str:
    """Return the page."""
    parts = [
        "<!doctype html><html lang=en><meta charset=utf-8><meta name=viewport content='width=device-width'>",
        f"<title>plugin-gateway</title><style>{_STYLE}</style><h1>plugin-gateway</h1>",
        *_problems(status),
        "<h2>Devices</h2>",
        _devices(status.devices),
    ]
    for resource in status.resources:
        parts += [f"<h2>{_text(resource.name)}</h2>", _state(resource), _timeline(resource)]
    return "\n".join(parts) + "\n</html>\n"


def _problems(status: Status) -> Sequence[str]:
    file = status.configuration_file
    found = [
        ("the configuration file", "it was changed after it was read" if file is not None and file.changed else None),
        *(
            (f"backend {backend}: {what}" if backend is not None else what, problem)
            for backend, driver in status.drivers
            for what, problem in _driver_problems(driver)
        ),
        ("the configuration file", status.configuration_problem),
        ("the label of the node that chooses the configuration", status.label_problem),
        ("the labels of the node", status.labels.problem if status.labels is not None else None),
        ("devices are missing", status.device_count.problem),
        ("health is not kept over a restart", _lost(status.device_count)),
        *((f"{each.place} cannot be offered", each.problem) for each in status.rejected),
        *(("another device plugin", each.what) for each in status.conflicts),
        *(("devices are not given out", each) for each in status.waiting),
    ]
    paragraphs = [f"<p class=problem>{_text(what)}: {_text(problem)}</p>" for what, problem in found if problem]
    drivers = [
        f"<p>{_text(f'backend {backend}, ' if backend is not None else '')}{_text(status.driver_words(backend))}</p>"
        for backend, _ in status.drivers
    ]
    return [*drivers, _number(status.device_count), *paragraphs]


def _driver_problems(driver: DriverStatus) -> Sequence[tuple[str, str | None]]:
    return (
        ("the driver", driver.problem),
        ("the driver's events", driver.events_problem),
        ("the kernel's log", driver.kernel_log.problem if driver.kernel_log is not None else None),
    )


def _lost(number: CountStatus) -> str | None:
    if number.lost_with is None or number.kept_in is None:
        return None
    return lost_words(number.kept_in.rpartition("/")[0], number.lost_with)


def _number(number: CountStatus) -> str:
    """Return how many devices there are, and should be. Empty before that is known."""
    if number.present is None or number.expected is None:
        return ""
    words = f"{_text(number.word)}s" if number.word else "physical devices"
    return f"<p>{number.present} {words}, {number.expected} are expected: {_text(number.decided_by or '')}</p>"


def _devices(devices: Sequence[DeviceStatus]) -> str:
    """Return a table of devices, and one of network cards, if there are any."""
    cards = [device for device in devices if is_card(device.attributes)]
    others = [device for device in devices if not is_card(device.attributes)]
    rows = ["<tr><th>#<th>device<th>health<th>why<th>resource<th>product", *map(_row, others)]
    card_head = "<tr><th>device<th>health<th>why<th>resource<th>product<th>function<th>interface<th>port"
    tables = [*([rows] if others or not cards else []), *([[card_head, *map(_card_row, cards)]] if cards else [])]
    return "\n".join(f"<div class=wide><table>{''.join(each)}</table></div>" for each in tables)


def _row(device: DeviceStatus) -> str:
    return f"<tr><td>{device.place_words}{_cells(device)}"


def _card_row(device: DeviceStatus) -> str:
    words = (function_words(device.attributes), interface_words(device.attributes), device.port_words)
    return f"<tr>{_cells(device)}{''.join(f'<td>{_text(each)}' for each in words)}"


def _cells(device: DeviceStatus) -> str:
    faults = (f"{device.reason}; needs {device.needs}",) if not device.is_healthy else ()
    why = "; ".join((*faults, *((device.waits_for.reason,) if device.waits_for is not None else ())))
    return (
        f"<td><code>{_text(device.id)}</code>"
        f"<td class={device.health.value}>{device.health_words}<td class=why>{_text(why)}"
        f"<td>{_text(device.offer_words)}<td>{_text(device.product_words)}"
    )


def _state(resource: OfferedResource) -> str:
    if resource.stream_opened is not None:
        since = _time(resource.stream_opened)
        return f"<p class=open>registered as {_text(resource.api_version or '')}, stream open since {since}</p>"
    if resource.stands_by:
        return "<p>standing by: another gateway of this node has it</p>"
    return "<p class=failed>not registered</p>"


def _timeline(resource: OfferedResource) -> str:
    """Return a list of the latest registrations and failures, the newest first."""
    events = [
        (each.at, "open", f"registered as {each.api_version}: {each.reason}, {each.took_ms:g} ms")
        for each in resource.registrations
    ]
    events += [(each.at, "failed", ": ".join(filter(None, (each.cause, each.words)))) for each in resource.failures]
    items = [
        f"<li><time>{_time(at)}</time><span class={kind}>{_text(text)}</span>"
        for at, kind, text in sorted(events, reverse=True)
    ]
    return f"<ol>{''.join(items)}</ol>"


def _text(words: str) -> str:
    """Return a text for the page, without markup and control characters."""
    return escape(printable(words))


def _time(epoch: float) -> str:
    """Return a time in seconds since the epoch as people read it, in UTC."""
    return datetime.fromtimestamp(epoch, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
