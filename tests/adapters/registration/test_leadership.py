"""Which of several gateways writes what is known of the devices: the one with the stream, and never two for long."""

import socket
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from harness.node import RESOURCE
from plugin_gateway.adapters.kubelet.plugin_sockets import STREAM_OPEN, OwnSockets
from plugin_gateway.adapters.registration.leadership import Leadership
from plugin_gateway.core.resources.names import ResourceName

OTHER_RESOURCE = ResourceName("example.com/other")


class Fixture:
    """A gateway with its socket in the kubelet's directory."""

    def __init__(self, directory: Path, instance: str) -> None:
        self._sockets = OwnSockets(directory)
        self._sockets.instance = instance
        self._leadership = Leadership(self._sockets)
        self.has_stream = False
        self.path = self._sockets.fresh_path(RESOURCE)
        self.listener = socket.socket(socket.AF_UNIX)
        self.listener.bind(str(self.path))
        self.listener.listen()

    def stream(self, *, is_open: bool) -> None:
        self.has_stream = is_open
        self.path.chmod(0o755 | (STREAM_OPEN if is_open else 0))

    def leads(self, *resources: ResourceName) -> bool:
        return self._leadership.decide(resources or (RESOURCE,), has_stream=self.has_stream)

    def end(self) -> None:
        self.listener.close()
        self.path.unlink(missing_ok=True)


@pytest.fixture
def both(kubelet_dir: Path) -> Iterator[tuple[Fixture, Fixture]]:
    with ExitStack() as ends:
        elder, younger = (Fixture(kubelet_dir, name) for name in ("0000000001-aaaa", "0000000002-bbbb"))
        for each in (elder, younger):
            ends.callback(each.end)
        yield elder, younger


def test_a_gateway_that_is_alone_writes_whether_a_kubelet_is_there_or_not(both: tuple[Fixture, Fixture]) -> None:
    elder, younger = both
    elder.end()
    assert younger.leads()
    younger.stream(is_open=True)
    assert younger.leads()


def test_before_there_is_a_kubelet_the_elder_writes(both: tuple[Fixture, Fixture]) -> None:
    elder, younger = both
    assert (elder.leads(), younger.leads()) == (True, False)


def test_the_one_with_the_stream_writes_and_goes_on_while_the_kubelet_is_away(both: tuple[Fixture, Fixture]) -> None:
    elder, younger = both
    younger.stream(is_open=True)
    assert (elder.leads(), younger.leads()) == (False, True)
    younger.stream(is_open=False)
    assert (elder.leads(), younger.leads()) == (False, True)
    elder.stream(is_open=True)
    assert (elder.leads(), younger.leads()) == (True, False)
    elder.end()
    assert younger.leads()


def test_a_stream_of_another_resource_matters_only_before_the_own_ones_are_known(
    both: tuple[Fixture, Fixture],
) -> None:
    elder, younger = both
    younger.stream(is_open=True)
    assert elder.leads(OTHER_RESOURCE)
    assert not elder._leadership.decide((), has_stream=False)
