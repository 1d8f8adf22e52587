"""How often the driver is asked."""

from typing import NamedTuple


class Pace(NamedTuple):
    """Seconds between one question and the next."""

    rescan: float = 5.0
    """Between two looks at which GPUs there are."""
    checkup: float = 15.0
    """Between two looks at how the GPUs are while all are well; otherwise they are looked at with every rescan."""
    retry: float = 3.0
    """Between two attempts to reach a driver that is not there."""
    max_wait: float = 5.0
    """For an event at most: then the thread sees whether it is to end, for which nobody waits."""


USUAL_PACE = Pace()
