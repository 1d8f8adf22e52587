"""How kubelet releases differ: for each trait, the values that it has had and the release in which each began.

A device plugin meets four kinds of kubelet.

Kubelets of 1.8 and 1.9 each have a dialect of their own. They answer Register at once and dial the plugin afterwards.
They try once, and the plugin is not told if this fails. An unhealthy device is not counted at all. When the stream
ends, its devices are removed. 1.8 chooses devices and calls Allocate at each start of a container; all later kubelets
do this once, when they admit the pod.

Kubelets of 1.10 and later share the dialect v1beta1. Those of 1.10 to 1.24 still answer Register at once, but then try
for 10 s to dial the plugin. An unhealthy device still counts in the node's capacity, but is not allocatable. When the
stream ends, all devices become unhealthy, and the kubelet gives the resource up if no plugin registers it again within
five minutes. When a resource is registered a second time, 1.9 to 1.11 close the first connection. From 1.12 on the
first connection stays, and the last list from either of them counts.

Kubelets of 1.25 to 1.36 dial the plugin and ask for its options before they answer Register, so that the plugin learns
of a failure from the answer. They know only the newest connection of a resource. If two streams are open and the older
one ends, they close the newer one. They also take a moment to notice the end of a stream, and a Register in this
moment goes wrong.

The kubelet of 1.37 knows its connections by the path of their socket. Several of one resource can live side by side,
and the end of one harms no other. But if a path is registered while the kubelet still holds a connection to it, the
kubelet refuses the Register, and from then on it does not notice the end of this connection until it is restarted.
"""

import re
from dataclasses import dataclass
from enum import Enum
from typing import TypeVar

from plugin_gateway.adapters.dialects import dialect_of
from plugin_gateway.adapters.dialects.dialect import Dialect
from plugin_gateway.adapters.fake_kubelet.checkpoint import Layout
from plugin_gateway.core.errors import InvalidValueError

MIB = 1024 * 1024
NO_LIMIT = -1
_NAME = re.compile(r"1\.([1-9]\d?)(?:\.(0|[1-9]\d?))?")
_Value = TypeVar("_Value")


class DialBack(Enum):
    """When the kubelet dials an endpoint that registers, and how long it tries."""

    AFTER_ONCE = "after Register was answered, a single try"
    AFTER_PATIENTLY = "after Register was answered, for 10 s"
    INSIDE = "before Register is answered, for 10 s, with GetDevicePluginOptions"


class Wipe(Enum):
    """What a kubelet deletes in its directory when it starts. It never deletes a folder, nor the checkpoint."""

    FILES = "every file, and links to one"
    FILES_AND_LINKS = "every file, and every link"
    SOCKETS = "sockets, and links to one"


class OptionsFrom(Enum):
    """From where the kubelet learns a plugin's options."""

    NOWHERE = "it knows none"
    REGISTER_KEPT = "Register; a registration without any keeps the old ones"
    REGISTER = "this Register"
    ASKED = "GetDevicePluginOptions"


class SecondStream(Enum):
    """What happens to an older stream when its resource is registered again."""

    CANCELLED_AFTER_LIST = "cancelled once the new one has listed its devices"
    CLOSED = "closed with its connection"
    KEPT = "kept, and what it lists counts until it ends"
    KEPT_AND_FORGETFUL = "kept; when any older one ends the newest connection is closed"
    KEPT_BY_PATH = "kept, known by its path; the same path again wedges the kubelet"


class Restored(Enum):
    """What a kubelet knows after a restart about the resources in its checkpoint."""

    NOTHING = "it knows none"
    DEVICES = "their devices, as they were"
    STOPPED = "stopped resources without devices"


class StreamEnd(Enum):
    """What happens to the devices when the stream ends."""

    ITS_OWN = "removed, as far as the endpoint itself listed them"
    REMOVED = "removed with the resource"
    COUNT_ZERO = "removed, the resource stays with count 0"
    UNHEALTHY = "unhealthy"


