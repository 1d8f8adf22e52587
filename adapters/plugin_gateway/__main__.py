"""The composition root: the one place that may name every vendor and dialect; it decides nothing.

A sub-command is imported when it is asked for.
"""

import os
import sys
from collections.abc import Mapping, Sequence
from importlib import import_module
from typing import TYPE_CHECKING

from plugin_gateway.adapters.commands.command_line import Command
from plugin_gateway.adapters.commands.command_line import main as run_command_line
from plugin_gateway.adapters.commands.parts import Parts
from plugin_gateway.core.errors import InvalidValueError

if TYPE_CHECKING:
    from plugin_gateway.adapters.dialects.dialect import Dialect
    from plugin_gateway.core.health.policy import HealthPolicy
    from plugin_gateway.core.ports import Backend
    from plugin_gateway.nvidia.simulated import SimulatedBackend

API_VERSIONS: Mapping[str, tuple[str, ...]] = {
    "auto": ("v1beta1", "v1alpha2", "0.1"),
    "v1beta1": ("v1beta1",),
    "v1alpha": ("v1alpha2", "0.1"),
    "v1alpha2": ("v1alpha2",),
    "0.1": ("0.1",),
}
"""What ``--api-version`` takes, and the dialects it stands for, the newest first: as words, because the dialects
themselves are imported while the driver initialises. A test compares the two."""

SIMULATED = "simulated"
NVML = "nvml"
DEFAULT_SIMULATION = "8xH100"


def dialects() -> "tuple[Dialect, ...]":
    """Return every dialect there is, the newest first."""
    from plugin_gateway.adapters.dialects.v1alpha import V0_1, V1ALPHA2
    from plugin_gateway.adapters.dialects.v1beta1 import V1BETA1

    return V1BETA1, V1ALPHA2, V0_1


def parse_backend(text: str) -> str:
    """Check the name of a backend, and the GPUs to simulate."""
    kind, colon, spec = text.partition(":")
    if kind == SIMULATED:
        from plugin_gateway.nvidia.simulated import parse_spec

        parse_spec(spec or DEFAULT_SIMULATION)
    elif text != NVML:
        raise InvalidValueError(f"{text!r}, allowed are {NVML} and {SIMULATED}:COUNTxMODEL")
    return f"{kind}{colon}{spec}"


def make_backend(backend: str, driver_root: str) -> "Backend":
    """Make the backend of this name; it looks at nothing before it is started."""
    kind, _, spec = backend.partition(":")
    if kind == SIMULATED:
        return simulate(spec or DEFAULT_SIMULATION)
    from plugin_gateway.nvidia.backend import NvmlBackend

    return NvmlBackend(driver_root=driver_root)


def default_health() -> "HealthPolicy":
    """Return what follows from each kind of evidence unless an admin decides otherwise."""
    from plugin_gateway.nvidia.evidence import HEALTH_POLICY

    return HEALTH_POLICY


def simulate(spec: str) -> "SimulatedBackend":
    """Make simulated GPUs, such as ``8xH100``."""
    from plugin_gateway.nvidia.simulated import SimulatedBackend

    return SimulatedBackend(spec)


PARTS = Parts(
    api_versions=API_VERSIONS,
    dialects=dialects,
    parse_backend=parse_backend,
    make_backend=make_backend,
    default_health=default_health,
    simulate=lambda count: simulate(f"{count}xH100"),
)


def _command(module: str, text: str) -> Command:
    """Name a sub-command and the module that makes it."""
    return Command(text, lambda: import_module(f"plugin_gateway.adapters.commands.{module}").make(PARTS))


COMMANDS: Mapping[str, Command] = {
    "run": _command("run.command", "offer this node's GPUs to its kubelet, and keep offering them"),
    "devices": _command("devices", "show what would be offered, and end"),
    "doctor": _command("doctor.command", "find out what is wrong on this node, and what to do about it"),
    "inspect": _command(
        "inspect.command", "show what the socket of any device plugin serves, and one list of its devices"
    ),
    "status": _command("status", "show what the running gateway knows of its GPUs, and why one is not given out"),
    "health": _command("health", "tell the running gateway that a GPU is well again: health clear GPU-…"),
    "health-policy": _command(
        "health_policy", "show what follows from each XID and other evidence, and where that was decided"
    ),
    "replay": _command("replay", "play the kubelet's side of a recording again, and tell what differs"),
    "fake-kubelet": _command("fake_kubelet.command", "play the kubelet of a release, to try a device plugin"),
    "demo": _command("demo", "show it all on this machine in a few seconds: no GPU, no Kubernetes"),
}


def _version() -> str:
    from importlib.metadata import version

    return version("plugin-gateway")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit status."""
    # gRPC writes lines of its own to standard error; whatever matters comes back as an error anyway.
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")
    return run_command_line(COMMANDS, sys.argv[1:] if arguments is None else arguments, _version)


if __name__ == "__main__":
    sys.exit(main())
