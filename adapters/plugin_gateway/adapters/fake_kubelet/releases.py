"""What tells one kubelet release from another: for each trait, since which release it is what."""

import re
from dataclasses import dataclass
from enum import Enum
from typing import TypeVar

from plugin_gateway.core.errors import InvalidValueError

MIB = 1024 * 1024
NO_LIMIT = -1
_NAME = re.compile(r"1\.([1-9]\d?)(?:\.(0|[1-9]\d?))?")
_Value = TypeVar("_Value")


class DialBack(Enum):
    """When the kubelet dials the endpoint that registers, and how patiently."""

    AFTER_ONCE = "after Register was answered, a single try"
    AFTER_PATIENTLY = "after Register was answered, for 10 s"
    INSIDE = "before Register is answered, for 10 s, with GetDevicePluginOptions"


class Wipe(Enum):
    """What a starting kubelet deletes in its directory; never a folder, nor the checkpoint."""

    FILES = "every file, and links to one"
    FILES_AND_LINKS = "every file, and every link"
    SOCKETS = "sockets, and links to one"


class OptionsFrom(Enum):
    """Where the kubelet learns a plugin's options."""

    NOWHERE = "it knows none"
    REGISTER_KEPT = "Register; a registration without any keeps the old ones"
    REGISTER = "this Register"
    ASKED = "GetDevicePluginOptions"


class SecondStream(Enum):
    """What becomes of an older stream when its resource is registered again."""

    CANCELLED_AFTER_LIST = "cancelled once the new one has listed its devices"
    CLOSED = "closed with its connection"
    KEPT = "kept, and what it lists counts until it ends"
    KEPT_AND_FORGETFUL = "kept; when any older one ends the newest connection is closed"
    KEPT_BY_PATH = "kept, known by its path; the same path again wedges the kubelet"


class Restored(Enum):
    """What a kubelet that starts again makes of the resources in its checkpoint."""

    NOTHING = "it knows none"
    DEVICES = "their devices, as they were"
    STOPPED = "stopped resources without devices"


class StreamEnd(Enum):
    """What becomes of the devices when the stream ends."""

    ITS_OWN = "removed, as far as the endpoint itself listed them"
    REMOVED = "removed with the resource"
    COUNT_ZERO = "removed, the resource stays with count 0"
    UNHEALTHY = "unhealthy"


@dataclass(frozen=True, slots=True, kw_only=True)
class Release:
    """One kubelet release."""

    name: str
    package: str
    api_version: str
    version_error: str
    """With ``{asked}`` for the version that was refused."""
    name_error: str
    """With ``{name}`` for the resource name that was refused."""
    empty_name_error: str
    """Where the release has words of its own for it (1.8)."""
    strict_names: bool
    """Whether the name must also be a Kubernetes qualified name (1.10 and later)."""
    dial_back: DialBack
    options_from: OptionsFrom
    wipe: Wipe
    second_stream: SecondStream
    stream_end: StreamEnd
    restored: Restored
    unhealthy_has_capacity: bool
    counts_twice: bool
    """Whether an id listed healthy and unhealthy counts in both (1.12 and later)."""
    asks_at_every_start: bool
    """Whether devices are chosen and Allocate asked at each container start (1.8), or once at admission."""
    prefers: bool
    """Whether it asks for a preferred allocation (1.19 and later)."""
    fails_unknown: bool
    """Whether a container does not start while no plugin offers what it wants (1.8.0)."""
    misses_unknown: bool
    """Whether a pod that wants what no plugin offers is refused (to 1.9)."""
    zero_is_unknown: bool
    """Whether a resource without healthy devices is one that the kubelet does not know (1.8)."""
    takes_cdi: bool
    """Whether CDI names reach the container runtime (1.29 and later, without a feature gate)."""
    admission_error: str
    """With ``{problem}``."""
    no_healthy: str
    """What a pod is told where no device is healthy; empty where the release has no such text."""
    grace: bool
    """Whether a resource whose stream ended is kept for a while (1.9.7 and later)."""
    gone_stays: bool
    """Whether the node goes on saying that it has none of what was given up then (1.10 and later)."""
    unregistered: str
    """What a pod is told that wants what was given up while another pod has some of it."""
    unregistered_start: str
    """What a container meets then that starts again; empty where it starts."""
    outlives_caller: bool
    """Whether a Register goes on although the plugin gave it up (1.25 to 1.34)."""
    end_noticed_after: float
    """Seconds from the end of a stream to what follows from it, in which a new registration is mistaken for the old.

    With genuine ones it is a matter of chance in up to one of ten tries; here it always goes wrong (1.25 and later)."""
    takes_any_bytes: bool
    """Whether an id that is not UTF-8 is taken as it is (to 1.34.3); later it ends the stream."""
    undecodable: str
    """What an answer leads to that is no message."""
    no_container: str
    """What an answer without any container leads to."""
    bad_utf8: str
    """The same for one whose strings are not UTF-8; empty where any bytes will do."""
    closing: str
    """Code and words of a call that the end of the connection cuts off; 1.8 keeps the connection until then."""
    panics_on_vanished: bool
    """Whether a list without a device that is being allocated ends the kubelet (1.34 and later)."""
    large_register: str
    """With ``{size}`` and ``{limit}``: code and words for a Register that is too large."""
    takes_opaque: bool
    """Whether the old names of opaque integer resources are taken (1.8)."""
    panics: bool
    """Whether such an answer ends the kubelet (1.10 and 1.11)."""
    unknown_method: str
    """With ``{method}`` and ``{service}``."""
    forgets_health: bool
    """The bug of 1.9.7 and 1.10.0 to 1.10.2: devices that a plugin lists as healthy when it registers again are not."""
    authority_is_path: bool
    grpc_go: str
    list_limit: int


