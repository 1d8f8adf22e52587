"""Who imports whom, how long a file may be, and where files may lie."""

from pathlib import Path

import pytest

import generated
import packages

ROOT = Path(__file__).parents[2]
MAX_PACKAGES, MAX_LAYERS, MAX_IMPORTS = 25, 10, 65
MAX_LINES, MAX_TEST_LINES = 400, 450
SOURCES = ("api", "core", "linux", "nvidia", "rdma", "solarflare", "adapters")


def test_there_are_few_packages_in_few_layers_and_no_circle() -> None:
    imports = packages.imports()
    level = packages.layers(imports)
    for package in sorted(imports, key=lambda each: (-level[each], each)):
        print(f"layer {level[package]}  {package:14} -> {', '.join(sorted(imports[package]))}")
    count = sum(map(len, imports.values()))
    print(f"{len(imports)} packages, {max(level.values())} layers, {count} imports")
    assert len(imports) <= MAX_PACKAGES
    assert max(level.values()) <= MAX_LAYERS
    assert count <= MAX_IMPORTS
    assert all(level[package] > level[other] for package, others in imports.items() for other in others)


def test_the_page_has_the_drawing_of_today() -> None:
    page = packages.PAGE.read_text()
    assert f"{generated.BEGIN}\n\n{packages.drawing()}\n\n{generated.END}" in page, "make generate draws it"


def test_a_page_without_a_place_for_the_drawing_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packages, "PAGE", tmp_path / "page.md")
    packages.PAGE.write_text(f"{generated.BEGIN} and no end")
    with pytest.raises(ValueError, match="has not both of the lines"):
        packages.main()


def test_a_circle_is_found() -> None:
    with pytest.raises(packages.CircleError, match="a, b"):
        packages.layers({"a": frozenset({"b"}), "b": frozenset({"a", "c"}), "c": frozenset()})


def test_the_drawing_leaves_out_what_a_longer_way_says() -> None:
    direct = packages._only_direct({"a": frozenset("bc"), "b": frozenset("c"), "c": frozenset()})
    assert direct == {"a": {"b"}, "b": {"c"}, "c": frozenset()}


def written(folder: str) -> list[Path]:
    return [path for path in (ROOT / folder).rglob("*.py") if not path.name.endswith("_pb2.py")]


def too_long(paths: list[Path], limit: int) -> list[str]:
    lengths = {path: len(path.read_text().splitlines()) for path in paths}
    return [f"{path.relative_to(ROOT)}: {length}" for path, length in lengths.items() if length > limit]


def test_no_file_is_too_long_to_be_about_one_thing() -> None:
    assert not too_long([path for folder in (*SOURCES, "docs", "deploy") for path in written(folder)], MAX_LINES)
    assert not too_long(written("tests"), MAX_TEST_LINES)


def test_adapters_holds_packages_and_no_modules() -> None:
    files = [path.name for path in (ROOT / "adapters/plugin_gateway/adapters").glob("*.py")]
    assert len(files) <= 2, files
