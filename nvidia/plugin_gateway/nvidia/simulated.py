"""Simulated GPUs for demonstrations, benchmarks and tests on a machine without GPUs."""

import re
import threading
import uuid
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING

from plugin_gateway.core.devices import Inventory, PhysicalDevice, PhysicalId, whole
from plugin_gateway.core.errors import InvalidValueError
from plugin_gateway.core.health.faults import Checkup
from plugin_gateway.core.health.observations import (
    DevicesChecked,
    EvidenceReported,
    InventorySeen,
    KernelLogRead,
    LinksSeen,
)
from plugin_gateway.core.health.policy import RECOVERY_ACTION, words_of_recovery
from plugin_gateway.nvidia.evidence import xid_kind
from plugin_gateway.nvidia.generation import generation_of
from plugin_gateway.nvidia.naming import (
    DEVICE_WORD,
    GPU,
    OPTIONAL_NODES,
    RECIPES,
    SHARED_NODES,
    VISIBILITY_VARIABLE,
    MigStrategy,
)

if TYPE_CHECKING:
    from plugin_gateway.core.cdi import FilesWanted
    from plugin_gateway.core.ports import Report
    from plugin_gateway.nvidia.mig_reader import Layouts

MAX_GPUS = 50_000
"""Largest number of simulated GPUs."""
NUMA_NODES = 2
"""The simulated GPUs are spread over this many NUMA nodes."""
_BRIDGES = 127
"""Each simulated GPU has a bus and a bridge of its own. Of each PCI domain, this many bridges have one."""
_GIB = 2**30
_WELL = Checkup({}, asks_for_recovery=False)
_ASKING = Checkup({RECOVERY_ACTION: words_of_recovery("GPU reset")}, asks_for_recovery=True)
KERNEL_LOG_PROBLEM = "the kernel's log says nothing about simulated GPUs"
_RECIPES = {
    kind: replace(recipe, shared_nodes=(), optional_nodes=(*SHARED_NODES, *OPTIONAL_NODES))
    for kind, recipe in RECIPES.items()
}
"""No device node is needed: a machine without GPUs may have none."""
_NAME_MARK = "/name="
"""Stands between the GPUs of a specification and the name of the backend."""
_NAME = re.compile(r"[a-z]([a-z0-9-]{0,18}[a-z0-9])?", re.ASCII)
_MIG_MARK = "/mig="
"""Stands between the GPUs of a specification and the layout of their MIG devices."""
_NAMESPACE = uuid.UUID("6f1d3b52-0b1f-5a5e-9a55-70c1a1f1e9d4")
"""The UUIDs are derived from it, so that the same GPU has the same UUID every time."""

MODELS: dict[str, tuple[str, int, tuple[int, int]]] = {
    "T4": ("Tesla T4", 16 * _GIB, (7, 5)),
    "V100": ("Tesla V100-SXM2-32GB", 32 * _GIB, (7, 0)),
    "A100": ("NVIDIA A100-SXM4-80GB", 80 * _GIB, (8, 0)),
    "L40S": ("NVIDIA L40S", 48 * _GIB, (8, 9)),
    "H100": ("NVIDIA H100 80GB HBM3", 80 * _GIB, (9, 0)),
    "H200": ("NVIDIA H200", 141 * _GIB, (9, 0)),
    "B200": ("NVIDIA B200", 180 * _GIB, (10, 0)),
}
"""Product names as NVML returns them, memory in bytes, and compute capabilities."""