Version = tuple[int, int]
"""What comes after the 1, and the patch."""
OLDEST, NEWEST = 8, 37
_LAST_PATCH = 999
"""What a release without a patch stands for: the last one."""

LOST = "previously allocated devices are no longer healthy; cannot allocate unhealthy devices {resource}"
UNAVAILABLE = "requested number of devices unavailable for {resource}. Requested: {wanted}, Available: {free}"
NOT_ENOUGH = "Node didn't have enough resource: {resource}, requested: {wanted}, used: {used}, capacity: {capacity}"
_NOT_SUPPORTED = 'requested API version "{asked}" is not supported by kubelet. '
_UNREADABLE = "grpc: failed to unmarshal the received message: "
_NO_CONTAINER = "no containers return in allocation response "
_GRPC_GO = {
    (8, 0): "1.3.0",
    (10, 0): "1.7.5",
    (13, 0): "1.13.0",
    (16, 0): "1.23.0",
    (17, 0): "1.23.1",
    (18, 0): "1.26.0",
    (19, 0): "1.27.0",
    (20, 0): "1.27.1",
    (22, 0): "1.38.0",
    (23, 0): "1.40.0",
    (25, 0): "1.47.0",
    (26, 0): "1.49.0",
    (27, 0): "1.51.0",
    (28, 0): "1.54.0",
    (29, 0): "1.58.3",
    (31, 0): "1.65.0",
    (33, 0): "1.68.1",
    (34, 0): "1.72.1",
    (35, 0): "1.72.2",
    (36, 0): "1.79.3",
    (37, 0): "1.82.1",
}
_FORGETFUL = {(9, 7), (10, 0), (10, 1), (10, 2)}


