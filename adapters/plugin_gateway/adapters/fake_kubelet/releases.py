"""What tells one kubelet release from another, a row of data each; every cell is from the kubelet of that release."""

from dataclasses import dataclass
from enum import Enum

from plugin_gateway.core.errors import InvalidValueError

MIB = 1024 * 1024
NO_LIMIT = -1


class DialBack(Enum):
    """When the kubelet dials the endpoint that registers, and how patiently."""

    AFTER_ONCE = "after Register was answered, a single try"
    AFTER_PATIENTLY = "after Register was answered, for 10 s"
    INSIDE = "before Register is answered, for 10 s, with GetDevicePluginOptions"


class Wipe(Enum):
    """What a starting kubelet deletes in its directory."""

    ALL_BUT_CHECKPOINT = "every file but the checkpoint"
    SOCKETS = "sockets only"


class OptionsFrom(Enum):
    """Where the kubelet learns a plugin's options."""

    NOWHERE = "it knows none"
    REGISTER_KEPT = "Register; a registration without any keeps the old ones"
    ASKED = "GetDevicePluginOptions"


class SecondStream(Enum):
    """What becomes of an older stream when its resource is registered again."""

    CANCELLED_AFTER_LIST = "cancelled once the new one has listed its devices"
    CLOSED = "closed with its connection"
    KEPT_AND_FORGETFUL = "kept; when any older one ends the newest connection is closed"
    KEPT_BY_PATH = "kept, known by its path; the same path again wedges the kubelet"


class StreamEnd(Enum):
    """What becomes of the devices when the stream ends."""

    REMOVED = "removed with the resource"
    COUNT_ZERO = "removed, the resource stays with count 0"
    UNHEALTHY = "unhealthy"


@dataclass(frozen=True, slots=True, kw_only=True)
class Release:
    """One kubelet release."""

    name: str
    genuine: str
    """The release whose genuine device manager was looked at."""
    package: str
    api_version: str
    version_error: str
    """With ``{asked}`` for the version that was refused."""
    name_error: str
    """With ``{name}`` for the resource name that was refused."""
    empty_name_error: str = ""
    """Where the release has words of its own for it (1.8)."""
    strict_names: bool
    """Whether the name must also be a Kubernetes qualified name (1.10 and later)."""
    dial_back: DialBack
    options_from: OptionsFrom
    wipe: Wipe
    second_stream: SecondStream
    stream_end: StreamEnd
    unhealthy_has_capacity: bool
    counts_twice: bool
    """Whether an id listed healthy and unhealthy counts in both (1.12 and later)."""
    asks_at_every_start: bool
    """Whether Allocate is asked at each container start (1.8), or once at admission."""
    prefers: bool
    """Whether it asks for a preferred allocation (1.19 and later)."""
    admission_error: str
    unavailable: str
    no_healthy: str
    """Empty where the release has no such text."""
    no_container: str = "no containers return in allocation response"
    """What an answer without any container leads to; 1.10 and 1.11 panic."""
    authority_is_path: bool
    grpc_go: str
    list_limit: int


_V1BETA1_ERROR = 'requested API version "{asked}" is not supported by kubelet. Supported version is ["v1beta1"]'
_NAME_ERROR = 'the ResourceName "{name}" is invalid'
_UNAVAILABLE = "requested number of devices unavailable for {resource}. Requested: {wanted}, Available: {free}"
_UPDATE_FAILED = "Update plugin resources failed due to {problem}, which is unexpected."
_ALLOCATE_FAILED = "Allocate failed due to {problem}, which is unexpected"

_1_8 = Release(
    name="1.8",
    genuine="1.8.15",
    package="deviceplugin",
    api_version="0.1",
    version_error="unsupported API version by the Kubelet registry",
    name_error="the ResourceName is invalid",
    empty_name_error="invalid Empty ResourceName",
    strict_names=False,
    dial_back=DialBack.AFTER_ONCE,
    options_from=OptionsFrom.NOWHERE,
    wipe=Wipe.ALL_BUT_CHECKPOINT,
    second_stream=SecondStream.CANCELLED_AFTER_LIST,
    stream_end=StreamEnd.REMOVED,
    unhealthy_has_capacity=False,
    counts_twice=False,
    asks_at_every_start=True,
    prefers=False,
    admission_error="{problem}",
    unavailable=_UNAVAILABLE,
    no_healthy="",
    authority_is_path=True,
    grpc_go="1.3.0",
    list_limit=NO_LIMIT,
)

