"""The administrator's decisions about resources: what a container gets, and how a device list starts."""

from enum import Enum
from types import MappingProxyType
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Mapping

    from plugin_gateway.core.devices import Device


class DeviceIdStrategy(Enum):
    """How the visibility variable names a device: by its id or by its index."""

    UUID = "uuid"
    INDEX = "index"


class ListStrategy(Enum):
    """A way in which a container is told its devices. Several can be used at once."""

    ENVVAR = "envvar"
    """The visibility variable names them for the vendor's container runtime, and device nodes are listed."""
    VOLUME_MOUNTS = "volume-mounts"
    """A mount for each device names it for the vendor's container runtime."""
    CDI_ANNOTATIONS = "cdi-annotations"
    """Annotations name them for every container runtime that reads CDI specs."""
    CDI_CRI = "cdi-cri"
    """A field of the answer names them for every container runtime that reads CDI specs. From kubelet 1.28 on."""

    @property
    def is_cdi(self) -> bool:
        """Whether the container runtime reads a CDI spec that has the devices."""
        return self in {ListStrategy.CDI_ANNOTATIONS, ListStrategy.CDI_CRI}


USUAL_PREFIX = "cdi.k8s.io/"
"""How the name of an annotation begins that names CDI devices."""
USUAL_STRATEGIES = frozenset({ListStrategy.ENVVAR})
CDI_STRATEGIES = frozenset(each for each in ListStrategy if each.is_cdi)


class AllocationPolicy(NamedTuple):
    """What every container with devices gets."""

    pass_device_specs: bool = True
    """Whether the answer to the kubelet lists the device nodes."""
    device_id_strategy: DeviceIdStrategy = DeviceIdStrategy.UUID
    dev_root: str = "/"
    """The folder on the host that contains the device nodes."""
    daemon_root: str = ""
    """The folder on the host below which each daemon has its own through which containers share devices."""
    list_strategies: frozenset[ListStrategy] = USUAL_STRATEGIES
    """How a container is told its devices. Their order makes no difference."""
    annotation_prefix: str = USUAL_PREFIX
    """How the name of an annotation begins that names devices."""
    extras: tuple[str, ...] = ()
    """What a container gets besides its devices, in words of the backend."""
    required_extras: tuple[str, ...] = ()
    """Those of them without which no container is given a device."""
    described_extras: "Mapping[str, str]" = MappingProxyType({})
    """The names in CDI specs of those of them that are in one now. It is no decision: it is so while it is written."""

    @property
    def is_usual(self) -> bool:
        """Whether containers get the variable and device nodes only, as with most gateways. It is known at once."""
        return self.list_strategies == USUAL_STRATEGIES and not self.extras

    @property
    def asks_for_more(self) -> bool:
        """Whether containers get more than variable and device nodes."""
        return bool(self.extras) or ListStrategy.VOLUME_MOUNTS in self.list_strategies

    @property
    def needs_specs(self) -> bool:
        """Whether a container gets what a CDI spec has for its devices."""
        return not self.list_strategies.isdisjoint(CDI_STRATEGIES)

    @property
    def lists_nodes(self) -> bool:
        """Whether the answer to the kubelet lists the device nodes. With CDI alone they are in the spec."""
        return self.pass_device_specs and (
            self.list_strategies == USUAL_STRATEGIES or not self.list_strategies <= CDI_STRATEGIES
        )

    def name_in_spec(self, device: "Device") -> str:
        """Return the name of a device in the variable and in a CDI spec."""
        return device.id if self.device_id_strategy is DeviceIdStrategy.UUID else device.place_words


DECIDED = tuple(name for name in AllocationPolicy._fields if name != "described_extras")
"""The fields of `AllocationPolicy` that an administrator decides."""


class AllocationPreference(Enum):
    """Which set of whole devices is preferred."""

    BEST = "best"
    """The best set for this container."""
    PARTITION = "partition"
    """A good set that leaves good sets for the next containers."""


class SharedPolicy(Enum):
    """Which replicas, or which parts of devices, are preferred."""

    DISTRIBUTED = "distributed"
    """Those of the device with the fewest given away."""
    PACKED = "packed"
    """Those of the device with the most given away, and parts of as few devices as possible."""
    SPREAD = "spread"
    """One of each device first, then as with `DISTRIBUTED`."""


class Preferences(NamedTuple):
    """Which devices are preferred."""

    whole: AllocationPreference = AllocationPreference.BEST
    shared: SharedPolicy = SharedPolicy.DISTRIBUTED
    pairs: bool = True
    """Whether devices of several backends that one container gets should be near each other."""


USUAL_PREFERENCES = Preferences()
"""What holds where nothing is decided."""


class UnhealthyFirst(Enum):
    """Which streams start with a list in which every device is unhealthy.

    Kubelets of 1.9.7 and 1.10.0 to 1.10.2 need it. When the stream of a resource ends, they mark its devices unhealthy.
    They then treat a list of healthy devices as no change, and the resource stays at 0 devices. Seen with genuine
    kubelets of 1.9.7 and 1.10.2.
    """

    AUTO = "auto"
    """Only if the kubelet may be one of these releases and may already know the resource."""
    ALWAYS = "always"
    """On every stream of a dialect that one of these releases uses."""
    NEVER = "never"

    def applies(self, *, forgetful_agent: str | None, user_agent: str, may_be_known: bool) -> bool:
        """Return whether it applies to a stream that a kubelet with this user agent has just opened."""
        if self is UnhealthyFirst.NEVER or forgetful_agent is None:
            return False
        return self is UnhealthyFirst.ALWAYS or (may_be_known and user_agent.startswith(forgetful_agent))
