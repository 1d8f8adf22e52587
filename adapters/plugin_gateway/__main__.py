"""The composition root: the only module that knows all vendors. It contains no logic of its own.

It hands what they have to the sub-commands as `Parts`. A sub-command and what it uses are imported only when it is
called. That is why the imports here are inside functions: `run` must not wait for what only `demo` needs.
"""

import os
import signal
import sys

_PID_OF_A_CONTAINER = 1
if os.getpid() == _PID_OF_A_CONTAINER:
    # The kernel drops a signal for PID 1 that has no handler. So this comes before the imports, which take longer than
    # all that is above. The exit status is that of another process that the signal ends.
    for _number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(_number, lambda number, _: os._exit(128 + number))

try:
    from collections.abc import Mapping, Sequence
    from importlib import import_module
    from typing import TYPE_CHECKING

    from plugin_gateway.adapters.commands.command_line import Catalog, Command, Parts
    from plugin_gateway.adapters.commands.command_line import main as run_command_line
    from plugin_gateway.core.errors import InvalidValueError
except KeyboardInterrupt:  # later ones are handled there
    sys.exit(128 + signal.SIGINT)

if TYPE_CHECKING:
    from plugin_gateway.adapters.configuration.chosen_backends import ChosenBackend
    from plugin_gateway.core.health.policy import HealthPolicy
    from plugin_gateway.core.health.remedies import Remedies
    from plugin_gateway.core.ports import Backend
    from plugin_gateway.nvidia.simulated import SimulatedBackend

SIMULATED = "simulated"
NVML = "nvml"
KINDS = (NVML, SIMULATED)
DEFAULT_SIMULATION = "8xH100"


def parse_backend(text: str) -> str:
    """Return the text if it names a backend, or several, and GPUs that can be simulated.

    Raises:
        InvalidValueError: there is no such backend, or its GPUs cannot be simulated, or two have one name.
    """
    for _, each, _ in backends(text):
        kind, _, spec = each.partition(":")
        if kind == SIMULATED:
            from plugin_gateway.nvidia.simulated import parse_spec

            parse_spec(spec or DEFAULT_SIMULATION)
        elif each != NVML:
            raise InvalidValueError(f"{each!r}, allowed are {NVML} and {SIMULATED}:COUNTxMODEL")
    return text


def backends(text: str) -> "Sequence[ChosenBackend]":
    """Return the backends that a value of `--backend` chooses, in its order.

    Raises:
        InvalidValueError: two have one name, or a name is not allowed.
    """
    from plugin_gateway.adapters.configuration.chosen_backends import check_distinct, split

    return check_distinct([_chosen(each) for each in split(text, KINDS)])


def _chosen(text: str) -> "ChosenBackend":
    from plugin_gateway.adapters.configuration.chosen_backends import ChosenBackend

    kind, _, spec = text.partition(":")
    if kind == SIMULATED:
        from plugin_gateway.nvidia.simulated import name_of

        if (name := name_of(spec)) is not None:
            from plugin_gateway.core.resources.names import ResourceName
            from plugin_gateway.nvidia.naming import DOMAIN

            return ChosenBackend(name, text, ResourceName(f"{DOMAIN}/{name}"))
    return ChosenBackend(kind, text)


def make_backend(backend: str, driver_root: str, kernel_log: str, mig_strategy: str) -> "Backend":
    """Return the backend of this name. It does not open the driver before it is started."""
    from plugin_gateway.nvidia.naming import MigStrategy

    kind, _, spec = backend.partition(":")
    strategy = MigStrategy(mig_strategy)
    if kind == SIMULATED:
        from plugin_gateway.nvidia.simulated import SimulatedBackend

        return SimulatedBackend(spec or DEFAULT_SIMULATION, reads_kernel_log=bool(kernel_log), mig_strategy=strategy)
    from plugin_gateway.nvidia.backend import NvmlBackend

    return NvmlBackend(driver_root=driver_root, kernel_log=kernel_log, mig_strategy=strategy)


def import_rest(backend: str) -> None:
    """Import what the thread of this backend needs when the driver has initialised."""
    if not backend.startswith(SIMULATED):
        import plugin_gateway.nvidia.watch  # noqa: F401 - only imported


