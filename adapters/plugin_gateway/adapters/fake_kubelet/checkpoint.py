"""The file in which a kubelet keeps which container holds which devices, in the layout of each release."""

import base64
from collections.abc import Iterable, Mapping, Sequence
from enum import Enum
from typing import NamedTuple


class Layout(Enum):
    """How the file is built. `plugin_gateway.adapters.kubelet.checkpoint` has the same list."""

    BY_DEVICE = "an entry for each device"
    BY_CONTAINER = "an entry for each container and resource"
    WITH_CHECKSUM = "the same with a checksum"
    BY_NUMA_NODE = "the same, and the devices by NUMA node"


class Entry(NamedTuple):
    """What a container holds."""

    pod: str
    container: str
    resource: str
    ids: Sequence[str]
    answer: bytes


def encode(layout: Layout, entries: Iterable[Entry], registered: Mapping[str, Sequence[str]]) -> Mapping[str, object]:
    """Return the content of the file. The checksum is wrong: only Go can compute it."""
    if layout is Layout.BY_DEVICE:
        return {"Entries": [_of_device(each, device) for each in entries for device in each.ids]}
    content = {"PodDeviceEntries": [_of_container(each, layout) for each in entries], "RegisteredDevices": registered}
    return content if layout is Layout.BY_CONTAINER else {"Data": content, "Checksum": 0}


def _of_device(entry: Entry, device: str) -> Mapping[str, object]:
    names = {"PodUID": entry.pod, "ContainerName": entry.container, "ResourceName": entry.resource}
    return {**names, "DeviceID": device}


def _of_container(entry: Entry, layout: Layout) -> Mapping[str, object]:
    return {
        "PodUID": entry.pod,
        "ContainerName": entry.container,
        "ResourceName": entry.resource,
        "DeviceIDs": {"-1": list(entry.ids)} if layout is Layout.BY_NUMA_NODE else list(entry.ids),
        "AllocResp": base64.b64encode(entry.answer).decode(),
    }
