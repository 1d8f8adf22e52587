"""What the status says of CDI specs."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class CdiStatus:
    """The CDI specs of the devices."""

    folder: str
    """Where they are written, as the gateway sees it."""
    way: str | None
    """How the loader of a container finds the libraries, for people. Null if it is not known yet."""
    problem: str | None
    """Why a spec cannot be written. Null if each one was."""
    foreign_files: tuple[str, ...]
    """Files of other programs that have devices of the same kind."""
