"""A dialect as a value: functions between bytes and plain values.

The code that registers, serves and selects dialects does not know their messages.
"""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Generic, NamedTuple, TypeVar

from plugin_gateway.adapters.support.lean_imports import Later, deferred
from plugin_gateway.core.errors import GatewayError
from plugin_gateway.core.registration.values import Manners
from plugin_gateway.core.resources.allocation import ContainerEdits, DeviceNode, Edit, Mount
from plugin_gateway.core.resources.assignment import Advertisement
from plugin_gateway.core.resources.names import ResourceName
from plugin_gateway.core.resources.preference import PreferenceRequest

if TYPE_CHECKING:
    from google.protobuf import message as protobuf_message
    from google.protobuf import message_factory
    from google.protobuf.descriptor import FileDescriptor
else:  # they take a tenth of the time until Register, which is sent without them
    protobuf_message = Later("google.protobuf.message")
    message_factory = Later("google.protobuf.message_factory")

UNUSED_PARTS = ("google.protobuf.internal.python_edition_defaults", "google.protobuf.internal.python_message")
"""What protobuf imports for a form of itself that is not compiled, and that nobody uses."""
KUBELET_AGENT = "grpc-go/"
"""How the user agent of every kubelet begins.

Kubelets use grpc-go without an own name. The user agents of grpcurl and of Python clients begin differently.
"""
_GRPC_GO = re.compile(r"grpc-go/(\d{1,3})\.(\d{1,3})\.", re.ASCII)
Ids = tuple[str, ...]
"""The device ids of one container."""
Request = TypeVar("Request")
Answer = TypeVar("Answer")
_Message = TypeVar("_Message", bound="protobuf_message.Message")


class MalformedMessageError(GatewayError):
    """The bytes are not a message of this dialect."""


class PluginOptions(NamedTuple):
    """Which optional calls a plugin wants. The fields have the names of the protocol."""

    pre_start_required: bool = False
    get_preferred_allocation_available: bool = False


NO_OPTIONS = PluginOptions()
OPTIONS = PluginOptions(get_preferred_allocation_available=True)
"""The options of every resource of this gateway."""


class RegisterRequest(NamedTuple):
    """A registration as the kubelet reads it. The fields have the names of the protocol."""

    version: str
    endpoint: str
    resource_name: str
    options: PluginOptions | None = None
    """None if the dialect has no options, or the plugin sent none."""


class ListedDevice(NamedTuple):
    """One device of a list as the kubelet reads it."""

    id: str
    health: str
    numa_nodes: tuple[int, ...] = ()


class Method(NamedTuple, Generic[Request, Answer]):
    """One call of the plugin's service: how its two messages are read and written.

    Both reading functions raise MalformedMessageError.
    """

    name: str
    """The name of the method in the service."""
    read_request: Callable[[bytes], Request]
    write_answer: Callable[[Answer], bytes]
    write_request: Callable[[Request], bytes]
    """For the kubelet's side."""
    read_answer: Callable[[bytes], Answer]
    """For the kubelet's side."""