def parse_spec(spec: str) -> tuple[PhysicalDevice, ...]:
    """Return the GPUs of a specification such as ``8xH100``, ``4xA100+4xT4``, or ``8xH100/mig=0:3g.40gb,3g.40gb``.

    With a name, such as ``8xH100/name=other``, they have other ids. So several such backends can be side by side.

    Raises:
        InvalidValueError: the message names the value and what is allowed.
    """
    whole_gpus, mark, layout = spec.partition(_MIG_MARK)
    gpus, name = whole_gpus.partition(_NAME_MARK)[0], name_of(spec)
    parts = [part.partition("x") for part in gpus.split("+")]
    is_known = all(_is_count(count) and model in MODELS for count, _, model in parts)
    if not is_known or sum(int(count) for count, *_ in parts) > MAX_GPUS:
        raise InvalidValueError(
            f"GPUs to simulate {spec!r}; expected COUNTxMODEL such as 8xH100, or several such as 4xA100+4xT4, "
            f"with 1 to {MAX_GPUS} of {', '.join(MODELS)}"
        )
    models = [model for count, _, model in parts for _ in range(int(count))]
    devices = tuple(_gpu(index, len(models), model, name or "") for index, model in enumerate(models))
    if mark:
        from plugin_gateway.nvidia.simulated_mig import parse_layouts  # noqa: PLC0415 - only where asked for

        parse_layouts(layout, devices)
    return devices


def name_of(spec: str) -> str | None:
    """Return the name that a specification gives the backend. None if it gives none.

    Raises:
        InvalidValueError: the name is not allowed.
    """
    _, mark, name = spec.partition(_MIG_MARK)[0].partition(_NAME_MARK)
    if mark and not _NAME.fullmatch(name):
        raise InvalidValueError(
            f"GPUs to simulate {spec[:80]!r}; expected a name of 1 to 20 small letters, digits and dashes, "
            "with a letter first and no dash at the end"
        )
    return name if mark else None


def _is_count(text: str) -> bool:
    """Return whether the text is an allowed number. Its length is checked first: int() refuses very long texts."""
    short = len(text) <= len(str(MAX_GPUS))
    return short and text.isascii() and text.isdigit() and 1 <= int(text) <= MAX_GPUS


def _gpu(index: int, count: int, model: str, name: str = "") -> PhysicalDevice:
    product, memory, capability = MODELS[model]
    domain, place = divmod(index, _BRIDGES)
    bridge, bus = (f"{domain:04x}:{2 * place + number:02x}" for number in (1, 2))
    return PhysicalDevice(
        id=PhysicalId(f"GPU-{uuid.uuid5(_NAMESPACE, f'{name}/{model}/{index}' if name else f'{model}/{index}')}"),
        index=index,
        minor=index,
        pci_address=f"{bus}:00.0",
        product=product,
        memory_bytes=memory,
        numa_node=index * NUMA_NODES // count,
        generation=generation_of(capability, product),
        pci_path=(f"pci{bridge}", f"{bridge}:00.0"),
    )


