"""How often the driver is asked."""

from typing import NamedTuple


class Pace(NamedTuple):
    """Intervals in seconds."""

    rescan: float = 5.0
    """Between two looks at which GPUs exist."""
    checkup: float = 15.0
    """Between two checks of the GPUs, while all are healthy. Otherwise they are checked with every rescan."""
    retry: float = 3.0
    """Between two attempts to initialise a driver that is missing."""
    settling: float = 0.5
    """After the time in which the driver decides about an event, until the next check."""
    training: float = 180.0
    """How long a link may train, and a GPU may take to join the fabric, before that is a problem."""
    links: float = 15.0
    """At least between two looks at the links of a GPU."""
    max_wait: float = 5.0
    """Longest wait for an event. After it, the thread sees whether it has to end."""


USUAL_PACE = Pace()
"""The intervals in production. Tests use shorter ones."""
