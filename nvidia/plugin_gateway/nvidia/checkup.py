"""How a GPU is: what it answers when it is asked, in words."""

from collections.abc import Mapping

from plugin_gateway.core.faults import Checkup
from plugin_gateway.core.health_policy import Source
from plugin_gateway.nvidia import nvml
from plugin_gateway.nvidia.snapshot import Answer

RECOVERY_ACTIONS: Mapping[int, str] = {
    1: "GPU reset",
    2: "node reboot",
    3: "drain P2P",
    4: "drain and reset",
    5: "recover IMEX domain",
    6: "bus reset",
    7: "system reboot",
}
"""NVML's names for the values of field 230, other than none (0)."""


def check_up(answer: Answer) -> Checkup:
    """Ask a GPU how it is; of one that does not answer nothing else is known."""
    if answer.handle is None or answer.error is not None:
        return not_answering(str(answer.error))
    try:
        failed, pending = nvml.row_remapping(answer.handle)
        return report(
            recovery_action=nvml.recovery_action(answer.handle),
            row_remap_failed=failed,
            retirement_pending=pending or nvml.is_retirement_pending(answer.handle),
        )
    except nvml.NvmlError as error:
        return not_answering(str(error))


def not_answering(words: str) -> Checkup:
    """Say so, with the driver's words."""
    return Checkup({Source.NOT_ANSWERING: f"does not answer: {words}"})


def report(*, recovery_action: int | None, row_remap_failed: bool = False, retirement_pending: bool = False) -> Checkup:
    """Say how a GPU is that answers."""
    problems: dict[Source, str] = {}
    if recovery_action:
        name = RECOVERY_ACTIONS.get(recovery_action, f"number {recovery_action}")
        problems[Source.RECOVERY_ACTION] = f"the driver asks for recovery: {name}"
    if row_remap_failed:
        problems[Source.ROW_REMAP_FAILURE] = "a row of memory could not be remapped"
    if retirement_pending:
        problems[Source.PENDING_RETIREMENT] = "memory waits for a reset to be retired"
    return Checkup(problems, None if recovery_action is None else bool(recovery_action))
