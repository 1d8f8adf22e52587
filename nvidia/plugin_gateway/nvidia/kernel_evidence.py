"""What follows from the kernel's log, together with NVML's events."""

import time
from collections.abc import Callable, Mapping

from plugin_gateway.core.devices import PhysicalId
from plugin_gateway.core.health.faults import Source
from plugin_gateway.core.health.observations import (
    DriverSeen,
    EvidenceReported,
    InventorySeen,
    KernelLogRead,
    Observation,
)
from plugin_gateway.core.health.policy import Action, family_of, numbered
from plugin_gateway.nvidia.correlation import UNCLEAR, Correlator, LineMeaning, Subject
from plugin_gateway.nvidia.evidence import SXID, XID, xid_kind
from plugin_gateway.nvidia.kernel_lines import SxidLine, XidLine
from plugin_gateway.nvidia.kernel_log import Batch
from plugin_gateway.nvidia.sub_codes import SEVEREST, SubCodeAction, decode

MAX_STRANGERS = 256
"""Different lines about unknown GPUs that are reported. Each is reported once."""
ACTIONS: Mapping[SubCodeAction, Action] = {
    SubCodeAction.IGNORE: Action.IGNORE,
    SubCodeAction.XID_154_EVAL: Action.UNTIL_DRIVER_DECIDES,
    SubCodeAction.RESET_GPU: Action.UNTIL_RESET,
}
"""What follows from each action of the table of sub-codes."""


class KernelEvidence:
    """Joins the observations of NVML's thread with the lines of the log. One caller at a time may use it."""

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        self._now = now
        self._correlator = Correlator(frozenset(xid_kind(xid) for xid in SEVEREST))
        self._by_address: dict[str, PhysicalId] = {}
        self._branch: int | None = None
        self._strangers: set[Subject] = set()

    def observe(self, observation: Observation) -> list[Observation]:
        """Return what is to be reported for an observation of NVML's thread."""
        match observation:
            case EvidenceReported(kind) if family_of(kind) == XID:
                return self._correlator.event(observation, self._now())
            case InventorySeen(inventory):
                # A GPU that is away for a moment keeps its address.
                self._by_address.update({device.pci_address: device.id for device in inventory.physical})
            case DriverSeen(version):
                first = (version or "").partition(".")[0]
                self._branch = int(first) if first.isascii() and first.isdigit() else None
        return [observation]

    def hear(self, batch: Batch) -> list[Observation]:
        """Return what is to be reported for a part of the log, and for the time that has passed."""
        now = self._now()
        told = self._correlator.lost(now) if batch.has_gap else []
        for line in batch.lines:
            told += self._xid(line, now) if isinstance(line, XidLine) else self._sxid(line)
        return told + self._correlator.settle(now)

    def due(self) -> float | None:
        """Return when `hear` has something to report even without a line. None if it has nothing."""
        return self._correlator.due()

    def say_problem(self, problem: str | None) -> list[Observation]:
        """Return what is to be reported if the log cannot be read, or is read."""
        return [KernelLogRead(problem)]

    def _xid(self, line: XidLine, now: float) -> list[Observation]:
        device = self._by_address.get(line.address)
        subject = Subject(xid_kind(line.xid), device, "" if device is not None else line.address)
        if device is None and not self._is_new_stranger(subject):
            return []
        return self._correlator.line(subject, self._meaning(line), now)

    def _meaning(self, line: XidLine) -> LineMeaning | None:
        if line.xid not in SEVEREST:
            return None
        if line.registers is None:
            return UNCLEAR
        decoded = decode(line.xid, line.registers, self._branch)
        return LineMeaning(ACTIONS[decoded.action], decoded.what)

    def _sxid(self, line: SxidLine) -> list[Observation]:
        """Return an SXid. It is about the switch, which all GPUs share, unless the address is that of a GPU."""
        kind, device = numbered(SXID, line.sxid), self._by_address.get(line.address)
        if device is not None:
            return [EvidenceReported(kind, device, source=Source.KERNEL_LOG)]
        place = f"{line.address} ({'fatal' if line.is_fatal else 'non-fatal'})"
        return [EvidenceReported(kind, None, place, source=Source.KERNEL_LOG, of_node=True)]

    def _is_new_stranger(self, subject: Subject) -> bool:
        if subject in self._strangers or len(self._strangers) >= MAX_STRANGERS:
            return False
        self._strangers.add(subject)
        return True
