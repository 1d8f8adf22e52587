"""What the import contracts promise, they promise of every module that there is."""

import ast
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import packages
from plugin_gateway.adapters.dialects import MODULES

ROOT = Path(__file__).parents[2]
PROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text())
NO_VENDORS = {"adapters", "api", "core"}
USES_LINUX = {"rdma", "solarflare"}
PURE = {
    "collections",
    "contextlib",
    "dataclasses",
    "enum",
    "fnmatch",
    "functools",
    "hashlib",
    "itertools",
    "json",
    "math",
    "operator",
    "re",
    "types",
    "typing",
}
"""Of the standard library, what the core may use: no clock, no file, no task, no chance."""


def contract(name: str) -> dict[str, Any]:
    (found,) = (each for each in PROJECT["tool"]["importlinter"]["contracts"] if each["name"] == name)
    return dict(found)


def roots() -> set[str]:
    return {path.parent.name for path in ROOT.glob("*/plugin_gateway/*/__init__.py")}


def imported_by(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module is not None:
            yield node.module
            yield from (f"{node.module}.{name.name}" for name in node.names)
        elif isinstance(node, ast.Import):
            yield from (name.name for name in node.names)


def sources(*folders: str) -> list[Path]:
    return [path for folder in folders for path in (ROOT / folder / "plugin_gateway").rglob("*.py")]


def test_every_root_is_drawn_and_checked() -> None:
    names = {f"plugin_gateway.{root}" for root in roots()}
    assert names == set(packages.PARTS) == set(PROJECT["tool"]["importlinter"]["root_packages"])


def test_vendors_know_the_core_alone_and_not_each_other() -> None:
    vendors = roots() - NO_VENDORS
    assert vendors
    for vendor in vendors:
        allowed = {vendor, "core"} | ({"linux"} if vendor in USES_LINUX else set())
        known = contract(f"{vendor} knows core {'and linux' if vendor in USES_LINUX else 'alone'}")
        others = {f"plugin_gateway.{other}" for other in roots() - allowed}
        assert known["source_modules"] == [f"plugin_gateway.{vendor}"]
        assert others <= set(known["forbidden_modules"])


def test_only_the_table_of_dialects_knows_a_dialect_by_name() -> None:
    """Import contracts would have to name each dialect, so that another one would have to be added there too."""
    names = {path.stem for path in (ROOT / "adapters/plugin_gateway/adapters/dialects").glob("*.py")}
    assert names - {"__init__", "dialect", "refusals", "wire_format"} == set(MODULES)
    modules = {f"plugin_gateway.adapters.dialects.{name}" for name in MODULES}
    assert [path for path in sources(*roots()) if not modules.isdisjoint(imported_by(path))] == []


def test_nobody_imports_the_composition_root() -> None:
    guilty = [path for path in sources(*roots()) if "plugin_gateway.__main__" in imported_by(path)]
    assert guilty == []


def test_the_core_uses_nothing_that_is_not_pure() -> None:
    standard = {
        (path.name, module.partition(".")[0])
        for path in sources("core")
        for module in imported_by(path)
        if not module.startswith("plugin_gateway.core")
    }
    assert {module for _, module in standard} <= PURE, standard
    assert sys.stdlib_module_names >= PURE
