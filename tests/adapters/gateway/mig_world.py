"""What a driver has at one moment of a random test, what must be offered of it, and what pods hold of it.

This is a model of its own: it knows the rules that the documentation has, and nothing of how the gateway follows them.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import combinations
from typing import NamedTuple

from driver.driver import EVERY_EVENT, MIG_CONFIG_CHANGED, Driver
from driver.mig import CARDS, gi_minor, instances
from harness.node import RESOURCE
from plugin_gateway.adapters.fake_kubelet.events import Container

PRODUCT = "NVIDIA H100 80GB HBM3"
SLOTS = range(7)
UNKNOWN_PROFILE = 99
"""A number that no profile of the product has."""


class Part(NamedTuple):
    """What can be granted: a GPU, or a MIG device of it."""

    gpu: int
    profile: str = ""
    """Empty for a whole GPU."""
    nodes: tuple[int, ...] = ()
    """The minor numbers of its capability nodes."""


class Form(NamedTuple):
    """What one pod holds, or may get, of a part."""

    id: str
    part: Part
    resource: str
    is_shared: bool

    def excludes(self, other: "Form") -> bool:
        """Whether two pods must not have both at a time, as ids of a kubelet that are free."""
        if self.id == other.id:
            return (self.resource, self.is_shared) != (other.resource, other.is_shared)
        if self.part.gpu != other.part.gpu:
            return False
        return not (self.part.nodes and other.part.nodes) or self.part.nodes == other.part.nodes


class World:
    """The GPUs of a driver, and what each has of MIG."""

    def __init__(self, driver: Driver, gpus: range) -> None:
        self.driver = driver
        self.gpus = gpus
        self.layouts: dict[int, str] = {}
        """The layouts of the GPUs in MIG mode."""
        for gpu in gpus:
            driver.add(gpu, name=PRODUCT, event_types=EVERY_EVENT | (MIG_CONFIG_CHANGED if gpu % 2 else 0))
        self._ever: dict[str, Part] = {driver.uuid(gpu): Part(gpu) for gpu in gpus}
        self._odd: set[tuple[int, int]] = set()

    def lay_out(self) -> None:
        """Give the driver the layouts. What was odd is well again."""
        self._odd.clear()
        self.driver.mig(";".join(f"{gpu}:{layout}" for gpu, layout in self.layouts.items()))
        self._ever.update({uuid: part for uuid, part, _ in self._parts()})
        for gpu in self.layouts:
            if gpu % 2:  # old drivers report no change
                self.driver.xid(gpu, 0, MIG_CONFIG_CHANGED)

    def spoil(self, gpu: int, slot: int) -> None:
        """Let a MIG device have a profile that is not known."""
        if self.driver.mig.is_present(gpu, slot):
            self._odd.add((gpu, slot))
            self.driver.mig.set(gpu, slot, profile_id=UNKNOWN_PROFILE)

    def heal(self) -> None:
        """End all errors of calls. What is gone, and what is odd, stays so."""
        self.driver.release()
        self.driver.mig.permit(privileged=True)
        for gpu in self.gpus:
            for slot in SLOTS:
                self.driver.mig.set(gpu, slot, error=0)

    def _parts(self) -> Iterator[tuple[str, Part, int]]:
        for gpu, layout in self.layouts.items():
            for each in instances(CARDS[PRODUCT], layout):
                first, ci = gi_minor(gpu, each.gi), each.profile
                if each.ci_slices != CARDS[PRODUCT].profiles[each.profile].slices:
                    ci = f"{each.ci_slices}c.{each.profile}"
                yield self.driver.mig.uuid(gpu, each.slot), Part(gpu, ci, (first, first + 1 + each.ci)), each.slot

    def _here(self) -> Iterator[tuple[str, Part]]:
        """Return what there is, in the order of GPUs and slots."""
        for gpu in self.gpus:
            if gpu not in self.layouts:
                yield self.driver.uuid(gpu), Part(gpu)
        for uuid, part, slot in self._parts():
            if self.driver.mig.is_present(part.gpu, slot) and (part.gpu, slot) not in self._odd:
                yield uuid, part

    def offers(self, strategy: str, replicas: Mapping[str, int]) -> Sequence[Form]:
        """Return what is to be offered with a strategy, and with a number of replicas for some names."""
        here: Sequence[tuple[str, Part]] = sorted(self._here(), key=lambda each: each[1].gpu)
        if strategy == "none":
            here = [each for each in here if not each[1].profile]
        if strategy == "single":
            here = _uniform(here)
        return [
            Form(uuid, part, name, replicas.get(name, 1) > 1)
            for uuid, part in here
            for name in (_name(part, strategy),)
        ]

    def held(self, containers: Iterable[Container]) -> Sequence[Sequence[Form]]:
        """Return what each container holds."""
        return [
            [
                Form(uuid, self._ever[uuid], each.resource, bool(replica))
                for uuid, _, replica in (id_.partition("::") for id_ in each.ids)
            ]
            for each in containers
        ]


def granted_twice(held: Sequence[Sequence[Form]]) -> Sequence[tuple[Form, Form]]:
    """Return what two containers hold, and must not."""
    pairs = combinations(held, 2)
    return [(one, other) for first, second in pairs for one in first for other in second if one.excludes(other)]


def listed(
    offers: Iterable[Form], held: Sequence[Sequence[Form]], replicas: Mapping[str, int]
) -> dict[str, dict[str, str]]:
    """Return the lists that a kubelet has of this: the health of each id, by resource."""
    found: dict[str, dict[str, str]] = {}
    for form in offers:
        is_held = any(form.excludes(other) for each in held for other in each)
        count = replicas.get(form.resource, 1)
        for replica in range(count):
            id_ = f"{form.id}::{replica}" if count > 1 else form.id
            found.setdefault(form.resource, {})[id_] = "Unhealthy" if is_held else "Healthy"
    return found


def _name(part: Part, strategy: str) -> str:
    if strategy == "mixed" and part.profile:
        return f"nvidia.com/mig-{part.profile.replace('+', '.')}"
    return RESOURCE


def _uniform(here: Sequence[tuple[str, Part]]) -> Sequence[tuple[str, Part]]:
    """Return what most GPUs have. If as many have something else, the first device decides."""
    have = Counter(profile for _, profile in dict.fromkeys((part.gpu, part.profile) for _, part in here))
    most = max(have.values(), default=0)
    chosen = next((part.profile for _, part in here if have[part.profile] == most), "")
    return [each for each in here if each[1].profile == chosen]
