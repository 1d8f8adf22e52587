"""The fake kubelet's Registration service: it has one method, and refuses every other in the words of grpc-go."""

import re
from collections.abc import Awaitable, Callable
from typing import Any

import grpc
import grpc.aio

from plugin_gateway.adapters.dialects.dialect import RegisterRequest
from plugin_gateway.adapters.fake_kubelet.decoding import UnreadableError, readable
from plugin_gateway.adapters.fake_kubelet.releases import Release

_QUALIFIED = re.compile(
    r"(?=.{1,253}/)[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*"
    r"/[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?"
)
MAX_REQUEST = 4 * 1024 * 1024
_OLD_OPAQUE = "pod.alpha.kubernetes.io/opaque-int-resource-"

Register = Callable[[RegisterRequest], Awaitable[str | None]]
"""Takes a registration; returns the words of the refusal, or None if it is accepted."""


class RegistrationService(grpc.GenericRpcHandler):
    """Answers Register under the name that the service has in this release."""

    def __init__(self, kubelet: Release, register: Register, unknown: Callable[[str], None]) -> None:
        self._service = f"{kubelet.package}.Registration"
        self._kubelet = kubelet
        self._unknown_method = kubelet.unknown_method
        self._register = register
        self._unknown = unknown

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> Any:
        """Return the handler for a call. For an unknown method it is one that refuses as grpc-go does."""
        service, _, method = handler_call_details.method.lstrip("/").rpartition("/")
        if service != self._service or method != "Register":
            self._unknown(handler_call_details.method)
        if service != self._service:
            return _refusing(f"unknown service {service}")
        if method != "Register":
            return _refusing(self._unknown_method.format(method=method, service=service))
        return grpc.unary_unary_rpc_method_handler(self._answer)

    async def _answer(self, data: bytes, context: Any) -> bytes:
        if len(data) > MAX_REQUEST:
            code, _, words = self._kubelet.large_register.format(size=len(data), limit=MAX_REQUEST).partition(" ")
            await context.abort(grpc.StatusCode[code], words)
        try:
            dialect = self._kubelet.dialect
            request = dialect.read_registration(readable(data, dialect.register_type, self._kubelet))
        except UnreadableError as error:
            detail = str(error).removeprefix("grpc: failed to unmarshal the received message").lstrip(": ")
            await context.abort(grpc.StatusCode.INTERNAL, f"grpc: error unmarshalling request: {detail}")
            raise
        refusal = await self._register(request)
        if refusal is not None:
            await context.abort(grpc.StatusCode.UNKNOWN, refusal)
        return b""


def _refusing(words: str) -> Any:
    async def refuse(_request: bytes, context: Any) -> None:
        await context.abort(grpc.StatusCode.UNIMPLEMENTED, words)

    return grpc.unary_unary_rpc_method_handler(refuse)


def refusal(kubelet: Release, request: RegisterRequest) -> str | None:
    """Return the words in which the release refuses the version or the name; None if it accepts both."""
    if request.version != kubelet.api_version:
        return kubelet.version_error.format(asked=_escaped(request.version))
    name = request.resource_name
    if not name and kubelet.empty_name_error:
        return kubelet.empty_name_error
    if not is_valid(kubelet, name):
        return kubelet.name_error.format(name=_escaped(name))
    return None


def _escaped(text: str) -> str:
    """Return the text as Go's %q writes it between the quotes."""
    known = {'"': '\\"', "\\": "\\\\", "\n": "\\n", "\r": "\\r", "\t": "\\t"}
    return "".join(known.get(each) or (each if each.isprintable() else f"\\x{ord(each):02x}") for each in text)


def is_valid(kubelet: Release, name: str) -> bool:
    """Return whether the release accepts a resource of this name."""
    if not kubelet.strict_names:
        return ("/" in name and "kubernetes.io/" not in name) or (kubelet.takes_opaque and name.startswith(_OLD_OPAQUE))
    return (
        "kubernetes.io/" not in name
        and not name.startswith("requests.")
        and _QUALIFIED.fullmatch(f"requests.{name}") is not None
    )
