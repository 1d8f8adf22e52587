"""The version of the program, found without the modules that Python has for it."""

import importlib.metadata
import sys

import pytest

from plugin_gateway.adapters.support.about import installed_version


def test_the_version_is_that_of_the_installed_package(monkeypatch: pytest.MonkeyPatch) -> None:
    assert installed_version() == importlib.metadata.version("plugin-gateway")
    monkeypatch.setattr(sys, "path", ["/nonexistent"])
    assert installed_version() == "unknown"
