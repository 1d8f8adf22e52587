"""The one stream that the kubelet opens for each registration, and what a resource remembers of its streams."""

import time
from collections.abc import Callable
from typing import NamedTuple

import grpc.aio

from plugin_gateway.adapters.support.unix_files import FileIdentity

KUBELET_AGENT = "grpc-go/"
"""Every kubelet's user agent begins so, without a name of its own; grpcurl and Python clients put theirs first."""

Context = grpc.aio.ServicerContext[bytes, bytes]
"""A call of one of our sockets, whose requests and answers are bytes."""


class PendingDial(NamedTuple):
    """A registration that we left before its stream was there; the kubelet may still be opening it."""

    kubelet: FileIdentity
    until: float
    """When it is done with that, on the monotonic clock."""


class StreamHistory:
    """The kubelet's streams of one resource, on whichever endpoint; it outlives the resource's removal."""

    def __init__(self) -> None:
        self.open: list[KubeletStream] = []
        self.last: KubeletStream | None = None
        """The one that ended last."""
        self.pending_dial: PendingDial | None = None
        """The last registration whose stream we did not wait for."""


class KubeletStream:
    """What becomes of the stream that one endpoint is registered for; times are seconds on the monotonic clock."""

    def __init__(self, history: StreamHistory, on_change: Callable[[], None]) -> None:
        self.kubelet: FileIdentity | None = None
        """The kubelet that was or is told the endpoint's name; None while the name is fresh."""
        self.may_be_known = False
        """Whether this kubelet may have heard of the resource before."""
        self.asked_for_options = False
        """Whether the kubelet asked for the options, as those of 1.25 and later do inside Register."""
        self.is_closed_by_us = False
        """Whether it is us who end it."""
        self.opened: float | None = None
        self.ended: float | None = None
        self._history = history
        self._on_change = on_change

    @property
    def is_open(self) -> bool:
        """Whether the kubelet listens at this moment."""
        return self.opened is not None and self.ended is None

    def claim(self, user_agent: str) -> bool:
        """Tell whether a stream that begins now is the kubelet's: the first that a Go program opens once it is told."""
        if self.kubelet is None or self.opened is not None or not user_agent.startswith(KUBELET_AGENT):
            return False
        self.opened = time.monotonic()
        self._history.open.append(self)
        self._on_change()
        return True

    def note_options_asked(self, user_agent: str) -> None:
        """Note that somebody asked for the options."""
        self.asked_for_options |= self.kubelet is not None and user_agent.startswith(KUBELET_AGENT)

    def end(self) -> None:
        """Note that the claimed stream is over."""
        self.ended = time.monotonic()
        self._history.open.remove(self)
        self._history.last = self
        self._on_change()


def user_agent(context: Context) -> str:
    """Tell how a client names itself."""
    metadata = context.invocation_metadata() or ()
    return next((str(value) for key, value in metadata if key == "user-agent"), "")
