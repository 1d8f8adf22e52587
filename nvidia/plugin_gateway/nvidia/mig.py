"""Scans the MIG devices of a GPU. It is imported only on a node where a GPU is in MIG mode.

Instances are made and destroyed while this process runs, so every scan asks for all handles anew, and a handle can
become invalid, or stand for another device, between two calls. A slot is therefore read again if something in it
failed, and only believed if the UUID is the same before and after.
"""

from collections.abc import Callable
from functools import cached_property

from plugin_gateway.nvidia import mig_calls, nvml
from plugin_gateway.nvidia.mig_layout import MigDevice, MigLayout, RejectedSlot
from plugin_gateway.nvidia.mig_nodes import CapabilityMinors
from plugin_gateway.nvidia.mig_profile import InvalidProfileError, profile_name

_ATTEMPTS = 2
"""How often a slot is read, if it fails."""


class _RejectedError(Exception):
    """A MIG device cannot be offered. The message says why."""

    def __init__(self, reason: str, *, is_unread: bool = False, todo: str = "") -> None:
        super().__init__(reason)
        self.is_unread = is_unread
        self.todo = todo


def scan(
    gpu: nvml.Handle,
    minor: int | None,
    minors: CapabilityMinors,
    between: Callable[[], object] = lambda: None,
    profiles: dict[int, int] | None = None,
) -> MigLayout:
    """Return what a GPU in MIG mode has.

    ``minor`` is the minor number of the GPU. ``between`` is called after each slot. A device that cannot be read, or
    not be named, is rejected with the reason; all others are in the layout. ``profiles`` are those of the GPU that an
    earlier scan of the same session found. They are read if they are empty.

    Raises:
        NvmlError: the GPU is lost or needs a reset. What it has is not known then, which is not the same as nothing.
    """
    scanning = _Scan(gpu, minor, minors, profiles if profiles is not None else {})
    try:
        slots = mig_calls.max_device_count(gpu)
    except nvml.NvmlError as error:
        if error.is_gpu_lost or error.asks_for_reset:
            raise
        scanning.rejected.append(
            RejectedSlot(None, f"the driver does not tell how many MIG devices it can have: {error}", is_unread=True)
        )
        slots = 0
    for slot in range(slots):
        scanning.read(slot)
        between()
    return MigLayout(tuple(scanning.devices), tuple(scanning.rejected))


class _Scan:
    """Collects the MIG devices of one GPU."""

    def __init__(self, gpu: nvml.Handle, minor: int | None, minors: CapabilityMinors, profiles: dict[int, int]) -> None:
        self._gpu = gpu
        self._minor = minor
        self._minors = minors
        self._known_profiles = profiles
        self._uuid = ""
        """The UUID of the device that is read now. Empty until it is known."""
        self.devices: list[MigDevice] = []
        self.rejected: list[RejectedSlot] = []

    @cached_property
    def _memory(self) -> int:
        if not (memory := nvml.memory_bytes(self._gpu)):
            raise InvalidProfileError("the driver does not tell the memory of the GPU")
        return memory

    @property
    def _profiles(self) -> dict[int, int]:
        if not self._known_profiles:
            self._known_profiles.update(mig_calls.gi_profiles(self._gpu))
        return self._known_profiles

    def read(self, slot: int) -> None:
        """Read a slot. It is read again after a failure, because its device can have gone meanwhile."""
        for attempt in range(1, _ATTEMPTS + 1):
            self._uuid = ""
            try:
                device = self._read_device(slot)
            except _RejectedError as error:
                if attempt == _ATTEMPTS:
                    self.rejected.append(RejectedSlot(slot, str(error), error.is_unread, self._uuid, error.todo))
            else:
                if device is not None:
                    self.devices.append(device)
                return

    def _read_device(self, slot: int) -> MigDevice | None:
        """Return the device in a slot. None if the slot is empty.

        Raises:
            _RejectedError: it cannot be read or named.
            NvmlError: the GPU is lost or needs a reset.
        """
        try:
            handle = mig_calls.handle_in_slot(self._gpu, slot)
            return None if handle is None else self._describe(slot, handle)
        except UnicodeDecodeError as error:
            raise _RejectedError(f"its UUID {error.object!r} is not valid UTF-8") from error
        except nvml.NvmlError as error:
            if error.is_gpu_lost or error.asks_for_reset:
                raise
            reason, todo = f"the driver does not tell what it is: {error}", self._missing_right(error)
            raise _RejectedError(reason, is_unread=True, todo=todo) from error
        except InvalidProfileError as error:
            raise _RejectedError(f"its profile has no name: {error}") from error

    def _describe(self, slot: int, handle: mig_calls.MigHandle) -> MigDevice:
        uuid = self._uuid = nvml.uuid_of(handle)
        gi, ci = mig_calls.instance_ids(handle)
        attributes = mig_calls.attributes(handle)
        profile = profile_name(attributes, self._gi_profile(gi), self._memory)
        if nvml.uuid_of(handle) != uuid:
            raise _RejectedError("it changed while it was read")
        if (other := next((device.slot for device in self.devices if device.uuid == uuid), None)) is not None:
            raise _RejectedError(f"its UUID {uuid!r} belongs to slot {other} too")
        if (other := next((each.slot for each in self.devices if (each.gi, each.ci) == (gi, ci)), None)) is not None:
            raise _RejectedError(f"its GPU instance {gi} and compute instance {ci} are those of slot {other} too")
        nodes, problem = self._nodes(gi, ci)
        return MigDevice(uuid, slot, gi, ci, profile, attributes.memory_mb, nodes, problem)

    def _gi_profile(self, gi: int) -> int:
        """Return NVML's number of the profile of a GPU instance.

        Raises:
            NvmlError: the driver does not tell.
            InvalidProfileError: it tells an id that none of its profiles has.
        """
        profile_id = mig_calls.gi_profile_id(self._gpu, gi)
        if (number := self._profiles.get(profile_id)) is None:
            raise InvalidProfileError(f"NVML does not list the GPU instance profile with the id {profile_id}")
        return number

    def _missing_right(self, error: nvml.NvmlError) -> str:
        """Return what the container has to be given. Empty if that is not why the call failed."""
        if not mig_calls.forbids(error):
            return ""
        return (
            "give the container the capability SYS_ADMIN and NVIDIA_MIG_MONITOR_DEVICES=all, which the chart's "
            f"migStrategy does, or access to {self._minors.monitor_node}"
        )

    def _nodes(self, gi: int, ci: int) -> tuple[tuple[str, ...], str]:
        """Return the nodes of a device, and why they are not known."""
        try:
            return self._minors.nodes(self._minor, gi, ci), ""
        except LookupError as error:
            return (), str(error.args[0])
