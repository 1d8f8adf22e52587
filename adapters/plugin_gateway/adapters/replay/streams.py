"""The ListAndWatch streams of a replay: which lists have to be sent on them."""

import math
from collections.abc import Sequence

from plugin_gateway.adapters.dialects.dialect import Dialect
from plugin_gateway.adapters.replay.comparing import MissedError, compare, describe_further
from plugin_gateway.adapters.replay.registering import Endpoint
from plugin_gateway.core.resources.assignment import Advertisement

UNDER_WAY = 0.1
"""Seconds in which a list may not have been sent yet. One that is replaced earlier need not be sent at all."""
CLOSING = 0.5
"""Seconds in which a stream that the gateway closes can go on, or be ended by the kubelet."""
ALWAYS = -1e9
"""Stands for the time of a list that has to be sent, however soon it is replaced."""


class Stream:
    """One open stream. Times are seconds since the recording began."""

    def __init__(self, endpoint: Endpoint, dialect: Dialect, *, of_kubelet: bool, at: float) -> None:
        self.endpoint = endpoint
        self.dialect = dialect
        self.of_kubelet = of_kubelet
        """Whether it is the stream of the registration."""
        self._may_be_refused = endpoint.closed_at <= at
        """Whether the gateway was closing the endpoint when the kubelet opened it. Then no list has to be sent."""
        self._last = b""
        """The list that was sent last."""
        self._listed: Advertisement | None = None
        self._repeats = 0
        self._waiting: list[tuple[bytes, float]] = []
        """The lists that were current since then, and from when on."""

    def begin_with(self, advertisement: Advertisement) -> None:
        """Send this list before all others."""
        self._waiting.append((self.dialect.fitting_list(advertisement)[0], ALWAYS))

    def follow(self, at: float) -> None:
        """Note what the resource advertises now, if it is something else than before."""
        until = self.endpoint.closed_at + (CLOSING if self._may_be_refused else 0.0)
        if at > until or self.endpoint.offer.is_kept_back:
            return
        advertisement, repeats = self.endpoint.offer.advertisement, self.endpoint.offer.repeats
        is_same = self._listed is not None and (advertisement is self._listed or advertisement == self._listed)
        if not is_same or repeats != self._repeats:
            self._waiting.append((self.dialect.fitting_list(advertisement)[0], at))
        self._listed, self._repeats = advertisement, repeats

    def keep_back(self, at: float) -> None:
        """Send no list from now on, not even one that is due only now."""
        self._waiting = [self._waiting[place] for place in self._due(at)]

    def expect(self, then: bytes, at: float) -> None:
        """Take a recorded list.

        Raises:
            MissedError: another one is sent now, or none, or more.
        """
        if at > self.endpoint.closed_at + CLOSING:
            raise MissedError("a list was sent then, the stream ends now")
        if not self._waiting:
            raise MissedError("a list was sent then, and none is now")
        due, lists = self._due(at), [each for each, _ in self._waiting]
        place = lists.index(then) if then in lists else next(iter(due), len(lists) - 1)
        before, self._last = self._last, lists[place]
        del self._waiting[: place + 1]
        compare(self.dialect, "ListAndWatch", then, self._last)
        if missed := [lists[each] for each in due if each < place]:
            raise describe_further(self.dialect, before, missed)

    def find_further(self, at: float) -> None:
        """Look for lists that were not recorded until this time.

        Raises:
            MissedError: there are some.
        """
        due = self._due(math.inf if self.endpoint.is_withdrawn else min(at, self.endpoint.closed_at))
        if due and not self._may_be_refused:
            raise describe_further(self.dialect, self._last, [self._waiting[each][0] for each in due])

    def end(self, by: str | None, at: float) -> None:
        """Take the recorded end. ``by`` is the side that ended it, or None if that is not known.

        Raises:
            MissedError: the other side ends it now, or there are further lists.
        """
        closed_at, is_withdrawn = self.endpoint.closed_at, self.endpoint.is_withdrawn
        self.find_further(at)
        if by == "gateway" and closed_at > at:
            raise MissedError("the gateway ended the stream then, and does not now")
        if by == "kubelet" and closed_at + (0.0 if is_withdrawn else CLOSING) < at:
            raise MissedError("the kubelet ended the stream then, the gateway does now")

    def _due(self, at: float) -> Sequence[int]:
        """Return which of the lists were current for so long that they have to be sent."""
        ends = [*(since for _, since in self._waiting[1:]), at]
        return [place for place, (_, since) in enumerate(self._waiting) if min(ends[place], at) - since >= UNDER_WAY]
