"""Checks of the CDI specs through which containers get their GPUs."""

import os
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from plugin_gateway.adapters.commands.doctor.findings import Finding, hint, mend, unwritable, well
from plugin_gateway.adapters.configuration.settings import Settings
from plugin_gateway.adapters.gateway.spec_files import foreign_files
from plugin_gateway.adapters.support.unix_files import explain_unwritable
from plugin_gateway.core.cdi import FOLDERS, file_name
from plugin_gateway.core.devices import Inventory

CONTAINERD = Path("/etc/containerd/config.toml")
_ENABLE = "enable_cdi = true in its CRI section, and restart containerd"
_COMMENT = re.compile("#.*")


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
        text = configuration.read_text(errors="replace")
    except OSError:
        return hint(
            "containers start without a GPU where the container runtime reads no CDI; its settings are not seen here",
            f"containerd 1.7 needs {_ENABLE}; containerd 2 and CRI-O 1.28 read them by themselves",
        )
    words = _COMMENT.sub("", text).replace(" ", "")
    if "enable_cdi=false" in words:
        problem = f"containerd reads no CDI specs, so containers start without a GPU: {configuration}"
        return mend(problem, f"set {_ENABLE}")
    if "version=2" in words and "enable_cdi=true" not in words:
        imports = ", unless a file that it imports says so" if "imports=" in words else ""
        return hint(
            f"{configuration} does not have enable_cdi: containerd 2 reads CDI specs all the same, with 1.7 containers "
            f"start without a GPU{imports}",
            f"where containerd is 1.7, set {_ENABLE}",
        )
    return well(f"nothing in {configuration} keeps containerd from reading CDI specs")
