"""Spares a process what its libraries import and it never uses: imports are most of the time to the first registration.

Both are for the time before other threads import the same; each module works as ever where it is used afterwards.
"""

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.machinery import ModuleSpec, PathFinder
from importlib.util import LazyLoader
from types import ModuleType


class _Deferring:
    """Finds one module as Python does, and has it executed when somebody first looks into it."""

    def __init__(self, deferred: str) -> None:
        self._deferred = deferred

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if name != self._deferred:
            return None
        spec = PathFinder.find_spec(name, path, target)
        if spec is not None and spec.loader is not None:
            spec.loader = LazyLoader(spec.loader)
        return spec


@contextmanager
def deferred(name: str) -> Iterator[None]:
    """Defer a module that is imported meanwhile until it is looked into."""
    finder = _Deferring(name)
    sys.meta_path.insert(0, finder)
    try:
        yield
    finally:
        sys.meta_path.remove(finder)


@contextmanager
def left_out(name: str) -> Iterator[None]:
    """Make a module look as if it were not installed, to those who are imported meanwhile and can do without it."""
    if name in sys.modules:
        yield
        return
    sys.modules[name] = None  # type: ignore[assignment]  # Python's own sign for "cannot be imported"
    try:
        yield
    finally:
        sys.modules.pop(name, None)
