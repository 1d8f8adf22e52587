"""Sends Register to a kubelet, and interprets the answer.

A kubelet accepts exactly one dialect, so the gateway tries one dialect after the other. All kubelets answer a refused
Register with the gRPC status UNKNOWN, and only the text of the error shows the cause. An unknown service is answered
with UNIMPLEMENTED.
"""

from collections.abc import Mapping
from pathlib import Path

import grpc
import grpc.aio

from plugin_gateway.adapters.dialects.dialect import Dialect
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


_NOT_CONNECTED = (
    ("No such file", Failure.NO_KUBELET_SOCKET),
    ("onnection refused", Failure.NOBODY_LISTENS),
    ("Permission denied", Failure.NOT_ALLOWED),
    ("Operation not permitted", Failure.NOT_ALLOWED),
    ("Too many open files", Failure.TOO_MANY_FILES),
)
"""Parts of the texts with which gRPC says that it could not connect: the error texts of the C library."""

_GRPC_ADDRESS = "\x01\0"
"""Begins the bytes of a socket address that gRPC writes behind some texts: AF_UNIX as the machine stores it."""

_WORDS = (
    ("unsupported API version", Failure.VERSION_REFUSED),  # 1.8
    ("not supported by kubelet", Failure.VERSION_REFUSED),  # 1.9 and later
    ("ResourceName", Failure.NAME_REFUSED),
    ("failed to dial device plugin", Failure.DIAL_BACK_FAILED),  # 1.25 and later
    ("failed to get device plugin options", Failure.DIAL_BACK_FAILED),
)
"""Parts of the error texts of kubelets, in the order in which they are looked for.

1.8 has a text of its own for an unsupported version. The texts are otherwise the same in all releases. 1.25 and later
add errors of dialing back.
"""


class RegistrationClient:
    """A connection to one kubelet, used for all dialects of one registration."""

    def __init__(self, socket: Path) -> None:
        self._channel = grpc.aio.insecure_channel(f"unix:{socket}", options=_CHANNEL_OPTIONS)

    async def register(
        self, dialect: Dialect, request: bytes, deadline: float = pauses.ANSWER.seconds
    ) -> Refusal | None:
        """Send one Register. Returns None if the kubelet accepted it."""
        call: grpc.aio.UnaryUnaryMultiCallable[bytes, bytes] = self._channel.unary_unary(dialect.register_method)
        if tap.note is not None:
            tap.note("register", api_version=dialect.version, request=request)
        code, words = grpc.StatusCode.OK, ""
        try:
            await call(request, timeout=deadline)
        except grpc.aio.AioRpcError as error:
            code, words = error.code(), readable(error.details() or "")
        if tap.note is not None:
            tap.note("answered", api_version=dialect.version, request=request, code=code.name, words=words)
        return None if code is grpc.StatusCode.OK else _classify(code, words)

    async def close(self) -> None:
        """Close the connection."""
        await self._channel.close()


def _classify(code: grpc.StatusCode, words: str) -> Refusal:
    """Return the refusal for a gRPC status and error text."""
    match code:
        case grpc.StatusCode.UNIMPLEMENTED:
            return Refusal(Failure.PACKAGE_UNKNOWN, words)
        case grpc.StatusCode.DEADLINE_EXCEEDED:
            return Refusal(Failure.NO_ANSWER, words)
        case grpc.StatusCode.UNAVAILABLE:
            cause = next((failure for text, failure in _NOT_CONNECTED if text in words), None)
            return Refusal(cause) if cause is not None else Refusal(Failure.CONNECTION_LOST, words)
        case _:
            found = next((failure for text, failure in _WORDS if text in words), Failure.REFUSED)
            return Refusal(found, words)


def readable(words: str) -> str:
    """Return the text of a gRPC error without the bytes that gRPC adds, and without control characters."""
    return printable(words.partition(_GRPC_ADDRESS)[0])
