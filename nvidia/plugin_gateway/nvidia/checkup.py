"""Checks one GPU: asks it for problems that last, and describes them in words."""

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, TypeVar

from plugin_gateway.core.health.faults import Checkup
from plugin_gateway.core.health.policy import NOT_ANSWERING, RECOVERY_ACTION, EvidenceKind, words_of_recovery
from plugin_gateway.nvidia import nvml
from plugin_gateway.nvidia.evidence import (
    FABRIC,
    FABRIC_DEGRADED,
    HARDWARE_SLOWDOWN,
    NVLINK_DOWN,
    PENDING_RETIREMENT,
    ROW_REMAP_FAILURE,
)
from plugin_gateway.nvidia.snapshot import Answer

if TYPE_CHECKING:
    from plugin_gateway.nvidia.history import History

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


ASKED_LATER = frozenset({FABRIC, FABRIC_DEGRADED, NVLINK_DOWN, HARDWARE_SLOWDOWN})
"""The kinds of evidence that the first check of a session does not ask about, so that it is fast."""


def check_up(answer: Answer, between: Callable[[], None], now: float, history: "History | None") -> Checkup:
    """Return the result of checking a GPU. If it does not answer, that is the only problem.

    ``between`` is called after each call of the driver. ``now`` is the time for the history. Without a history, only
    what is fast is asked.
    """
    if answer.handle is None or answer.error is not None:
        return _silent(str(answer.error), history)
    asked = Questions(answer.handle, between)
    action = asked.ask(nvml.recovery_action, RECOVERY_ACTION)
    failed, rows_pending = asked.ask(nvml.row_remapping, *_MEMORY) or (False, False)
    pages_pending = asked.ask(nvml.is_retirement_pending, PENDING_RETIREMENT)
    if asked.refusal is not None:
        return _silent(str(asked.refusal), history)
    checkup = report(
        recovery_action=action, row_remap_failed=failed, retirement_pending=rows_pending or bool(pages_pending)
    )
    if history is None:
        return checkup._replace(unanswered=frozenset(asked.unanswered | ASKED_LATER))
    from plugin_gateway.nvidia.later_checkup import find_over_time  # noqa: PLC0415 - the first check does not need it

    later = Questions(answer.handle, between)
    finding = find_over_time(later, now, history)
    if later.loss is not None:
        return _silent(str(later.loss), history)
    return checkup._replace(
        problems={**checkup.problems, **finding.problems},
        unanswered=frozenset(asked.unanswered | later.unanswered | finding.unanswered),
    )


def _silent(words: str, history: "History | None") -> Checkup:
    if history is not None:
        history.restart()
    return not_answering(words)._replace(unanswered=ASKED_LATER)


_MEMORY = (ROW_REMAP_FAILURE, PENDING_RETIREMENT)
"""The kinds of evidence that the row remapping is asked about."""
_Answer = TypeVar("_Answer")


class Questions:
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

    def ask_if_supported(
        self, question: Callable[[nvml.Handle], _Answer], history: "History", *about: EvidenceKind
    ) -> _Answer | None:
        """Do the same. A question that the GPU does not support is not asked again in this session."""
        if question in history.unsupported:
            return None
        errors = len(self._errors)
        answer = self.ask(question, *about)
        if answer is None and len(self._errors) == errors:
            history.unsupported.add(question)
        return answer

    @property
    def loss(self) -> nvml.NvmlError | None:
        """Return the error that shows that the GPU is lost or needs a reset. None if there was none."""
        return next((error for error in self._errors if error.is_gpu_lost or error.asks_for_reset), None)

    @property
    def refusal(self) -> nvml.NvmlError | None:
        """Return the error that shows that the GPU does not answer. None if it answers.

        An error counts if the GPU is lost or needs a reset. Any other error counts only if every question failed.
        """
        return self.loss or (None if self._has_answered else next(iter(self._errors), None))


def not_answering(words: str) -> Checkup:
    """Return the result for a GPU that does not answer, with NVML's error text."""
    return Checkup({NOT_ANSWERING: f"does not answer: {words}"})


def answers(checkup: Checkup) -> bool:
    """Whether the GPU answered."""
    return NOT_ANSWERING not in checkup.problems


def of_part(checkup: Checkup) -> Checkup:
    """Return what a check of a GPU says of each of its parts. The problems are those of the GPU, which has them all."""
    return checkup._replace(problems={})


def report(*, recovery_action: int | None, row_remap_failed: bool = False, retirement_pending: bool = False) -> Checkup:
    """Return the result for a GPU that answers.

    ``recovery_action`` is the value of field 230. None if the driver does not have the field.
    """
    problems: dict[EvidenceKind, str] = {}
    if recovery_action:
        name = RECOVERY_ACTIONS.get(recovery_action, f"number {recovery_action}")
        problems[RECOVERY_ACTION] = words_of_recovery(name)
    if row_remap_failed:
        problems[ROW_REMAP_FAILURE] = "a row of memory could not be remapped"
    if retirement_pending:
        problems[PENDING_RETIREMENT] = "memory waits for a reset to be retired"
    return Checkup(problems, None if recovery_action is None else bool(recovery_action))
