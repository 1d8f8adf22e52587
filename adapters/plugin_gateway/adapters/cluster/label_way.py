"""What a way is by which labels get to the node."""

from collections.abc import Mapping
from typing import NamedTuple, Protocol

from plugin_gateway.core.errors import GatewayError
from plugin_gateway.core.labels.making import NodeLabels


class LabelError(GatewayError):
    """Labels could not be written. The message is for an administrator."""


class Written(NamedTuple):
    """What came of one attempt that succeeded."""

    has_changed: bool
    """Whether something had to be written."""
    left_alone: Mapping[str, str] = {}
    """Why a label or a taint is not as it should be, by its name, for people: somebody else writes it."""


class Way(Protocol):
    """A way by which labels get to the node. One task calls it, and never twice at the same time."""

    where: str
    """What is written, for people."""
    look_interval: float
    """Seconds after which `write` is to be called again though nothing changed, because others can undo it."""

    async def write(self, wanted: NodeLabels) -> Written:
        """Write what the node does not have yet, and remove what it should not have any more.

        Nothing is removed unless ``wanted`` is complete.

        Raises:
            LabelError: it is not written. What was there before may stay.
        """
        ...

    async def read(self) -> Mapping[str, str]:
        """Return the labels and taints that are there now, by their keys: see `core.labels.ownership`.

        Raises:
            LabelError: they cannot be read.
        """
        ...

    def forget(self) -> None:
        """Forget what was written, because another gateway writes now, which may want something else."""
        ...

    async def clear(self, *, labels: bool) -> None:
        """Remove the taints, and the ``labels`` too if they are to go.

        Raises:
            LabelError: they are not removed.
        """
        ...
