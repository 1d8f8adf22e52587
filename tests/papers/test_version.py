"""The version stands in pyproject.toml; everywhere else `make generate` puts it."""

import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

PROJECT = Path(__file__).parents[2]
VERSION: str = tomllib.loads((PROJECT / "pyproject.toml").read_text())["project"]["version"]
NEXT = "97.98.99"
WRITTEN = re.compile(rf"(?<![\w.]){re.escape(VERSION)}(?![\w.]*\d)")
"""The version, and not a part of a longer one."""


@pytest.fixture
def bumped(tmp_path: Path) -> Path:
    """A copy of deploy/ beside a pyproject.toml of the next version, after `make generate`."""
    shutil.copytree(PROJECT / "deploy", tmp_path / "deploy", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(PROJECT / "README.md", tmp_path)
    project = (PROJECT / "pyproject.toml").read_text()
    (tmp_path / "pyproject.toml").write_text(project.replace(f'\nversion = "{VERSION}"\n', f'\nversion = "{NEXT}"\n'))
    generate(tmp_path)
    return tmp_path / "deploy"


def generate(folder: Path) -> None:
    subprocess.run((sys.executable, str(folder / "deploy/generate.py")), check=True, timeout=20)


def telling(root: Path, version: re.Pattern[str]) -> set[str]:
    return {str(path.relative_to(root)) for path in files(root) if version.search(text(path))}


def files(folder: Path) -> Iterator[Path]:
    return (path for path in folder.rglob("*") if path.is_file() and "__pycache__" not in path.parts)


def text(path: Path) -> str:
    return path.read_bytes().decode(errors="replace")


def test_a_new_version_leaves_no_trace_of_the_old_one(bumped: Path) -> None:
    assert telling(bumped, WRITTEN) == set()


def test_a_new_version_is_told_wherever_the_old_one_was(bumped: Path) -> None:
    before = telling(PROJECT / "deploy", WRITTEN)
    assert {"Containerfile", "helm/plugin-gateway/Chart.yaml", "manifests/plugin-gateway.yaml"} <= before
    assert telling(bumped, re.compile(re.escape(NEXT))) == before


def test_image_chart_and_manifests_are_of_the_new_version(bumped: Path) -> None:
    chart = yaml.safe_load((bumped / "helm/plugin-gateway/Chart.yaml").read_text())
    assert chart["version"] == chart["appVersion"] == NEXT
    assert f'org.opencontainers.image.version="{NEXT}"' in (bumped / "Containerfile").read_text()
    for manifest in (bumped / "manifests").iterdir():
        pod = yaml.safe_load(manifest.read_text())["spec"]["template"]["spec"]
        assert pod["containers"][0]["image"] == f"plugin-gateway:{NEXT}"


@pytest.mark.parametrize(
    ("sentence", "expected"),
    [
        ("say `plugin-gateway:0.0.1`.", "say `plugin-gateway:{}`."),
        ("say registry.example/gpu/plugin-gateway:0.0.1-rc.1.", "say registry.example/gpu/plugin-gateway:{}."),
        ("plugin-gateway:0.0.1, plugin-gateway:0.0.1\n", "plugin-gateway:{0}, plugin-gateway:{0}\n"),
        ("my-plugin-gateway:latest, Kubernetes 1.8.0", "my-plugin-gateway:latest, Kubernetes 1.8.0"),
    ],
)
def test_the_guide_may_be_written_anew(bumped: Path, sentence: str, expected: str) -> None:
    (bumped / "README.md").write_text(sentence)
    generate(bumped.parent)
    assert (bumped / "README.md").read_text() == expected.format(NEXT)


def test_the_readme_tells_the_new_version(bumped: Path) -> None:
    assert f"plugin-gateway:{NEXT} " in (bumped.parent / "README.md").read_text()


def test_generating_twice_changes_nothing(bumped: Path) -> None:
    before = {path: path.read_bytes() for path in files(bumped)}
    generate(bumped.parent)
    assert {path: path.read_bytes() for path in files(bumped)} == before


def test_it_stands_nowhere_else() -> None:
    """Another place belongs into VERSIONED of deploy/generate.py."""
    rooms = {room: telling(PROJECT / room, WRITTEN) for room in ("api", "adapters", "core", "nvidia", "docs")}
    assert {room: found for room, found in rooms.items() if found} == {}
    beside = {path.name for path in PROJECT.iterdir() if path.is_file() and WRITTEN.search(text(path))}
    assert beside <= {"pyproject.toml", "README.md", "CHANGELOG.md", "requirements-dev.txt", ".coverage"}


def test_what_generating_would_change_is_nothing(tmp_path: Path) -> None:
    """A page that people write too is checked here: `make check` cannot tell their edits from a version that is old."""
    shutil.copytree(PROJECT / "deploy", tmp_path / "deploy", ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("README.md", "pyproject.toml"):
        shutil.copy(PROJECT / name, tmp_path)
    generate(tmp_path)
    assert (tmp_path / "README.md").read_text() == (PROJECT / "README.md").read_text()
    for path in files(tmp_path / "deploy"):
        assert path.read_bytes() == (PROJECT / path.relative_to(tmp_path)).read_bytes(), path


def test_the_version_suits_a_chart_and_an_image_tag() -> None:
    assert re.fullmatch(r"\d+\.\d+\.\d+", VERSION), "Helm wants SemVer, an image tag no +"
