"""The files of a made-up host, below a folder. Paths are those of the host, such as ``/sys/class/net``."""

import os
import shutil
from pathlib import Path


class HostFiles:
    """The files of a made-up host. Every file ends in one newline, every link is relative, as in sysfs."""

    def __init__(self, root: Path) -> None:
        self.root = root.resolve()

    def at(self, path: str) -> Path:
        """Return where a path of the host is."""
        return self.root / path.lstrip("/")

    def write(self, path: str, text: object) -> None:
        """Write a file anew, with all folders above it."""
        place = self.at(path)
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(f"{text}\n")

    def write_all(self, folder: str, texts: dict[str, object]) -> None:
        """Write several files of a folder."""
        self.folder(folder)
        for name, text in texts.items():
            self.write(f"{folder}/{name}", text)

    def touch(self, path: str) -> None:
        """Create an empty file, as a device node is one here."""
        self.at(path).parent.mkdir(parents=True, exist_ok=True)
        self.at(path).touch()

    def folder(self, path: str) -> None:
        """Create a folder."""
        self.at(path).mkdir(parents=True, exist_ok=True)

    def link(self, path: str, target: str) -> None:
        """Create a relative link to a path of the host."""
        place = self.at(path)
        place.parent.mkdir(parents=True, exist_ok=True)
        place.unlink(missing_ok=True)
        place.symlink_to(os.path.relpath(self.at(target), place.parent.resolve()))

    def text(self, path: str) -> str:
        """Return what is in a file, without its newline."""
        return self.at(path).read_text().removesuffix("\n")

    def remove(self, path: str) -> None:
        """Remove a file, a link or a whole folder, if it is there."""
        place = self.at(path)
        if place.is_dir() and not place.is_symlink():
            shutil.rmtree(place)
        else:
            place.unlink(missing_ok=True)

    def clear(self, folder: str) -> None:
        """Remove what is in a folder. The folder stays, if it is there."""
        if self.at(folder).is_dir():
            for each in self.at(folder).iterdir():
                self.remove(f"{folder}/{each.name}")

    def names(self, folder: str) -> list[str]:
        """Return the names in a folder. None of them where it is not there."""
        return sorted(each.name for each in self.at(folder).iterdir()) if self.at(folder).is_dir() else []
