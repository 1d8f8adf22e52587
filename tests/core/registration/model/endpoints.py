"""The sockets of one resource of a gateway: one current one, and older ones with a stream."""

from collections.abc import Callable

from core.registration.model.files import Folder, Socket


class Endpoints:
    """Binds, replaces and closes sockets, as the adapter does."""

    def __init__(self, folder: Folder, bind: Callable[[], Socket | None], close: Callable[[Socket], None]) -> None:
        """``bind`` returns None if no socket can be created."""
        self._folder = folder
        self._bind = bind
        self._close = close
        self._current: Socket | None = None
        self._older: list[Socket] = []

    def all(self) -> list[Socket]:
        return [*self._older, *([self._current] if self._current else [])]

    def keep_in_place(self, in_use: Socket | None) -> bool:
        """Bind a missing socket again, and close those that are not used. Return whether there is one now."""
        for idle in [each for each in self._older if each.connection is None and each is not in_use]:
            self._older.remove(idle)
            self._close(idle)
        current = self._current
        if current is None:
            self._current = self._bind()
            return self._current is not None
        is_known = current.attempt is not None and current.connection is None and current is not in_use
        return self._replace(current) if is_known or not self._folder.has(current) else True

    def fresh(self) -> Socket | None:
        """Return a socket whose name was never sent to a kubelet. None if none can be created."""
        current = self._current
        if current is None:
            self._current = self._bind()
        elif (current.attempt is not None or not self._folder.has(current)) and not self._replace(current):
            return None
        return self._current

    def close_one(self, socket: Socket) -> None:
        """Close a socket, so that a kubelet that dials late finds none."""
        if socket is self._current:
            self._current = None
        elif socket in self._older:
            self._older.remove(socket)
        else:
            return
        self._close(socket)

    def mark(self) -> None:
        """Show other gateways whether a stream is open."""
        is_open = any(each.connection is not None for each in self.all())
        for each in self.all():
            each.is_marked = is_open

    def _replace(self, old: Socket) -> bool:
        new = self._bind()
        if new is not None:
            self._older.append(old)
            self._current = new
            self.mark()
        return new is not None
