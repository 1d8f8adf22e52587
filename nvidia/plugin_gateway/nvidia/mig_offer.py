"""What is given out of GPUs of which at least one is in MIG mode. It is imported only on such a node."""

from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

from plugin_gateway.core.devices import Device, PhysicalDevice, RejectedDevice, parse_device_id
from plugin_gateway.core.errors import InvalidValueError
from plugin_gateway.nvidia.mig_layout import MigDevice, MigLayout
from plugin_gateway.nvidia.mig_reader import Layouts
from plugin_gateway.nvidia.naming import MIG, MigStrategy

_MIB = 2**20
_SEE_DRIVER = "see nvidia-smi -L and the kernel's log; the MIG device may have to be made again"
_WHOLE = ""
"""Stands for a whole GPU where others have the name of a profile."""


class Offer(NamedTuple):
    """What is given out, and what is not."""

    devices: tuple[Device, ...]
    """In the order of their place."""
    rejected: tuple[RejectedDevice, ...]


def offer(gpus: Sequence[Device], layouts: Layouts, strategy: MigStrategy) -> Offer:
    """Return what is given out of these GPUs, each of which is described as a whole."""
    devices: list[Device] = []
    rejected: list[RejectedDevice] = []
    places = {str(gpu.id): _place(gpu.physical, None) for gpu in gpus}
    for gpu in gpus:
        layout = layouts.get(gpu.physical.id)
        if layout is None:
            devices.append(gpu)
            continue
        parts = _Parts(gpu.physical, layout, strategy, places)
        devices += parts.devices
        rejected += parts.rejected
    if strategy is MigStrategy.SINGLE:
        return _uniform(devices, rejected)
    return Offer(tuple(devices), tuple(rejected))


class _Parts:
    """What a GPU in MIG mode has to give."""

    def __init__(self, gpu: PhysicalDevice, layout: MigLayout, strategy: MigStrategy, places: dict[str, str]) -> None:
        """``places`` has the place of each id of the node. The devices of this GPU are added."""
        self._gpu = gpu
        self._places = places
        self.devices: list[Device] = []
        self.rejected: list[RejectedDevice] = []
        if strategy is MigStrategy.NONE:
            problem = "it is in MIG mode, in which CUDA does not use it as a whole, and --mig-strategy is none"
            self._reject(None, problem, "set --mig-strategy to mixed or single, or turn its MIG mode off")
            return
        for device in layout.devices:
            self._take(device)
        for slot in layout.rejected:
            self._reject(slot.slot, slot.reason, slot.todo or _SEE_DRIVER)
        if not layout.devices and not layout.rejected:
            todo = f"make some: nvidia-smi mig -i {gpu.index} -cgi PROFILE -C; nvidia-smi mig -lgip lists the profiles"
            self._reject(None, "it is in MIG mode and has no MIG devices", todo)

    def _take(self, device: MigDevice) -> None:
        if device.nodes_problem:
            self._reject(device.slot, f"its device nodes are not known: {device.nodes_problem}", _SEE_DRIVER)
            return
        if (other := self._places.get(device.uuid)) is not None:
            self._reject(device.slot, f"its UUID {device.uuid!r} belongs to {other} too", _SEE_DRIVER)
            return
        try:
            self.devices.append(_described(self._gpu, device))
        except InvalidValueError as refusal:
            self._reject(device.slot, str(refusal), _SEE_DRIVER)
        else:
            self._places[device.uuid] = _place(self._gpu, device.slot)

    def _reject(self, slot: int | None, problem: str, todo: str) -> None:
        self.rejected.append(RejectedDevice(_place(self._gpu, slot), problem, todo, self._gpu.id))


def _described(gpu: PhysicalDevice, device: MigDevice) -> Device:
    """Return a MIG device as the core knows it.

    Raises:
        InvalidValueError: its UUID cannot be an id.
    """
    return Device(
        id=parse_device_id(device.uuid),
        physical=gpu,
        kind=MIG,
        profile=device.profile,
        place=(gpu.index, device.slot),
        nodes=device.nodes,
        memory_bytes=device.memory_mb * _MIB,
    )


def _uniform(devices: Sequence[Device], rejected: Sequence[RejectedDevice]) -> Offer:
    """Return those devices that are alike: whole GPUs, or MIG devices of one profile. The others are left out.

    What most GPUs have is offered. If as many GPUs have something else, that of the first device decides.
    """
    have = Counter(form for _, form in dict.fromkeys((each.physical.id, each.profile) for each in devices))
    chosen = max(have, key=lambda form: have[form], default=_WHOLE)  # the first of equals
    left_out = [
        RejectedDevice(
            _place(each.physical, None if each.is_whole else each.place[1]),
            f"it is {_words(each.profile)}, and --mig-strategy=single offers one kind of device, which is "
            f"{_words(chosen)} here",
            "give all GPUs the same layout, or set --mig-strategy to mixed",
            each.physical.id,
        )
        for each in devices
        if each.profile != chosen
    ]
    return Offer(tuple(each for each in devices if each.profile == chosen), (*rejected, *left_out))


def _words(profile: str) -> str:
    return f"a MIG device {profile}" if profile != _WHOLE else "a whole GPU"


def _place(gpu: PhysicalDevice, slot: int | None) -> str:
    """Return where a MIG device, or the GPU itself, is found."""
    return f"GPU {gpu.index} at {gpu.pci_address}" if slot is None else f"MIG device {slot} of GPU {gpu.index}"
