"""How devices can be shared and divided: the combinations that are tested with genuine kubelets, as a table.

Another way to offer devices is another row. It says in which scenarios it can take part.
"""

import os
from collections.abc import Iterator, Mapping, Sequence
from enum import Enum
from typing import NamedTuple

from driver.mig import CARDS, gi_minor, instances
from harness.node import RESOURCE
from kubelets.genuine import GENUINE

PRODUCT = "NVIDIA H100 80GB HBM3"
GPUS = 3
HALF = "nvidia.com/mig-3g.40gb"
IN_CI = ("v1.8.15", "v1.20.15", "v1.37.2")
"""The releases of a usual run: the oldest, the newest, and one that does not connect during Register."""


class Scenario(Enum):
    """What happens to devices that are offered in one of these ways."""

    ALLOCATED = "containers with one and with all"
    GPU_FAILS = "a GPU fails and comes back"
    KUBELET_KILLED = "kubelet killed and started"
    REPLICAS_CHANGE = "another number of replicas while some are granted"
    LAYOUT_CHANGES = "another layout while all are granted"


class Combination(NamedTuple):
    """One way to offer devices."""

    name: str
    resource: str
    """The resource that is tested, which has all devices of the same kind."""
    replicas: int = 1
    layout: Mapping[int, str] = {}
    """The MIG devices of each GPU that is in MIG mode, as in `driver.mig`."""

    @property
    def scenarios(self) -> Sequence[Scenario]:
        """The scenarios in which it can take part."""
        left_out = {Scenario.REPLICAS_CHANGE} if self.replicas == 1 else set()
        left_out |= set() if self.layout else {Scenario.LAYOUT_CHANGES}
        return [each for each in Scenario if each not in left_out]

    def column(self, scenario: Scenario) -> str:
        """Return the name of a scenario with this combination."""
        return f"{self.name}: {scenario.value}"

    def text(self, replicas: int) -> str:
        """Return a configuration file with so many replicas of each device."""
        strategy = "flags: {migStrategy: mixed}\n" if self.layout else ""
        shared = f"{{name: {self.resource}, replicas: {replicas}}}"
        return f"version: v1\n{strategy}" + (
            f"sharing: {{timeSlicing: {{resources: [{shared}]}}}}\n" if replicas > 1 else ""
        )

    def devices(self) -> Sequence["Place"]:
        """Return the devices of the resource."""
        return list(self._devices())

    def _devices(self) -> Iterator["Place"]:
        for gpu in range(GPUS):
            if gpu not in self.layout:
                if self.resource == RESOURCE:
                    yield Place(gpu, None, frozenset())
                continue
            for each in instances(CARDS[PRODUCT], self.layout[gpu]):
                if self.resource.endswith(f"mig-{each.profile}"):
                    first = gi_minor(gpu, each.gi)
                    caps = (first, first + 1 + each.ci)
                    yield Place(gpu, each.slot, frozenset(f"/dev/nvidia-caps/nvidia-cap{cap}" for cap in caps))


class Place(NamedTuple):
    """Where a device is."""

    gpu: int
    slot: int | None
    """None for a whole GPU."""
    caps: frozenset[str]
    """The device nodes that it has beside the one of its GPU."""


_HALVES = {0: "3g.40gb,3g.40gb", 1: "3g.40gb,1g.10gb"}
COMBINATIONS = (
    Combination("replicas of GPUs", RESOURCE, replicas=3),
    Combination("mixed MIG devices", HALF, layout=_HALVES),
    Combination("replicas of MIG devices", HALF, replicas=2, layout=_HALVES),
)


def chosen_releases(usual: Sequence[str] = IN_CI) -> Sequence[str]:
    """Return the releases that the variable KUBELETS names: `all`, or names with commas between them.

    Raises:
        ValueError: one of them has no program.
    """
    text = os.environ.get("KUBELETS", "")
    if text in ("", "all"):
        return GENUINE if text else usual
    if unknown := sorted(set(names := text.split(",")) - set(GENUINE)):
        raise ValueError(f"KUBELETS: no program for {', '.join(unknown)}; there are: all, {', '.join(GENUINE)}")
    return names
