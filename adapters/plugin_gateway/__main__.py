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
    from collections.abc import Collection, Mapping, Sequence
    from importlib import import_module
    from typing import TYPE_CHECKING

    from plugin_gateway.adapters.commands.command_line import Catalog, Command, Parts
    from plugin_gateway.adapters.commands.command_line import main as run_command_line
    from plugin_gateway.core.errors import InvalidValueError
except KeyboardInterrupt:  # later ones are handled there
    sys.exit(128 + signal.SIGINT)

if TYPE_CHECKING:
    from plugin_gateway.adapters.commands.command_line import CardCheck, SimulatedCards
    from plugin_gateway.adapters.configuration.chosen_backends import ChosenBackend
    from plugin_gateway.adapters.configuration.options import Options
    from plugin_gateway.adapters.configuration.settings import Settings
    from plugin_gateway.core.health.policy import HealthPolicy
    from plugin_gateway.core.health.remedies import Remedies
    from plugin_gateway.core.labels.making import LabelMaker
    from plugin_gateway.core.ports import Backend
    from plugin_gateway.linux.card_model import CardModel
    from plugin_gateway.linux.made_up_tree import MadeUpTree
    from plugin_gateway.nvidia.simulated import SimulatedBackend

AUTO = "auto"
SIMULATED = "simulated"
NVML, RDMA, ONLOAD = "nvml", "rdma", "onload"
SIMULATED_RDMA, SIMULATED_ONLOAD = "simulated-rdma", "simulated-onload"
KINDS = (NVML, SIMULATED, RDMA, ONLOAD, SIMULATED_RDMA, SIMULATED_ONLOAD)
CARDS = {RDMA: RDMA, SIMULATED_RDMA: RDMA, ONLOAD: ONLOAD, SIMULATED_ONLOAD: ONLOAD}
"""The name of the backend for each kind that has network cards."""
DEFAULT_SIMULATION, DEFAULT_RDMA, DEFAULT_ONLOAD = "8xH100", "2xCX6+4", "1xX2522"
"""What is simulated where nobody says it."""
ALLOWED = (
    f"{AUTO}, {NVML}, {RDMA}, {ONLOAD}, {SIMULATED}:COUNTxMODEL, {SIMULATED_RDMA}:COUNTxMODEL+VFS and "
    f"{SIMULATED_ONLOAD}:COUNTxMODEL"
)


def parse_backend(text: str) -> str:
    """Return the text if it names a backend, or several, and devices that can be simulated.

    Raises:
        InvalidValueError: there is no such backend, or its devices cannot be simulated, or two have one name.
    """
    for each in backends(text):
        kind, _, spec = each.text.partition(":")
        if kind == SIMULATED:
            from plugin_gateway.nvidia.simulated import parse_spec

            parse_spec(spec or DEFAULT_SIMULATION)
        elif each.has_cards and kind.startswith(SIMULATED):
            _simulated_cards(each.name, spec)
        elif each.text not in (NVML, RDMA, ONLOAD):
            raise InvalidValueError(f"invalid value {each.text!r}; expected {ALLOWED}")
    return text


def backends(text: str) -> "Sequence[ChosenBackend]":
    """Return the backends that a value of `--backend` chooses, in its order, those with network cards last.

    Raises:
        InvalidValueError: two have one name, or a name is not allowed.
    """
    from plugin_gateway.adapters.configuration.chosen_backends import check_distinct, resolved, split

    return check_distinct([_chosen(each) for each in split(resolved(text, ()), KINDS)])


def _chosen(text: str) -> "ChosenBackend":
    from plugin_gateway.adapters.configuration.chosen_backends import ChosenBackend

    kind, _, spec = text.partition(":")
    if kind == SIMULATED:
        from plugin_gateway.nvidia.simulated import name_of

        if (name := name_of(spec)) is not None:
            if name in CARDS:
                raise InvalidValueError(f"backend {name!r} has network cards; expected another name for GPUs")
            from plugin_gateway.core.resources.names import ResourceName
            from plugin_gateway.nvidia.naming import DOMAIN

            return ChosenBackend(name, text, ResourceName(f"{DOMAIN}/{name}"))
    return ChosenBackend(CARDS.get(kind, kind), text)


def make_backend(backend: str, options: "Options", is_for_good: bool) -> "Backend":  # noqa: FBT001 - it has one caller each
    """Return the backend of GPUs of this name. It does not open the driver before it is started."""
    from plugin_gateway.nvidia.naming import MigStrategy

    kind, _, spec = backend.partition(":")
    kernel_log = options.kernel_log_path if is_for_good else ""
    strategy = MigStrategy(options.mig_strategy)
    if kind == SIMULATED:
        from plugin_gateway.nvidia.simulated import SimulatedBackend

        return SimulatedBackend(spec or DEFAULT_SIMULATION, reads_kernel_log=bool(kernel_log), mig_strategy=strategy)
    from plugin_gateway.nvidia.backend import NvmlBackend

    return NvmlBackend(driver_root=options.container_driver_root, kernel_log=kernel_log, mig_strategy=strategy)


