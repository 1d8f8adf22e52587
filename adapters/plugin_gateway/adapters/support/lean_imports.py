"""Avoids imports that a process does not need. Imports take most of the time until the first registration.

Use `deferred` and `left_out` before another thread imports the same module: they change what every import in the
process finds. Afterwards the module can be imported and used as usual.
"""

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib import import_module
from importlib.machinery import ModuleSpec, PathFinder
from importlib.util import LazyLoader
from types import ModuleType
from typing import Any


class _Deferring:
    """Finds these modules as Python does, but delays the execution of each until an attribute of it is used."""

    def __init__(self, deferred: Sequence[str]) -> None:
        self._deferred = deferred

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if name not in self._deferred:
            return None
        spec = PathFinder.find_spec(name, path, target)
        if spec is not None and spec.loader is not None:
            spec.loader = LazyLoader(spec.loader)
        return spec


@contextmanager
def deferred(*names: str) -> Iterator[None]:
    """Delay the execution of modules that are imported inside the block until an attribute of them is used.

    Another import of the same module counts as a use, unless it is ``from package import module``. It is for modules
    that nobody uses, as a rule: before Python 3.12, a thread can see a module half made while another one executes it.
    """
    finder = _Deferring(names)
    # Another list each time, not a change of it: a thread that is going through it would miss a finder.
    sys.meta_path = [finder, *sys.meta_path]
    try:
        yield
    finally:
        sys.meta_path = [each for each in sys.meta_path if each is not finder]


class Later:
    """Stands for a module until an attribute of it is used. Then it is imported, as any import does it.

    Any thread may use it first, and others that come meanwhile wait, which is not so for modules that are `deferred`.
    """

    def __init__(self, name: str) -> None:
        self._name = name

    def __getattr__(self, attribute: str) -> Any:
        module = import_module(self._name)
        vars(self).update(vars(module))  # from now on attributes are found without this function
        return getattr(module, attribute)


@contextmanager
def left_out(name: str) -> Iterator[None]:
    """Make a module look as if it were not installed, for imports inside the block.

    It is for libraries that import another one only if it is there. A module that is imported already is left as it is.
    """
    if name in sys.modules:
        yield
        return
    sys.modules[name] = None  # type: ignore[assignment]  # to Python this means "cannot be imported"
    try:
        yield
    finally:
        sys.modules.pop(name, None)
