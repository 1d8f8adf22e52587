"""What a GPU in MIG mode has. No call of the driver is made here."""

from collections.abc import Sequence
from operator import attrgetter
from typing import NamedTuple


class MigDevice(NamedTuple):
    """A compute instance in a GPU instance: what a container is given."""

    uuid: str
    """``MIG-`` and a UUID. Drivers before 470 have ``MIG-``, the UUID of the GPU, and ``/1/0`` for both instances."""
    slot: int
    """Its index in the GPU. There are gaps between them."""
    gi: int
    """Number of the GPU instance, unique in the GPU."""
    ci: int
    """Number of the compute instance, unique in the GPU instance."""
    profile: str
    """Such as ``3g.40gb``, or ``1c.3g.40gb`` if the compute instance is not all of the GPU instance."""
    memory_mb: int
    """Memory in MiB."""
    nodes: tuple[str, ...] = ()
    """The device nodes that a container needs besides the shared ones. None if one of them is not known."""
    nodes_problem: str = ""
    """Why the nodes are not known."""


_SLOT = attrgetter("slot")


class RejectedSlot(NamedTuple):
    """Something in MIG mode that cannot be offered."""

    slot: int | None
    """None if it is the whole GPU."""
    reason: str
    """For the administrator."""
    is_unread: bool = False
    """Whether a call of the driver failed, so that what was known before is still the best that is known."""
    uuid: str = ""
    """The UUID of the device, if it was read."""
    todo: str = ""
    """What to do about it, for the administrator. Empty if it is not known."""

    @property
    def says_nothing(self) -> bool:
        """Whether it is not even known which device it is, or whether there is one."""
        return self.is_unread and not self.uuid

    def may_be(self, known: MigDevice) -> bool:
        """Whether it may be this device, which could not be read."""
        return self.is_unread and self.slot in {None, known.slot} and self.uuid in {"", known.uuid}


class MigLayout(NamedTuple):
    """What a GPU in MIG mode has. Wherever layouts are, one that is not in it has None."""

    devices: tuple[MigDevice, ...] = ()
    """In the order of their slots."""
    rejected: tuple[RejectedSlot, ...] = ()

    def in_instance(self, gi: int, ci: int | None) -> Sequence[str]:
        """Return the UUIDs of the devices of a compute instance, or of all in a GPU instance if ``ci`` is None."""
        return [device.uuid for device in self.devices if device.gi == gi and ci in {None, device.ci}]


def keeping_known(layout: MigLayout, before: MigLayout | None) -> MigLayout:
    """Return the layout with what was known of the slots that could not be read now.

    A device must not vanish because a call failed. A slot that is empty now, or has another device, is believed.
    """
    if before is None or not layout.rejected:
        return layout
    devices, rejected = list(layout.devices), []
    for unread in layout.rejected:
        known = [device for device in before.devices if unread.may_be(device)]
        if known or unread.says_nothing:
            devices += known
            rejected += [each for each in before.rejected if unread.slot in {None, each.slot}]
        else:
            rejected.append(unread)
    return layout._replace(devices=tuple(sorted(devices, key=_SLOT)), rejected=tuple(rejected))
