"""The kubelet's checkpoint of devices, in each of its five layouts; it is read and never touched."""

import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from plugin_gateway.core.errors import GatewayError

NAME = "kubelet_internal_checkpoint"
MAX_BYTES = 64 * 1024 * 1024


class CheckpointError(GatewayError):
    """It is there, and cannot be read."""


class Holder(NamedTuple):
    """Devices of one resource that a container holds."""

    pod: str
    """Namespace and name; from a checkpoint the UID alone."""
    container: str
    resource: str
    devices: frozenset[str]


class Checkpoint(NamedTuple):
    """What a kubelet wrote down."""

    holders: tuple[Holder, ...]
    registered: Mapping[str, frozenset[str]]
    """Healthy devices by resource; empty on 1.8, which writes none."""


def read_checkpoint(directory: Path) -> Checkpoint | None:
    """Read it; None where there is none.

    Raises:
        CheckpointError: it cannot be read, or is of no layout that a kubelet has.
    """
    path = directory / NAME
    try:
        with open(path, "rb", opener=_open_now) as file:
            data = file.read(MAX_BYTES)
        return _decode(json.loads(data))
    except FileNotFoundError:
        return None
    except OSError as error:
        raise CheckpointError(f"{path}: {error.strerror}") from error
    except (ValueError, RecursionError) as error:
        raise CheckpointError(f"{path}: it is not JSON: {error}") from error
    except (KeyError, TypeError, AttributeError) as error:
        raise CheckpointError(f"{path}: it has no layout that a kubelet writes") from error


def _open_now(path: str, flags: int) -> int:
    """Open a file as it is: a pipe would wait for a writer."""
    return os.open(path, flags | os.O_NONBLOCK)


def _decode(value: Any) -> Checkpoint:
    content = value.get("Data", value)  # from 1.11 on with a checksum around it, which only Go can make
    if "Entries" in content:  # 1.8: an entry for each device
        return Checkpoint(_merged(_entries_of_1_8(content)), {})
    return Checkpoint(
        _merged(_entries(content["PodDeviceEntries"] or ())),
        {name: frozenset(ids or ()) for name, ids in (content["RegisteredDevices"] or {}).items()},
    )


def _entries_of_1_8(content: Any) -> Iterator[Holder]:
    for entry in content["Entries"] or ():
        yield Holder(
            entry["PodUID"], entry["ContainerName"], entry["ResourceName"], frozenset({str(entry["DeviceID"])})
        )


def _entries(entries: Any) -> Iterator[Holder]:
    for entry in entries:
        ids = entry["DeviceIDs"]
        listed = ids if isinstance(ids, list) else [each for node in ids.values() for each in node]  # by node from 1.20
        yield Holder(entry["PodUID"], entry["ContainerName"], entry["ResourceName"], frozenset(map(str, listed)))


def _merged(holders: Iterator[Holder]) -> tuple[Holder, ...]:
    merged: dict[tuple[str, str, str], frozenset[str]] = {}
    for pod, container, resource, devices in holders:
        key = (str(pod), str(container), str(resource))
        merged[key] = merged.get(key, frozenset()) | devices
    return tuple(Holder(*key, devices) for key, devices in merged.items())
