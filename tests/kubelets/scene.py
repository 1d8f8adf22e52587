"""The interface of a kubelet in the tests, and the lines that a scenario writes about what a device plugin saw."""

import asyncio
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, Self

import grpc
import grpc.aio

from adapters.fake_kubelet.plugin import KUBELET, RESOURCE, Plugin
from kubelets.genuine import KubeletProgramError
from plugin_gateway.adapters.fake_kubelet import AdmissionError
from plugin_gateway.adapters.fake_kubelet.events import Container, KubeletPanicError
from plugin_gateway.adapters.fake_kubelet.releases import Release

_ADDRESSES = re.compile(r"endpoint &\{.*\} has been")
"""How genuine kubelets show an endpoint: with its fields, which contain memory addresses."""


@dataclass(frozen=True, slots=True)
class Patience:
    """How long the counts of a kubelet must stay the same before they are written."""

    settled: float
    """Seconds without a change after which the counts are taken as final."""
    first_change: float
    """The same, if the counts are still those of the last line."""


QUICK = Patience(settled=0.3, first_change=0.3)
PATIENT = Patience(settled=1.5, first_change=10)
"""For a second run, if the lines of the first one differ. On a busy machine two changes can be far apart. The gRPC of
1.8.15 and 1.9.11 sometimes needs 2 to 6.4 s to notice that a plugin's server is gone: 3 and 8 of 160 times, measured
with eight kubelets at a time on two cores."""


class Kubelet(Protocol):
    """A device manager in a directory. The methods are described in `GenuineKubelet`."""

    directory: Path
    expected: list[str]
    """Parts of complaints that the test provokes."""

    async def __aenter__(self) -> Self: ...
    async def __aexit__(self, *_: object) -> None: ...
    async def start(self) -> None: ...
    async def kill(self) -> None: ...
    async def restart_as(self, name: str | None = None) -> None: ...
    def capacity(self, resource: str) -> int | None: ...
    def allocatable(self, resource: str) -> int | None: ...
    async def allocate(self, resource: str, wanted: int = 1, *, pod: str, container: str = "main") -> Container: ...
    async def start_container(self, pod: str, container: str = "main") -> Container: ...
    async def readmit(self, pod: str, container: str = "main") -> Container: ...
    async def age(self, seconds: int) -> None: ...
    async def remove(self, pod: str) -> None: ...
    async def drop_stream(self, resource: str, /) -> None: ...
    def complaints(self) -> Sequence[str]: ...
    async def wait_for(self, condition: Callable[[], bool], *, timeout: float = 10.0, what: str) -> None: ...  # noqa: ASYNC109


class Scene:
    """A kubelet, and the lines about what a device plugin saw with it."""

    def __init__(self, kubelet: Kubelet, of: Release, patience: Patience = QUICK) -> None:
        self.kubelet = kubelet
        self._patience = patience
        self._told: str | None = None
        """The counts in the last line."""
        self.release = of
        self.lines: list[str] = []

    def tell(self, what: str, seen: object) -> None:
        """Write a line, without what differs from run to run."""
        # Go's protobuf puts one of two blanks into its messages at random, so that programs do not compare them.
        line = f"{what}: {seen}".replace("\N{NO-BREAK SPACE}", " ")
        self.lines.append(_ADDRESSES.sub("endpoint &{...} has been", line))

    def plugin(self, name: str = "thing.sock", ids: str = "ab") -> Plugin:
        return Plugin(self.kubelet.directory, self.release, name, ids)

    async def counts(self, what: str, resource: str = RESOURCE) -> None:
        """Write capacity and allocatable when they do not change any more."""
        seen, since = self._counts(resource), asyncio.get_running_loop().time()
        while (now := asyncio.get_running_loop().time()) - since < self._limit(seen):
            await asyncio.sleep(0.02)
            if self._counts(resource) != seen:
                seen, since = self._counts(resource), now
        self._told = seen
        self.tell(what, seen)

    def _limit(self, seen: str) -> float:
        """Return how many seconds these counts must stay the same."""
        return self._patience.first_change if seen == self._told else self._patience.settled

    def _counts(self, resource: str) -> str:
        return f"capacity {self.kubelet.capacity(resource)}, allocatable {self.kubelet.allocatable(resource)}"

    async def register(self, plugin: Plugin, what: str = "register", **arguments: Any) -> None:
        """Write code and message of the answer to a registration."""
        code, words = await plugin.register(**arguments)
        self.tell(what, f"{code.name} {words}".replace(str(self.kubelet.directory), "DIRECTORY"))

    async def send_registration(self, what: str, request: bytes) -> None:
        """Send bytes that need not be a registration, and write code and message of the answer."""
        method = f"/{self.release.package}.Registration/Register"
        async with grpc.aio.insecure_channel(f"unix:{self.kubelet.directory}/kubelet.sock", options=KUBELET) as channel:
            call: Any = channel.unary_unary(method)
            try:
                await call(request, timeout=10)
            except grpc.aio.AioRpcError as refused:
                self.tell(what, f"{refused.code().name} {refused.details()}")
            else:
                self.tell(what, "OK")

    async def allocate(self, what: str, wanted: int, pod: str) -> None:
        """Write what a container of a new pod gets, or why it does not start."""
        try:
            container = await self.kubelet.allocate(RESOURCE, wanted, pod=pod)
        except KubeletPanicError:
            self.tell(what, "panic")
        except KubeletProgramError as error:
            self.tell(what, "panic" if "it ended with status 2" in str(error) else error)
        except AdmissionError as error:
            self.tell(what, f"refused: {error}")
        else:
            self.tell(what, container.answer)

    async def start(self, what: str, pod: str) -> None:
        """Write what the container gets when it is started again."""
        try:
            self.tell(what, (await self.kubelet.start_container(pod)).answer)
        except AdmissionError as error:
            self.tell(what, f"refused: {error}")

    async def readmit(self, what: str, pod: str) -> None:
        """Write what the container of a pod gets when the pod is admitted again, or why it does not start."""
        try:
            self.tell(what, (await self.kubelet.readmit(pod)).answer)
        except AdmissionError as error:
            self.tell(what, f"refused: {error}")

    def files(self, what: str) -> None:
        """Write the names of all files in the kubelet's directory, without checkpoints."""
        self.tell(what, sorted(path.name for path in self.kubelet.directory.iterdir() if path.suffix != ".checkpoint"))

    async def remove(self, pod: str) -> None:
        await self.kubelet.remove(pod)

    def called(self, what: str, plugin: Plugin) -> None:
        """Write which methods the kubelet has called since the last time."""
        self.tell(what, ", ".join(plugin.called) or "nothing")
        plugin.called.clear()
