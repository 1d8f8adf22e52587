"""Each sub-command has a module of its own, which the import contracts know."""

import argparse
import tomllib
from pathlib import Path

import pytest

from plugin_gateway.__main__ import COMMANDS

ROOT = Path(__file__).parents[2]
COMMANDS_FOLDER = ROOT / "adapters/plugin_gateway/adapters/commands"
SHARED = {
    "__init__",
    "command_line",
    "each_gateway",
    "flags",
    "gateway_settings",
    "device_lines",
    "device_links",
    "device_tables",
    "label_ways",
    "parser",
}
"""The modules that are no sub-command."""


@pytest.mark.parametrize("name", COMMANDS)
def test_a_sub_command_can_be_made(name: str) -> None:
    sub_command = COMMANDS[name].load()
    sub_command.add_arguments(argparse.ArgumentParser(prog=name))
    assert sub_command.run.__module__.startswith("plugin_gateway.adapters.commands.")


def test_the_contract_between_sub_commands_names_every_one() -> None:
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    (contract,) = (each for each in contracts if each["name"] == "sub-commands do not know each other")
    named = {module.rpartition(".")[2] for module in contract["modules"]}
    modules = {
        path.stem for path in COMMANDS_FOLDER.iterdir() if path.suffix == ".py" or (path / "__init__.py").exists()
    }
    assert named == modules - SHARED == {name.replace("-", "_") for name in COMMANDS}
