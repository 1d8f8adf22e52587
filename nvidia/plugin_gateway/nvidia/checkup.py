"""Checks one GPU: asks it for problems that last, and describes them in words."""

from collections.abc import Callable, Mapping
from typing import TypeVar

from plugin_gateway.core.health.faults import Checkup
from plugin_gateway.core.health.policy import NOT_ANSWERING, RECOVERY_ACTION, EvidenceKind
from plugin_gateway.nvidia import nvml
from plugin_gateway.nvidia.evidence import PENDING_RETIREMENT, ROW_REMAP_FAILURE
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
"""NVML's names for the values of field 230 (GPU recovery action). 0 means none."""


def check_up(answer: Answer, between: Callable[[], None]) -> Checkup:
    """Return the result of checking a GPU. If it does not answer, that is the only problem.

    ``between`` is called after each call of the driver.
    """
    if answer.handle is None or answer.error is not None:
        return not_answering(str(answer.error))
    asked = _Questions(answer.handle, between)
    action = asked.ask(nvml.recovery_action, RECOVERY_ACTION)
    failed, rows_pending = asked.ask(nvml.row_remapping, *_MEMORY) or (False, False)
    pages_pending = asked.ask(nvml.is_retirement_pending, PENDING_RETIREMENT)
    if asked.refusal is not None:
        return not_answering(str(asked.refusal))
    checkup = report(
        recovery_action=action, row_remap_failed=failed, retirement_pending=rows_pending or bool(pages_pending)
    )
    return checkup._replace(unanswered=frozenset(asked.unanswered))


_MEMORY = (ROW_REMAP_FAILURE, PENDING_RETIREMENT)
"""The kinds of evidence that the row remapping is asked about."""
_Answer = TypeVar("_Answer")


class _Questions:
    """Asks one GPU several questions, and records which of them failed."""

    def __init__(self, handle: nvml.Handle, between: Callable[[], None]) -> None:
        self._handle = handle
        self._between = between
        self._errors: list[nvml.NvmlError] = []
        self._has_answered = False
        self.unanswered: set[EvidenceKind] = set()
        """The kinds of evidence whose question failed with an error."""

    def ask(self, question: Callable[[nvml.Handle], _Answer], *about: EvidenceKind) -> _Answer | None:
        """Return the answer. None if the GPU does not support the question, or answers with an error."""
        try:
            answer = question(self._handle)
        except nvml.NvmlError as error:
            if not error.says_there_is_none:
                self._errors.append(error)
                self.unanswered.update(about)
            return None
        finally:
            self._between()
        self._has_answered = True
        return answer

    @property
    def refusal(self) -> nvml.NvmlError | None:
        """Return the error that shows that the GPU does not answer. None if it answers.

        An error counts if the GPU is lost or needs a reset. Any other error counts only if every question failed.
        """
        grave = [error for error in self._errors if error.is_gpu_lost or error.asks_for_reset]
        return next(iter(grave if self._has_answered else [*grave, *self._errors]), None)


def not_answering(words: str) -> Checkup:
    """Return the result for a GPU that does not answer, with NVML's error text."""
    return Checkup({NOT_ANSWERING: f"does not answer: {words}"})


def report(*, recovery_action: int | None, row_remap_failed: bool = False, retirement_pending: bool = False) -> Checkup:
    """Return the result for a GPU that answers.

    ``recovery_action`` is the value of field 230. None if the driver does not have the field.
    """
    problems: dict[EvidenceKind, str] = {}
    if recovery_action:
        name = RECOVERY_ACTIONS.get(recovery_action, f"number {recovery_action}")
        problems[RECOVERY_ACTION] = f"the driver asks for recovery: {name}"
    if row_remap_failed:
        problems[ROW_REMAP_FAILURE] = "a row of memory could not be remapped"
    if retirement_pending:
        problems[PENDING_RETIREMENT] = "memory waits for a reset to be retired"
    return Checkup(problems, None if recovery_action is None else bool(recovery_action))