def make_cards(backend: str, settings: "Settings", is_for_good: bool) -> "Backend":  # noqa: FBT001 - as above
    """Return the backend of network cards of this name. It opens nothing before it is started."""
    from plugin_gateway.linux.card_backend import CardBackend
    from plugin_gateway.linux.watching import CardPace, LinkSource

    kind, _, spec = backend.partition(":")
    name, pace = CARDS[kind], CardPace(poll=settings.poll_interval)
    word = _word_for_cards(name)
    if kind.startswith(SIMULATED):
        model, tree = _simulated_cards(name, spec)
        return CardBackend(lambda: model, name=name, device_word=word, pace=pace, made_up=tree)

    def make_model() -> "CardModel":  # the thread of the backend imports what it takes
        return _onload_model(settings) if name == ONLOAD else _rdma_model(settings, is_for_good=is_for_good)

    root, link_events = settings.host_root, LinkSource(settings.link_events)
    return CardBackend(make_model, name=name, device_word=word, host_root=root, link_events=link_events, pace=pace)


def _word_for_cards(name: str) -> str:
    if name == ONLOAD:
        from plugin_gateway.solarflare.evidence import DEVICE_WORD as OF_ONLOAD

        return OF_ONLOAD
    from plugin_gateway.rdma.naming import DEVICE_WORD

    return DEVICE_WORD


def _simulated_cards(name: str, spec: str) -> "tuple[CardModel, MadeUpTree]":
    """Return the model of simulated cards, and their files.

    Raises:
        InvalidValueError: they cannot be simulated.
    """
    if name == ONLOAD:
        from plugin_gateway.solarflare.simulated import parse_spec as parse_onload
        from plugin_gateway.solarflare.simulated import simulated_model

        return simulated_model(), parse_onload(spec or DEFAULT_ONLOAD)
    from plugin_gateway.rdma.model import RdmaModel
    from plugin_gateway.rdma.simulated import parse_spec

    return RdmaModel(is_simulated=True), parse_spec(spec or DEFAULT_RDMA)


def _onload_model(settings: "Settings") -> "CardModel":
    from plugin_gateway.solarflare.model import onload_model

    return onload_model(settings.host_root, settings.onload_paths)


def _rdma_model(settings: "Settings", *, is_for_good: bool) -> "CardModel":
    """Return the model that remembers what was seen of the cards before."""
    from plugin_gateway.adapters.gateway.card_memory import CardMemory
    from plugin_gateway.rdma.memory import NOTHING, as_text, parse
    from plugin_gateway.rdma.model import RdmaModel

    kept = CardMemory(settings.state_dir, may_write=is_for_good)
    return RdmaModel(kept.recall(parse) or NOTHING, lambda now: kept.keep(as_text(now)), kept.is_kept)


def import_rest(backend: str) -> None:
    """Import what the thread of this backend needs when the driver has initialised."""
    if backend == NVML:
        import plugin_gateway.nvidia.watch  # noqa: F401 - only imported


def kernel_log_problem(backend: str, kernel_log: str) -> str | None:
    """Return why this backend cannot read the kernel's log at this path. None if it can."""
    if backend.partition(":")[0] in CARDS:
        return "it is read for GPUs, and no backend has any"
    if backend.startswith(SIMULATED):
        from plugin_gateway.nvidia.simulated import KERNEL_LOG_PROBLEM

        return KERNEL_LOG_PROBLEM
    from plugin_gateway.nvidia.kernel_log import find_problem

    return find_problem(kernel_log)


def default_health() -> "HealthPolicy":
    """Return NVIDIA's health policy: the action for each kind of evidence unless an administrator decides otherwise."""
    from plugin_gateway.nvidia.evidence import HEALTH_POLICY

    return HEALTH_POLICY


def card_health(backend: str) -> "HealthPolicy":
    """Return the health policy of the network cards of the backend with this name."""
    if backend == ONLOAD:
        from plugin_gateway.solarflare.evidence import HEALTH_POLICY as OF_ONLOAD

        return OF_ONLOAD
    from plugin_gateway.rdma.evidence import HEALTH_POLICY

    return HEALTH_POLICY


