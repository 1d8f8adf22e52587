"""Views of the fake kubelet: a line for each event, or a picture on a terminal that is drawn again for each event."""

import contextlib
import time
from collections import deque
from collections.abc import Iterator, Mapping, Sequence

from rich.console import Console, Group, RenderableType
from rich.control import Control
from rich.live import Live
from rich.segment import ControlType
from rich.table import Table
from rich.text import Text

from plugin_gateway.adapters.fake_kubelet.events import Answer, Event, EventKind
from plugin_gateway.adapters.fake_kubelet.kubelet import FakeKubelet
from plugin_gateway.adapters.support.terminal import printable
from plugin_gateway.core.resources.assignment import Health
from plugin_gateway.core.resources.id_words import group_of, grouped_ids, id_order

_FRAME_LINES = 8
"""Lines without rows and events: title, head and borders of the table, help, prompt, and the line below it."""
_PROMPT = "> "
_FEWEST_EVENTS = 4
"""Events that are shown even if the terminal is too small for all devices."""


def described(event: Event, kubelet: FakeKubelet | None) -> str:
    """Return an event as text. If it changes the counts of devices, the text has them."""
    words = f"{event.kind.value} {event.resource} {event.text}".rstrip()
    if kubelet is None or event.kind not in {EventKind.LIST, EventKind.END_NOTICED, EventKind.GIVEN_UP}:
        return words
    counts = kubelet.capacity(event.resource), kubelet.allocatable(event.resource)
    return f"{words}; capacity {counts[0]}, allocatable {counts[1]}"


def shown_devices(devices: Mapping[str, str]) -> Sequence[tuple[str, str]]:
    """Return the devices with their health, in the order of their ids. Replicas with the same health are one entry."""
    alike: dict[tuple[str, str], list[str]] = {}
    for name in sorted(devices, key=id_order):
        alike.setdefault((group_of(name), devices[name]), []).append(name)
    return [(words, health) for (_, health), names in alike.items() for words in grouped_ids(names)]


def shown_answer(answer: Answer) -> Iterator[str]:
    """Yield what a container gets, as text."""
    yield f"environment {dict(answer.environment)}"
    for path, (host, permissions) in answer.device_nodes.items():
        yield f"device {path} from {host} ({permissions})"
    for path, (host, is_read_only) in answer.mounts.items():
        yield f"mount {path} from {host} ({'read-only' if is_read_only else 'read and write'})"
    for name, value in answer.annotations.items():
        yield f"annotation {name}={value}"
    for name in answer.cdi_devices:
        yield f"CDI device {name}"


class Lines:
    """Prints one line for each event."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._began = time.monotonic()
        self._kubelet: FakeKubelet | None = None

    @contextlib.contextmanager
    def showing(self, kubelet: FakeKubelet) -> Iterator[None]:
        """Show this kubelet inside the block."""
        self._kubelet = kubelet
        yield

    def show(self, event: Event) -> None:
        """Print an event."""
        self.say(f"{event.time - self._began:8.3f} {described(event, self._kubelet)}")

    def entered(self) -> None:
        """Do nothing. The user has typed a command, and lines need no change."""

    def say(self, text: str) -> None:
        """Print a line."""
        self._console.print(printable(text), markup=False, highlight=False, soft_wrap=True)


class Picture:
    """Shows tables of resources and devices with the latest events below. It is drawn again for each event."""

    def __init__(self, console: Console, help_text: str) -> None:
        self._console = console
        self._help = help_text
        self._began = time.monotonic()
        self._said: deque[str] = deque(maxlen=200)
        self._kubelet: FakeKubelet | None = None
        self._live = Live(console=console, auto_refresh=False, vertical_overflow="visible", redirect_stdout=False)

    @contextlib.contextmanager
    def showing(self, kubelet: FakeKubelet) -> Iterator[None]:
        """Show this kubelet inside the block, from its first event on."""
        self._kubelet = kubelet
        with self._live:
            yield

    def show(self, event: Event) -> None:
        """Show an event."""
        self.say(f"{event.time - self._began:8.3f} {described(event, self._kubelet)}")

    def entered(self) -> None:
        """Move the cursor back to the line with the typed command, so that the picture is drawn over itself."""
        self._console.control(Control((ControlType.CURSOR_UP, 1), (ControlType.ERASE_IN_LINE, 2)))
        self._draw()

    def say(self, text: str) -> None:
        """Add a line to the events."""
        self._said.append(printable(text))
        self._draw()

    def _draw(self) -> None:
        if self._kubelet is None:
            return
        resources = self._resources(self._kubelet)
        room = self._console.height - resources.row_count - _FRAME_LINES
        devices = self._devices(self._kubelet, max(0, room - _FEWEST_EVENTS))
        events = list(self._said)[-max(_FEWEST_EVENTS, room - len(devices)) :]
        parts: list[RenderableType] = [resources, *devices]
        parts += [Text(line, style="dim", no_wrap=True, overflow="ellipsis") for line in events]
        parts.append(Text(self._help, style="italic", no_wrap=True, overflow="ellipsis"))
        parts.append(Text(_PROMPT))
        self._live.update(Group(*parts), refresh=True)

    def _resources(self, kubelet: FakeKubelet) -> Table:
        table = Table("resource", "capacity", "allocatable", "streams", title=f"kubelet {kubelet.release.name}")
        for name in kubelet.resources:
            counts = kubelet.capacity(name), kubelet.allocatable(name), kubelet.open_streams(name)
            table.add_row(Text(printable(name)), *map(str, counts))
        return table

    def _devices(self, kubelet: FakeKubelet, most: int) -> list[Text]:
        """Return lines with the devices, the unhealthy ones first. The last line counts the lines without room."""
        devices = [
            (health != Health.HEALTHY.value, words, health)
            for resource in kubelet.resources
            for words, health in shown_devices(kubelet.devices(resource))
        ]
        devices.sort(key=lambda device: (not device[0], id_order(device[1])))
        shown = devices if len(devices) <= most else devices[: max(0, most - 1)]
        lines = [
            Text(printable(f"  {name} {health}"), style="red" if sick else "green") for sick, name, health in shown
        ]
        if len(shown) < len(devices) and most:
            lines.append(Text(f"  and {len(devices) - len(shown)} more"))
        return lines
