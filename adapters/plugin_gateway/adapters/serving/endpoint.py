"""One unix socket with its gRPC server. It has a name of its own and is used for one registration at most."""

import contextlib
import os
import stat
from collections.abc import Sequence
from pathlib import Path

import grpc.aio

from plugin_gateway.adapters.dialects.dialect import Dialect
from plugin_gateway.adapters.kubelet.plugin_sockets import STREAM_OPEN
from plugin_gateway.adapters.serving.resource import Pacing, ServedResource
from plugin_gateway.adapters.serving.service import Serving
from plugin_gateway.adapters.serving.stream import KubeletStream
from plugin_gateway.adapters.support.tasks import to_its_end
from plugin_gateway.adapters.support.unix_files import FileIdentity, explain_bind, identify_socket
from plugin_gateway.core.errors import GatewayError

_MAX_REQUEST = 16 * 1024 * 1024
"""Bytes. GetPreferredAllocation sends every available id.

A device list may have 4 MiB on 1.10 and later, so gRPC's own limit of 4 MiB for requests could be too small.
"""

_SERVER_OPTIONS = (
    ("grpc.so_reuseport", 0),
    ("grpc.max_receive_message_length", _MAX_REQUEST),
    ("grpc.max_send_message_length", -1),  # the dialect limits the list
    ("grpc.server_handshake_timeout_ms", 5_000),
    ("grpc.max_connection_idle_ms", 300_000),
)


class BindError(GatewayError):
    """The socket cannot be created. The message names the directory and the reason."""


class Endpoint:
    """A unix socket with its gRPC server. Its dialect never changes."""

    def __init__(
        self,
        *,
        path: Path,
        dialect: Dialect,
        dialects: Sequence[Dialect],
        served: ServedResource,
        pacing: Pacing,
        stream: KubeletStream,
    ) -> None:
        self.path = path
        self.dialect = dialect
        self.stream = stream
        self._identity: FileIdentity | None = None
        self._started = False
        self._server = grpc.aio.server(options=_SERVER_OPTIONS)
        self._serving = Serving(dialect=dialect, dialects=dialects, served=served, stream=stream, pacing=pacing)
        self._server.add_generic_rpc_handlers((self._serving,))

    async def bind(self) -> None:
        """Create the socket and start to serve.

        Raises:
            BindError: for example, the directory does not exist or is not writable.
        """
        try:
            self._server.add_insecure_port(f"unix:{self.path}")
        except RuntimeError as error:
            raise BindError(f"cannot make a socket in {self.path.parent}: {explain_bind(self.path)}") from error
        await self._start()
        self._identity = identify_socket(self.path)

    async def _start(self) -> None:
        self._started = True
        await to_its_end(self._server.start())

    @property
    def is_closing(self) -> bool:
        """Whether the gateway has closed the endpoint, or is about to."""
        return self._serving.is_ending

    def is_in_place(self) -> bool:
        """Whether the file name still leads to this socket."""
        return self._identity is not None and identify_socket(self.path) == self._identity

    def show_stream(self, *, is_open: bool) -> None:
        """Mark on the socket whether a kubelet holds a stream, for other gateways.

        The mark is the sticky bit, which has no other meaning for a socket.
        """
        with contextlib.suppress(OSError):
            before = stat.S_IMODE(os.stat(self.path).st_mode)  # noqa: PTH116 - the same call, without building a Path
            after = before | STREAM_OPEN if is_open else before & ~STREAM_OPEN
            if after != before:
                self.path.chmod(after)

    async def close(self, grace: float | None = None) -> None:
        """End the streams and remove the socket. Another call has no effect.

        ``grace`` is the number of seconds that running calls get to finish.
        """
        self._serving.is_ending = True
        if not self._started:
            await self._start()  # gRPC only frees a server that was started and stopped
        await self._server.stop(grace)
        if self.is_in_place():
            with contextlib.suppress(OSError):
                self.path.unlink()
