"""Simulated cards whose cables can be pulled: the genuine model says what that means."""

import queue
from collections.abc import Iterator

import pytest

from plugin_gateway.core.health.observations import DevicesChecked, Observation, PortsSeen
from plugin_gateway.core.health.policy import EvidenceKind
from plugin_gateway.rdma.evidence import LINK_DOWN, PORT_DOWN
from plugin_gateway.rdma.simulated_backend import SimulatedRdma

FIRST, OTHER = "0000:02:10.0", "0000:04:10.0"


class Watched:
    """A simulated backend, and what it reports."""

    def __init__(self, spec: str) -> None:
        self._seen: queue.SimpleQueue[Observation] = queue.SimpleQueue()
        self.backend = SimulatedRdma(spec)
        self.backend.start(self._seen.put)

    def problems(self, device: str, wanted: set[EvidenceKind]) -> None:
        """Wait until exactly these problems are reported of a device."""
        while True:
            match self._seen.get(timeout=10):
                case DevicesChecked(checkups) if any(
                    each == device and set(checkup.problems) == wanted for each, checkup in checkups.items()
                ):
                    return

    def ports(self, up: set[str]) -> None:
        """Wait until the ports of exactly these devices are up."""
        while True:
            match self._seen.get(timeout=10):
                case PortsSeen(ports) if {str(each.device) for each in ports if each.is_up} == up:
                    return


@pytest.fixture(params=[("2xCX7IB", {PORT_DOWN}), ("2xCX6", {PORT_DOWN, LINK_DOWN})], ids=["infiniband", "ethernet"])
def watched(request: pytest.FixtureRequest) -> Iterator[tuple[Watched, set[EvidenceKind]]]:
    spec, problems = request.param
    watched = Watched(spec)
    yield watched, problems
    watched.backend.stop()
    assert watched.backend.join(10)


def test_a_cable_that_is_pulled_is_a_problem_until_it_is_plugged_in_again(
    watched: tuple[Watched, set[EvidenceKind]],
) -> None:
    cards, problems = watched
    cards.problems(FIRST, set())
    cards.backend.pull_cable(0)
    cards.problems(FIRST, problems)
    cards.backend.plug_cable(0)
    cards.problems(FIRST, set())


def test_only_that_port_is_down() -> None:
    watched = Watched("2xCX7IB")
    try:
        watched.ports({FIRST, OTHER})
        watched.backend.pull_cable(1)
        watched.ports({FIRST})
    finally:
        watched.backend.stop()
        assert watched.backend.join(10)
