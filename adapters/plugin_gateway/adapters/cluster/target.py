"""What is reported to the API server, and about which node."""

from collections.abc import Mapping
from typing import NamedTuple


class Target(NamedTuple):
    """What to report, and about which node."""

    node: str
    events: bool
    condition: str
    """The type of the condition; empty for none."""
    device_word: str
    """The word for a device of the first backend, in the singular."""
    missing_in_condition: bool = False
    """Whether the condition is also True while a device is missing."""
    device_words: Mapping[str, str] = {}
    """The word for a device of each backend of this moment, by its name. That of the first one stands for others."""

    @property
    def subject(self) -> str:
        """The first word of a reason about devices of the first backend. It has no blanks."""
        return _subject(self.device_word)

    def subject_of(self, backend: str) -> str:
        """Return the first word of a reason about devices of a backend."""
        return _subject(self.device_words.get(backend, self.device_word))

    @property
    def all_words(self) -> str:
        """Every device, as people call those of each backend."""
        words = dict.fromkeys((self.device_word, *self.device_words.values()))
        return " and ".join(f"every {word}" for word in words)


def _subject(word: str) -> str:
    return "".join(part.capitalize() for part in word.split())
