"""The labels of a node with NVIDIA GPUs: those of NVIDIA's GPU feature discovery 0.20, and some of the gateway's own.

Where a node has several products, those labels are about the product of most GPUs, the first by name of equals. Then
each product has a label of the gateway's own, with the number of its GPUs.

Where ``single`` offers only a part of the GPUs, the labels are about what is offered.
"""

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from plugin_gateway.core.devices import Device, FaultId, PhysicalDevice
from plugin_gateway.core.health.state import State
from plugin_gateway.core.labels.making import Label
from plugin_gateway.core.labels.names import MAX_LENGTH, OWN, cleaned, most_frequent
from plugin_gateway.core.labels.policy import LabelPolicy
from plugin_gateway.core.resources.names import ResourceName
from plugin_gateway.core.resources.rules import ResourceRule, named
from plugin_gateway.core.resources.sharing import ALONE, Sharing
from plugin_gateway.nvidia.label_words import (
    CAPABILITY,
    CI_SLICES,
    CLIQUE,
    CUDA,
    ENGINES,
    GI_SLICES,
    HOST_BRANCH,
    HOST_DRIVER,
    MIG_MODE,
    MULTIPROCESSORS,
    NO,
    PCI_CLASS,
    VGPU,
    YES,
)
from plugin_gateway.nvidia.naming import DOMAIN, GPU, MPS, MigStrategy

HEALTHY = "gpu.healthy"
"""A label of the gateway's own that has to be asked for: how many GPUs are healthy."""
OWN_LABELS = (HEALTHY,)
MODEL = "gpu.model."
"""How the labels begin that a node with several products has for each of them."""
_MIB = 2**20
_RENAMED, _SHARED, _INVALID = ".shared", "-SHARED", "-MIG-INVALID"
_NONE, _TIME_SLICING = "none", "time-slicing"
_UNKNOWN = "unknown"
_MODES: Mapping[str, str] = {"0x030000": "graphics", "0x030200": "compute"}
"""By the PCI class."""
_FAMILIES: Mapping[int, str] = {
    1: "tesla",
    2: "fermi",
    3: "kepler",
    5: "maxwell",
    6: "pascal",
    9: "hopper",
    10: "blackwell",
    12: "blackwell",
    13: "rubin",
}
"""By the major number of the compute capability, where the minor number does not matter."""
_OF_EACH = r"count|product|replicas|sharing-strategy|memory|multiprocessors|slices\.(gi|ci)|engines\.[a-z]+"
_OF_DISCOVERY = (
    rf"gpu\.({_OF_EACH}|machine|family|compute\.(major|minor)|mode|clique|imex-domain)|mig-[0-9a-z.]+\.({_OF_EACH})"
    r"|cuda\.(driver|runtime)(-version)?\.(major|minor|rev|revision|full)|mig\.(capable|strategy)|mps\.capable"
    r"|vgpu\.(present|host-driver-(version|branch))|gfd\.timestamp"
)
"""A pattern for the names of NVIDIA's labels, also of earlier releases. It is compiled where somebody asks."""
_OF_PART = (MULTIPROCESSORS, GI_SLICES, CI_SLICES, *ENGINES)


def make_labels(state: State, rules: Sequence[ResourceRule], policy: LabelPolicy) -> Iterator[Label]:
    """Yield the labels that follow from the state of one backend."""
    node = _Node(state, rules, policy)
    yield from _of_hypervisor(node.facts)
    if HEALTHY in policy.own and state.is_settled:
        yield _of_health(state)
    if not state.physical:
        return
    machine = cleaned(policy.machine or "")
    yield _label("gpu.machine", machine or _UNKNOWN, "the machine's firmware" if machine else "its name cannot be read")
    yield from _of_driver(state, node.facts, has_deprecated=policy.has_deprecated)
    yield from node.capable()
    yield from node.of_gpus()
    if policy.strategy == MigStrategy.MIXED.value:
        yield from node.of_profiles()
    yield from _models(Counter(gpu.product for gpu in state.physical))
    if policy.started_at is not None:
        yield _label("gfd.timestamp", str(policy.started_at), "the start of the process")


