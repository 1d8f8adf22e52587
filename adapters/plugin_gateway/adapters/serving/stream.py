"""The stream that the kubelet opens after a registration."""

from collections.abc import Callable

import grpc.aio

from plugin_gateway.adapters.dialects.dialect import KUBELET_AGENT
from plugin_gateway.core.registration.values import AskedForOptions, StreamEnded, StreamOpened

Context = grpc.aio.ServicerContext[bytes, bytes]
"""The context of one call, with requests and responses as bytes."""
StreamEvent = AskedForOptions | StreamOpened | StreamEnded


class KubeletStream:
    """The stream of one endpoint. Who registers the endpoint is told what the kubelet does with it."""

    def __init__(self, on_event: Callable[[StreamEvent], None]) -> None:
        self.attempt: int | None = None
        """The attempt for which the name of the endpoint was sent. None if no kubelet knows the name."""
        self.may_be_known = False
        """Whether this kubelet may already know the resource."""
        self.agent: str | None = None
        """User agent of the kubelet. None if it has not opened the stream."""
        self.is_open = False
        """Whether the stream is open now."""
        self._on_event = on_event

    def claim(self, user_agent: str) -> bool:
        """Return whether a stream that begins now is the kubelet's, and report it if so.

        The first stream of a grpc-go client counts as the kubelet's, once the name of the endpoint was sent to a
        kubelet.
        """
        if self.attempt is None or self.agent is not None or not user_agent.startswith(KUBELET_AGENT):
            return False
        self.agent, self.is_open = user_agent, True
        self._on_event(StreamOpened(self.attempt))
        return True

    def note_options_asked(self, user_agent: str) -> None:
        """Report a call of GetDevicePluginOptions if it comes from the kubelet."""
        if self.attempt is not None and user_agent.startswith(KUBELET_AGENT):
            self._on_event(AskedForOptions(self.attempt))

    def end(self) -> None:
        """Report the end of the kubelet's stream."""
        self.is_open = False
        if self.attempt is not None:
            self._on_event(StreamEnded(self.attempt))


def user_agent(context: Context) -> str:
    """Return the user agent of the client. Empty if it sent none."""
    metadata = context.invocation_metadata() or ()
    return next((str(value) for key, value in metadata if key == "user-agent"), "")
