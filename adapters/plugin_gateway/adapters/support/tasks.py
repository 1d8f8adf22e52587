"""What tasks share: the latest value with a wake-up, work that is not interrupted, the errors of a group."""

import asyncio
from collections.abc import Coroutine
from typing import Any, Generic, TypeVar

Value = TypeVar("Value")


class PublicationClosed(Exception):  # noqa: N818 - no error, the end
    """Nothing newer will be published."""


class Latest(Generic[Value]):
    """One value, always there, and a wake-up for everybody who waits for the next.

    Two followers can never take something from each other, and nobody waits because nobody follows.
    """

    def __init__(self, value: Value) -> None:
        self._value = value
        self._version = 0
        self._next = asyncio.Event()
        self._closed = False

    @property
    def value(self) -> Value:
        """The latest value."""
        return self._value

    def publish(self, value: Value) -> bool:
        """Replace the value and wake the followers; False where it is equal to the one before."""
        if value == self._value:
            return False
        self._value = value
        self._version += 1
        self._next.set()
        self._next = asyncio.Event()
        return True

    def close(self) -> None:
        """Publish nothing more: followers get what they have not seen yet, and then the end."""
        self._closed = True
        self._next.set()

    async def newer_than(self, version: int) -> tuple[int, Value]:
        """Wait for a version above this one; the first is 0.

        Raises:
            PublicationClosed: there will be none.
        """
        while self._version <= version:
            if self._closed:
                raise PublicationClosed
            await self._next.wait()
        return self._version, self._value


async def to_its_end(work: Coroutine[Any, Any, None]) -> None:
    """Do it, and be cancelled only afterwards."""
    doing = asyncio.ensure_future(work)
    try:
        await asyncio.shield(doing)
    except asyncio.CancelledError:
        await asyncio.wait({doing})
        raise


def leaves(group: BaseExceptionGroup) -> list[BaseException]:
    """List the errors in a group and in the groups that it holds."""
    found: list[BaseException] = []
    for error in group.exceptions:
        found += leaves(error) if isinstance(error, BaseExceptionGroup) else [error]
    return found