@dataclass(frozen=True, slots=True, kw_only=True)
class Release:
    """One kubelet release."""

    name: str
    api_version: str
    """The version string of its dialect."""
    version_error: str
    """With ``{asked}`` for the version that was refused."""
    name_error: str
    """With ``{name}`` for the resource name that was refused."""
    empty_name_error: str
    """The refusal of an empty name, if the release has words of its own for it (1.8)."""
    strict_names: bool
    """Whether the name must also be a Kubernetes qualified name (1.10 and later)."""
    dial_back: DialBack
    options_from: OptionsFrom
    wipe: Wipe
    second_stream: SecondStream
    stream_end: StreamEnd
    restored: Restored
    checkpoint: Layout
    unhealthy_has_capacity: bool
    counts_twice: bool
    """Whether an id that is listed both as healthy and as unhealthy is counted twice (1.12 and later)."""
    asks_at_every_start: bool
    """Whether it chooses devices and calls Allocate at each start of a container (1.8), or once, at admission."""
    prefers: bool
    """Whether it calls GetPreferredAllocation (1.19 and later)."""
    fails_unknown: bool
    """Whether the start of a container fails while no plugin offers what it wants (1.8.0)."""
    misses_unknown: bool
    """Whether a pod is refused if it wants something that no plugin offers (up to 1.9)."""
    zero_is_unknown: bool
    """Whether the kubelet treats a resource without healthy devices as unknown (1.8)."""
    takes_cdi: bool
    """Whether CDI names reach the container runtime (1.29 and later, without a feature gate)."""
    admission_error: str
    """What a refused pod is told, with ``{problem}`` for the reason."""
    no_healthy: str
    """What a pod is told if no device is healthy; empty if the release has no such text."""
    grace: bool
    """Whether a resource is kept for a while after its stream has ended (1.9.7 and later)."""
    gone_stays: bool
    """Whether the node goes on listing a resource that was given up, with a count of 0 (1.10 and later)."""
    unregistered: str
    """What a pod is told if it wants a resource that was given up while another pod holds devices of it."""
    unregistered_start: str
    """The error when a container of such a resource is started again; empty if it starts."""
    outlives_caller: bool
    """Whether the kubelet goes on with a Register that the plugin has given up (1.25 to 1.34)."""
    end_noticed_after: float
    """Seconds until the kubelet notices the end of a stream. Until then it takes a new registration for the old one.

    With a genuine kubelet this happens by chance, in up to one of ten tries; here it always does (1.25 and later)."""
    takes_any_bytes: bool
    """Whether it accepts an id that is not UTF-8 (up to 1.34.3); later such an id ends the stream."""
    undecodable: str
    """The error if an answer is not a valid message."""
    no_container: str
    """The error if an answer to Allocate has no container in it."""
    bad_utf8: str
    """The error if the strings of a message are not UTF-8; empty if the release accepts any bytes."""
    closing: str
    """The status of a call that is cut off when the connection is closed. 1.8 waits for its calls first."""
    panics_on_vanished: bool
    """Whether the kubelet crashes if a device vanishes from the list while it is being allocated (1.34 and later)."""
    large_register: str
    """The status for a Register that is too large, with ``{size}`` and ``{limit}``."""
    takes_opaque: bool
    """Whether it accepts the old names of opaque integer resources (1.8)."""
    panics: bool
    """Whether the kubelet crashes if an answer to Allocate has no container in it (1.10 and 1.11)."""
    unknown_method: str
    """The words for a call of an unknown method, with ``{method}`` and ``{service}``."""
    forgets_health: bool
    """The bug of 1.9.7 and 1.10.0 to 1.10.2: devices stay unhealthy after their plugin has registered again."""
    authority_is_path: bool
    grpc_go: str
    list_limit: int

    @property
    def dialect(self) -> Dialect:
        """The dialect that it speaks."""
        return dialect_of(self.api_version)

    @property
    def package(self) -> str:
        """The protobuf package of its dialect."""
        return self.dialect.package


Version = tuple[int, int]
"""The number after the 1, and the patch."""
OLDEST, NEWEST = 8, 37
_LAST_PATCH = 999
"""The patch of a release that is named without one: the last."""

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
        checkpoint=since(
            (always, Layout.BY_DEVICE),
            ((9, 0), Layout.BY_CONTAINER),
            ((11, 0), Layout.WITH_CHECKSUM),
            ((20, 0), Layout.BY_NUMA_NODE),
        ),
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
    """Return the release of this name, with or without a patch.

    Raises:
        InvalidValueError: there is no such release; the message says which there are.
    """
    form = _NAME.fullmatch(name)
    if form is None or f"1.{form[1]}" not in RELEASES:
        raise InvalidValueError(
            f"kubelet release {name!r}; expected 1.{OLDEST} to 1.{NEWEST}, with a patch or without, such as 1.9.7"
        )
    return _release(name, (int(form[1]), int(form[2]))) if form[2] else RELEASES[name]
