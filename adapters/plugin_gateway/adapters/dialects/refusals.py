"""Refusals as gRPC carries them: those of a kubelet, which the gateway reads, and its own, which the kubelet reads.

A kubelet accepts exactly one dialect, so the gateway tries one dialect after the other. All kubelets answer a refused
Register with the gRPC status UNKNOWN, and only the text of the error shows the cause. An unknown service is answered
with UNIMPLEMENTED.
"""

from plugin_gateway.adapters.dialects.dialect import MalformedMessageError
from plugin_gateway.core.errors import AllocationError, UnhealthyDeviceError
from plugin_gateway.core.registration.failures import Failure, Refusal

REFUSED = (MalformedMessageError, AllocationError)
"""The errors with which a request of the kubelet is refused. From 1.9 on, the status of the pod shows the text."""

STATUS_NAMES = frozenset(
    ("OK", "CANCELLED", "UNKNOWN", "INVALID_ARGUMENT", "DEADLINE_EXCEEDED", "NOT_FOUND", "ALREADY_EXISTS",
     "PERMISSION_DENIED", "RESOURCE_EXHAUSTED", "FAILED_PRECONDITION", "ABORTED", "OUT_OF_RANGE", "UNIMPLEMENTED",
     "INTERNAL", "UNAVAILABLE", "DATA_LOSS", "UNAUTHENTICATED")
)  # fmt: skip
"""The names of all statuses of gRPC."""

_NOT_CONNECTED = (
    ("No such file", Failure.NO_KUBELET_SOCKET),
    ("onnection refused", Failure.NOBODY_LISTENS),
    ("Permission denied", Failure.NOT_ALLOWED),
    ("Operation not permitted", Failure.NOT_ALLOWED),
    ("Too many open files", Failure.TOO_MANY_FILES),
)
"""Parts of the texts with which gRPC says that it could not connect: the error texts of the C library."""

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


def read_refusal(code: str, words: str) -> Refusal | None:
    """Return what a kubelet answered to Register: None if it accepted. ``code`` is the name of the gRPC status."""
    match code:
        case "OK":
            return None
        case "UNIMPLEMENTED":
            return Refusal(Failure.PACKAGE_UNKNOWN, words)
        case "DEADLINE_EXCEEDED":
            return Refusal(Failure.NO_ANSWER, words)
        case "UNAVAILABLE":
            cause = next((failure for text, failure in _NOT_CONNECTED if text in words), None)
            return Refusal(cause) if cause is not None else Refusal(Failure.CONNECTION_LOST, words)
        case _:
            found = next((failure for text, failure in _WORDS if text in words), Failure.REFUSED)
            return Refusal(found, words)


def status_of(error: Exception) -> tuple[str, str]:
    """Return the name of the gRPC status, and the text, with which a call ends after an error."""
    if isinstance(error, UnhealthyDeviceError):
        return "FAILED_PRECONDITION", str(error)
    if isinstance(error, REFUSED):
        return "INVALID_ARGUMENT", str(error)
    return "INTERNAL", "internal error of plugin-gateway, see its log"
