"""A problem of one task, which is logged once while it lasts."""

from plugin_gateway.adapters.support.logs import log


class Problem:
    """A problem of one task, which is logged once, and its end."""

    def __init__(self, begun: str, ended: str, **fields: object) -> None:
        """``begun`` and ``ended`` are the events of the log, which have the fields."""
        self._begun = begun
        self._ended = ended
        self._fields = fields
        self.logged: str | None = None
        """The problem that was logged last. None if it has ended."""

    def log(self, problem: str | None) -> None:
        """Log the problem unless it was logged last; None that there is none any more."""
        if problem == self.logged:
            return
        self.logged = problem
        if problem is None:
            log.info(self._ended, **self._fields)
        else:
            log.warning(self._begun, **self._fields, problem=problem)
