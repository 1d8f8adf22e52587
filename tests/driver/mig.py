"""What the stand-in says about MIG: the profiles of each product, and the layout of instances.

A layout is a text such as ``0:1g.10gb,3g.40gb/1c/2c;1:``: GPU 0 has a GPU instance with one compute instance, and one
with two; GPU 1 is in MIG mode and has none; all other GPUs are not in MIG mode. ``-`` leaves a slot empty.
"""

import fcntl
import uuid
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

from driver.control import MAX_PROFILES, MAX_SLOTS, Call, Control, MigDevice

INVALID_ARGUMENT, NO_PERMISSION = 2, 4
ALL_CALLS = -1
PRIVILEGED = (Call.GI, Call.GI_PROFILE_V)
"""The calls that nvml.h marks as such, of those that are there."""
_CONFIG, MONITOR = 1, 2
"""Minor numbers of the nodes that are there without an instance."""
_NAMESPACE = uuid.UUID("0c1b3a1e-4a5f-5d0e-8d55-6f4a2c9be001")
_FIRST_INSTANCE = {7: 0, 4: 1, 3: 1, 2: 3, 1: 7}
"""The first number of a GPU instance, for its slices."""


class Profile(NamedTuple):
    """A profile of GPU instances."""

    number: int
    """NVML's number of it, the same for every product."""
    id: int
    """The driver's number of it, another one for every product."""
    slices: int
    eighths: int
    """Its part of the memory."""
    engines: tuple[int, int, int, int] = (0, 0, 0, 0)
    """Copy engines, decoders, JPEG decoders, optical flow accelerators."""


class Card(NamedTuple):
    """A product that has MIG."""

    max_devices: int
    multiprocessors: int
    profiles: Mapping[str, Profile]
    """By their names, as NVIDIA writes them."""
    known: int = 0x11
    """The driver knows so many numbers of profiles."""


def _seven_slices(multiprocessors: int, *names: str) -> Card:
    kinds = (
        Profile(0, 19, 1, 1, (1, 1, 1, 0)),
        Profile(7, 20, 1, 1, (1, 1, 1, 1)),
        Profile(9, 15, 1, 2, (1, 1, 1, 0)),
        Profile(1, 14, 2, 2, (2, 2, 2, 0)),
        Profile(2, 9, 3, 4, (3, 3, 3, 0)),
        Profile(3, 5, 4, 4, (4, 4, 4, 0)),
        Profile(4, 0, 7, 8, (8, 7, 7, 1)),
    )
    return Card(7, multiprocessors, dict(zip(names, kinds, strict=True)))


_80_GB = ("1g.10gb", "1g.10gb+me", "1g.20gb", "2g.20gb", "3g.40gb", "4g.40gb", "7g.80gb")
_40_GB = ("1g.5gb", "1g.5gb+me", "1g.10gb", "2g.10gb", "3g.20gb", "4g.20gb", "7g.40gb")
CARDS: Mapping[str, Card] = {
    "NVIDIA H100 80GB HBM3": _seven_slices(132, *_80_GB),
    "NVIDIA A100-SXM4-80GB": _seven_slices(108, *_80_GB),
    "NVIDIA A100-SXM4-40GB": _seven_slices(108, *_40_GB),
    "NVIDIA H200": _seven_slices(132, "1g.18gb", "1g.18gb+me", "1g.35gb", "2g.35gb", "3g.71gb", "4g.71gb", "7g.141gb"),
    "NVIDIA B200": _seven_slices(148, "1g.23gb", "1g.23gb+me", "1g.45gb", "2g.45gb", "3g.90gb", "4g.90gb", "7g.180gb"),
    "NVIDIA A30": Card(
        4,
        56,
        {
            "1g.6gb": Profile(0, 14, 1, 2, (1, 0, 0, 0)),
            "1g.6gb+me": Profile(7, 21, 1, 2, (1, 1, 1, 1)),
            "2g.12gb": Profile(1, 5, 2, 4, (2, 2, 0, 0)),
            "2g.12gb+me": Profile(8, 6, 2, 4, (2, 2, 1, 1)),
            "4g.24gb": Profile(3, 0, 4, 8, (4, 4, 1, 1)),
        },
    ),
    "NVIDIA RTX PRO 6000 Blackwell Server Edition": Card(
        4,
        188,
        {
            "1g.24gb": Profile(0x0, 14, 1, 2),
            "1g.24gb+gfx": Profile(0xA, 47, 1, 2),
            "1g.24gb+me.all": Profile(0xF, 65, 1, 2),
            "1g.24gb-me": Profile(0xD, 67, 1, 2),
            "2g.48gb": Profile(0x1, 5, 2, 4),
            "2g.48gb+gfx": Profile(0xB, 35, 2, 4),
            "2g.48gb+me.all": Profile(0x10, 64, 2, 4),
            "2g.48gb-me": Profile(0xE, 66, 2, 4),
            "3g.72gb+gfx": Profile(0x11, 33, 3, 6),
            "4g.96gb": Profile(0x3, 0, 4, 8),
            "4g.96gb+gfx": Profile(0xC, 32, 4, 8),
        },
        known=0x12,
    ),
}
"""By their product name. Source of the numbers of seven slices: NVML on an H100; most others are made up."""


