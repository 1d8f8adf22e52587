"""The lists of devices that a gateway sends to the kubelet for one resource."""

from collections.abc import Callable, Iterable

from core.registration.model.kubelets import Connection
from core.registration.model.virtual_time import Process
from plugin_gateway.core.registration import pauses


class Lists:
    """Sends the latest state of the devices, a number, to every open stream. It can keep the lists back."""

    def __init__(self, owner: Process, streams: Callable[[], Iterable[Connection]], state: int) -> None:
        self.keeps_back = False
        self._owner = owner
        self._streams = streams
        self._state = state
        self._times = 0
        """How often lists were kept back."""

    def publish(self, state: int) -> None:
        """Send another state."""
        if state != self._state:
            self._state = state
            self.repeat()

    def repeat(self) -> None:
        """Send the state again."""
        for connection in self._streams():
            self.begin(connection)

    def begin(self, connection: Connection) -> None:
        """Send the state to a stream, if it is not ended and nothing is kept back."""
        if not self.keeps_back and connection.ended is None:
            connection.send_list(self._state)

    def keep_back(self) -> None:
        """Send no list for a while. Then send one, because another gateway may have sent some."""
        if not self.keeps_back:
            self.keeps_back, self._times = True, self._times + 1
            self._owner.later(pauses.KEPT_BACK.seconds, self._end, self._times)

    def go_on(self) -> None:
        """Send lists again."""
        self._end(self._times)

    def _end(self, times: int) -> None:
        if self.keeps_back and times == self._times:
            self.keeps_back = False
            self.repeat()
