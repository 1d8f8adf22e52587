"""Reads the kubelet's checkpoint of allocated devices. Nothing is ever written.

The file has had five layouts:

- 1.8: a list with one entry for each device, and no registered devices
- 1.9: an entry for each pod, container and resource, with a list of device ids
- 1.10: the same, with other answers to Allocate, which are not read here
- 1.11 to 1.19: the same inside "Data", with a checksum that only Go can compute
- 1.20 and later: the device ids are grouped by NUMA node
"""

import binascii
import contextlib
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from plugin_gateway.adapters.support.unix_files import open_at_once
from plugin_gateway.core.errors import GatewayError

NAME = "kubelet_internal_checkpoint"
MAX_BYTES = 64 * 1024 * 1024
"""Bytes of the file that are read. A longer file is not valid JSON then."""


class CheckpointError(GatewayError):
    """The checkpoint exists but cannot be read."""


class DamagedCheckpointError(CheckpointError):
    """The checkpoint is empty, cut or something else: a running kubelet writes it again, a new one starts without."""


class Holder(NamedTuple):
    """Devices of one resource that a container holds."""

    pod: str
    """Namespace and name of the pod. In a checkpoint there is only its UID."""
    container: str
    resource: str
    devices: frozenset[str]
    """The device ids."""
    is_gone: bool = False
    """Whether the pod has no folder any more. False if that is not known."""


class Checkpoint(NamedTuple):
    """The content of a checkpoint."""

    holders: tuple[Holder, ...]
    """The containers with devices. Some may have ended already."""
    registered: Mapping[str, frozenset[str]]
    """The healthy devices by resource. Empty on 1.8, which does not store them."""
    answers: Mapping[tuple[str, str], bytes] = {}
    """What the device plugin answered, by resource and device id. Empty on 1.8, which does not store it."""


def read_checkpoint(directory: Path) -> Checkpoint | None:
    """Return the checkpoint in the kubelet's directory. None if there is none.

    Raises:
        DamagedCheckpointError: it has none of the known layouts.
        CheckpointError: it cannot be read.
    """
    path = directory / NAME
    try:
        with open(path, "rb", opener=open_at_once) as file:
            data = file.read(MAX_BYTES)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise CheckpointError(f"{path}: {error.strerror}") from error
    try:
        return _decode(json.loads(data))
    except (ValueError, RecursionError) as error:
        raise DamagedCheckpointError(f"{path}: {_explain(data, error)}") from error
    except (KeyError, TypeError, AttributeError) as error:
        raise DamagedCheckpointError(f"{path}: it has no layout that a kubelet writes") from error


def _explain(data: bytes, error: Exception) -> str:
    """Return what is wrong with a file that is not JSON."""
    if not data.strip():
        return "it is empty"
    is_cut = isinstance(error, json.JSONDecodeError) and (
        error.pos >= len(error.doc.rstrip()) or error.msg.startswith("Unterminated string")
    )
    return "it is cut: its JSON has no end" if is_cut else f"it is not JSON: {error}"


def _decode(value: Any) -> Checkpoint:
    content = value.get("Data", value)  # "Data" from 1.11 on
    if "Entries" in content:  # 1.8
        return Checkpoint(_merged(_entries_of_1_8(content)), {})
    return Checkpoint(
        _merged(_entries(content["PodDeviceEntries"] or ())),
        {name: frozenset(map(str, ids or ())) for name, ids in (content["RegisteredDevices"] or {}).items()},
        _answers(content["PodDeviceEntries"] or ()),
    )


def _entries_of_1_8(content: Any) -> Iterator[Holder]:
    for entry in content["Entries"] or ():
        yield Holder(
            entry["PodUID"], entry["ContainerName"], entry["ResourceName"], frozenset({str(entry["DeviceID"])})
        )


def _entries(entries: Any) -> Iterator[Holder]:
    for entry in entries:
        yield Holder(entry["PodUID"], entry["ContainerName"], entry["ResourceName"], frozenset(_ids(entry)))


def _ids(entry: Any) -> Iterator[str]:
    """Yield the device ids of an entry: a list up to 1.19, a map from NUMA node to list from 1.20 on."""
    ids = entry["DeviceIDs"]
    return map(str, ids if isinstance(ids, list) else [each for node in ids.values() for each in node])


def _answers(entries: Any) -> Mapping[tuple[str, str], bytes]:
    """Return what was answered for each id. An entry of a pod that has ended can be about the same id, too."""
    found: dict[tuple[str, str], dict[bytes, None]] = {}  # each answer once, because thousands of pods get the same
    for entry in entries:
        with contextlib.suppress(TypeError, ValueError):  # one that cannot be read is not known
            answer = binascii.a2b_base64(entry.get("AllocResp") or "", strict_mode=True)
            for each in set(_ids(entry)):
                found.setdefault((str(entry["ResourceName"]), each), {})[answer] = None
    return {key: b"".join(answers) for key, answers in found.items()}


def _merged(holders: Iterator[Holder]) -> tuple[Holder, ...]:
    """Return one holder for each pod, container and resource, because 1.8 has one entry for each device."""
    merged: dict[tuple[str, str, str], frozenset[str]] = {}
    for holder in holders:
        key = (str(holder.pod), str(holder.container), str(holder.resource))
        merged[key] = merged.get(key, frozenset()) | holder.devices
    return tuple(Holder(*key, devices) for key, devices in merged.items())
