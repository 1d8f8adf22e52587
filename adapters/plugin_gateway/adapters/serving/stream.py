"""The stream that the kubelet opens after a registration, and the history of the streams of a resource."""

import time
from collections.abc import Callable
from typing import NamedTuple

import grpc.aio

from plugin_gateway.adapters.support.unix_files import FileIdentity

KUBELET_AGENT = "grpc-go/"
"""How the user agent of every kubelet begins.

Kubelets use grpc-go without an own name. The user agents of grpcurl and of Python clients begin differently.
"""

Context = grpc.aio.ServicerContext[bytes, bytes]
"""The context of one call, with requests and responses as bytes."""


class PendingDial(NamedTuple):
    """A registration that was given up before its stream was open. The kubelet may still dial its endpoint."""

    kubelet: FileIdentity
    until: float
    """Until when the kubelet may still dial, on the monotonic clock."""


class StreamHistory:
    """The streams of one resource on all its endpoints. It is kept when the resource is removed."""

    def __init__(self) -> None:
        self.open: list[KubeletStream] = []
        self.last: KubeletStream | None = None
        """The stream that ended last."""
        self.agent: str | None = None
        """User agent of the kubelet that opened a stream last. None if there was none."""
        self.pending_dial: PendingDial | None = None
        """The last registration that was given up before its stream was open."""


class KubeletStream:
    """The stream of one endpoint. Times are seconds on the monotonic clock."""

    def __init__(self, history: StreamHistory, on_change: Callable[[], None]) -> None:
        self.kubelet: FileIdentity | None = None
        """The kubelet that knows the name of the endpoint. None if no kubelet knows it."""
        self.may_be_known = False
        """Whether this kubelet may already know the resource."""
        self.asked_for_options = False
        """Whether the kubelet called GetDevicePluginOptions. 1.25 and later do so during Register."""
        self.is_closed_by_us = False
        """Whether the gateway ends the stream, and not the kubelet."""
        self.opened: float | None = None
        """When the stream was opened. None if it was not."""
        self.ended: float | None = None
        """When the stream ended. None if it has not."""
        self._history = history
        self._on_change = on_change

    @property
    def is_open(self) -> bool:
        """Whether the stream is open now."""
        return self.opened is not None and self.ended is None

    def claim(self, user_agent: str) -> bool:
        """Return whether a stream that begins now is the kubelet's, and record it if so.

        The first stream of a grpc-go client counts as the kubelet's, once the name of the endpoint was sent to a
        kubelet.
        """
        if self.kubelet is None or self.opened is not None or not user_agent.startswith(KUBELET_AGENT):
            return False
        self.opened = time.monotonic()
        self._history.open.append(self)
        self._history.agent = user_agent
        self._on_change()
        return True

    def note_options_asked(self, user_agent: str) -> None:
        """Record a call of GetDevicePluginOptions if it comes from the kubelet."""
        self.asked_for_options |= self.kubelet is not None and user_agent.startswith(KUBELET_AGENT)

    def end(self) -> None:
        """Record the end of the kubelet's stream."""
        self.ended = time.monotonic()
        self._history.open.remove(self)
        self._history.last = self
        self._on_change()


def user_agent(context: Context) -> str:
    """Return the user agent of the client. Empty if it sent none."""
    metadata = context.invocation_metadata() or ()
    return next((str(value) for key, value in metadata if key == "user-agent"), "")