class SimulatedBackend:
    """A backend whose GPUs fail, vanish and appear when a method is called."""

    device_word = DEVICE_WORD
    decision_time = 5.0

    def __init__(
        self, spec: str, *, reads_kernel_log: bool = False, mig_strategy: MigStrategy = MigStrategy.NONE
    ) -> None:
        """Create a backend. With ``reads_kernel_log`` it says that the kernel's log cannot be read for these GPUs."""
        self._reads_kernel_log = reads_kernel_log
        self._mig_strategy = mig_strategy
        self._devices = parse_spec(spec)
        _, mark, layout = spec.partition(_MIG_MARK)
        self._layouts: Layouts = self._parsed(layout) if mark else {}
        self._lock = threading.Lock()
        self._report: Report | None = None
        self._files_wanted: FilesWanted | None = None
        self._wants_facts = False

    def want_files(self, wanted: "FilesWanted | None") -> None:
        """Say that there are no files of a driver. Each simulated GPU has a variable instead."""
        self._files_wanted = wanted
        if self._report is not None:
            self._report_files()

    def start(self, report: "Report", after: Callable[[], object] = lambda: None) -> None:
        """Report the inventory, a check that finds no problem, and the links at once, after a call of ``after``."""
        after()
        with self._lock:
            self._report = report
            self._report_inventory()
            report(DevicesChecked(dict.fromkeys(self._inventory().ids, _WELL)))
            self._report_links()
            if self._reads_kernel_log:
                report(KernelLogRead(KERNEL_LOG_PROBLEM))

    def look_again(self) -> None:
        """Do nothing: nothing changes unreported."""

    def stop(self) -> None:
        """Stop reporting."""
        with self._lock:
            self._report = None

    def join(self, timeout: float | None = None) -> bool:  # noqa: ARG002 - there is no thread to wait for
        """Return True, because there is no thread."""
        return True

    def silent_for(self) -> float:
        """Return 0, because there is no driver."""
        return 0.0

    def is_watching(self) -> bool:
        """Whether the backend was started and not stopped."""
        return self._report is not None

    def fail(self, index: int, xid: int) -> None:
        """Let the GPU with this index report an XID and ask for a reset."""
        with self._lock:
            device = next((device.id for device in self._devices if device.index == index), None)
            if self._report is not None:
                self._report(EvidenceReported(xid_kind(xid), device))
            if self._report is not None and device is not None:
                self._report(DevicesChecked({device: _ASKING}))

    def reset(self, index: int) -> None:
        """Reset the GPU with this index. A check then finds no problem."""
        with self._lock:
            devices = [device.id for device in self._devices if device.index == index]
            if self._report is not None:
                self._report(DevicesChecked(dict.fromkeys(devices, _WELL)))

    def remove(self, index: int) -> None:
        """Remove the GPU with this index from the machine."""
        with self._lock:
            self._devices = tuple(device for device in self._devices if device.index != index)
            self._report_inventory()

    def add(self, model: str) -> PhysicalId:
        """Add a GPU after the last one. Returns its id."""
        with self._lock:
            index = max((device.index for device in self._devices), default=-1) + 1
            added = replace(_gpu(index, index + 1, model), numa_node=0)
            self._devices = (*self._devices, added)
            self._report_inventory()
            self._report_links()
        return added.id

    def lay_out(self, layout: str) -> None:
        """Change the layout of MIG devices, such as ``0:3g.40gb,1g.10gb;1:``.

        Raises:
            InvalidValueError: it is not allowed. The message says why.
        """
        with self._lock:
            self._layouts = self._parsed(layout)
            self._report_inventory()

    def _parsed(self, layout: str) -> "Layouts":
        from plugin_gateway.nvidia.simulated_mig import parse_layouts  # noqa: PLC0415 - only where asked for

        return parse_layouts(layout, self._devices)

    def _report_inventory(self) -> None:
        if self._report is not None:
            self._report(InventorySeen(self._inventory()))
            self._report_files()
            self._report_facts()

    def _report_files(self) -> None:
        if self._files_wanted is not None:
            from plugin_gateway.core.cdi import CdiEdits, DriverFiles  # noqa: PLC0415 - only where asked for
            from plugin_gateway.nvidia.injection import extras_of  # noqa: PLC0415 - only where asked for

            edits, extras = CdiEdits({VISIBILITY_VARIABLE: "void"}), extras_of(None)
            own = {str(device.id): edits for device in self._inventory().devices}
            self._files_wanted.report(
                DriverFiles((None, None), own=own, extras=extras, way="simulated GPUs have no libraries")
            )

    def _report_links(self) -> None:
        from plugin_gateway.nvidia.simulated_links import simulated_links  # noqa: PLC0415 - `parse_spec` needs none

        if self._report is not None:
            self._report(LinksSeen(simulated_links(self._devices)))

    @property
    def wants_facts(self) -> bool:
        """Whether somebody wants what labels tell of the GPUs."""
        return self._wants_facts

    @wants_facts.setter
    def wants_facts(self, wanted: bool) -> None:
        with self._lock:
            self._wants_facts = wanted
            self._report_facts()

    def _report_facts(self) -> None:
        if self._wants_facts and self._report is not None:
            from plugin_gateway.nvidia.simulated_facts import simulated_facts  # noqa: PLC0415 - only where asked for

            self._report(simulated_facts(self._inventory(), self._layouts))

    def _inventory(self) -> Inventory:
        devices = tuple(whole(device, GPU) for device in self._devices)
        if not self._layouts:
            return Inventory(physical=self._devices, devices=devices, recipes=_RECIPES)
        from plugin_gateway.nvidia.mig_offer import offer  # noqa: PLC0415 - only where asked for

        offered = offer(devices, self._layouts, self._mig_strategy)
        return Inventory(physical=self._devices, devices=offered.devices, rejected=offered.rejected, recipes=_RECIPES)
