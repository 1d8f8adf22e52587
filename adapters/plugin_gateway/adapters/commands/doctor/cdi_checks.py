"""Checks of the CDI specs through which containers get their GPUs."""

import os
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from plugin_gateway.adapters.commands.doctor.findings import Finding, hint, mend, unwritable, well
from plugin_gateway.adapters.configuration.settings import Settings
from plugin_gateway.adapters.gateway.spec_files import foreign_files
from plugin_gateway.adapters.support.unix_files import explain_unwritable
from plugin_gateway.core.cdi import FOLDERS, file_name
from plugin_gateway.core.devices import Inventory

CONTAINERD = Path("/etc/containerd/config.toml")
_FORM_OF_CONTAINERD_2 = 3
"""The version of the form of settings that containerd 2 brought."""
_CRI_SECTIONS = ("io.containerd.cri.v1.runtime", "io.containerd.grpc.v1.cri")
"""Where containerd says whether it reads CDI specs: in that form, and in the one before."""
_ENABLE = "enable_cdi = true in its CRI section, and restart containerd"


def check_cdi(inventories: Sequence[Inventory], settings: Settings) -> Iterator[Finding]:
    """Check that the specs can be written, that no other file has the same devices, and that the runtime reads them."""
    folder = settings.cdi_spec_dir
    kinds = sorted({recipe.cdi_kind for each in inventories for recipe in each.recipes.values() if recipe.cdi_kind})
    yield _folder(folder)
    for kind in kinds:
        path = folder / file_name(kind)
        if os.path.exists(path):  # noqa: PTH110 - raises nothing
            yield well(f"the CDI spec {path} is there")
        else:
            yield hint(f"there is no CDI spec {path} here yet", "a running gateway writes it, where it sees the folder")
    if foreign := foreign_files([*kinds, *_kinds_of_extras(inventories, settings)], folder):
        yield mend(
            f"other files have CDI devices of the same kind: {', '.join(foreign)}; a device in two files of one folder "
            "resolves to nothing",
            "remove what another device plugin has left, and run only one",
        )
    yield _runtime(CONTAINERD)


def _kinds_of_extras(inventories: Sequence[Inventory], settings: Settings) -> Sequence[str]:
    recipes = [recipe for each in inventories for recipe in each.recipes.values()]
    found = {recipe.extras[word].cdi_kind for recipe in recipes for word in settings.extras if word in recipe.extras}
    return sorted(found - {""})


def _folder(folder: Path) -> Finding:
    if folder.is_symlink():
        return mend(f"{folder} is a link", "give the folder itself with --cdi-spec-dir")
    nearest = next(path for path in (folder, *folder.parents) if os.path.exists(path))  # noqa: PTH110 - the same
    if (error := explain_unwritable(nearest)) is not None:
        return unwritable(f"{folder}, for CDI specs,", error, "--cdi-spec-dir")
    if str(folder) not in FOLDERS:
        return hint(f"CDI specs are written to {folder}", "let the container runtime look there as well")
    return well(f"{folder}, for CDI specs, can be written")


def _runtime(configuration: Path) -> Finding:
    """Say whether containerd reads CDI specs. Containers start without a GPU where it does not."""
    try:
        said = tomllib.loads(configuration.read_text(errors="replace"))
    except OSError:
        return _unknown_runtime("its settings are not seen here")
    except tomllib.TOMLDecodeError as error:
        return _unknown_runtime(f"its settings are no TOML: {configuration}: {error}")
    enabled = _enabled(said)
    if enabled is False:
        problem = f"containerd reads no CDI specs, so containers start without a GPU: {configuration}"
        return mend(problem, f"set {_ENABLE}")
    if enabled is None and said.get("version") != _FORM_OF_CONTAINERD_2:  # containerd 2 takes the older forms as well
        problem = f"containerd 1.7 reads no CDI specs with {configuration}, and containers start without a GPU then"
        if said.get("imports"):
            problem += ", unless a file that it imports says so"
        return hint(problem, f"with containerd 1.7, set {_ENABLE}; containerd 2 reads them by itself")
    return well(f"nothing in {configuration} keeps containerd from reading CDI specs")


def _unknown_runtime(reason: str) -> Finding:
    return hint(
        f"containers start without a GPU where the container runtime reads no CDI; {reason}",
        f"containerd 1.7 needs {_ENABLE}; containerd 2 and CRI-O 1.28 read them by themselves",
    )


def _enabled(said: Mapping[str, Any]) -> bool | None:
    """Return what the settings of containerd say about CDI. None if nothing."""
    plugins = said.get("plugins")
    if isinstance(plugins, Mapping):
        for section in _CRI_SECTIONS:
            found = plugins.get(section)
            if isinstance(found, Mapping) and isinstance(found.get("enable_cdi"), bool):
                return bool(found["enable_cdi"])
    return None
