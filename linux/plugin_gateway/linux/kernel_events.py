"""Waits for what the kernel tells of links and devices, and for other threads of this process."""

import os
import select
import socket
import threading
from collections.abc import Collection
from typing import NamedTuple

from plugin_gateway.linux.netlink import LinkEvents, Uevent, Uevents
from plugin_gateway.linux.watching import LinkSource

SUBSYSTEMS = frozenset(
    {"auxiliary", "infiniband", "infiniband_mad", "infiniband_verbs", "misc", "module", "net", "pci"}
)
"""Where a card shows that it came, went, or got another driver."""
_VIRTUAL_INTERFACE = "/devices/virtual/net/"
"""Where interfaces are that belong to no card. On a node they come and go with each pod."""


class Heard(NamedTuple):
    """What was told while somebody waited."""

    interfaces: frozenset[str] = frozenset()
    """Those whose link may have changed."""
    asks_for_scan: bool = False
    """Whether a device came, went or changed, or messages were lost."""
    asks_for_look: bool = False
    """Whether another thread of this process asks for a look at all links."""


class KernelEvents:
    """The sockets of one thread, which alone reads them. Any thread may wake it."""

    def __init__(self, source: LinkSource = LinkSource.AUTO, *, is_real: bool = True) -> None:
        """Open the sockets that can be had. If the devices are not real, others have to `wake` who waits."""
        self._is_real = is_real
        self._source = source
        self._problem: str | None = None
        """Why links are not told."""
        self._links: LinkEvents | None = None
        self._uevents: Uevents | None = None
        self._waking = threading.Lock()
        self._asks_for_scan = self._asks_for_look = self._is_closed = False
        self._wake = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        if is_real:
            self._open(source)

    def _open(self, source: LinkSource) -> None:
        try:
            self._uevents = Uevents()
        except OSError:
            self._uevents = None
        if source is LinkSource.POLL:
            return
        try:
            self._links = LinkEvents()
        except OSError as error:
            self._problem = f"netlink: {error.strerror}"

    def problem(self, interfaces: Collection[str]) -> str | None:
        """Return why links of these interfaces are not told, although that is asked for. None if it is well."""
        if self._source is not LinkSource.NETLINK:
            return None
        if self._problem or not interfaces or any(name in interfaces for _, name in socket.if_nameindex()):
            return self._problem
        return "netlink: the cards are in another network namespace than this process"

    @property
    def hears_devices(self) -> bool:
        """Whether devices that come and go are told."""
        return self._uevents is not None or not self._is_real

    def wake(self, *, for_scan: bool = False) -> None:
        """End the present or next wait, from any thread. Another call before that has no effect."""
        with self._waking:
            if not self._is_closed:
                self._asks_for_scan |= for_scan
                self._asks_for_look = True
                os.eventfd_write(self._wake, 1)

    def wait(self, seconds: float, interfaces: Collection[str]) -> Heard:
        """Wait until something is told, at most so long. ``interfaces`` are those that belong to cards."""
        poll = select.poll()
        for source in (self._wake, self._links, self._uevents):
            if source is not None:
                poll.register(source, select.POLLIN)
        poll.poll(max(seconds, 0.0) * 1000)
        names, has_gap = self._read_links(interfaces)
        asks_for_scan = self._read_uevents(interfaces)
        with self._waking:
            heard = Heard(names, asks_for_scan or has_gap or self._asks_for_scan, self._asks_for_look)
            if self._asks_for_look:
                os.eventfd_read(self._wake)
            self._asks_for_scan = self._asks_for_look = False
        return heard

    def _read_links(self, interfaces: Collection[str]) -> tuple[frozenset[str], bool]:
        """Return the interfaces of cards of which something was told, and whether something was missed."""
        if self._links is None:
            return frozenset(), False
        try:
            batch = self._links.read()
        except OSError:
            self._links.close()
            self._links = None  # the looks at all links go on
            return frozenset(), True
        return frozenset(each.name for each in batch.events if each.name in interfaces), batch.has_gap

    def _read_uevents(self, interfaces: Collection[str]) -> bool:
        """Return whether something may have changed that a scan shows."""
        if self._uevents is None:
            return False
        try:
            batch = self._uevents.read()
        except OSError:
            self._uevents.close()
            self._uevents = None
            return True
        return batch.has_gap or any(_is_of_cards(each, interfaces) for each in batch.events)

    def close(self) -> None:
        """Close the sockets."""
        with self._waking:
            self._is_closed = True
            os.close(self._wake)
        for source in (self._links, self._uevents):
            if source is not None:
                source.close()


def _is_of_cards(event: Uevent, interfaces: Collection[str]) -> bool:
    is_virtual = event.path.startswith(_VIRTUAL_INTERFACE)
    name = event.path.removeprefix(_VIRTUAL_INTERFACE)
    return event.subsystem in SUBSYSTEMS and (not is_virtual or name in interfaces)
