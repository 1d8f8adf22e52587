"""Chooses the configuration file of this node from the folder of ``--config-dir``. Imported where one is given.

The rules are those of NVIDIA's config-manager. A value of the label must be the name of a file. Without a label the
default must be one. Without a default the fallback strategies are tried in their order.
"""

import json
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

from plugin_gateway.adapters.configuration.file_version import FileVersion, find_version
from plugin_gateway.adapters.configuration.folder_options import EMPTY, NAMED, SINGLE
from plugin_gateway.adapters.configuration.options import Options
from plugin_gateway.adapters.support.unix_files import open_at_once
from plugin_gateway.core.errors import CannotCheckError, InvalidValueError

DEFAULT_NAME = "default"
"""The file that the strategy ``named`` looks for."""
LABEL_FILE = "node-label.json"
"""Name of the file in the state directory with the value that the label of the node had last."""
_MAX_LABEL_FILE = 4096
"""Bytes that are read of it."""
_MAX_SHOWN = 20
"""Names of files that an error message shows."""

FolderVersion = tuple[tuple[str, FileVersion | None], ...]
"""Identifies the content of a folder: its files and their versions."""


class Chosen(NamedTuple):
    """The configuration file of this node."""

    path: Path | None
    """None if all defaults hold."""
    source: str
    """What chose it, for the log and the status."""


Choose = Callable[[Path, Options], Chosen]
"""Returns the file of the folder that the options choose. Raises InvalidValueError."""


def choose_as_kept(folder: Path, options: Options) -> Chosen:
    """Return the file of the folder for this node, by the value that its label had last as far as is known.

    Raises:
        InvalidValueError: as for `choose_file`.
    """
    return choose_file(folder, options, None if options.config_name else kept_label(options))


def kept_label(options: Options) -> str | None:
    """Return the value that the label of the node had when it was read last. None if that is not known."""
    try:
        with open(options.state_dir / LABEL_FILE, "rb", opener=open_at_once) as file:
            kept = json.loads(file.read(_MAX_LABEL_FILE))
        value = kept["value"] if kept["label"] == options.config_label else None
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return None
    return value if isinstance(value, str) else None


def choose_file(folder: Path, options: Options, label: str | None) -> Chosen:
    """Return the file of the folder for this node. ``label`` is the value of its label: None or empty for none.

    Raises:
        InvalidValueError: there is no such file. The message names what asked for it, and the files that are there.
    """
    if not options.config_name and not options.node_name:
        raise InvalidValueError(
            "--node-name is needed with --config-dir [NODE_NAME], or --config-name without API access [CONFIG_NAME]"
        )
    names = names_in(folder)
    asked = {
        "--config-name": options.config_name,
        f"label {options.config_label}": label,
        "--config-default": options.config_default,
    }
    for source, name in asked.items():
        if name:
            _check_is_there(name, source, folder, names)
            return Chosen(folder / name, source)
    return _fall_back(folder, options, names)


def names_in(folder: Path) -> Sequence[str]:
    """Return the names of the configuration files, sorted. What the kubelet keeps there for itself is left out.

    Raises:
        InvalidValueError: the folder cannot be read, or has no file.
    """
    try:
        with os.scandir(folder) as entries:
            names = sorted(each.name for each in entries if not each.is_dir() and not each.name.startswith(".."))
    except OSError as error:
        raise CannotCheckError(f"--config-dir {folder}: {error.strerror}") from error
    if not names:
        raise InvalidValueError(f"--config-dir {folder}: it has no file; expected a folder with configuration files")
    return names


def find_folder_version(folder: Path) -> FolderVersion | None:
    """Return the version of the folder's content now. None if it cannot be read, or has no file."""
    try:
        return tuple((name, find_version(folder / name)) for name in names_in(folder))
    except InvalidValueError:
        return None


def _check_is_there(name: str, source: str, folder: Path, names: Sequence[str]) -> None:
    if name not in names:
        raise InvalidValueError(f"{source}: {name!r} is no file of {folder}; expected {_listed(names)}")


def _fall_back(folder: Path, options: Options, names: Sequence[str]) -> Chosen:
    strategies = options.config_fallback_strategies
    for strategy in strategies:
        source = f"fallback strategy {strategy}"
        if strategy == NAMED and DEFAULT_NAME in names:
            return Chosen(folder / DEFAULT_NAME, source)
        if strategy == SINGLE and len(names) == 1:
            return Chosen(folder / names[0], source)
        if strategy == EMPTY:
            return Chosen(None, source)
    raise InvalidValueError(
        f"no label {options.config_label} and no --config-default choose a file of {folder}, and the fallback "
        f"strategies {str(strategies) or '(none)'} do not either, of {_listed(names)}"
    )


def _listed(names: Sequence[str]) -> str:
    left = len(names) - _MAX_SHOWN
    return ", ".join(names[:_MAX_SHOWN]) + (f" and {left} more" if left > 0 else "")
