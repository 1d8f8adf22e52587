"""Recordings made by hand: one kubelet of 1.10 or later, one resource, two devices."""

import io
import json
from collections.abc import Sequence
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any, NamedTuple

from harness.devices import advertised
from harness.devices import inventory as inventory_of
from harness.node import RESOURCE, device
from plugin_gateway.adapters.dialects.v1beta1 import V1BETA1
from plugin_gateway.adapters.recording.values import VERSION, plain
from plugin_gateway.adapters.replay.report import replay
from plugin_gateway.adapters.support.signals import Interruption
from plugin_gateway.core.devices import Device
from plugin_gateway.core.health.observations import InventorySeen, Observation
from plugin_gateway.nvidia.evidence import HEALTH_POLICY

Line = dict[str, Any]
DEVICES = (device(0), device(1))
CALLED: Line = {"service": V1BETA1.service, "resource": RESOURCE, "agent": "grpc-go/1.54.0"}


def head(**others: object) -> Line:
    return {
        "recording": VERSION,
        "at": 1.7e9,
        "api_version": "auto",
        "rules": [{"pattern": "*", "name": RESOURCE}],
        "unhealthy_first": "auto",
        "pass_device_specs": True,
        "device_id_strategy": "uuid",
        "dev_root": "/",
        "health": plain(HEALTH_POLICY),
        **others,
    }


def line(what: str, t: float = 0.0, **fields: object) -> Line:
    return {"t": t, "what": what, **fields}


def seen(observation: Observation, t: float = 0.0) -> Line:
    return line("seen", t, observation=plain(observation))


def inventory(devices: Sequence[Device] = DEVICES, t: float = 0.0) -> Line:
    return seen(InventorySeen(inventory_of(*devices)), t)


def registration(resource: str = RESOURCE, t: float = 0.0, code: str = "OK", words: str = "") -> list[Line]:
    request = V1BETA1.registration("then.sock", resource).hex()  # type: ignore[arg-type]
    told = {"api_version": V1BETA1.version, "request": request}
    return [line("register", t, **told), line("answered", t, **told, code=code, words=words)]


def opened(stream: str = "1", resource: str = RESOURCE, t: float = 0.0) -> Line:
    return line("opened", t, stream=stream, **{**CALLED, "resource": resource})


def listed(*unhealthy: int, devices: Sequence[Device] = DEVICES, stream: str = "1", t: float = 0.0) -> Line:
    told = advertised(devices, *(device(index).id for index in unhealthy))
    return line("list", t, stream=stream, message=V1BETA1.device_list(told).hex())


def conversation(*more: Line) -> list[Line]:
    """Return a recording in which a kubelet accepts the registration and opens a stream, followed by these lines."""
    return [
        head(),
        line("kubelet", is_there=True),
        inventory(),
        *registration(),
        opened(),
        listed(),
        *more,
        line("end"),
    ]


def write(path: Path, lines: Sequence[Line | str]) -> Path:
    path.write_text("".join((each if isinstance(each, str) else json.dumps(each)) + "\n" for each in lines))
    return path


class Said(NamedTuple):
    """What the replay said."""

    status: int
    remarks: tuple[str, ...]
    """Each with its line, without the difference in JSON."""
    summary: str
    output: str


def said_of(path: Path) -> Said:
    output = io.StringIO()
    with redirect_stdout(output):
        status = replay(path, Interruption())
    lines, place = output.getvalue().splitlines(), f"{path}:"
    remarks = tuple(each.removeprefix(place) for each in lines if each.startswith(place))
    return Said(status, remarks, lines[-1], output.getvalue())
