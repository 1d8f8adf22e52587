"""How cards are watched. Who makes a backend says it, before anything is imported that the watching needs."""

from enum import Enum
from typing import NamedTuple


class LinkSource(Enum):
    """How a lost or found link is noticed before the next look at all of them."""

    AUTO = "auto"
    """By netlink if it can be had."""
    NETLINK = "netlink"
    """By netlink. That it cannot be had is a problem."""
    POLL = "poll"
    """Not at all."""


class CardPace(NamedTuple):
    """Intervals in seconds."""

    poll: float = 1.0
    """Between two looks at all signs."""
    scan: float = 30.0
    """Between two scans, while nothing asks for one."""
    check: float = 5.0
    """Between two reports of a check that finds the same."""
    retry: float = 3.0
    """After a scan that failed."""
    settling: float = 0.05
    """After the last of several devices that come or go together, until the scan."""
    longest_settling: float = 1.0
    """After the first of them, until the scan."""
    patience: float = 0.02
    """Without any answer, until the signs that are left are no longer waited for."""
    first_patience: float = 0.15
    """The same for devices that have not answered before."""


USUAL_PACE = CardPace()
"""The intervals in production. Tests use shorter ones."""