def remedies(backends: "Collection[str]") -> "Remedies":
    """Return what the vendors of the devices of these backends say to do about evidence."""
    from plugin_gateway.core.health.remedies import of_several

    found: dict[str, Remedies] = {}
    if any(each not in CARDS for each in backends):
        from plugin_gateway.nvidia.remedies import remedy_for

        found["GPU"] = remedy_for
    if RDMA in backends:
        from plugin_gateway.rdma.remedies import remedy_for as about_rdma

        found["RDMA device"] = about_rdma
    if ONLOAD in backends:
        from plugin_gateway.solarflare.remedies import remedy_for as about_onload

        found["card with Onload"] = about_onload
    return of_several(found)


def card_check(backend: str, settings: "Settings") -> "CardCheck":
    """Return what checks a node for these network cards. For simulated ones it needs nothing."""
    kind = backend.partition(":")[0]
    if kind.startswith(SIMULATED):
        return lambda _inventory, _rules: ()
    from plugin_gateway.linux.card_findings import view_of

    view = view_of(settings.host_root, settings.link_events, settings.poll_interval)
    if kind == ONLOAD:
        from plugin_gateway.solarflare.checkup import check_host

        return lambda inventory, _rules: check_host(view, inventory, settings.onload_paths)
    from plugin_gateway.rdma.checkup import check, own_memory_limit

    return lambda inventory, rules: check(view, inventory, rules, own_memory_limit())


def label_maker(backend: str) -> "LabelMaker":
    """Return who makes labels of the state of this backend."""
    name = CARDS.get(backend.partition(":")[0])
    if name == ONLOAD:
        from plugin_gateway.solarflare.labels import make_labels as about_onload

        return about_onload
    if name == RDMA:
        from plugin_gateway.rdma.labels import make_labels as about_rdma

        return about_rdma
    from plugin_gateway.nvidia.labels import make_labels

    return make_labels


def is_vendors_label(name: str) -> bool:
    """Return whether NVIDIA's GPU feature discovery writes the label of this name."""
    from plugin_gateway.nvidia.labels import is_of_discovery

    return is_of_discovery(name)


def catalog() -> Catalog:
    """Return what NVIDIA's catalog says beside the decisions."""
    from plugin_gateway.nvidia.xid_catalog import CATALOG_DATE, JUDGED_FROM

    return Catalog(CATALOG_DATE, JUDGED_FROM)


def simulate(spec: str) -> "SimulatedBackend":
    """Return a backend with simulated GPUs. ``spec`` is such as ``8xH100``."""
    from plugin_gateway.nvidia.simulated import SimulatedBackend

    return SimulatedBackend(spec)


def simulate_cards(spec: str) -> "SimulatedCards":
    """Return a backend with simulated network cards. ``spec`` is such as ``8xCX7IB``."""
    from plugin_gateway.rdma.simulated_backend import SimulatedRdma

    return SimulatedRdma(spec)


PARTS = Parts(
    parse_backend=parse_backend,
    backends=backends,
    make_backend=make_backend,
    make_cards=make_cards,
    import_rest=import_rest,
    default_health=default_health,
    card_health=card_health,
    remedies=remedies,
    card_check=card_check,
    label_maker=label_maker,
    is_vendors_label=is_vendors_label,
    catalog=catalog,
    kernel_log_problem=kernel_log_problem,
    simulate=lambda count: simulate(f"{count}xH100"),
    simulate_cards=lambda count: simulate_cards(f"{count}xCX7IB"),
)


def _command(module: str, text: str) -> Command:
    """Return the sub-command of a module, with its line in the overview. The module has `make(parts)`."""
    return Command(text, lambda: import_module(f"plugin_gateway.adapters.commands.{module}").make(PARTS))


COMMANDS: Mapping[str, Command] = {
    "run": _command("run.command", "offer this node's GPUs and network cards to its kubelet, and keep offering them"),
    "devices": _command("devices", "show what would be offered, and end"),
    "doctor": _command("doctor.command", "find out what is wrong on this node, and what to do about it"),
    "bundle": _command("bundle.command", "collect in one file what support needs to know of this node"),
    "inspect": _command(
        "inspect.command", "show what the socket of any device plugin serves, and one list of its devices"
    ),
    "status": _command("status", "show what the running gateway knows of its devices, and why one is not given out"),
    "health": _command(
        "health",
        "tell the running gateway that a device is well again, or none is missing: health clear GPU-…, health accept",
    ),
    "reload": _command("reload", "make the running gateway read its configuration file again"),
    "driver": _command("driver", "have the running gateway let go of the driver: driver release, driver take"),
    "health-policy": _command(
        "health_policy", "show what follows from each XID and other evidence, and where that was decided"
    ),
    "labels": _command("labels", "show the labels and taints that this node should have, or write them as a file"),
    "translate-config": _command(
        "translate_config",
        "translate a configuration of NVIDIA's device plugin or one for network cards, or the values of NVIDIA's chart",
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
    "gpu-feature-discovery": "labels",
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
