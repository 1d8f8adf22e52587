"""What a CDI spec has of the driver's files, so that a container can use a GPU without NVIDIA's container runtime.

A library is mounted at its own path and has to be found by the loader of the container, under the name that programs
ask for. Where NVIDIA's hook is on the host, the runtime runs it, as NVIDIA's own spec says: it makes the links and the
cache of the loader. Without it, each library is mounted under the name that programs ask for, in the folders in which
the loader looks by itself: those of Debian and of Red Hat. `LD_LIBRARY_PATH` would replace that of the image, and an
entry for ldconfig is of no use to a container that does not run it.
"""

import os
import stat
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress

from plugin_gateway.core.cdi import CdiEdits, CdiHook, CdiMount, CdiNode, DriverFiles, DriverId, FilesWanted
from plugin_gateway.core.devices import Inventory
from plugin_gateway.nvidia.driver_files import CUDA, FOLDERS, FoundFiles, Library, find_files
from plugin_gateway.nvidia.driver_root import DriverRoot, Found
from plugin_gateway.nvidia.naming import EXTRAS, GDS, GPU, IMEX_CHANNEL, VISIBILITY_VARIABLE

EVERY_HOOK = "all"
_NEEDED_HOOKS = {"create-symlinks", "update-ldcache"}
"""Without these, the loader of the container finds no library."""
CTK = "nvidia-ctk"
_USUAL_HOOKS = ("/usr/bin/nvidia-cdi-hook", f"/usr/bin/{CTK}", "/usr/local/nvidia/toolkit/nvidia-cdi-hook")
"""Where NVIDIA's packages and its GPU operator install the program."""
NOTHING_VISIBLE = "void"
"""The value of the visibility variable with which NVIDIA's container runtime adds nothing."""
_SOCKET = ("nosuid", "nodev", "rbind", "rprivate", "noexec")
_READ_ONLY = ("ro", "nosuid", "nodev", "rbind", "rprivate")
_LOADER_FOLDERS = {
    "x86_64": ("/usr/lib/x86_64-linux-gnu", "/usr/lib64"),
    "aarch64": ("/usr/lib/aarch64-linux-gnu", "/usr/lib64"),
}
"""Where the loader of a container looks without a cache: that of Debian and Ubuntu, and that of Red Hat and SUSE."""
_STORAGE_FILES = (("/run/udev", stat.S_ISDIR), ("/etc/cufile.json", stat.S_ISREG))
"""What GPUDirect Storage needs besides its device nodes: NVIDIA's container toolkit 1.20, internal/discover/gds.go."""
_DRM = "/dev/dri"
_DRM_LINKS = {"card": "card", "renderD": "render"}
"""The end of the link to a node, by the beginning of its name."""


def files_of(wanted: FilesWanted, seen_root: str, sysfs: str, driver: DriverId, inventory: Inventory) -> DriverFiles:
    """Return what a container needs of the files of a driver. ``seen_root`` is where this process sees its root."""
    version, _ = driver
    if not version:
        return DriverFiles(driver, problem="the driver does not tell its version, by which its files are found")
    root = DriverRoot(seen_root, wanted.driver_root)
    found = find_files(root, version, sysfs)
    if found is None:
        return DriverFiles(
            driver,
            problem=f"{CUDA}.{version} is in none of {', '.join(FOLDERS)} below {seen_root}",
            todo="mount the driver's root and give it with --driver-root, and --driver-root-ctr-path where it is seen",
        )
    hook, disabled = _hook(wanted, root), frozenset(wanted.disabled_hooks)
    if hook is None or EVERY_HOOK in disabled or not disabled.isdisjoint(_NEEDED_HOOKS):
        common, runs = _without_hooks(root, found), None
        way = "without hooks, libraries lie where the loader of a container looks"
        if wanted.hook and hook is None:
            way += f"; {wanted.hook} is not on the host"
    else:
        common, runs, way = _with_hooks(root, found, _Hooks(hook, disabled)), _Hooks(hook, disabled), f"hooks of {hook}"
    void = CdiEdits({VISIBILITY_VARIABLE: NOTHING_VISIBLE})
    return DriverFiles(driver, void.joined(common), _own(inventory, sysfs, runs), extras_of(root), way)


def extras_of(root: DriverRoot | None) -> Mapping[str, CdiEdits]:
    """Return what a container needs besides the device nodes of each extra. None: there is no root with files."""
    void = CdiEdits({VISIBILITY_VARIABLE: NOTHING_VISIBLE})
    found = {word: void for word in EXTRAS if word != IMEX_CHANNEL}
    if root is not None:
        files = [root.find(path, is_wanted) for path, is_wanted in _STORAGE_FILES]
        found[GDS] = void._replace(mounts=_mounts(root, [each for each in files if each is not None]))
    return found


class _Hooks:
    """Makes the hooks that one program of the host has."""

    def __init__(self, program: str, disabled: frozenset[str]) -> None:
        self._program = program
        self._disabled = disabled

    def make(self, name: str, *arguments: str) -> tuple[CdiHook, ...]:
        """Return a hook, or none if it is not wanted."""
        if name in self._disabled:
            return ()
        called = self._program.rpartition("/")[2]
        words = (called, "hook", name) if called == CTK else (called, name)
        return (CdiHook(self._program, (*words, *arguments), ("NVIDIA_CTK_DEBUG=false",)),)

    def links(self, links: Mapping[str, str]) -> tuple[CdiHook, ...]:
        """Return the hook that makes links, each by its path with its target. None if there is no link."""
        arguments = [each for path, target in links.items() for each in ("--link", f"{target}::{path}")]
        return self.make("create-symlinks", *arguments) if arguments else ()


