"""Sends Register to a kubelet."""

import asyncio
from collections.abc import Callable, Mapping
from pathlib import Path

import grpc
import grpc.aio

from plugin_gateway.adapters.dialects.dialect import Dialect
from plugin_gateway.adapters.dialects.refusals import read_refusal
from plugin_gateway.adapters.support.tap import tap
from plugin_gateway.adapters.support.terminal import printable
from plugin_gateway.core.registration import pauses
from plugin_gateway.core.registration.failures import Failure, Refusal

_CHANNEL_OPTIONS = (
    ("grpc.default_authority", "localhost"),
    ("grpc.use_local_subchannel_pool", 1),  # a shared one delays the next attempt after a refusal
    ("grpc.enable_retries", 0),  # gRPC must not repeat a Register: 1.37 fails on a repeated path
)


CURES: Mapping[Failure, str] = {
    Failure.NOT_ALLOWED: "where SELinux forbids it, give the container a type that may, such as spc_t (on OpenShift "
    "with a SecurityContextConstraints that allows it); else run it as the owner of the socket, or as root with "
    "CAP_DAC_OVERRIDE",
    Failure.TOO_MANY_FILES: "raise the hard limit of open files: ulimit -Hn, LimitNOFILE= of systemd",
}
"""What to do about failures whose cause is not on the kubelet's side."""


_GRPC_ADDRESS = "\x01\0"
"""Begins the bytes of a socket address that gRPC writes behind some texts: AF_UNIX as the machine stores it."""


class RegistrationClient:
    """A connection to one kubelet, used for all dialects of one registration."""

    def __init__(self, socket: Path) -> None:
        self._channel = grpc.aio.insecure_channel(f"unix:{socket}", options=_CHANNEL_OPTIONS)

    async def register(
        self,
        dialect: Dialect,
        request: bytes,
        deadline: float = pauses.ANSWER.seconds,
        sent: Callable[[], None] = lambda: None,
    ) -> Refusal | None:
        """Send one Register, and call ``sent`` meanwhile. Returns None if the kubelet accepted it."""
        method: grpc.aio.UnaryUnaryMultiCallable[bytes, bytes] = self._channel.unary_unary(dialect.register_method)
        if tap.note is not None:
            tap.note("register", api_version=dialect.version, request=request)
        code, words = grpc.StatusCode.OK, ""
        try:
            call = method(request, timeout=deadline)
            await asyncio.sleep(0)  # after that gRPC connects and sends in threads of its own
            dialect.prepare()
            sent()
            await call
        except grpc.aio.AioRpcError as error:
            code, words = error.code(), readable(error.details() or "")
        if tap.note is not None:
            tap.note("answered", api_version=dialect.version, request=request, code=code.name, words=words)
        return read_refusal(code.name, words)

    async def close(self) -> None:
        """Close the connection."""
        await self._channel.close()


def readable(words: str) -> str:
    """Return the text of a gRPC error without the bytes that gRPC adds, and without control characters."""
    return printable(words.partition(_GRPC_ADDRESS)[0])
