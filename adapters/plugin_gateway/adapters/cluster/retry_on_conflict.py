"""Changes an object of the API server that others change at the same time."""

from collections.abc import Awaitable, Callable
from typing import TypeVar

from plugin_gateway.adapters.cluster.kubernetes_api import ApiError
from plugin_gateway.adapters.cluster.label_way import LabelError

T = TypeVar("T")

ATTEMPTS = 3
"""How often an object is read and changed until a conflict is an error."""


async def retry_on_conflict(attempt: Callable[[], Awaitable[T]]) -> T:
    """Return what an ``attempt`` to read and change an object returns. It is made again if there was a conflict.

    Raises:
        LabelError: the API server refuses, or the object changes all the time.
    """
    for number in range(1, ATTEMPTS + 1):
        try:
            return await attempt()
        except ApiError as error:
            if not error.is_conflict or number == ATTEMPTS:
                raise LabelError(str(error)) from error
    raise AssertionError