def kernel_log_problem(backend: str, kernel_log: str) -> str | None:
    """Return why this backend cannot read the kernel's log at this path. None if it can."""
    if backend.startswith(SIMULATED):
        from plugin_gateway.nvidia.simulated import KERNEL_LOG_PROBLEM

        return KERNEL_LOG_PROBLEM
    from plugin_gateway.nvidia.kernel_log import find_problem

    return find_problem(kernel_log)


def default_health() -> "HealthPolicy":
    """Return NVIDIA's health policy: the action for each kind of evidence unless an administrator decides otherwise."""
    from plugin_gateway.nvidia.evidence import HEALTH_POLICY

    return HEALTH_POLICY


def remedies() -> "Remedies":
    """Return what NVIDIA says to do about evidence."""
    from plugin_gateway.nvidia.remedies import remedy_for

    return remedy_for


def catalog() -> Catalog:
    """Return what NVIDIA's catalog says beside the decisions."""
    from plugin_gateway.nvidia.xid_catalog import CATALOG_DATE, JUDGED_FROM

    return Catalog(CATALOG_DATE, JUDGED_FROM)


def simulate(spec: str) -> "SimulatedBackend":
    """Return a backend with simulated GPUs. ``spec`` is such as ``8xH100``."""
    from plugin_gateway.nvidia.simulated import SimulatedBackend

    return SimulatedBackend(spec)


PARTS = Parts(
    parse_backend=parse_backend,
    backends=backends,
    make_backend=make_backend,
    import_rest=import_rest,
    default_health=default_health,
    remedies=remedies,
    catalog=catalog,
    kernel_log_problem=kernel_log_problem,
    simulate=lambda count: simulate(f"{count}xH100"),
)


def _command(module: str, text: str) -> Command:
    """Return the sub-command of a module, with its line in the overview. The module has `make(parts)`."""
    return Command(text, lambda: import_module(f"plugin_gateway.adapters.commands.{module}").make(PARTS))


COMMANDS: Mapping[str, Command] = {
    "run": _command("run.command", "offer this node's GPUs to its kubelet, and keep offering them"),
    "devices": _command("devices", "show what would be offered, and end"),
    "doctor": _command("doctor.command", "find out what is wrong on this node, and what to do about it"),
    "inspect": _command(
        "inspect.command", "show what the socket of any device plugin serves, and one list of its devices"
    ),
    "status": _command("status", "show what the running gateway knows of its GPUs, and why one is not given out"),
    "health": _command(
        "health",
        "tell the running gateway that a GPU is well again, or none is missing: health clear GPU-…, health accept",
    ),
    "reload": _command("reload", "make the running gateway read its configuration file again"),
    "driver": _command("driver", "have the running gateway let go of the driver: driver release, driver take"),
    "health-policy": _command(
        "health_policy", "show what follows from each XID and other evidence, and where that was decided"
    ),
    "translate-config": _command(
        "translate_config", "translate a configuration of NVIDIA's device plugin, or the values of its chart"
    ),
    "replay": _command("replay", "play the kubelet's side of a recording again, and tell what differs"),
    "fake-kubelet": _command("fake_kubelet.command", "play the kubelet of a release, to try a device plugin"),
    "demo": _command("demo", "show it all on this machine in a few seconds: no GPU, no Kubernetes"),
    "config-manager": _command(
        "config_manager", "stand in for NVIDIA's program: link the configuration that the node's label chooses"
    ),
    "mps-control-daemon": _command("mps_control_daemon", "say which image has NVIDIA's program of that name"),
}
NAMES: Mapping[str, str] = {
    "nvidia-device-plugin": "run",
    "config-manager": "config-manager",
    "mps-control-daemon": "mps-control-daemon",
}
"""The names that the executables have in the image of NVIDIA's plugin, and the sub-command that each of them calls.

So a manifest of NVIDIA's can have our image. It gives no sub-command."""


def _version() -> str:
    from plugin_gateway.adapters.support.about import installed_version

    return installed_version()


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line, and return the exit status."""
    # gRPC would write its own lines to standard error. Errors that matter are returned to us, and we log them.
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")
    return run_command_line(COMMANDS, _arguments() if arguments is None else arguments, _version)


def _arguments() -> Sequence[str]:
    """Return the arguments of this process. Those of a program that we stand in for get the sub-command before them."""
    given = sys.argv[1:]
    command = NAMES.get(os.path.basename(sys.argv[0]))  # noqa: PTH119 - a name; pathlib is not imported yet
    return given if command is None or given[:1] == ["--version"] else [command, *given]


if __name__ == "__main__":
    sys.exit(main())
