"""The rules for network cards, made from the sections `resources.rdma` and `resources.onload`.

Each entry becomes one rule. An entry that leaves something open takes it from the options.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from plugin_gateway.adapters.configuration.card_options import ONLOAD, RDMA
from plugin_gateway.adapters.configuration.card_words import NCCL, PCIDEVICE, UCX
from plugin_gateway.adapters.configuration.options import Options
from plugin_gateway.core.cards import FUNCTION, PHYSICAL
from plugin_gateway.core.resources.container_options import ContainerOptions, DeviceVariable, FileMounts
from plugin_gateway.core.resources.names import ResourceName
from plugin_gateway.core.resources.rules import ResourceRule, Selector
from plugin_gateway.core.resources.sharing import ALONE, Sharing

DEFAULT_REPLICAS = 100
"""As often as the newest plugin for Onload offers its cards."""
_LIBRARIES = ("libonload.so*", "libonload_ext.so*")
_LIBRARY_FOLDER, _PROGRAM_FOLDER = "/usr/lib64", "/usr/bin"
_PRELOADED = "libonload.so"
_SCRIPT = "onload"


@dataclass(frozen=True, slots=True, kw_only=True)
class CardEntry:
    """An entry of `resources.rdma` or `resources.onload`. None stands for what the options decide."""

    name: ResourceName
    selector: Selector
    sharing: Sharing
    requested_nodes: tuple[str, ...] = ()
    variables: tuple[str, ...] = ()
    """Words of `card_words.VARIABLES`."""
    host_path: str | None = None
    """The folder of the host with the user space of Onload."""
    container_path: str | None = None
    """Where containers have it. None: at the same path."""
    preload: bool | None = None
    """Whether every program in the container is run with Onload."""
    script: bool = False
    """Whether containers get the script that runs one program with Onload."""
    origin: str = field(default="", compare=False)


Section = tuple[CardEntry, ...]
DEFAULT_SECTIONS: Mapping[str, Section] = {
    RDMA: (
        CardEntry(
            name=ResourceName("rdma/hca"),
            selector=Selector(backends=(RDMA,), attributes={FUNCTION: (PHYSICAL,)}),
            sharing=Sharing(replicas=DEFAULT_REPLICAS),
        ),
    ),
    ONLOAD: (
        CardEntry(
            name=ResourceName("amd.com/onload"),
            selector=Selector(backends=(ONLOAD,), attributes={FUNCTION: (PHYSICAL,)}),
            sharing=Sharing(replicas=DEFAULT_REPLICAS, is_pool=True),
        ),
    ),
}
"""What holds by backend where it is chosen and nobody wrote a section, or an empty one."""


class FileCards(NamedTuple):
    """What a file says about network cards."""

    sections: Mapping[str, Section]
    """By the name of the backend."""
    remarks: tuple[str, ...] = ()
    """What has no effect, for people."""


def rules_for_cards(
    file: FileCards | None, backends: Sequence[str], options: Options
) -> tuple[tuple[ResourceRule, ...], tuple[str, ...]]:
    """Return the rules for the cards of those of these backends that have any, and what is said to no effect.

    A backend for cards without a section has the default one. A section without its backend has no effect.
    """
    sections = file.sections if file is not None else {}
    rules = [
        _rule(each, options)
        for backend, by_default in DEFAULT_SECTIONS.items()
        if backend in backends
        for each in sections.get(backend, by_default)
    ]
    unused = [
        f"resources.{backend} is there, and --backend is {options.backend}; auto takes it in"
        for backend in sections
        if backend not in backends
    ]
    return tuple(rules), (*(file.remarks if file is not None else ()), *unused)


def onload_paths(rules: Sequence[ResourceRule]) -> tuple[str, ...]:
    """Return the folders of the host whose libraries these rules give to containers."""
    folders = [files.folder for rule in rules if rule.options for files in rule.options.files]
    return tuple(
        dict.fromkeys(each.removesuffix(_LIBRARY_FOLDER) for each in folders if each.endswith(_LIBRARY_FOLDER))
    )


def exclusive_rdma(rules: Sequence[ResourceRule]) -> ResourceRule | None:
    """Return the first of these rules with which only one container at a time has an RDMA device. None if none is."""
    return next((each for each in rules if RDMA in each.selector.backends and each.sharing == ALONE), None)


def _rule(entry: CardEntry, options: Options) -> ResourceRule:
    return ResourceRule(
        selector=entry.selector,
        name=entry.name,
        sharing=entry.sharing,
        options=_onload_options(entry, options) if ONLOAD in entry.selector.backends else _rdma_options(entry),
        is_always_there=True,
        origin=entry.origin,
    )


def _rdma_options(entry: CardEntry) -> ContainerOptions:
    variable = device_variable(entry.name)
    return ContainerOptions(
        requested_nodes=entry.requested_nodes,
        variables=tuple(_variables(entry.variables, variable)),
        details_variable=f"{variable}_INFO" if PCIDEVICE in entry.variables else "",
    )


def _variables(words: Sequence[str], variable: str) -> Iterator[DeviceVariable]:
    if PCIDEVICE in words:
        yield DeviceVariable(variable)
    if NCCL in words:
        yield DeviceVariable("NCCL_IB_HCA", NCCL, prefix="=")  # with it NCCL compares whole names
    if UCX in words:
        yield DeviceVariable("UCX_NET_DEVICES", UCX)


def device_variable(name: ResourceName) -> str:
    """Return the variable that the SR-IOV network device plugin has for a resource, which DPDK and others read."""
    return f"PCIDEVICE_{name}".replace("/", "_").replace(".", "_").upper()


def _onload_options(entry: CardEntry, options: Options) -> ContainerOptions:
    host = entry.host_path or options.onload_host_path
    inside = entry.container_path or host
    preload = options.onload_preload and not entry.script if entry.preload is None else entry.preload
    libraries = FileMounts(f"{host}{_LIBRARY_FOLDER}", _LIBRARIES, f"{inside}{_LIBRARY_FOLDER}")
    script = FileMounts(f"{host}{_PROGRAM_FOLDER}", (_SCRIPT,), f"{inside}{_PROGRAM_FOLDER}")
    return ContainerOptions(
        environment={"LD_PRELOAD": f"{inside}{_LIBRARY_FOLDER}/{_PRELOADED}"} if preload else {},
        files=(libraries, script) if entry.script else (libraries,),
    )
