"""What a node has of Onload: kernel modules, device nodes, and the files for containers."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from plugin_gateway.linux.card_model import Tree, Unread

NODES = ("/dev/onload", "/dev/onload_epoll", "/dev/sfc_char")
"""The device nodes that a program with Onload opens: libonload the first two, ef_vi the third."""
HOST_PATH = "/opt/onload"
"""Where Onload's files for containers are on the host, unless the configuration says otherwise."""
LIBRARY_FOLDER = "usr/lib64"
"""The folder of the libraries below that path."""
LIBRARY = "libonload.so"
_MODULES = (("onload", ("onload", "onload_epoll")), ("sfc_resource", ()), ("sfc_char", ("sfc_char",)))
"""The kernel modules that are needed, each with the character devices that it registers."""
_BUSY = {"coming": "is still being loaded", "going": "is being unloaded"}
"""What a module's initstate means, if it is not live."""
_CHARACTER, _BLOCK = "Character devices:", "Block devices:"


class KernelOnload(NamedTuple):
    """What the kernel module says of itself in /proc/driver/onload/version."""

    version: str
    """Such as ``9.0.2.140``."""
    interface: str
    """The checksum of the interface between kernel and library, 32 hex digits. Empty if it does not say."""


def library_path(host_path: str) -> str:
    """Return the path of the library on the host."""
    return f"{host_path.rstrip('/')}/{LIBRARY_FOLDER}/{LIBRARY}"


def missing(tree: Tree, proc: Tree, host_paths: Sequence[str]) -> Iterator[str]:
    """Yield what the node lacks of Onload, in words, in the order in which it has to be mended.

    ``proc`` is the tree whose /proc is read. A module that is not there has no devices, so they are not named then.
    """
    lacking = list(_modules(tree))
    lacking = lacking or list(_character_devices(proc))
    lacking = lacking or list(_nodes(tree))
    yield from lacking
    if host_paths and not any(tree.exists(library_path(each)) for each in host_paths):
        folders = " or ".join(f"{each.rstrip('/')}/{LIBRARY_FOLDER}" for each in host_paths)
        yield f"there is no {LIBRARY} in {folders}"


VERSION_FACT = "onload"
"""The word of the fact about the node that is the version of the kernel module, see `FactsSeen`."""


def version_of_kernel(proc: Tree) -> KernelOnload | None:
    """Return what the kernel module says of itself. None if it says no version."""
    text = proc.text("/proc/driver/onload/version")
    if isinstance(text, Unread):
        return None
    values = {key.strip(): value.strip() for key, _, value in (line.partition(":") for line in text.splitlines())}
    version = values.get("onload_version", "")
    return KernelOnload(version, values.get("uk_intf_ver", "")) if version else None


def acceleration_off(tree: Tree, address: str) -> str:
    """Return the file that says that Onload may not use a function. Empty if none does.

    Newer builds have the file at the auxiliary device of the function. Where there is none, the parameter of the module
    decides.
    """
    folder = f"/sys/bus/pci/devices/{address}"
    for path in _enable_files(tree, folder):
        enabled = tree.text(path)
        if not isinstance(enabled, Unread):
            return path if enabled.strip() == "0" else ""
    parameter = "/sys/module/sfc_resource/parameters/enable_accel_by_default"
    value = tree.text(parameter)
    return parameter if not isinstance(value, Unread) and value.strip() == "0" else ""


def _enable_files(tree: Tree, folder: str) -> Iterator[str]:
    """Yield where the file can be. An auxiliary device is named like ``sfc.onload.0``."""
    yield f"{folder}/sfc_resource/enable"
    names = tree.names(folder)
    for name in () if isinstance(names, Unread) else names:
        if name.rpartition(".")[2].isdecimal() and ":" not in name:
            yield f"{folder}/{name}/sfc_resource/enable"


def _modules(tree: Tree) -> Iterator[str]:
    for module, _ in _MODULES:
        if not tree.exists(f"/sys/module/{module}"):
            yield f"the module {module} is not loaded"
            continue
        state = tree.text(f"/sys/module/{module}/initstate")
        if not isinstance(state, Unread) and state.strip() in _BUSY:
            yield f"the module {module} {_BUSY[state.strip()]}"


def _character_devices(proc: Tree) -> Iterator[str]:
    text = proc.text("/proc/devices")
    if isinstance(text, Unread) or _CHARACTER not in text:
        return
    lines = text.partition(_CHARACTER)[2].partition(_BLOCK)[0].splitlines()
    names = {words[1] for words in map(str.split, lines) if len(words) > 1}
    for module, devices in _MODULES:
        for device in devices:
            if device not in names:
                yield f"the module {module} is loaded, but the kernel has no device {device} (/proc/devices)"


def _nodes(tree: Tree) -> Iterator[str]:
    for node in NODES:
        if not tree.exists(node):
            yield f"{node} is not there"