def is_of_discovery(name: str) -> bool:
    """Return whether NVIDIA's GPU feature discovery writes the label of this name.

    Others of NVIDIA's programs write labels in the same domain, such as ``nvidia.com/mig.config`` and
    ``nvidia.com/gpu.present``.
    """
    domain, _, word = name.partition("/")
    return domain == DOMAIN and re.fullmatch(_OF_DISCOVERY, word, re.ASCII) is not None


def family_of(capability: tuple[int, int]) -> str:
    """Return the family of GPUs with this compute capability, in NVIDIA's word."""
    major, minor = capability
    if major == 7:  # noqa: PLR2004 - both numbers of one capability
        return "volta" if minor < 5 else "turing"  # noqa: PLR2004
    if major == 8:  # noqa: PLR2004
        return "ampere" if minor < 9 else "ada-lovelace"  # noqa: PLR2004
    return _FAMILIES.get(major, "undefined")


def _label(word: str, value: str, why: str) -> Label:
    return Label(f"{DOMAIN}/{word}", value, why)


def _of_hypervisor(facts: Mapping[str, str]) -> Iterator[Label]:
    """Yield whether GPUs come from a hypervisor. Nothing if that cannot be seen, which is not the same as no."""
    if VGPU in facts:
        yield _label("vgpu.present", facts[VGPU], "the PCI configuration space of the GPUs")
    for word, fact in (("version", HOST_DRIVER), ("branch", HOST_BRANCH)):
        if fact in facts:
            yield _label(f"vgpu.host-driver-{word}", cleaned(facts[fact]), "the hypervisor's driver tells it")


def _of_health(state: State) -> Label:
    """Return how many GPUs are healthy. None is, as long as no container can get one."""
    count, healthy = len(state.physical), 0
    if state.inventory is None:
        why = f"no GPU is known: {state.driver_trouble}"
    elif state.requirement is not None and state.requirement.problem:
        why = f"no GPU is given out: {state.requirement.problem}"
    else:
        healthy = count - len({state.inventory.physical_by_id[each].id for each in state.present_faults})
        why = f"{healthy} of {count} GPUs are healthy"
    return Label(f"{OWN}/{HEALTHY}", str(healthy), why)


def _of_driver(state: State, facts: Mapping[str, str], *, has_deprecated: bool) -> Iterator[Label]:
    version = state.driver.version if state.driver is not None else None
    if version:
        why = f"the driver is {version}"
        parts = [cleaned(part) for part in version.split(".")]
        words = ("major", "minor", "revision") if len(parts) > 1 else ("major",)
        told = dict(zip(words, [*parts, ""], strict=False))
        yield _label("cuda.driver-version.full", cleaned(version), why)
        yield from (_label(f"cuda.driver-version.{word}", value, why) for word, value in told.items())
        if has_deprecated:
            old = {"revision": "rev"}
            yield from (_label(f"cuda.driver.{old.get(word, word)}", value, why) for word, value in told.items())
    if CUDA in facts:
        major, _, minor = facts[CUDA].partition(".")
        why = f"the driver supports CUDA {facts[CUDA]}"
        yield _label("cuda.runtime-version.full", facts[CUDA], why)
        for word, value in (("major", major), ("minor", minor)):
            yield _label(f"cuda.runtime-version.{word}", value, why)
            if has_deprecated:
                yield _label(f"cuda.runtime.{word}", value, why)


class _Shared(NamedTuple):
    """How the devices are offered that labels are about."""

    name: ResourceName | None
    """None if none of them is offered."""
    sharing: Sharing

    @property
    def suffix(self) -> str:
        """What their product gets, because others with the same resource are not shared."""
        is_renamed = self.name is not None and self.name.endswith(_RENAMED)
        return _SHARED if self.sharing.replicas > 1 and not is_renamed else ""

    @property
    def strategy(self) -> str:
        if self.sharing.through == MPS:
            return MPS
        return _TIME_SLICING if self.sharing.replicas > 1 else _NONE


