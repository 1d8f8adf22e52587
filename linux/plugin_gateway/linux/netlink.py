"""What the kernel tells by itself: links of interfaces, and devices that come and go.

Formats: rtnetlink(7), netlink(7), include/uapi/linux/if_link.h and lib/kobject_uevent.c of the kernel.
"""

import errno
import socket
import struct
from collections.abc import Iterator
from typing import NamedTuple

BUFFER = 1024 * 1024
"""Bytes of messages that wait to be read. The kernel gives less if net.core.rmem_max is lower."""
MAX_MESSAGE = 64 * 1024
"""Bytes. Messages of the two kinds are shorter."""
MAX_AT_ONCE = 256
"""Messages that are read before the caller gets its turn."""
_KOBJECT_UEVENT = 15
_LINK_GROUP = 1
"""RTMGRP_LINK."""
_UEVENT_GROUP = 1
"""The kernel's own messages. Group 2 has those of udev."""
_NEW_LINK, _GONE_LINK = 16, 17
_NAME, _STATE, _CARRIER = 3, 16, 33
"""IFLA_IFNAME, IFLA_OPERSTATE, IFLA_CARRIER."""
_KIND = 0x3FFF
"""The bits of the type of an attribute that are no flags."""
_HEADER = struct.Struct("=IHHII")
_LINK = struct.Struct("=BBHiII")
_ATTRIBUTE = struct.Struct("=HH")
_STATES = ("unknown", "notpresent", "down", "lowerlayerdown", "testing", "dormant", "up")
"""The operational states as sysfs writes them, by number (RFC 2863)."""


class LinkEvent(NamedTuple):
    """An interface came, went or has another state."""

    number: int
    """Given once, unlike the name."""
    name: str
    """Its present name, made printable."""
    is_there: bool
    """Whether it is still in this network namespace."""
    operstate: str = "unknown"
    carrier: bool | None = None
    """Whether it has a link. None if the kernel does not say."""


class Uevent(NamedTuple):
    """Something in sysfs came, went or changed."""

    action: str
    """Such as ``add``, ``remove``, ``bind`` or ``change``."""
    subsystem: str
    path: str
    """Below /sys, with a slash in front."""


class _Received(NamedTuple):
    messages: tuple[bytes, ...]
    has_gap: bool


class LinkBatch(NamedTuple):
    """What was told of links, in its order."""

    events: tuple[LinkEvent, ...]
    has_gap: bool
    """Whether messages were lost, so that everything has to be looked at."""


class UeventBatch(NamedTuple):
    """What was told of devices, in its order."""

    events: tuple[Uevent, ...]
    has_gap: bool
    """Whether messages were lost, so that everything has to be looked at."""


class _KernelSocket:
    """A socket on which the kernel tells something. To bind it needs no right."""

    def __init__(self, protocol: int, groups: int) -> None:
        """Open it.

        Raises:
            OSError: this process gets none, for example in a sandbox.
        """
        self._socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_NONBLOCK, protocol)
        try:
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, BUFFER)
            self._socket.bind((0, groups))
        except OSError:
            self._socket.close()
            raise

    def fileno(self) -> int:
        """Return the descriptor. It is readable when the kernel told something."""
        return self._socket.fileno()

    def close(self) -> None:
        """Close it."""
        self._socket.close()

    def _receive(self) -> _Received:
        """Return what there is, without a wait, and not without end."""
        messages, has_gap = [], False
        for _ in range(MAX_AT_ONCE):
            try:
                message, _, flags, sender = self._socket.recvmsg(MAX_MESSAGE)
            except BlockingIOError:
                break
            except OSError as error:
                if error.errno != errno.ENOBUFS:
                    raise
                has_gap = True  # messages were lost; the next read goes on after them
                continue
            if flags & socket.MSG_TRUNC:
                has_gap = True
            elif sender[0] == 0:  # another process can send to this one too
                messages.append(message)
        return _Received(tuple(messages), has_gap)


class LinkEvents(_KernelSocket):
    """Tells changes of the interfaces of this process's network namespace."""

    def __init__(self) -> None:
        super().__init__(socket.NETLINK_ROUTE, _LINK_GROUP)

    def read(self) -> LinkBatch:
        """Return what there is, without a wait.

        Raises:
            OSError: nothing can be read any more.
        """
        received = self._receive()
        return LinkBatch(tuple(e for each in received.messages for e in link_events(each)), received.has_gap)


class Uevents(_KernelSocket):
    """Tells devices that come and go. Those of no namespace are told in every network namespace."""

    def __init__(self) -> None:
        super().__init__(_KOBJECT_UEVENT, _UEVENT_GROUP)

    def read(self) -> UeventBatch:
        """Return what there is, without a wait.

        Raises:
            OSError: nothing can be read any more.
        """
        received = self._receive()
        events = (uevent(each) for each in received.messages)
        return UeventBatch(tuple(each for each in events if each is not None), received.has_gap)


def link_events(message: bytes) -> Iterator[LinkEvent]:
    """Return what a message of rtnetlink says of interfaces. What cannot be understood is left out."""
    place = 0
    while place + _HEADER.size <= len(message):
        length, kind, *_ = _HEADER.unpack_from(message, place)
        if length < _HEADER.size or place + length > len(message):
            return
        if kind in {_NEW_LINK, _GONE_LINK} and length >= _HEADER.size + _LINK.size:
            _, _, _, index, _, _ = _LINK.unpack_from(message, place + _HEADER.size)
            found = _attributes(message[place + _HEADER.size + _LINK.size : place + length])
            if _NAME in found:
                yield _link_event(index, found, is_there=kind == _NEW_LINK)
        place += _aligned(length)


def _link_event(index: int, found: dict[int, bytes], *, is_there: bool) -> LinkEvent:
    state, carrier = found.get(_STATE, b""), found.get(_CARRIER, b"")
    return LinkEvent(
        index,
        _text(found[_NAME].rstrip(b"\0")),
        is_there,
        _STATES[state[0]] if state and state[0] < len(_STATES) else "unknown",
        carrier[0] == 1 if carrier else None,
    )


def _attributes(data: bytes) -> dict[int, bytes]:
    """Return the attributes of a message by their type."""
    found, place = {}, 0
    while place + _ATTRIBUTE.size <= len(data):
        length, kind = _ATTRIBUTE.unpack_from(data, place)
        if length < _ATTRIBUTE.size or place + length > len(data):
            break
        found[kind & _KIND] = data[place + _ATTRIBUTE.size : place + length]
        place += _aligned(length)
    return found


def _text(data: bytes) -> str:
    """Return a name as `folder.printable` makes it."""
    return data.decode("utf-8", "replace")


def _aligned(length: int) -> int:
    return (length + 3) & ~3


def uevent(message: bytes) -> Uevent | None:
    """Return what a message of the kernel says of a device. None if it cannot be understood."""
    fields = dict(field.split("=", 1) for field in _text(message).split("\0") if "=" in field)
    try:
        return Uevent(fields["ACTION"], fields["SUBSYSTEM"], fields["DEVPATH"])
    except KeyError:
        return None
