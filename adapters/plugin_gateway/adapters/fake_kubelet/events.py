"""What the fake kubelet has seen, as values."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Self

from plugin_gateway.core.errors import GatewayError
from plugin_gateway.core.resources.allocation import ContainerEdits, DeviceNode, Mount


class AdmissionError(GatewayError):
    """A pod is refused, or a container does not start. The message has the release's own words."""


class KubeletPanicError(AdmissionError):
    """A message of a plugin made the kubelet crash. It does nothing more until it is started again."""


class EventKind(Enum):
    """What happened."""

    STARTED = "kubelet started"
    STOPPED = "kubelet stopped"
    REGISTER = "Register called"
    UNKNOWN_METHOD = "call of an unknown method"
    REGISTERED = "registered"
    REGISTER_REFUSED = "registration refused"
    DIAL_BACK_FAILED = "dial-back failed"
    STREAM_OPENED = "stream opened"
    LIST = "list received"
    STREAM_ENDED = "stream ended"
    END_NOTICED = "end of the stream noticed"
    """Everything that follows from the end has been done. From 1.25 on the kubelet takes a moment for this."""
    GIVEN_UP = "resource given up"
    ALLOCATED = "allocated"


@dataclass(frozen=True, slots=True)
class Event:
    """One thing that happened."""

    kind: EventKind
    time: float
    """On the monotonic clock."""
    resource: str
    text: str


@dataclass(slots=True, kw_only=True)
class RegisterCall:
    """One call of Register, and how it was answered."""

    time: float
    """When it came, on the monotonic clock."""
    version: str
    endpoint: str
    resource: str
    error: str | None = None
    """The words of the refusal; None if it was accepted."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceList:
    """One message of a ListAndWatch stream."""

    time: float
    resource: str
    endpoint: str
    devices: tuple[tuple[str, str], ...]
    """The id and the health of each device, as the plugin sent them: an id can occur twice."""


@dataclass(frozen=True, slots=True)
class Overlap:
    """A moment at which the kubelet held two streams of one resource."""

    time: float
    resource: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What the plugin answered to Allocate for one container."""

    environment: Mapping[str, str] = field(default_factory=dict)
    mounts: Mapping[str, tuple[str, bool]] = field(default_factory=dict)
    """By path in the container: the path on the host, and whether the mount is read-only."""
    device_nodes: Mapping[str, tuple[str, str]] = field(default_factory=dict)
    """By path in the container: the path on the host, and the permissions."""
    annotations: Mapping[str, str] = field(default_factory=dict)
    cdi_devices: tuple[str, ...] = ()

    @classmethod
    def of(cls, edits: ContainerEdits) -> Self:
        """Return what a kubelet takes from an answer. If a path occurs twice, the first entry counts."""
        return cls(
            environment=dict(edits.environment),
            mounts={each.container_path: (each.host_path, each.read_only) for each in reversed(edits.mounts)},
            device_nodes={
                each.container_path: (each.host_path, each.permissions) for each in reversed(edits.device_nodes)
            },
            annotations=dict(edits.annotations),
            cdi_devices=tuple(dict.fromkeys(edits.cdi_devices)),
        )

    @property
    def edits(self) -> ContainerEdits:
        """The answer as the plugin gives it."""
        return ContainerEdits(
            environment=self.environment,
            mounts=tuple(Mount(path, host, read_only) for path, (host, read_only) in self.mounts.items()),
            device_nodes=tuple(DeviceNode(path, host, rights) for path, (host, rights) in self.device_nodes.items()),
            annotations=self.annotations,
            cdi_devices=self.cdi_devices,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Container:
    """A container as a kubelet would start it."""

    pod: str
    name: str
    resource: str
    ids: tuple[str, ...]
    answer: Answer

    @property
    def environment(self) -> Mapping[str, str]:
        """The variables that the plugin added."""
        return self.answer.environment

    @property
    def device_nodes(self) -> Mapping[str, tuple[str, str]]:
        """The device nodes that the plugin added."""
        return self.answer.device_nodes
