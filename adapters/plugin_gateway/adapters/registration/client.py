"""One registration: the ladder of dialects, and what a kubelet's answer means."""

from collections.abc import Sequence
from enum import Enum
from pathlib import Path
from typing import NamedTuple

import grpc
import grpc.aio

from plugin_gateway.adapters.dialects.dialect import Dialect
from plugin_gateway.adapters.support.tap import tap

DEADLINE = 25.0
"""Seconds for one Register. Kubelets of 1.25 and later dial back within it, for which they allow themselves 10 s."""

_CHANNEL_OPTIONS = (
    ("grpc.default_authority", "localhost"),
    ("grpc.use_local_subchannel_pool", 1),  # or a refused connection would delay the next attempt
    ("grpc.enable_retries", 0),  # a Register is never sent twice behind our back
)


class Failure(Enum):
    """Why a registration failed."""

    NO_KUBELET_SOCKET = "no kubelet.sock"
    NOBODY_LISTENS = "kubelet.sock is there but nobody listens"
    PACKAGE_UNKNOWN = "the kubelet knows no device plugin registration: feature gate off, or package unknown"
    VERSION_REFUSED = "the kubelet refuses the API version"
    NAME_REFUSED = "the kubelet refuses the resource name"
    DIAL_BACK_FAILED = "the kubelet could not dial back"
    NO_STREAM = "registered, but the kubelet opened no stream"
    SOCKET_DELETED = "our own socket was deleted before the kubelet dialed"
    NO_ANSWER = "the kubelet did not answer in time"
    CONNECTION_LOST = "the connection to the kubelet broke"
    REFUSED = "the kubelet refused the registration"
    CANNOT_SERVE = "our own socket cannot be made"


class Refusal(NamedTuple):
    """A failed registration, with the words of the other side."""

    failure: Failure
    words: str = ""

    @property
    def asks_for_another_dialect(self) -> bool:
        """Whether the kubelet may still take an older dialect."""
        return self.failure in {Failure.PACKAGE_UNKNOWN, Failure.VERSION_REFUSED}

    @property
    def reached_nobody(self) -> bool:
        """Whether no kubelet can have seen the endpoint's name."""
        return self.failure in {Failure.NO_KUBELET_SOCKET, Failure.NOBODY_LISTENS}


_WORDS = (
    ("unsupported API version", Failure.VERSION_REFUSED),  # 1.8
    ("not supported by kubelet", Failure.VERSION_REFUSED),  # 1.9 and later
    ("ResourceName", Failure.NAME_REFUSED),
    ("failed to dial device plugin", Failure.DIAL_BACK_FAILED),  # 1.25 and later
    ("failed to get device plugin options", Failure.DIAL_BACK_FAILED),
)


def ladder(dialects: Sequence[Dialect], last: Dialect | None) -> tuple[Dialect, ...]:
    """Order the dialects for one registration: what the last kubelet took, then the newest first.

    Every wrong guess is refused with an answer of its own, so the order decides nothing but the time it takes; on 1.8
    a container that starts before the registration gets no device.
    """
    first = (last,) if last in dialects and last is not None else ()
    return (*first, *(dialect for dialect in dialects if dialect is not last))


class RegistrationClient:
    """A connection to one kubelet, for one climb of the ladder."""

    def __init__(self, socket: Path) -> None:
        self._channel = grpc.aio.insecure_channel(f"unix:{socket}", options=_CHANNEL_OPTIONS)

    async def register(self, dialect: Dialect, request: bytes, deadline: float = DEADLINE) -> Refusal | None:
        """Send one Register; None where the kubelet accepted it."""
        call: grpc.aio.UnaryUnaryMultiCallable[bytes, bytes] = self._channel.unary_unary(dialect.register_method)
        if tap.note is not None:
            tap.note("register", api_version=dialect.version, request=request)
        code, words = grpc.StatusCode.OK, ""
        try:
            await call(request, timeout=deadline)
        except grpc.aio.AioRpcError as error:
            code, words = error.code(), error.details() or ""
        if tap.note is not None:
            tap.note("answered", api_version=dialect.version, request=request, code=code.name, words=words)
        return None if code is grpc.StatusCode.OK else _classify(code, words)

    async def close(self) -> None:
        """Give the connection up."""
        await self._channel.close()


def _classify(code: grpc.StatusCode, words: str) -> Refusal:
    match code:
        case grpc.StatusCode.UNIMPLEMENTED:
            return Refusal(Failure.PACKAGE_UNKNOWN, words)
        case grpc.StatusCode.DEADLINE_EXCEEDED:
            return Refusal(Failure.NO_ANSWER, words)
        case grpc.StatusCode.UNAVAILABLE if "No such file" in words:
            return Refusal(Failure.NO_KUBELET_SOCKET)
        case grpc.StatusCode.UNAVAILABLE if "onnect" in words and "refused" in words:
            return Refusal(Failure.NOBODY_LISTENS)
        case grpc.StatusCode.UNAVAILABLE:
            return Refusal(Failure.CONNECTION_LOST, words)
        case _:
            found = next((failure for text, failure in _WORDS if text in words), Failure.REFUSED)
            return Refusal(found, words)