def _hook(wanted: FilesWanted, root: DriverRoot) -> str | None:
    """Return the program of the host that has the hooks. None if there is none.

    Where the root of the host is not seen, a program that was given is taken to be there.
    """
    if not root.is_hosts:
        return wanted.hook or None
    places = (wanted.hook,) if wanted.hook else _USUAL_HOOKS
    found = (path for path in places if root.find(path, lambda mode: stat.S_ISREG(mode) and bool(mode & 0o111)))
    return next(found, None)


def _mounts(root: DriverRoot, files: Sequence[Found], options: tuple[str, ...] = _READ_ONLY) -> tuple[CdiMount, ...]:
    return tuple(CdiMount(root.on_host(each.real), each.path, options) for each in files)


def _with_hooks(root: DriverRoot, found: FoundFiles, hooks: _Hooks) -> CdiEdits:
    """Return the edits of NVIDIA's own spec."""
    folders = list(dict.fromkeys(library.folder for library in found.libraries))
    folders = [folder for folder in folders if "/xorg/" not in folder]
    return CdiEdits(
        {"NVIDIA_CTK_LIBCUDA_DIR": ":".join(found.folders)},
        mounts=_in_order(
            (
                *_mounts(root, [library.file for library in found.libraries]),
                *_mounts(root, found.others),
                *_mounts(root, found.sockets, _SOCKET),
            )
        ),
        hooks=(
            *hooks.links({path: target for path, target, _ in _links(found)}),
            *hooks.make("enable-cuda-compat", f"--host-driver-version={found.version}"),
            *hooks.make("update-ldcache", *(word for folder in folders for word in ("--folder", folder))),
            *hooks.make("disable-device-node-modification"),
            *hooks.make("update-application-profile"),
        ),
    )


def _links(found: FoundFiles) -> Iterator[tuple[str, str, Library]]:
    """Yield the links that programs look for: path, target, and the library that it leads to."""
    by_name = {(library.folder, library.name): library for library in found.libraries}
    for library in found.libraries:
        if library.soname not in {"", library.name}:
            yield f"{library.folder}/{library.soname}", library.name, library
    for folder in found.folders:
        for link, target, name in (
            (f"{CUDA}", f"{CUDA}.1", f"{CUDA}.{found.version}"),
            ("libGLX_indirect.so.0", "", f"libGLX_nvidia.so.{found.version}"),
            ("gbm/nvidia-drm_gbm.so", "../libnvidia-allocator.so.1", f"libnvidia-allocator.so.{found.version}"),
        ):
            if (folder, name) in by_name:
                yield f"{folder}/{link}", target or name, by_name[folder, name]


def _without_hooks(root: DriverRoot, found: FoundFiles) -> CdiEdits:
    """Return edits in which each library has the names that programs ask for, where a loader looks by itself."""
    names: dict[str, Library] = {}
    for library in found.libraries:
        names.setdefault(_below(found, library.folder) + (library.soname or library.name), library)
    for path, _, library in _links(found):
        folder, _, name = path.rpartition("/")
        names.setdefault(_below(found, folder) + name, library)
    mounts = [
        CdiMount(root.on_host(library.file.real), f"{folder}/{name}", _READ_ONLY)
        for folder in _LOADER_FOLDERS.get(os.uname().machine, ())
        for name, library in names.items()
    ]
    return CdiEdits(mounts=_in_order((*mounts, *_mounts(root, found.others), *_mounts(root, found.sockets, _SOCKET))))


def _below(found: FoundFiles, folder: str) -> str:
    """Return a folder as a path from that of the libraries. Empty for that one itself, else with a slash at the end."""
    above = max((each for each in found.folders if f"{folder}/".startswith(f"{each}/")), key=len, default=folder)
    rest = folder.removeprefix(above).strip("/")
    return f"{rest}/" if rest else ""


def _in_order(mounts: Sequence[CdiMount]) -> tuple[CdiMount, ...]:
    """Return each mount once, a folder before what is in it."""
    by_path = {mount.container_path: mount for mount in reversed(mounts)}
    return tuple(by_path[path] for path in sorted(by_path, key=lambda path: (path.count("/"), path)))


def _own(inventory: Inventory, sysfs: str, hooks: _Hooks | None) -> Mapping[str, CdiEdits]:
    """Return the nodes of each GPU for graphics, with their links. A MIG device has none unless its profile says so."""
    found = {}
    for device in inventory.devices:
        if device.kind != GPU and not device.profile.endswith("+gfx"):
            continue
        address = device.physical.pci_address
        names: list[str] = []
        with suppress(OSError):
            names = sorted(os.listdir(f"{sysfs}/bus/pci/devices/{address}/drm"))  # noqa: PTH208 - pathlib is slow
        names = [name for name in names if name.rstrip("0123456789") in _DRM_LINKS]
        links = {
            f"{_DRM}/by-path/pci-{address}-{_DRM_LINKS[name.rstrip('0123456789')]}": f"../{name}" for name in names
        }
        if names:
            nodes = tuple(CdiNode(f"{_DRM}/{name}") for name in names)
            found[str(device.id)] = CdiEdits(nodes=nodes, hooks=hooks.links(links) if hooks else ())
    return found
