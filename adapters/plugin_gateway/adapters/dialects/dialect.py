"""A dialect as a value: functions between bytes and the device model.

The code that registers, serves and selects dialects does not know their messages.
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
    """The resource that answers a call. It answers from memory, without waiting."""

    def allocate(self, ids: Sequence[str]) -> ContainerEdits:
        """Return what one container gets for these devices.

        Raises:
            AllocationError: with the ids that cannot be allocated.
        """
        ...

    def prefer(self, available: Sequence[str], must_include: Sequence[str], size: int) -> Sequence[str]:
        """Return which of the available devices the kubelet should choose."""
        ...


Call = Callable[[bytes, Allocator], bytes]
"""Answers one request: the encoded request and the resource give the encoded response."""


Request = TypeVar("Request", bound=Message)


class MalformedRequestError(GatewayError):
    """The bytes are not a message of this dialect."""


class Dialect(NamedTuple):
    """One version of the device plugin protocol."""

    version: str
    """The version string in Register. A kubelet accepts or refuses the dialect by it."""
    kubernetes: str
    """The Kubernetes releases that use the dialect, for people."""
    file: FileDescriptor
    """The protobuf description of services and messages. Server reflection shows it."""
    registration: Callable[[str, ResourceName], bytes]
    """Returns the encoded RegisterRequest for an endpoint name and a resource."""
    device_list: Callable[[Advertisement], bytes]
    """Returns one encoded message of the ListAndWatch stream."""
    calls: Mapping[str, Call]
    """The methods of the DevicePlugin service, except ListAndWatch."""
    max_list_size: int | None = None
    """Largest message of the ListAndWatch stream, in bytes. None if there is no limit.

    A larger message ends the stream, every time.
    """
    stream_deadline: float = 15.0
    """Seconds from an accepted Register to the stream. Kubelets of 1.10 to 1.24 dial for up to 10 s."""
    forgetful_agent: str | None = None
    """How the user agent of kubelets begins that may ignore a list of healthy devices.

    None if no kubelet of this dialect does so. See `UnhealthyFirst`.
    """
    options_method: str | None = None
    """The method that kubelets of 1.25 and later call before they answer Register.

    They open the stream at once after that. None if no kubelet of this dialect does so.
    """
    one_resource_at_a_time: bool = False
    """Whether a kubelet can crash if two resources register or change at the same instant."""

    @property
    def package(self) -> str:
        """The protobuf package. Every service name begins with it."""
        return self.file.package

    @property
    def service(self) -> str:
        """The full name of the service of the device plugin."""
        return f"{self.package}.DevicePlugin"

    @property
    def register_method(self) -> str:
        """The path of the kubelet's Register method."""
        return f"/{self.package}.Registration/Register"


def parse(message: type[Request], data: bytes) -> Request:
    """Return the decoded request.

    Raises:
        MalformedRequestError: the bytes are not such a message.
    """
    try:
        return message.FromString(data)
    except DecodeError as error:
        raise MalformedRequestError(f"not a {message.DESCRIPTOR.full_name}") from error
