"""CDI specs: the files in which a container runtime finds what a container gets for a device that has a name.

The form is that of the Container Device Interface (cncf-tags/container-device-interface, SPEC.md). Runtimes refuse a
version that they do not know, a field that they do not know, and a version that is too low for the fields. So a spec
has the lowest version that carries what is used. CRI-O 1.24 reads 0.3.0 only, and containerd 1.7.0 up to 0.5.0. Nothing
is used here that needs a later one.
"""

import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from plugin_gateway.core.errors import InvalidValueError

USUAL_FOLDER = "/var/run/cdi"
"""Where runtimes look for specs that programs write."""
FOLDERS = ("/etc/cdi", USUAL_FOLDER)
"""Where runtimes look for specs. A device in the second folder hides one of the same name in the first."""
_ANNOTATION = "plugin-gateway_"
_DIGEST = 16
"""Bytes. With `_ANNOTATION` the name has 47 characters, of 63 that Kubernetes allows after the slash."""

_WORD = "[A-Za-z](?:[A-Za-z0-9_{}-]*[A-Za-z0-9])?"
_KIND = f"{_WORD.format('.')}/{_WORD.format('')}"
_NAME = "[A-Za-z0-9](?:[A-Za-z0-9_.:-]*[A-Za-z0-9])?"
"""Patterns. They are compiled when the first spec is made, which is after the first registration."""

_FIRST, _FIFTH = "0.3.0", "0.5.0"
"""The first version, and the one that has host paths of device nodes, and names that begin with a digit."""


class CdiNode(NamedTuple):
    """A device node of the container."""

    path: str
    host_path: str = ""
    """Where it is on the host. Empty if it has the same path there."""
    major: int | None = None
    """None if the numbers are not known; the runtime looks itself then."""
    minor: int = 0
    file_mode: int | None = None
    """Permission bits. None if they are not known."""
    gid: int = 0
    permissions: str = ""
    """What the container may do with it, of r, w and m. Empty for all three."""


class CdiMount(NamedTuple):
    """A file, a socket or a folder of the host that is mounted into the container."""

    host_path: str
    container_path: str
    options: tuple[str, ...] = ()


_HOOK = "createContainer"
"""When hooks run: in the container's mounts, before its root is entered."""


class CdiHook(NamedTuple):
    """A program of the host that the runtime runs while it makes the container."""

    path: str
    arguments: tuple[str, ...]
    """The first one is the name of the program, as it is with execve(2)."""
    environment: tuple[str, ...] = ()


class CdiEdits(NamedTuple):
    """What a container gets."""

    environment: Mapping[str, str] = {}
    nodes: tuple[CdiNode, ...] = ()
    mounts: tuple[CdiMount, ...] = ()
    hooks: tuple[CdiHook, ...] = ()

    def joined(self, other: "CdiEdits") -> "CdiEdits":
        """Return these edits together with others."""
        return CdiEdits(
            {**self.environment, **other.environment},
            (*self.nodes, *other.nodes),
            (*self.mounts, *other.mounts),
            (*self.hooks, *other.hooks),
        )


NOTHING = CdiEdits()
DriverId = tuple[str | None, str | None]
"""The version and the instance of a driver, as `DriverSeen` has them."""


class DriverFiles(NamedTuple):
    """What containers need of the files of a driver, and how they get it."""

    driver: DriverId
    common: CdiEdits = NOTHING
    """What a container with any device needs. It has no device nodes."""
    own: Mapping[str, CdiEdits] = {}
    """What a container with a certain device needs besides its device nodes, by the id of the device.

    The nodes in it are given if they exist. They have only their path.
    """
    extras: Mapping[str, CdiEdits] = {}
    """What a container needs of the driver's files for an extra, by the word of the backend. Variables stand for the
    whole spec, and the rest for its device."""
    way: str = ""
    """How the loader of the container finds the libraries, for people."""
    problem: str = ""
    """Why containers cannot get what they need, for people. Empty if they can."""
    todo: str = ""
    """What to do about it, for people. Empty if nothing is known."""


class FilesWanted(NamedTuple):
    """What a backend is to find of the files of its driver, and who is told."""

    driver_root: str
    """Where the driver is installed on the host."""
    hook: str
    """The program of the host that runtimes are to run. Empty if one is to be looked for."""
    disabled_hooks: tuple[str, ...]
    """The hooks that are not wanted, in words of the backend."""
    report: Callable[[DriverFiles], object]
    """Is called in the thread of the backend, and returns at once."""


class CdiDevice(NamedTuple):
    """A device of a spec."""

    name: str
    edits: CdiEdits


