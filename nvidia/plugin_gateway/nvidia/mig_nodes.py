"""The device nodes of MIG devices, from the file in which the kernel module lists their minor numbers."""

import re
from collections.abc import Mapping
from typing import NamedTuple

from plugin_gateway.nvidia.naming import device_node

MINORS = "driver/nvidia-caps/mig-minors"
"""The file below /proc. Its lines are such as ``monitor 2``, ``gpu0/gi1/access 12`` and ``gpu0/gi1/ci0/access 13``."""
_FOLDER = "/dev/nvidia-caps"
_LINE = re.compile(r"^([a-z0-9/]+) ([0-9]{1,9})$", re.MULTILINE)


class CapabilityMinors(NamedTuple):
    """The minor numbers of the nodes. They stay the same as long as the kernel module is loaded."""

    numbers: Mapping[str, int]
    """By the first word of the line."""
    problem: str = ""
    """Why there are none."""

    def nodes(self, gpu_minor: int | None, gi: int, ci: int) -> tuple[str, ...]:
        """Return the nodes of a MIG device: of its GPU, its GPU instance and its compute instance.

        ``gpu_minor`` is the minor number of the GPU, which can differ from its index. None if it is not known.

        Raises:
            LookupError: one of them is not known. The message says why.
        """
        if gpu_minor is None:
            raise LookupError("the driver does not tell the minor number of the GPU")
        instance = f"gpu{gpu_minor}/gi{gi}"
        return (
            device_node(gpu_minor),
            self._node(f"{instance}/access"),
            self._node(f"{instance}/ci{ci}/access"),
        )

    @property
    def monitor_node(self) -> str:
        """The node whose holder may see all instances. Its usual name if it is not known."""
        return f"{_FOLDER}/nvidia-cap{self.numbers.get('monitor', 2)}"

    def _node(self, name: str) -> str:
        if (number := self.numbers.get(name)) is None:
            raise LookupError(self.problem or f"/proc/{MINORS} has no line {name}")
        return f"{_FOLDER}/nvidia-cap{number}"


def read_minors(proc: str) -> CapabilityMinors:
    """Read the minor numbers below ``proc``."""
    path = f"{proc}/{MINORS}"
    try:
        with open(path, encoding="ascii", errors="replace") as file:  # noqa: PTH123 - pathlib is slow to import
            text = file.read()
    except OSError as error:
        return CapabilityMinors({}, f"{path} cannot be read: {error.strerror}")
    return CapabilityMinors({name: int(number) for name, number in _LINE.findall(text)})
