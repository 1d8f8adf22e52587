"""Tools for tasks: a value with followers, work that is not cancelled half-way, and the errors of a group."""

import asyncio
from collections.abc import Coroutine
from typing import Any, Generic, TypeVar

Value = TypeVar("Value")


class PublicationClosed(Exception):  # noqa: N818 - no error, the end
    """No newer value will be published."""


class Latest(Generic[Value]):
    """A value that always exists, and wakes its followers when it changes.

    Followers do not take values from each other. A follower that is slow gets the latest value and not those in
    between, and the publisher never waits for it.
    """

    def __init__(self, value: Value) -> None:
        self._value = value
        self._version = 0
        self._next = asyncio.Event()
        self._closed = False

    @property
    def value(self) -> Value:
        """Return the latest value."""
        return self._value

    def publish(self, value: Value) -> bool:
        """Replace the value and wake the followers. Return False, and do nothing, if it is equal to the latest."""
        if value == self._value:
            return False
        self._value = value
        self.repeat()
        return True

    def repeat(self) -> None:
        """Wake the followers with the latest value, as if it were new."""
        self._version += 1
        self._next.set()
        self._next = asyncio.Event()

    def close(self) -> None:
        """Publish nothing more. Followers get the latest value if they have not seen it, and then PublicationClosed."""
        self._closed = True
        self._next.set()

    async def newer_than(self, version: int) -> tuple[int, Value]:
        """Wait for a version above this one, and return it with its value. The first version is 0.

        Raises:
            PublicationClosed: there will be none.
        """
        while self._version <= version:
            if self._closed:
                raise PublicationClosed
            await self._next.wait()
        return self._version, self._value


async def to_its_end(work: Coroutine[Any, Any, None]) -> None:
    """Finish the work even if this task is cancelled; raise CancelledError afterwards."""
    doing = asyncio.ensure_future(work)
    try:
        await asyncio.shield(doing)
    except asyncio.CancelledError:
        await asyncio.wait({doing})
        raise


def leaves(group: BaseExceptionGroup) -> list[BaseException]:
    """Return the errors in a group and in the groups inside it."""
    found: list[BaseException] = []
    for error in group.exceptions:
        found += leaves(error) if isinstance(error, BaseExceptionGroup) else [error]
    return found