@dataclass(frozen=True, slots=True)
class CdiSpec:
    """A spec: devices of one kind."""

    kind: str
    """Vendor and class, such as ``example.com/card``."""
    devices: tuple[CdiDevice, ...]
    edits: CdiEdits = NOTHING
    """What a container with any of the devices gets."""

    def __post_init__(self) -> None:
        """Reject what a runtime would refuse: a runtime that refuses one device refuses the whole file.

        Raises:
            InvalidValueError: the message names the value.
        """
        if not re.fullmatch(_KIND, self.kind, re.ASCII):
            raise InvalidValueError(f"{self.kind!r} is no kind of CDI devices, which is VENDOR/CLASS")
        if not self.devices:
            raise InvalidValueError(f"a CDI spec of the kind {self.kind} without a device")
        names = [device.name for device in self.devices]
        if len(set(names)) != len(names):
            raise InvalidValueError(f"a CDI device occurs twice: {', '.join(names)}")
        for name, edits in self.devices:
            if (problem := name_problem(name)) is not None:
                raise InvalidValueError(problem)
            if edits == NOTHING:
                raise InvalidValueError(f"CDI device {name} has nothing for a container")
        for edits in self._all_edits():
            _check(edits)

    @property
    def version(self) -> str:
        """The lowest version that carries everything in it."""
        nodes = (node for edits in self._all_edits() for node in edits.nodes)
        needs_fifth = any(node.host_path not in {"", node.path} for node in nodes)
        return _FIFTH if needs_fifth or any(name[0].isdigit() for name, _ in self.devices) else _FIRST

    def encoded(self) -> bytes:
        """Return the content of the file. Equal specs have equal bytes."""
        document = {
            "cdiVersion": self.version,
            "kind": self.kind,
            "devices": [{"name": name, "containerEdits": _plain(edits)} for name, edits in self.devices],
        }
        common = _plain(self.edits)
        return json.dumps(document | ({"containerEdits": common} if common else {}), indent=1).encode() + b"\n"

    def _all_edits(self) -> Iterator[CdiEdits]:
        yield self.edits
        for device in self.devices:
            yield device.edits


def name_problem(name: str) -> str | None:
    """Return why this cannot be the name of a device in a spec. None if it can."""
    if re.fullmatch(_NAME, name, re.ASCII):
        return None
    return f"{name!r} cannot be the name of a CDI device, which has letters, digits and _ . : - only, and no / in it"


def file_name(kind: str) -> str:
    """Return the name of the file with the devices of a kind. Other programs that write CDI specs name it the same."""
    return f"{kind.replace('/', '-')}.json"


def qualified(kind: str, name: str) -> str:
    """Return the name of a device as a runtime wants it."""
    return f"{kind}={name}"


def kind_of(name: str) -> str:
    """Return the kind of a device by its qualified name."""
    return name.partition("=")[0]


def annotation(prefix: str, names: Sequence[str]) -> tuple[str, str]:
    """Return the annotation that names devices, with their qualified names: its own name, and its value.

    Devices of several resources come in several answers. A kubelet merges them by the name of the annotation, so other
    devices have another name.
    """
    from hashlib import blake2b  # noqa: PLC0415 - only where annotations are asked for

    value = ",".join(names)
    return f"{prefix}{_ANNOTATION}{blake2b(value.encode(), digest_size=_DIGEST).hexdigest()}", value


def _check(edits: CdiEdits) -> None:
    """Reject paths that a runtime would refuse, or that JSON cannot carry.

    Raises:
        InvalidValueError: the message names the path.
    """
    paths = [each for node in edits.nodes for each in (node.path, node.host_path or node.path)]
    paths += [each for mount in edits.mounts for each in (mount.host_path, mount.container_path)]
    for path in (*paths, *(hook.path for hook in edits.hooks)):
        if not path.startswith("/"):
            raise InvalidValueError(f"{path!r} is no absolute path")
        if not path.isprintable():
            raise InvalidValueError(f"{path!r} has characters that a CDI spec cannot carry")


def _plain(edits: CdiEdits) -> Mapping[str, object]:
    """Return the JSON value. What is empty is left out."""
    found: dict[str, object] = {
        "env": [f"{name}={value}" for name, value in edits.environment.items()],
        "deviceNodes": [_plain_node(node) for node in edits.nodes],
        "mounts": [_plain_mount(mount) for mount in edits.mounts],
        "hooks": [_plain_hook(hook) for hook in edits.hooks],
    }
    return {key: value for key, value in found.items() if value}


def _plain_node(node: CdiNode) -> Mapping[str, object]:
    """Return a node. One without numbers has no type either, so that the runtime looks at the host's node itself."""
    found: dict[str, object] = {"path": node.path}
    if node.host_path not in {"", node.path}:
        found["hostPath"] = node.host_path
    if node.major is not None:
        found |= {"type": "c", "major": node.major, "minor": node.minor}
    if node.file_mode is not None:
        found["fileMode"] = node.file_mode
    if node.gid:
        found["gid"] = node.gid
    if node.permissions:
        found["permissions"] = node.permissions
    return found


def _plain_mount(mount: CdiMount) -> Mapping[str, object]:
    found: dict[str, object] = {"hostPath": mount.host_path, "containerPath": mount.container_path}
    return {**found, "options": list(mount.options)} if mount.options else found


def _plain_hook(hook: CdiHook) -> Mapping[str, object]:
    found: dict[str, object] = {"hookName": _HOOK, "path": hook.path, "args": list(hook.arguments)}
    return {**found, "env": list(hook.environment)} if hook.environment else found
