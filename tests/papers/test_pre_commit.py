"""The hooks before a commit do what `make check` does."""

import re
import shlex
from pathlib import Path
from typing import Any

import pytest
import yaml

PROJECT = Path(__file__).parents[2]
(REPOSITORY,) = yaml.safe_load((PROJECT / ".pre-commit-config.yaml").read_text())["repos"]
HOOKS: dict[str, dict[str, Any]] = {hook["id"]: hook for hook in REPOSITORY["hooks"]}
FLAG_FOR_FILES = " --force-exclude"
"""What ruff needs where it is told files, and has no use for otherwise."""


def checked() -> list[str]:
    """What `make check` runs, as a shell would see it."""
    makefile = (PROJECT / "Makefile").read_text()
    (recipe,) = re.findall(r"^check:.*\n((?:\t.*\n)+)", makefile, re.MULTILINE)
    (tools,) = re.findall(r"^BIN := (.*)$", makefile, re.MULTILINE)
    return [line.strip().replace("$(BIN)", tools).replace("$$", "$") for line in recipe.splitlines()]


def run_by(hook: dict[str, Any]) -> str:
    words = shlex.split(hook["entry"])
    command = words[2] if words[:2] == ["bash", "-c"] else hook["entry"]
    return command.removesuffix(FLAG_FOR_FILES)


def test_the_hooks_do_all_that_make_check_does_and_in_its_order() -> None:
    assert len(checked()) > 5
    assert [run_by(hook) for hook in HOOKS.values()] == checked()


def test_nothing_is_downloaded_for_them() -> None:
    assert REPOSITORY["repo"] == "local"
    assert {hook["language"] for hook in HOOKS.values()} == {"system"}


def test_only_ruff_is_told_the_files() -> None:
    told = {name for name, hook in HOOKS.items() if hook.get("pass_filenames", True)}
    assert told == {"ruff-check", "ruff-format"}
    assert all(HOOKS[name]["entry"].endswith(FLAG_FOR_FILES) for name in told)


@pytest.mark.parametrize(
    ("name", "changed"),
    [
        ("mypy", "tests/conftest.py"),
        ("pyright", "api/plugin_gateway/api/v1beta1/api_pb2.pyi"),
        ("lint-imports", "core/plugin_gateway/core/health/state.py"),
        ("generate-api", "api/plugin_gateway/api/v1beta1/api.proto"),
        ("generate-api", "api/plugin_gateway/api/v1beta1/api_pb2.py"),
        ("generate-health-page", "docs/health.md"),
        ("generate-health-page", "docs/health_page.py"),
        ("generate-health-page", "nvidia/plugin_gateway/nvidia/xid_catalog.py"),
        ("generate-registration-page", "core/plugin_gateway/core/registration/pauses.py"),
        ("generate-registration-page", "docs/registration.md"),
        ("generate-differences", "nvidia/plugin_gateway/nvidia/xid_catalog.py"),
        ("generate-differences", "deploy/README.md"),
        ("generate-options", "adapters/plugin_gateway/adapters/configuration/options.py"),
        ("generate-options", "deploy/helm/plugin-gateway/values.yaml"),
        ("generate-status-schema", "adapters/plugin_gateway/adapters/gateway/status.py"),
        ("generate-status-schema", "docs/status.schema.json"),
        ("generate-deployment", "deploy/manifests/plugin-gateway.yaml"),
        ("generate-deployment", "deploy/README.md"),
        *((name, "pyproject.toml") for name in ("mypy", "pyright", "lint-imports", "generate-deployment")),
    ],
)
def test_these_changes_are_looked_at(name: str, changed: str) -> None:
    assert re.search(HOOKS[name]["files"], changed)
