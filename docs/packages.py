"""Writes the packages and their imports into architecture.md: ``make generate``."""

from collections.abc import Mapping
from importlib import import_module
from pathlib import Path

import grimp

from generated import put

PAGE = Path(__file__).with_name("architecture.md")
PARTS = (
    "plugin_gateway.api",
    "plugin_gateway.core",
    "plugin_gateway.linux",
    "plugin_gateway.nvidia",
    "plugin_gateway.rdma",
    "plugin_gateway.solarflare",
    "plugin_gateway.adapters",
)
ADAPTERS = "plugin_gateway.adapters"
"""The package whose sub-packages are shown one by one."""

Imports = Mapping[str, frozenset[str]]
"""The packages that each package imports."""


def package_of(module: str) -> str | None:
    """Return the package of a module. None for the package that contains those of the adapters."""
    parts = module.removeprefix("plugin_gateway.").split(".")
    if parts[0] != "adapters":
        return parts[0]
    return parts[1] if len(parts) > 1 else None


def imports() -> Imports:
    """Return the imports between packages, with those inside functions. The composition root is left out."""
    graph = grimp.build_graph(*PARTS, cache_dir=None)
    found: dict[str, set[str]] = {package: set() for package in map(package_of, graph.modules) if package is not None}
    for module in graph.modules:
        for imported in graph.find_modules_directly_imported_by(module):
            package, other = package_of(module), package_of(imported)
            if package is not None and other is not None and package != other:
                found[package].add(other)
    return {package: frozenset(others) for package, others in found.items()}


class CircleError(Exception):
    """Packages import each other in a circle, so they have no layers."""


def layers(packages: Imports) -> Mapping[str, int]:
    """Return the layer of each package: 1, or one more than the highest layer that it imports.

    Raises:
        CircleError: there is a circle; the message names packages of it.
    """
    found: dict[str, int] = {}
    while len(found) < len(packages):
        ready = [package for package in packages if package not in found and packages[package] <= found.keys()]
        if not ready:
            raise CircleError(", ".join(sorted(packages.keys() - found.keys())))
        found |= {package: 1 + max((found[other] for other in packages[package]), default=0) for package in ready}
    return found


def _only_direct(packages: Imports) -> Imports:
    """Return the imports without those that follow from others: A imports C, if A imports B and B imports C."""

    def reachable(package: str) -> frozenset[str]:
        return packages[package].union(*(reachable(other) for other in packages[package]))

    return {
        package: others - frozenset().union(*(reachable(each) for each in others))
        for package, others in packages.items()
    }


def _purpose(package: str) -> str:
    """Return the first line of the package's docstring."""
    whole = f"plugin_gateway.{package}"
    words = (import_module(whole if whole in PARTS else f"{ADAPTERS}.{package}").__doc__ or "").strip().splitlines()
    return words[0] if words else ""


def drawing() -> str:
    """Return the packages as a diagram, and as a table with all imports."""
    packages = imports()
    level = layers(packages)
    ordered = sorted(packages, key=lambda package: (-level[package], package))
    lines = ["```mermaid", "flowchart TD"]
    lines += [f"    {package} --> {other}" for package in ordered for other in sorted(_only_direct(packages)[package])]
    lines += ["```", "", "| layer | package | what is in it | imports |", "| --- | --- | --- | --- |"]
    lines += [
        f"| {level[each]} | `{each}` | {_purpose(each)} | {', '.join(sorted(packages[each])) or 'nothing of ours'} |"
        for each in ordered
    ]
    return "\n".join(lines)


def main() -> None:
    """Write the drawing into its place on the page."""
    put(PAGE, drawing())


if __name__ == "__main__":
    main()