class Instance(NamedTuple):
    """A MIG device of a layout: a compute instance in a GPU instance."""

    slot: int
    profile: str
    gi: int
    ci: int
    ci_slices: int


def instances(card: Card, text: str) -> Iterator[Instance]:
    """Return the MIG devices of one GPU. Instances are numbered as NVIDIA's driver does it on seven slices."""
    slot, used = 0, set[int]()
    for each in filter(None, text.split(",")):
        if each == "-":
            slot += 1
            continue
        name, *parts = each.split("/")
        slices = card.profiles[name].slices
        gi = next(number for number in range(_FIRST_INSTANCE[slices], 15) if number not in used)
        used.add(gi)
        for ci, part in enumerate(parts or [f"{slices}c"]):
            yield Instance(slot, name, gi, ci, int(part.removesuffix("c")))
            slot += 1


class Mig:
    """What the driver says about MIG. It is called with a layout."""

    def __init__(self, control: Control, file: Path, root: Path, proc: Path) -> None:
        """``file`` has the control. Each process that has NVML initialised holds a lock on it."""
        self._control = control
        self._file = file
        self._dev = root / "dev/nvidia-caps"
        self._minors = proc / "driver/nvidia-caps/mig-minors"
        self.make_node: Callable[[Path, int], None] = lambda node, _minor: node.touch()
        """Makes a device node with this minor number. A file stands for it, unless a test wants a real one."""

    def add(self, index: int) -> None:
        """Let a GPU have MIG if its product has it."""
        gpu, table = self._control.gpus[index], self._control.gi_profiles[index]
        card = CARDS.get(bytes(gpu.name).decode(errors="replace"))
        gpu.max_mig_devices, gpu.gi_profiles = (card.max_devices, card.known) if card else (0, 0)
        for number in range(MAX_PROFILES):
            table[number].slices = 0
        for name, profile in card.profiles.items() if card else ():
            entry = table[profile.number]
            entry.id, entry.slices, entry.name = profile.id, profile.slices, f"MIG {name}".encode()
            entry.memory_mb = self._memory_mb(index, profile)
        for slot in range(MAX_SLOTS):
            self._device(index, slot).present = 0

    def __call__(self, layout: str, *, old_ids: bool = False) -> None:
        """Change the layout. With ``old_ids`` the UUIDs have the form from before driver 470.

        The MIG mode of a GPU cannot change while a process has NVML initialised.
        """
        wanted = dict(part.split(":", 1) for part in layout.split(";") if part)
        for index, gpu in enumerate(self._control.gpus):
            if not gpu.present:
                continue
            enabled = str(index) in wanted
            assert self.ask_for_mode(index, enabled=enabled), f"NVML is initialised: GPU {index} keeps its MIG mode"
            self._lay_out(index, wanted.get(str(index), ""), old_ids=old_ids)
        self._write_nodes()

    def ask_for_mode(self, index: int, *, enabled: bool) -> bool:
        """Do what ``nvidia-smi -mig`` does. False if it is pending, because a process has NVML initialised."""
        gpu = self._control.gpus[index]
        gpu.pending_mig_mode = enabled
        if gpu.in_mig_mode != enabled and self._is_in_use():
            return False
        gpu.in_mig_mode = enabled
        return True

    def _is_in_use(self) -> bool:
        """Whether a process has NVML initialised."""
        with self._file.open("rb") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return True
        return False

    def uuid(self, index: int, slot: int) -> str:
        """Return the UUID of a MIG device."""
        return bytes(self._device(index, slot).uuid).decode()

    def is_present(self, index: int, slot: int) -> bool:
        """Whether there is a MIG device in a slot."""
        return bool(self._device(index, slot).present)

    def set(self, index: int, slot: int, **values: int | bytes) -> None:
        """Change what the driver says of a MIG device: its UUID, its numbers, its attributes."""
        for name, value in values.items():
            assert hasattr(MigDevice, name), name
            setattr(self._device(index, slot), name, value)

    def has_mig(self, index: int) -> bool:
        """Whether a GPU has MIG."""
        return bool(self._control.gpus[index].max_mig_devices)

    def set_count(self, index: int, count: int) -> None:
        """Let a GPU have so many slots."""
        self._control.gpus[index].max_mig_devices = count

    def set_profile_number(self, index: int, before: int, after: int, known: int) -> None:
        """Let a profile of a GPU have another number of NVML, of which the driver knows so many."""
        table = self._control.gi_profiles[index]
        for name in ("id", "slices", "memory_mb", "name"):
            setattr(table[after], name, getattr(table[before], name))
        table[before].slices = 0
        self._control.gpus[index].gi_profiles = known

    def fail(self, index: int, slot: int, error: int, call: Call | None = None) -> None:
        """Let this call for a MIG device, or all of them, return an error."""
        self.set(index, slot, error=error, error_call=ALL_CALLS if call is None else call)

    def vanish(self, index: int, slot: int, *, after: int) -> None:
        """Let a MIG device go when so many calls for it were answered. Its handle is invalid from then on."""
        self.set(index, slot, calls_left=after + 1)

    def permit(self, *, privileged: bool) -> None:
        """Say whether the process may make the calls that need privileges."""
        for call in PRIVILEGED:
            self._control.errors_left[call] = 0
            self._control.error_of[call] = 0 if privileged else NO_PERMISSION

    def permit_by(self, node: str) -> None:
        """Let a process make them only if it may open this device node, as with a container of a real node."""
        self._control.monitor_node = node.encode()

    def nodes(self) -> Mapping[str, tuple[int, int, int]]:
        """Return the minor numbers of the nodes of each MIG device: of its GPU, its GPU instance, its compute instance.

        That of the GPU is another kind of number.
        """
        found = {}
        for index, gpu in enumerate(self._control.gpus):
            for device in self._control.mig_devices[index]:
                if gpu.present and device.present:
                    number = gi_minor(gpu.minor, device.gi)
                    found[bytes(device.uuid).decode()] = (int(gpu.minor), number, int(number + 1 + device.ci))
        return found

    def remove_minors(self) -> None:
        """Remove the file with the minor numbers of the device nodes."""
        self._minors.unlink()

    def _device(self, index: int, slot: int) -> MigDevice:
        device = self._control.mig_devices[index][slot]
        assert isinstance(device, MigDevice)
        return device

    def _memory_mb(self, index: int, profile: Profile) -> int:
        total = int(self._control.gpus[index].memory) >> 20
        return total * profile.eighths // 8 - total // 256

    def _lay_out(self, index: int, text: str, *, old_ids: bool) -> None:
        for slot in range(MAX_SLOTS):
            self._device(index, slot).present = 0
        if not text:
            return
        card = CARDS[bytes(self._control.gpus[index].name).decode()]
        for instance in instances(card, text):
            self._write(index, card, instance, old_ids=old_ids)

    def _write(self, index: int, card: Card, instance: Instance, *, old_ids: bool) -> None:
        profile = card.profiles[instance.profile]
        total = max(each.slices for each in card.profiles.values())
        multiprocessors = card.multiprocessors // total // 2 * 2 * instance.ci_slices
        copy, decoder, jpeg, ofa = profile.engines
        self.set(
            index,
            instance.slot,
            uuid=self._make_uuid(index, instance, old=old_ids),
            gi=instance.gi,
            ci=instance.ci,
            profile_id=profile.id,
            multiprocessors=card.multiprocessors if instance.ci_slices == total else multiprocessors,
            copy=copy,
            decoder=decoder,
            encoder=0,
            jpeg=jpeg,
            ofa=ofa,
            gi_slices=profile.slices,
            ci_slices=instance.ci_slices,
            memory_mb=self._memory_mb(index, profile),
            error=0,
            error_call=ALL_CALLS,
            calls_left=0,
            present=1,
        )

    def _make_uuid(self, index: int, instance: Instance, *, old: bool) -> bytes:
        gpu = bytes(self._control.gpus[index].uuid).decode()
        place = f"{gpu}/{instance.gi}/{instance.ci}"
        return f"MIG-{place}".encode() if old else f"MIG-{uuid.uuid5(_NAMESPACE, place + instance.profile)}".encode()

    def _write_nodes(self) -> None:
        """Write the minor numbers of all instances that there can be, and make the nodes of those that there are."""
        self._minors.parent.mkdir(parents=True, exist_ok=True)
        self._dev.mkdir(parents=True, exist_ok=True)
        gpus = sorted(int(gpu.minor) for gpu in self._control.gpus if gpu.present)
        lines = [f"config {_CONFIG}", f"monitor {MONITOR}"]
        for gpu in gpus:
            for gi in range(15):
                number = gi_minor(gpu, gi)
                lines.append(f"gpu{gpu}/gi{gi}/access {number}")
                lines += [f"gpu{gpu}/gi{gi}/ci{ci}/access {number + 1 + ci}" for ci in range(8)]
        self._minors.write_text("".join(f"{line}\n" for line in lines))
        for _, *minors in self.nodes().values():
            for minor in minors:
                self.make_node(self._dev / f"nvidia-cap{minor}", minor)


def gi_minor(gpu: int, gi: int) -> int:
    """Return the minor number of the node of a GPU instance. Those of its compute instances follow.

    ``gpu`` is the minor number of the GPU.
    """
    return 3 + 135 * gpu + 9 * gi