class Dialect(NamedTuple):
    """One version of the device plugin protocol."""

    version: str
    """The version string in Register. A kubelet accepts or refuses the dialect by it."""
    kubernetes: str
    """The Kubernetes releases that use the dialect, for people."""
    package: str
    """The protobuf package. Every service name begins with it."""
    describe: "Callable[[], FileDescriptor]"
    """Returns the protobuf description of services and messages, and imports them. Use `file` to read it."""
    carries: frozenset[Edit]
    """The kinds of edits that an answer to Allocate can have. Everything else in an answer is not written."""
    registration: Callable[[str, ResourceName], bytes]
    """Returns the encoded RegisterRequest for an endpoint name and a resource. The other messages can be imported when
    it was sent."""
    read_registration: Callable[[bytes], RegisterRequest]
    """For the kubelet's side. Raises MalformedMessageError."""
    device_list: Callable[[Advertisement], bytes]
    """Returns one encoded message of the ListAndWatch stream."""
    read_list: Callable[[bytes], tuple[ListedDevice, ...]]
    """For the kubelet's side. Raises MalformedMessageError."""
    allocation: Method[Sequence[Ids], Sequence[ContainerEdits]]
    """The request has the ids of each container, the answer what each gets."""
    preference: Method[Sequence[PreferenceRequest], Sequence[Sequence[str]]] | None = None
    """One of the three methods that not every dialect has. The answer has the ids to choose for each container."""
    options: Method[None, PluginOptions] | None = None
    """Kubelets of 1.25 and later call it before they answer Register. They open the stream at once after that."""
    pre_start: Method[Ids, None] | None = None
    max_list_size: int | None = None
    """Largest message of the ListAndWatch stream, in bytes. None if there is no limit.

    A larger message ends the stream, every time.
    """
    stream_timeout: float = 15.0
    """Seconds from an accepted Register to the stream. Kubelets of 1.10 to 1.24 dial for up to 10 s."""
    forgetful_agent: str | None = None
    """How the user agent of kubelets begins that may ignore a list of healthy devices.

    None if no kubelet of this dialect does so. See `UnhealthyFirst`.
    """
    one_resource_at_a_time: bool = False
    """Whether a kubelet can crash if two resources register or change at the same instant."""

    carried_since: Mapping[Edit, tuple[int, int]] = {}
    """The release of grpc-go from which on kubelets know an edit. Older kubelets drop it without a word."""

    def carries_to(self, user_agent: str | None) -> frozenset[Edit]:
        """Return the edits that reach the containers of a kubelet with this user agent. None if it is not known."""
        found = _GRPC_GO.match(user_agent or "")
        if found is None or not self.carried_since:
            return self.carries
        release = int(found[1]), int(found[2])
        return frozenset(each for each in self.carries if self.carried_since.get(each, release) <= release)

    @property
    def manners(self) -> Manners:
        """How kubelets of this dialect behave during a registration."""
        return Manners(
            version=self.version,
            stream_timeout=self.stream_timeout,
            dials_before_answer=self.options is not None,
            one_resource_at_a_time=self.one_resource_at_a_time,
        )

    @property
    def options_method(self) -> str | None:
        """The name of the method in `options`. None if the dialect has none."""
        return self.options.name if self.options is not None else None

    @property
    def file(self) -> "FileDescriptor":
        """The protobuf description of services and messages. Server reflection shows it."""
        return self.describe()

    def prepare(self) -> None:
        """Import what the calls of the kubelet need, which do not have to wait for it then."""
        with deferred(*UNUSED_PARTS):
            self.describe()

    @property
    def service(self) -> str:
        """The full name of the service of the device plugin."""
        return f"{self.package}.DevicePlugin"

    @property
    def register_method(self) -> str:
        """The path of the kubelet's Register method."""
        return f"/{self.package}.Registration/Register"

    @property
    def register_type(self) -> "type[protobuf_message.Message]":
        """The class of RegisterRequest, for tools that show messages."""
        described = self.file.services_by_name["Registration"].methods_by_name["Register"]
        return message_factory.GetMessageClass(described.input_type)

    def answers(
        self,
        allocate: Callable[[Sequence[Ids]], Sequence[ContainerEdits]],
        prefer: Callable[[PreferenceRequest], Sequence[str]],
    ) -> Iterator[tuple[str, Callable[[bytes], bytes]]]:
        """Yield the name of each method but ListAndWatch, and what makes its encoded answer from its encoded request.

        ``allocate`` returns what the containers of a request get, ``prefer`` the ids to choose for one container.
        """
        yield _answering(self.allocation, allocate)
        if self.preference is not None:
            yield _answering(self.preference, lambda containers: [prefer(each) for each in containers])
        if self.options is not None:
            yield _answering(self.options, lambda _: OPTIONS)
        if self.pre_start is not None:  # kubelets do not call it, because the options do not ask for it
            yield _answering(self.pre_start, lambda _: None)

    def fitting_list(self, advertisement: Advertisement) -> tuple[bytes, int]:
        """Return the encoded device list, and how many of the last devices are left out because it is too long.

        A kubelet of 1.10 or later ends the stream after a message of more than 4 MiB, and then no device is available.
        """
        data, listed = self.device_list(advertisement), advertisement
        while self.max_list_size is not None and len(data) > self.max_list_size:
            fitting = len(listed.offered) * self.max_list_size // len(data)
            listed = replace(listed, offered=listed.offered[: min(fitting, len(listed.offered) - 1)])
            data = self.device_list(listed)
        return data, len(advertisement.offered) - len(listed.offered)

    def answer_type(self, method: str) -> "type[protobuf_message.Message] | None":
        """Return the class of a method's answer, for tools that show messages. None if there is no such method."""
        described = self.file.services_by_name["DevicePlugin"].methods_by_name.get(method)
        return None if described is None else message_factory.GetMessageClass(described.output_type)


def _answering(
    method: Method[Request, Answer], decide: Callable[[Request], Answer]
) -> tuple[str, Callable[[bytes], bytes]]:
    read, write = method.read_request, method.write_answer
    return method.name, lambda request: write(decide(read(request)))


def parse(message: type[_Message], data: bytes) -> _Message:
    """Return the decoded message.

    Raises:
        MalformedMessageError: the bytes are not such a message.
    """
    try:
        return message.FromString(data)
    except protobuf_message.DecodeError as error:
        raise MalformedMessageError(f"not a {message.DESCRIPTOR.full_name}") from error


def write_edits(edits: ContainerEdits, message: Any) -> None:
    """Write what every dialect carries into its message for one container."""
    envs, add_mount, add_device = message.envs, message.mounts.add, message.devices.add
    for name, value in edits.environment.items():
        envs[name] = value
    for container_path, host_path, read_only in edits.mounts:
        add_mount(container_path=container_path, host_path=host_path, read_only=read_only)
    for container_path, host_path, permissions in edits.device_nodes:
        add_device(container_path=container_path, host_path=host_path, permissions=permissions)


def read_edits(message: Any) -> ContainerEdits:
    """Return what `write_edits` wrote."""
    return ContainerEdits(
        environment=dict(message.envs),
        mounts=tuple(Mount(each.container_path, each.host_path, each.read_only) for each in message.mounts),
        device_nodes=tuple(
            DeviceNode(each.container_path, each.host_path, each.permissions) for each in message.devices
        ),
    )