_1_9 = Release(
    name="1.9",
    genuine="1.9.11",
    package="deviceplugin",
    api_version="v1alpha2",
    version_error='requested API version "{asked}" is not supported by kubelet. Supported version is "v1alpha2"',
    name_error=_NAME_ERROR,
    strict_names=False,
    dial_back=DialBack.AFTER_ONCE,
    options_from=OptionsFrom.NOWHERE,
    wipe=Wipe.ALL_BUT_CHECKPOINT,
    second_stream=SecondStream.CLOSED,
    stream_end=StreamEnd.COUNT_ZERO,
    unhealthy_has_capacity=False,
    counts_twice=False,
    asks_at_every_start=False,
    prefers=False,
    admission_error=_UPDATE_FAILED,
    unavailable=_UNAVAILABLE,
    no_healthy="",
    authority_is_path=True,
    grpc_go="1.3.0",
    list_limit=NO_LIMIT,
)

_1_10 = Release(
    name="1.10",
    genuine="1.10.13",
    package="v1beta1",
    api_version="v1beta1",
    version_error='requested API version "{asked}" is not supported by kubelet. Supported versions are ["v1beta1"]',
    name_error=_NAME_ERROR,
    strict_names=True,
    dial_back=DialBack.AFTER_PATIENTLY,
    options_from=OptionsFrom.REGISTER_KEPT,
    wipe=Wipe.ALL_BUT_CHECKPOINT,
    second_stream=SecondStream.CLOSED,
    stream_end=StreamEnd.UNHEALTHY,
    unhealthy_has_capacity=True,
    counts_twice=False,
    asks_at_every_start=False,
    prefers=False,
    admission_error=_UPDATE_FAILED,
    unavailable=_UNAVAILABLE,
    no_healthy="",
    no_container="panic: runtime error: index out of range",
    authority_is_path=True,
    grpc_go="1.7.5",
    list_limit=4 * MIB,
)

_1_36 = Release(
    name="1.36",
    genuine="1.36.3",
    package="v1beta1",
    api_version="v1beta1",
    version_error=_V1BETA1_ERROR,
    name_error=_NAME_ERROR,
    strict_names=True,
    dial_back=DialBack.INSIDE,
    options_from=OptionsFrom.ASKED,
    wipe=Wipe.SOCKETS,
    second_stream=SecondStream.KEPT_AND_FORGETFUL,
    stream_end=StreamEnd.UNHEALTHY,
    unhealthy_has_capacity=True,
    counts_twice=True,
    asks_at_every_start=False,
    prefers=True,
    admission_error=_ALLOCATE_FAILED,
    unavailable=_UNAVAILABLE,
    no_healthy="no healthy devices present; cannot allocate unhealthy devices {resource}",
    authority_is_path=False,
    grpc_go="1.79.3",
    list_limit=4 * MIB,
)

_1_37 = Release(
    name="1.37",
    genuine="1.37.2",
    package="v1beta1",
    api_version="v1beta1",
    version_error=_V1BETA1_ERROR,
    name_error=_NAME_ERROR,
    strict_names=True,
    dial_back=DialBack.INSIDE,
    options_from=OptionsFrom.ASKED,
    wipe=Wipe.SOCKETS,
    second_stream=SecondStream.KEPT_BY_PATH,
    stream_end=StreamEnd.UNHEALTHY,
    unhealthy_has_capacity=True,
    counts_twice=True,
    asks_at_every_start=False,
    prefers=True,
    admission_error=_ALLOCATE_FAILED,
    unavailable=_UNAVAILABLE,
    no_healthy="no healthy devices present; cannot allocate unhealthy devices {resource}",
    authority_is_path=False,
    grpc_go="1.82.1",
    list_limit=4 * MIB,
)

RELEASES: dict[str, Release] = {row.name: row for row in (_1_8, _1_9, _1_10, _1_36, _1_37)}


def release(name: str) -> Release:
    """Find a release by its name.

    Raises:
        InvalidValueError: it is none of those there are; the message lists them.
    """
    if name not in RELEASES:
        raise InvalidValueError(f"kubelet release {name!r}, allowed are {', '.join(RELEASES)}")
    return RELEASES[name]
