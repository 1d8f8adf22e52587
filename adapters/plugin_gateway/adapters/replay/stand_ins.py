"""What a gateway that is played to has instead of a node."""

from collections.abc import Sequence

from plugin_gateway.core.faults import Moment


class RecordedNodes:
    """The device nodes that the recorded answers named: those were there then."""

    def __init__(self, answers: Sequence[bytes]) -> None:
        self._answers = answers

    def present(self, paths: Sequence[str]) -> frozenset[str]:
        """Tell which of these paths were there."""
        return frozenset(path for path in paths if any(path.encode() in answer for answer in self._answers))


class RecordedClock:
    """Stands where the recording stands."""

    def __init__(self, began: float) -> None:
        self._began = began
        self.at = 0.0

    def now(self) -> Moment:
        """Tell the time of the last line that was played."""
        return Moment(uptime=self.at, epoch=self._began + self.at)