def _release(name: str, version: Version) -> Release:
    def since(*values: tuple[Version, _Value]) -> _Value:
        return [value for first, value in values if first <= version][-1]

    always = (OLDEST, 0)
    return Release(
        name=name,
        package=since((always, "deviceplugin"), ((10, 0), "v1beta1")),
        api_version=since((always, "0.1"), ((9, 0), "v1alpha2"), ((10, 0), "v1beta1")),
        version_error=since(
            (always, "unsupported API version by the Kubelet registry"),
            ((9, 0), _NOT_SUPPORTED + 'Supported version is "v1alpha2"'),
            ((10, 0), _NOT_SUPPORTED + 'Supported versions are ["v1beta1"]'),
            ((12, 0), _NOT_SUPPORTED + 'Supported version is ["v1beta1"]'),
        ),
        name_error=since((always, "the ResourceName is invalid"), ((9, 0), 'the ResourceName "{name}" is invalid')),
        empty_name_error=since((always, "invalid Empty ResourceName"), ((9, 0), "")),
        strict_names=version >= (10, 0),
        dial_back=since((always, DialBack.AFTER_ONCE), ((10, 0), DialBack.AFTER_PATIENTLY), ((25, 0), DialBack.INSIDE)),
        options_from=since(
            (always, OptionsFrom.NOWHERE),
            ((10, 0), OptionsFrom.REGISTER_KEPT),
            ((12, 0), OptionsFrom.REGISTER),
            ((25, 0), OptionsFrom.ASKED),
        ),
        wipe=since((always, Wipe.FILES), ((21, 0), Wipe.FILES_AND_LINKS), ((33, 0), Wipe.SOCKETS)),
        second_stream=since(
            (always, SecondStream.CANCELLED_AFTER_LIST),
            ((9, 0), SecondStream.CLOSED),
            ((12, 0), SecondStream.KEPT),
            ((25, 0), SecondStream.KEPT_AND_FORGETFUL),
            ((37, 0), SecondStream.KEPT_BY_PATH),
        ),
        stream_end=since(
            (always, StreamEnd.ITS_OWN),
            ((9, 0), StreamEnd.REMOVED),
            ((9, 7), StreamEnd.COUNT_ZERO),
            ((10, 0), StreamEnd.UNHEALTHY),
        ),
        restored=since((always, Restored.NOTHING), ((9, 0), Restored.DEVICES), ((9, 7), Restored.STOPPED)),
        unhealthy_has_capacity=version >= (10, 0),
        counts_twice=version >= (12, 0),
        asks_at_every_start=version < (9, 0),
        prefers=version >= (19, 0),
        fails_unknown=version == (8, 0),
        misses_unknown=version < (10, 0),
        zero_is_unknown=version < (9, 0),
        takes_cdi=version >= (29, 0),
        admission_error=since(
            (always, "{problem}"),
            ((9, 0), "Update plugin resources failed due to {problem}, which is unexpected."),
            ((18, 0), "Allocate failed due to {problem}, which is unexpected"),
        ),
        no_healthy=since(
            (always, ""), ((25, 0), "no healthy devices present; cannot allocate unhealthy devices {resource}")
        ),
        grace=version >= (9, 7),
        gone_stays=version >= (10, 0),
        unregistered=since(
            (always, "can't allocate unregistered device {resource}"),
            ((25, 0), "cannot allocate unregistered device {resource}"),
        ),
        unregistered_start=since(
            (always, ""), ((12, 0), "endpoint not found in cache for a registered resource: {resource}")
        ),
        outlives_caller=(25, 0) <= version < (35, 0),
        end_noticed_after=since((always, 0.0), ((25, 0), 0.03)),
        takes_any_bytes=version < (34, 4),
        undecodable=since(
            (always, "grpc: failed to unmarshal the received message unexpected EOF"),
            ((34, 4), _UNREADABLE + "proto: cannot parse invalid wire-format data"),
        ),
        bad_utf8=since((always, ""), ((34, 4), _UNREADABLE + "string field contains invalid UTF-8")),
        closing=since(
            (always, "Internal desc = transport is closing"),
            ((10, 0), "Unavailable desc = transport is closing"),
            ((22, 0), "Canceled desc = grpc: the client connection is closing"),
        ),
        panics_on_vanished=version >= (34, 0),
        large_register=since(
            (always, "INTERNAL grpc: received message length {size} exceeding the max size {limit}"),
            ((10, 0), "RESOURCE_EXHAUSTED grpc: received message larger than max ({size} vs. {limit})"),
        ),
        takes_opaque=version < (9, 0),
        no_container=since(
            (always, ""),
            ((12, 0), "No containers return in allocation response &AllocateResponse{ContainerResponses:[],}"),
            ((17, 0), f"{_NO_CONTAINER}&AllocateResponse{{ContainerResponses:[]*ContainerAllocateResponse{{}},}}"),
            ((34, 0), _NO_CONTAINER),
        ),
        panics=(10, 0) <= version < (12, 0),
        unknown_method=since(
            (always, "unknown method {method}"), ((16, 0), "unknown method {method} for service {service}")
        ),
        forgets_health=version in _FORGETFUL,
        authority_is_path=version < (26, 0),
        grpc_go=since(*_GRPC_GO.items()),
        list_limit=since((always, NO_LIMIT), ((10, 0), 4 * MIB)),
    )


RELEASES: dict[str, Release] = {
    f"1.{minor}": _release(f"1.{minor}", (minor, _LAST_PATCH)) for minor in range(OLDEST, NEWEST + 1)
}


def release(name: str) -> Release:
    """Find a release by its name, with or without a patch.

    Raises:
        InvalidValueError: it is none of those there are; the message lists them.
    """
    form = _NAME.fullmatch(name)
    if form is None or f"1.{form[1]}" not in RELEASES:
        raise InvalidValueError(
            f"kubelet release {name!r}, allowed are 1.{OLDEST} to 1.{NEWEST}, with a patch or without, such as 1.9.7"
        )
    return _release(name, (int(form[1]), int(form[2]))) if form[2] else RELEASES[name]
