"""How many containers may have one device at the same time.

Each replica of a device is an id of its own for the kubelet. All of them give the same device. Nothing limits how much
of the device a container uses, unless the containers share it through a daemon (`daemons`). In a pool, each id gives
all devices of the resource (`pools`).
"""

from collections.abc import Sequence
from dataclasses import dataclass

from plugin_gateway.core.devices import Device, Offered, OfferedId, offered_id
from plugin_gateway.core.errors import InvalidValueError

MAX_REPLICAS = 1024
"""Replicas of one device. With more of them, the list of a machine with many devices exceeds what kubelets take, which
is 4 MiB."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sharing:
    """How often each device is offered, and what one container may ask for."""

    replicas: int = 1
    """With 1, a device is offered under its own id, and only one container at a time has it."""
    one_per_request: bool = False
    """Whether a container may get only one of the replicas."""
    through: str = ""
    """The daemon through which containers share the device, in a word of the backend. Empty if there is none."""
    is_pool: bool = False
    """Whether each of the ids stands for all devices of the resource, and ``replicas`` is the number of ids."""

    def __post_init__(self) -> None:
        """Reject a number of replicas that is out of range."""
        if not 1 <= self.replicas <= MAX_REPLICAS:
            raise InvalidValueError(f"{self.replicas} replicas of a device; expected 1 to {MAX_REPLICAS}")
        if self.through and self.is_pool:
            raise InvalidValueError(f"a pool of devices cannot be shared through {self.through}")
        if self.through and self.replicas == 1:
            raise InvalidValueError(f"1 replica of a device that is shared through {self.through}; expected 2 or more")

    @property
    def words(self) -> str:
        """What people read behind a name: `` x4``, `` x4 through`` and the daemon, or `` as a pool of 4``.

        Empty if nothing is shared.
        """
        if self.is_pool:
            return f" as a pool of {self.replicas}"
        if self.replicas == 1:
            return ""
        return f" x{self.replicas}" + (f" through {self.through}" if self.through else "")

    def offers(self, device: Device) -> Sequence[Offered]:
        """Return the device as it is offered: itself, or each of its replicas. `pools` has those of a pool."""
        if self.replicas == 1:
            return (Offered(OfferedId(device.id), device),)
        return [Offered(offered_id(device.id, number), device, number) for number in range(self.replicas)]


ALONE = Sharing()
"""Each device for one container at a time."""
