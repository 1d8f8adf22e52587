"""Files about the devices that are given out, from which Multus learns what it tells to CNI plugins and pods.

They are those of the Device Information Specification of the network plumbing working group, version 1.1.0.
"""

import contextlib
import json
import os
import time
from collections.abc import Callable, Collection, Iterable, Mapping

from plugin_gateway.adapters.support.logs import log
from plugin_gateway.core.devices import Device
from plugin_gateway.core.resources.names import ResourceName

VERSION = "1.1.0"
SETTLED = 60.0
"""Seconds after which a file may be removed. A pod that was given its device a moment ago still needs it."""
_END = "-device.json"
_MODE = 0o444


class DeviceInfoFiles:
    """The folder with the files, as far as they are about some resources."""

    def __init__(
        self,
        folder: str,
        resources: Collection[ResourceName],
        keys: Mapping[str, str],
        now: Callable[[], float] = time.time,
    ) -> None:
        """``resources`` are those whose devices are given to one container at a time.

        ``keys`` are those of the files beside the PCI address, each with the attribute of a device that it is about.
        ``now`` is the wall clock.
        """
        self._folder = folder
        self._keys = keys
        self.resources = resources
        self._now = now
        self._problem: str | None = None

    def write(self, resource: ResourceName, devices: Iterable[Device]) -> None:
        """Write a file about each device. What cannot be written is logged, and keeps no container from starting."""
        try:
            for device in devices:
                self._write(_name(resource, device), device)
        except OSError as error:
            if error.strerror != self._problem:
                log.warning(
                    "no file about a device can be written for Multus", folder=self._folder, problem=error.strerror
                )
            self._problem = error.strerror
        else:
            self._problem = None

    def _write(self, name: str, device: Device) -> None:
        path = f"{self._folder}/{name}"
        half_made = f"{path}.{os.getpid()}"
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC
        try:
            descriptor = os.open(half_made, flags, 0o600)
        except FileNotFoundError:
            os.makedirs(self._folder, 0o755, exist_ok=True)  # noqa: PTH103 - pathlib is slower
            descriptor = os.open(half_made, flags, 0o600)
        try:
            try:
                os.write(descriptor, json.dumps(self._content(device), separators=(",", ":")).encode())
                os.fchmod(descriptor, _MODE)
            finally:
                os.close(descriptor)
            os.rename(half_made, path)  # noqa: PTH104 - pathlib is slower
        except OSError:
            with contextlib.suppress(OSError):
                os.unlink(half_made)  # noqa: PTH108 - pathlib is slower
            raise

    def _content(self, device: Device) -> Mapping[str, object]:
        attributes = device.physical.attributes
        more = {key: ",".join(attributes[word]) for key, word in self._keys.items() if attributes.get(word)}
        return {"type": "pci", "version": VERSION, "pci": {"pci-address": device.physical.pci_address, **more}}

    def clean(self) -> None:
        """Remove the files that are about these resources, but for those of a moment ago."""
        beginnings = [_beginning(each) for each in self.resources]
        with contextlib.suppress(OSError), os.scandir(self._folder) as entries:
            for entry in entries:
                if any(_is_about(entry.name, each) for each in beginnings):
                    with contextlib.suppress(OSError):
                        if self._now() - entry.stat(follow_symlinks=False).st_mtime > SETTLED:
                            os.unlink(entry.path)  # noqa: PTH108 - a path as text


def _beginning(resource: ResourceName) -> str:
    return resource.replace("/", "-") + "-"


def _name(resource: ResourceName, device: Device) -> str:
    return f"{_beginning(resource)}{device.id}{_END}"


def _is_about(name: str, beginning: str) -> bool:
    """Whether a file is about a device of a resource. The name of another resource can begin with that of this one."""
    device = name.removeprefix(beginning).removesuffix(_END)
    return name == f"{beginning}{device}{_END}" and "-" not in device
