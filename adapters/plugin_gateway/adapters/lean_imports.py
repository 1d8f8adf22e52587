"""Spares a process the modules that its libraries import and it never uses; each of them still works where it is used.

Imports are most of the time from process start to the first registration, and on 1.8 that time is correctness.
"""

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.machinery import ModuleSpec, PathFinder
from importlib.util import LazyLoader
from types import ModuleType

UNUSED = frozenset(
    {
        "google.protobuf.internal.python_message",  # protobuf's fallback where its compiled half is missing
        "shutil",  # of ctypes.util, to search for a library: ours are found already
        "tempfile",  # the same
    }
)
"""Each is imported by one library, which then looks into it in rare cases only."""


class _Deferring:
    """Finds those modules as Python does, and has them executed when somebody first looks into them."""

    @staticmethod
    def find_spec(name: str, path: Sequence[str] | None = None, target: ModuleType | None = None) -> ModuleSpec | None:
        if name not in UNUSED:
            return None
        spec = PathFinder.find_spec(name, path, target)
        if spec is not None and spec.loader is not None:
            spec.loader = LazyLoader(spec.loader)
        return spec


def defer_unused() -> None:
    """Defer the modules of `UNUSED` from now on."""
    if _Deferring not in sys.meta_path:
        sys.meta_path.insert(0, _Deferring)


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
        del sys.modules[name]
