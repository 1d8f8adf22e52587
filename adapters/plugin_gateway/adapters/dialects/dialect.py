"""What a protocol adapter is: one dialect as functions between bytes and the device model.

A dialect is a value. Serving it, registering with it and choosing it know nothing of its messages.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple, Protocol, TypeVar

from google.protobuf.descriptor import FileDescriptor
from google.protobuf.message import DecodeError, Message

from plugin_gateway.core.errors import GatewayError
from plugin_gateway.core.resources.allocation import ContainerEdits
from plugin_gateway.core.resources.assignment import Advertisement
from plugin_gateway.core.resources.names import ResourceName


class Allocator(Protocol):
    """What answers a call: one resource, from memory and at once."""

    def allocate(self, ids: Sequence[str]) -> ContainerEdits:
        """Grant devices to one container, or raise AllocationError."""
        ...

    def prefer(self, available: Sequence[str], must_include: Sequence[str], size: int) -> Sequence[str]:
        """Return which of the available devices to grant."""
        ...


Call = Callable[[bytes, Allocator], bytes]
"""Answers one request."""


Request = TypeVar("Request", bound=Message)


class MalformedRequestError(GatewayError):
    """Bytes that are no message of this dialect."""


class Dialect(NamedTuple):
    """One version of the device plugin protocol."""

    version: str
    """The version string of RegisterRequest, by which a kubelet accepts or refuses it."""
    kubernetes: str
    """The releases whose kubelets speak it, for people."""
    file: FileDescriptor
    """The description of the services and messages, as reflection shows it."""
    registration: Callable[[str, ResourceName], bytes]
    """Makes the RegisterRequest for an endpoint name."""
    device_list: Callable[[Advertisement], bytes]
    """Makes one message of the ListAndWatch stream."""
    calls: Mapping[str, Call]
    """Every other method of the DevicePlugin service."""
    max_list_size: int | None = None
    """Bytes of the longest message that its kubelets take; a longer one ends the stream, again and again."""
    stream_deadline: float = 15.0
    """Seconds from an accepted Register to the stream: those of 1.10 to 1.24 allow themselves 10 s to dial."""
    forgetful_agent: str | None = None
    """How the user agent begins of the kubelets that may overlook a list of healthy devices; None where none does."""
    options_method: str | None = None
    """The method that its newer kubelets call before they answer Register; after that they open the stream at once."""
    one_resource_at_a_time: bool = False
    """Its kubelet can crash when two resources register or update at the same instant."""

    @property
    def package(self) -> str:
        """The protobuf package, the first part of every service name."""
        return self.file.package

    @property
    def service(self) -> str:
        """The service that the device plugin serves."""
        return f"{self.package}.DevicePlugin"

    @property
    def register_method(self) -> str:
        """The full name of the kubelet's Register method."""
        return f"/{self.package}.Registration/Register"


def parse(message: type[Request], data: bytes) -> Request:
    """Read a request.

    Raises:
        MalformedRequestError: it is not one.
    """
    try:
        return message.FromString(data)
    except DecodeError as error:
        raise MalformedRequestError(f"not a {message.DESCRIPTOR.full_name}") from error
