"""Files of a host that exists only in memory, for simulations and tests."""

import errno
import threading
from collections.abc import Callable, Mapping
from typing import NamedTuple, TypeAlias

from plugin_gateway.linux.card_model import Unread
from plugin_gateway.linux.sysfs import MAX_LINKS, unread_for


class _Link(NamedTuple):
    target: str


class _Folder(dict[str, "_Node"]):
    """What is in a folder, by name."""


_Node: TypeAlias = _Folder | str | _Link | Unread


class MadeUpTree:
    """A `Tree` in memory. Folders are there as soon as something is in them. Any thread may read and change it."""

    def __init__(
        self,
        files: Mapping[str, str] = {},
        links: Mapping[str, str] = {},
    ) -> None:
        """Create it with the text of each file and the target of each link, by path."""
        self._root = _Folder()
        self._lock = threading.RLock()
        self._listeners: list[Callable[[], object]] = []
        for path, text in files.items():
            self.write(path, text)
        for path, target in links.items():
            self.link_to(path, target)

    def text(self, path: str) -> str | Unread:
        """Return the content of a file, without the newline at its end."""
        with self._lock:
            node = self._find(path)
        if isinstance(node, _Folder):
            return unread_for(errno.EISDIR)
        return node.removesuffix("\n") if isinstance(node, str) else _reason(node)

    def names(self, path: str) -> tuple[str, ...] | Unread:
        """Return the names in a folder, in order."""
        with self._lock:
            node = self._find(path)
            if isinstance(node, _Folder):
                return tuple(sorted(node))
        return unread_for(errno.ENOTDIR) if isinstance(node, str) else _reason(node)

    def link(self, path: str) -> str | Unread:
        """Return where a link leads, as it is written in it."""
        with self._lock:
            node = self._find(path, follow_last=False)
        if isinstance(node, _Link):
            return node.target
        return unread_for(errno.EINVAL) if isinstance(node, _Folder | str) else _reason(node)

    def exists(self, path: str) -> bool:
        """Whether there is something at this path. A link into nowhere is nothing."""
        with self._lock:
            node = self._find(path)
        return node is not None and node is not _LOOP and node is not _NO_FOLDER

    def seen_at(self, path: str) -> str:
        """Return the path."""
        return path

    def keep(self, path: str) -> "_KeptText":
        """Return a file that is read again and again."""
        return _KeptText(self, path)

    def write(self, path: str, text: str) -> None:
        """Make a file, or change it."""
        self._put(path, text)

    def link_to(self, path: str, target: str) -> None:
        """Make a link. The target is as it is written in the link: absolute, or relative to the link's folder."""
        self._put(path, _Link(target), follow_last=False)

    def make_folder(self, path: str) -> None:
        """Make an empty folder. What is in it otherwise is removed."""
        self._put(path, _Folder())

    def fail(self, path: str, number: int) -> None:
        """Let every read of a file, folder or link fail with this error of the kernel, such as `errno.EIO`."""
        self._put(path, unread_for(number), follow_last=False)

    def remove(self, path: str) -> None:
        """Remove a file, a link, or a folder with everything in it. The folder that it is in stays."""
        folder, _, name = path.rstrip("/").rpartition("/")
        with self._lock:
            node = self._find(folder)
            removed = isinstance(node, _Folder) and node.pop(name, None) is not None
        if removed:
            self._tell()

    def on_change(self, listener: Callable[[], object]) -> None:
        """Call the listener after each change, in the thread that made it."""
        self._listeners.append(listener)

    def _tell(self) -> None:
        for listener in self._listeners:
            listener()

    def _put(self, path: str, node: _Node, *, follow_last: bool = True) -> None:
        with self._lock:
            folder, name = self._place(path, follow_last=follow_last)
            folder[name] = node
        self._tell()

    def _place(self, path: str, *, follow_last: bool) -> tuple[_Folder, str]:
        """Return the folder and the name of a path, behind all links. The folders on the way are made.

        Raises:
            OSError: something on the way is no folder, or there are too many links.
        """
        parts = self._real(path, follow_last=follow_last)
        folder = self._root
        for name in parts[:-1]:
            found = folder.setdefault(name, _Folder())
            if not isinstance(found, _Folder):
                raise NotADirectoryError(path)
            folder = found
        if not parts:
            raise IsADirectoryError(path)
        return folder, parts[-1]

    def _real(self, path: str, *, follow_last: bool) -> list[str]:
        """Return the parts of a path without links.

        Raises:
            OSError: it has too many links.
        """
        real: list[str] = []
        nodes: list[_Node | None] = [self._root]
        followed, left = 0, path.split("/")[::-1]
        while left:
            name = left.pop()
            if name in {"", "."}:
                continue
            if name == "..":
                del real[-1:]
                del nodes[len(real) + 1 :]
                continue
            inside = nodes[-1]
            node = inside.get(name) if isinstance(inside, _Folder) else None
            if not isinstance(node, _Link) or (not left and not follow_last):
                real.append(name)
                nodes.append(node)
                continue
            followed += 1
            if followed > MAX_LINKS:
                raise OSError(errno.ELOOP, path)
            if node.target.startswith("/"):
                real, nodes = [], [self._root]
            left += node.target.split("/")[::-1]
        return real

    def _find(self, path: str, *, follow_last: bool = True) -> _Node | None:
        """Return what is at a path. None if nothing is."""
        try:
            parts = self._real(path, follow_last=follow_last)
        except OSError:
            return _LOOP
        node: _Node | None = self._root
        for name in parts:
            if isinstance(node, Unread):
                return node
            if not isinstance(node, _Folder):
                return None if node is None else _NO_FOLDER
            node = node.get(name)
        return node


_LOOP = unread_for(errno.ELOOP)
_NO_FOLDER = unread_for(errno.ENOTDIR)


def _reason(node: _Node | None) -> Unread:
    return node if isinstance(node, Unread) else unread_for(errno.ENOENT)


class _KeptText:
    """A file in memory that is read again and again."""

    def __init__(self, tree: MadeUpTree, path: str) -> None:
        self._tree = tree
        self._path = path

    def read(self) -> str | Unread:
        """Return the content, without the newline at its end."""
        return self._tree.text(self._path)

    def close(self) -> None:
        """Do nothing: no descriptor is kept."""
