"""The errors of NVML, and its texts."""

from typing import Any

import pynvml


class NvmlError(Exception):
    """A call of NVML failed. The message is NVML's own."""

    def __init__(self, error: Any) -> None:
        super().__init__(plain(str(error)))
        self.code = int(error.value)

    @property
    def is_gpu_lost(self) -> bool:
        """Whether the GPU is lost: it has fallen off the bus, or cannot be reached any more."""
        return bool(self.code == pynvml.NVML_ERROR_GPU_IS_LOST)

    @property
    def asks_for_reset(self) -> bool:
        """Whether the GPU needs a reset before it can be used again."""
        return bool(self.code == pynvml.NVML_ERROR_RESET_REQUIRED)

    @property
    def says_there_is_none(self) -> bool:
        """Whether the GPU or the driver does not support the call, or forbids it."""
        return self.code in _HAS_NONE

    @property
    def is_an_answer(self) -> bool:
        """Whether the error says something about the GPU or the driver. Any other says only that a call failed."""
        return self.says_there_is_none or self.is_gpu_lost or self.asks_for_reset

    @property
    def is_timeout(self) -> bool:
        """Whether no event came in time."""
        return bool(self.code == pynvml.NVML_ERROR_TIMEOUT)


_HAS_NONE = {
    pynvml.NVML_ERROR_NOT_SUPPORTED,
    pynvml.NVML_ERROR_FUNCTION_NOT_FOUND,
    pynvml.NVML_ERROR_INVALID_ARGUMENT,
    pynvml.NVML_ERROR_NO_PERMISSION,
    pynvml.NVML_ERROR_ARGUMENT_VERSION_MISMATCH,
}
_MAX_WORDS_LENGTH = 200
"""Characters that are kept of a text of the driver."""


def plain(words: str) -> str:
    """Return the text of the driver without control characters and not too long, for one line of a log or a file."""
    return "".join(each if each.isprintable() else " " for each in words[:_MAX_WORDS_LENGTH])
