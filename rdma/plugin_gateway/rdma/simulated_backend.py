"""A backend with simulated RDMA cards whose cables can be pulled, for the demonstration."""

import posixpath

from plugin_gateway.linux.card_backend import CardBackend
from plugin_gateway.rdma.model import RdmaModel
from plugin_gateway.rdma.naming import BACKEND, DEVICE_WORD
from plugin_gateway.rdma.simulated import parse_spec

_UP = {"ports/1/state": "4: ACTIVE", "ports/1/phys_state": "5: LinkUp"}
_DOWN = {"ports/1/state": "1: DOWN", "ports/1/phys_state": "2: Polling"}
"""What the kernel says of a port with a cable, and of one without, by the path below the RDMA device."""


class SimulatedRdma(CardBackend):
    """The genuine backend and the genuine model, with cards in memory. A specification is such as ``8xCX7IB``."""

    def __init__(self, spec: str) -> None:
        self._tree = parse_spec(spec)
        super().__init__(
            lambda: RdmaModel(is_simulated=True), name=BACKEND, device_word=DEVICE_WORD, made_up=self._tree
        )

    def pull_cable(self, number: int) -> None:
        """Let the port of the RDMA device with this number lose its link."""
        self._write(number, _DOWN, "0")

    def plug_cable(self, number: int) -> None:
        """Let it have a link again."""
        self._write(number, _UP, "1")

    def _write(self, number: int, port: dict[str, str], carrier: str) -> None:
        device = str(self._tree.link(f"/sys/class/infiniband/mlx5_{number}"))
        net = f"{posixpath.dirname(posixpath.dirname(device))}/net"
        for name in self._tree.names(net):
            self._tree.write(f"{net}/{name}/carrier", carrier)
        for path, text in port.items():
            self._tree.write(f"{device}/{path}", text)
