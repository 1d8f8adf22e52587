"""How a container is told its GPUs: the list strategies that are tested with genuine kubelets, as a table.

A kubelet hands on what its release knows of an answer, and drops the rest without a word. So for each list of
strategies the table says what containers get from kubelets of three kinds.
"""

from collections.abc import Mapping, Sequence
from enum import Enum
from typing import NamedTuple

from kubelets.combinations import IN_CI
from kubelets.fake import played

EVERY_DIALECT = (IN_CI[0], "v1.9.11", *IN_CI[1:])
"""The releases of a usual run, and one for the dialect that none of them has."""


class Column(Enum):
    """The scenarios of a container that is told its GPUs."""

    EVERY_WAY = "told in nine lists of strategies, one after the other"
    FALLS_BACK = "warned once for each registration where CDI devices are not handed on"
    EXTRAS = "GDRCopy and an IMEX channel beside the GPUs"
    REQUIRED = "a required IMEX channel comes later"

    @property
    def releases(self) -> Sequence[str]:
        """The releases of a usual run."""
        return EVERY_DIALECT if self is Column.FALLS_BACK else IN_CI


class Era(Enum):
    """A kind of kubelet, by what it hands on to the container runtime."""

    NEITHER = "variables, mounts and device nodes: 1.8 and 1.9"
    ANNOTATIONS = "annotations too: 1.10 to 1.28"
    NAMES = "the names of CDI devices too: 1.29 and later"


class Told(Enum):
    """What a container gets."""

    VARIABLE = "the variable names its GPUs"
    MOUNTS = "a mount for each GPU names it, and the variable is the folder of the mounts"
    NODES = "device nodes"
    ANNOTATION = "an annotation names them for the container runtime"
    NAMES = "the field of the container runtime's API names them"


class Way(NamedTuple):
    """A list of strategies, and what containers get from each kind of kubelet."""

    strategies: str
    """With commas between them."""
    told: Mapping[Era, frozenset[Told]]
    falls_back: frozenset[Era] = frozenset()
    """Where CDI cannot be carried in any way, so that containers get nodes and the variable instead."""


def era_of(release: str) -> Era:
    """Return the kind of a release, such as ``v1.36.3``."""
    kubelet = played(release)
    if kubelet.takes_cdi:
        return Era.NAMES
    return Era.ANNOTATIONS if kubelet.api_version == "v1beta1" else Era.NEITHER


_BY_VARIABLE = frozenset({Told.VARIABLE, Told.NODES})
_BY_MOUNTS = frozenset({Told.MOUNTS, Told.NODES})
_ANNOTATION, _NAMES = frozenset({Told.ANNOTATION}), frozenset({Told.NAMES})
_OLDER = frozenset({Era.NEITHER, Era.ANNOTATIONS})
WAYS = (
    Way("envvar", dict.fromkeys(Era, _BY_VARIABLE)),
    Way("volume-mounts", dict.fromkeys(Era, _BY_MOUNTS)),
    Way("envvar,volume-mounts", dict.fromkeys(Era, _BY_MOUNTS)),
    Way(
        "cdi-annotations",
        {Era.NEITHER: _BY_VARIABLE, Era.ANNOTATIONS: _ANNOTATION, Era.NAMES: _ANNOTATION},
        frozenset({Era.NEITHER}),
    ),
    Way(
        "cdi-cri",
        {Era.NEITHER: _BY_VARIABLE, Era.ANNOTATIONS: _BY_VARIABLE, Era.NAMES: _NAMES},
        _OLDER,
    ),
    Way(
        "cdi-annotations,cdi-cri",
        {Era.NEITHER: _BY_VARIABLE, Era.ANNOTATIONS: _ANNOTATION, Era.NAMES: _ANNOTATION | _NAMES},
        frozenset({Era.NEITHER}),
    ),
    Way(
        "envvar,cdi-cri",
        {Era.NEITHER: _BY_VARIABLE, Era.ANNOTATIONS: _BY_VARIABLE, Era.NAMES: _BY_VARIABLE | _NAMES},
        _OLDER,
    ),
    Way(
        "volume-mounts,cdi-cri",
        {Era.NEITHER: _BY_MOUNTS, Era.ANNOTATIONS: _BY_MOUNTS, Era.NAMES: _BY_MOUNTS | _NAMES},
        _OLDER,
    ),
    Way(
        "envvar,volume-mounts,cdi-annotations,cdi-cri",
        {
            Era.NEITHER: _BY_MOUNTS,
            Era.ANNOTATIONS: _BY_MOUNTS | _ANNOTATION,
            Era.NAMES: _BY_MOUNTS | _ANNOTATION | _NAMES,
        },
        frozenset({Era.NEITHER}),
    ),
)
