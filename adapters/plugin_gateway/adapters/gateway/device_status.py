"""What the status says of one device. The docstrings are the descriptions in docs/status.schema.json."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from plugin_gateway.core.health.faults import Evidence, Stage
from plugin_gateway.core.health.policy import EvidenceKind


@dataclass(frozen=True, slots=True, kw_only=True)
class RepeatedEvidence:
    """Evidence that the policy acts on only when it is repeated."""

    what: str
    """What was reported, for people."""
    kind: EvidenceKind
    """The same as a word for programs."""
    times: int
    """How often it was reported within the window."""
    needed: int
    """How often it has to be reported."""
    window: float
    """Seconds."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Waiting:
    """Why a device is not given out although nothing may be wrong with it."""

    reason: str
    """What is missing, and where it was looked for, for people."""
    since: float | None = None
    """Since when it is missing, in seconds since the epoch. Null if nobody has looked yet, or it cannot be there."""
    todo: str | None = None
    """What to do about it, for people. Null if nothing is known."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PortStatus:
    """A port through which a device is connected to a network."""

    number: int
    """From 1."""
    layer: str
    """What it connects to, in a word of the backend."""
    is_up: bool
    words: str
    """Its state in words of the driver, for people."""
    rate_gbps: float | None = None
    """Gbit/s. Null if it is not known, as without a link."""
    changes: int
    """How often it lost its connection or got one, as far as it was seen."""

    def __str__(self) -> str:
        """Return it as people read it, such as ``ACTIVE, 100 Gbit/s ethernet``."""
        rate = f"{self.rate_gbps:g} Gbit/s " if self.rate_gbps is not None and self.is_up else ""
        return ", ".join(filter(None, (self.words, f"{rate}{self.layer}")))


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceStatus:
    """A device, and its health."""

    id: str
    """The id under which it is offered and cleared. The fault of a part can be that of its physical device."""
    physical: str | None = None
    """The physical device that it is a part of. Null if it is one itself, or is absent."""
    kind: str | None = None
    """Null if no device is given out of it, or it is absent."""
    profile: str | None = None
    """The size of a part, in a word of its backend. Null if it is none, or is absent."""
    place: str | None = None
    """The number of the physical device, and for a part its own one, such as `0:1`. Null if it has no `kind`."""
    index: int | None = None
    """The number of the physical device in the driver's list. Null if the driver does not show it now."""
    product: str | None = None
    """Null if the driver does not show it now."""
    pci_address: str | None = None
    """Empty if it is not known. Null if the driver does not show it now."""
    backend: str | None = None
    """The backend whose driver shows it. Null if there is only one, or it does not show it now."""
    resource: str | None = None
    """The resource under which it is offered. Null if it is not offered."""
    replicas: int | None = None
    """How many containers may share it. Null if it is not offered, or the gateway is too old to say it."""
    is_pooled: bool = False
    """Whether each id of the resource stands for all of its devices. `replicas` is the number of these ids then."""
    shared_through: str | None = None
    """The daemon through which containers share it. Null if there is none."""
    waits_for: Waiting | None = None
    """What is missing for it: the daemon through which containers share it, or what every container needs. Or null."""
    health: Stage
    """Only a healthy device is given out. One on probation is watched for a time first."""
    reason: str | None = None
    """Why it is not healthy, for people. Null if it is healthy."""
    since: float | None = None
    """Since when it is not healthy, in seconds since the epoch. Null if it is healthy."""
    needs: str | None = None
    """What it needs to be healthy again, for people. Null if it is healthy."""
    quiet_left: float | None = None
    """Seconds of its quiet time that are left. Null if it is not on a probation that they end."""
    clear_helps: bool = True
    """Whether an operator's word is enough to make it healthy."""
    hides_reset: bool = False
    """Whether the driver may not report a reset of it."""
    evidence: tuple[Evidence, ...] = ()
    """The evidence against it: the first, then the latest. Empty if it is healthy."""
    reported: tuple[str, ...] = ()
    """The lasting problems that the policy only reports, for people."""
    repeated: tuple[RepeatedEvidence, ...] = ()
    """The evidence that the policy acts on only when it is repeated."""
    attributes: Mapping[str, tuple[str, ...]] = field(default_factory=dict, hash=False)
    """What else rules can ask of it, by a word of the backend, such as `interface`. Empty if there is nothing else."""
    ports: tuple[PortStatus, ...] = ()
    """Its ports to networks. Empty if it has none, or its backend does not say it."""

    @property
    def offer_words(self) -> str:
        """Under which name it is offered, for people, and how many containers may share it."""
        if self.is_pooled:
            return f"{self.resource} as a pool of {self.replicas}"
        shared = f" x{self.replicas}" if self.replicas is not None and self.replicas > 1 else ""
        through = f" through {self.shared_through}" if self.shared_through is not None else ""
        return f"{self.resource}{shared}{through}" if self.resource is not None else "not offered"

    @property
    def health_words(self) -> str:
        """The health, and whether it waits for something, for people."""
        return f"{self.health.value}, not given out" if self.is_healthy and self.waits_for else self.health.value

    @property
    def place_words(self) -> str:
        """The number of the device, and for a part that of the part too. Empty if the driver does not show it now."""
        return self.place or ("" if self.index is None else str(self.index))

    @property
    def product_words(self) -> str:
        """The product, and for a part its size. Empty if the driver does not show it now."""
        return f"{self.product or ''} {self.profile or ''}".strip()

    @property
    def port_words(self) -> str:
        """The state of its ports. They are numbered if there are several."""
        if len(self.ports) == 1:
            return str(self.ports[0])
        return "; ".join(f"{each.number}: {each}" for each in self.ports)

    @property
    def is_healthy(self) -> bool:
        """Whether it is given out, unless it waits for something."""
        return self.health is Stage.HEALTHY