@dataclass(frozen=True, slots=True, kw_only=True)
class _Described:
    """Devices that are alike, and what the labels say of them."""

    prefix: str
    product: str
    count: int
    replicas: int
    strategy: str
    memory_bytes: int
    why: str
    zeros_count: bool = False
    """Whether a memory of 0 is told, too."""

    def labels(self) -> Iterator[Label]:
        """Yield the labels. One whose value is not known is left out."""
        memory = self.memory_bytes // _MIB
        told = {
            "product": self.product,
            "count": str(self.count),
            "replicas": str(self.replicas),
            "sharing-strategy": self.strategy,
            "memory": str(memory) if memory or self.zeros_count else "",
        }
        for word, value in told.items():
            if value or word == "sharing-strategy":
                yield _label(f"{self.prefix}.{word}", value, self.why)


class _Node:
    """The GPUs of the node, and how they are offered."""

    def __init__(self, state: State, rules: Sequence[ResourceRule], policy: LabelPolicy) -> None:
        seen = state.facts
        self.facts: Mapping[str, str] = seen.node if seen is not None else {}
        self._of: Mapping[FaultId, Mapping[str, str]] = seen.devices if seen is not None else {}
        self._state = state
        self._rules = rules
        self._policy = policy
        self._gpus = state.physical
        self._parts = [device for device in state.devices if not device.is_whole]
        self._named = {device.id: _Shared(name, sharing) for device, name, sharing in named(state.devices, rules)}

    def _fact(self, device: FaultId, word: str) -> str:
        return self._of.get(device, {}).get(word, "")

    def _is_divided(self, gpu: PhysicalDevice) -> bool:
        """Whether a GPU is in MIG mode."""
        return self._fact(gpu.id, MIG_MODE) == YES or any(each.physical.id == gpu.id for each in self._parts)

    def _shared(self, devices: Iterable[Device]) -> _Shared:
        """Return how most of these devices are offered; of equals, as the first one is."""
        found = Counter(self._named[device.id] for device in devices if device.id in self._named)
        return max(found, key=lambda each: found[each], default=_Shared(None, ALONE))

    def capable(self) -> Iterator[Label]:
        """Yield whether a GPU can be divided, whether any may be shared through MPS, and what all of them are for."""
        can_divide = any(self._fact(gpu.id, MIG_MODE) for gpu in self._gpus)
        yield _label("mig.capable", YES if can_divide else NO, "whether a GPU has MIG")
        divided = any(map(self._is_divided, self._gpus))
        can_share = any(rule.sharing.through == MPS for rule in self._rules) and not divided
        yield _label("mps.capable", YES if can_share else NO, "whether the configuration has MPS, and no GPU MIG mode")
        if self._policy.strategy in {MigStrategy.SINGLE.value, MigStrategy.MIXED.value}:
            yield _label("mig.strategy", self._policy.strategy, "--mig-strategy")
        classes = {self._fact(gpu.id, PCI_CLASS) for gpu in self._gpus}
        mode = _MODES.get(classes.pop(), _UNKNOWN) if len(classes) == 1 else _UNKNOWN
        yield _label("gpu.mode", mode, "the PCI class of all GPUs")
        cliques = {clique for gpu in self._gpus if (clique := self._fact(gpu.id, CLIQUE))}
        if len(cliques) == 1:
            yield _label("gpu.clique", cliques.pop(), "all GPUs of the NVLink fabric have joined it")

    def of_gpus(self) -> Iterator[Label]:
        """Yield the labels about GPUs, or about the MIG devices that stand for them."""
        if self._policy.strategy == MigStrategy.SINGLE.value:
            if self._parts:
                yield from self._of_parts("gpu", self._parts)
                return
            undivided = [gpu for gpu in self._gpus if not self._is_divided(gpu)]
            if not undivided:
                yield from self._invalid()
                return
            yield from self._of_whole(undivided)
            return
        yield from self._of_whole(self._gpus)

    def _of_whole(self, gpus: Sequence[PhysicalDevice]) -> Iterator[Label]:
        product = most_frequent(gpu.product for gpu in gpus)
        mine = [gpu for gpu in gpus if gpu.product == product]
        ids = {gpu.id for gpu in mine if not self._is_divided(gpu)}
        shared = self._shared(each for each in self._state.devices if each.kind == GPU and each.physical.id in ids)
        yield from _Described(
            prefix="gpu",
            product=cleaned(product, shared.suffix),
            count=len(mine),
            replicas=shared.sharing.replicas if ids else 0,
            strategy=shared.strategy,
            memory_bytes=min((gpu.memory_bytes for gpu in mine if gpu.memory_bytes), default=0),
            why=self._why(product, _counted(len(mine), "GPU")),
        ).labels()
        yield from self._of_capability(mine)

    def _of_parts(self, prefix: str, parts: Sequence[Device]) -> Iterator[Label]:
        """Yield the labels about MIG devices of one profile."""
        product = most_frequent(part.physical.product for part in parts)
        mine = [part for part in parts if part.physical.product == product]
        shared, profile = self._shared(mine), mine[0].profile.replace("+", ".")
        why = self._why(product, f"{_counted(len(mine), 'MIG device')} {mine[0].profile}")
        yield from _Described(
            prefix=prefix,
            product=cleaned(product, f"-MIG-{profile}{shared.suffix}"),
            count=len(mine),
            replicas=shared.sharing.replicas,
            strategy=shared.strategy,
            memory_bytes=mine[0].memory_bytes,
            why=why,
        ).labels()
        told = next((self._of[part.id] for part in mine if self._of.get(part.id)), {})
        yield from (_label(f"{prefix}.{word}", told[word], why) for word in _OF_PART if word in told)
        if prefix == "gpu":
            yield from self._of_capability([part.physical for part in mine])

    def _invalid(self) -> Iterator[Label]:
        """Yield what labels say where ``single`` has nothing to offer."""
        product = most_frequent(gpu.product for gpu in self._gpus)
        yield from _Described(
            prefix="gpu",
            product=cleaned(product, _INVALID),
            count=0,
            replicas=0,
            strategy="",
            memory_bytes=0,
            why="every GPU is in MIG mode, and none has a MIG device that can be offered",
            zeros_count=True,
        ).labels()
        yield from self._of_capability([gpu for gpu in self._gpus if gpu.product == product])

    def _of_capability(self, gpus: Sequence[PhysicalDevice]) -> Iterator[Label]:
        text = next(filter(None, (self._fact(gpu.id, CAPABILITY) for gpu in gpus)), "")
        major, _, minor = text.partition(".")
        if not text or major == "0":
            return
        why = f"the compute capability is {text}"
        yield _label("gpu.family", family_of((int(major), int(minor))), why)
        yield _label("gpu.compute.major", major, why)
        yield _label("gpu.compute.minor", minor, why)

    def of_profiles(self) -> Iterator[Label]:
        """Yield the labels about the MIG devices of each profile."""
        for profile in sorted({part.profile for part in self._parts}):
            parts = [part for part in self._parts if part.profile == profile]
            yield from self._of_parts(f"mig-{profile.replace('+', '.')}", parts)

    def _why(self, product: str, what: str) -> str:
        """Return why labels are about these devices: what they are, and what most GPUs are not."""
        others = sorted({gpu.product for gpu in self._gpus} - {product})
        return f"{what} of {product}" + (f"; the node has {', '.join(others)} too" if others else "")


def _counted(number: int, what: str) -> str:
    return f"{number} {what}" if number == 1 else f"{number} {what}s"


def _models(counts: Mapping[str, int]) -> Iterator[Label]:
    """Yield a label for each product, if there are several. Those whose names are cut alike are counted together."""
    if len(counts) == 1:
        return
    found: dict[str, list[str]] = {}
    for product in sorted(counts):
        if word := cleaned(product, limit=MAX_LENGTH - len(MODEL)):
            found.setdefault(word, []).append(product)
    for word, products in found.items():
        yield Label(f"{OWN}/{MODEL}{word}", str(sum(counts[each] for each in products)), f"GPUs of {products[0]}")
