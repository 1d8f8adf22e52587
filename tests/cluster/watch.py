"""Watches what the API server and the kubelet say about the GPUs of the node."""

import datetime as dt
import subprocess
import threading
import time
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import NamedTuple, Self

import grpc

from cluster.cluster import KUBECTL, RESOURCE, Cluster
from cluster.configuration import KUBECONFIG, NODE
from cluster.machine import MachineError
from plugin_gateway.api.podresources import api_pb2 as wire

_PATH = RESOURCE.replace(".", r"\.")
_TOLD = (
    f"{{.status.allocatable.{_PATH}}} {{.status.capacity.{_PATH}}} "
    '{.status.conditions[?(@.type=="Ready")].lastHeartbeatTime}{"\\n"}'
)
_SOCKET = "/var/lib/kubelet/pod-resources/kubelet.sock"
_LOOK = 0.05
"""Seconds between two questions to the kubelet, which answers 100 in a second."""
_OPTIONS = (("grpc.default_authority", "localhost"),)
_ANSWER_LIMIT = 5.0
"""Seconds."""


class Seen(NamedTuple):
    """One report of the kubelet."""

    at: float
    """When it was received, in seconds of this process's monotonic clock."""
    allocatable: int
    """0 if the node does not have the resource."""
    capacity: int
    heartbeat: str
    """When the kubelet sent it, by its clock in whole seconds."""


def now_by_clock() -> str:
    """Return the time in the form of a heartbeat."""
    return dt.datetime.now(dt.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


class Watch:
    """Watches the node inside the block."""

    def __init__(self) -> None:
        self.history: list[Seen] = []
        self._more = threading.Condition()

    def __enter__(self) -> Self:
        self._process = subprocess.Popen(
            (str(KUBECTL), f"--kubeconfig={KUBECONFIG}", "get", "node", NODE, "--watch", f"--output=jsonpath={_TOLD}"),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            text=True,
        )
        self._thread = threading.Thread(target=self._listen)
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._process.terminate()
        self._thread.join()
        self._process.wait()
        assert self._process.stdout is not None
        self._process.stdout.close()

    def _listen(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            allocatable, capacity, heartbeat = line.rstrip("\n").split(" ")
            with self._more:
                self.history.append(Seen(time.monotonic(), int(allocatable or 0), int(capacity or 0), heartbeat))
                self._more.notify_all()

    def wait_for_word_of_new_kubelet(self, began: float, by_clock: str) -> Seen:
        """Wait for a report of all GPUs from a kubelet that was started at this moment."""
        return self.wait_for(lambda seen: seen.allocatable == 8 and seen.heartbeat > by_clock, "8 again", since=began)

    def wait_for(self, what: Callable[[Seen], bool], saying: str, limit: float = 30.0, since: float = 0.0) -> Seen:
        """Return the first report since a moment that ``what`` accepts.

        Raises:
            MachineError: there is none within the limit, in seconds.
        """
        end = time.monotonic() + limit
        with self._more:
            while True:
                for seen in self.history:
                    if seen.at >= since and what(seen):
                        return seen
                if not self._more.wait(end - time.monotonic()):
                    raise MachineError(f"not within {limit:.0f} s: {saying}; {self.history[-5:]}")


class KubeletWatch:
    """Asks the kubelet inside the block how many GPUs pods can get.

    The status of the node, which `Watch` reads, comes every second. It does not show a shorter gap.
    """

    def __init__(self, cluster: Cluster) -> None:
        self.changes: list[tuple[float, int]] = []
        """When the number changed, in seconds of this process's monotonic clock, and the number from then on."""
        self._socket = cluster.machine.inside(_SOCKET)
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._look)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._over.set()
        self._thread.join()
        self.changes.append((time.monotonic(), self.changes[-1][1]))

    def _look(self) -> None:
        with grpc.insecure_channel(f"unix:{self._socket}", options=_OPTIONS) as channel:
            ask: grpc.UnaryUnaryMultiCallable[bytes, bytes]
            ask = channel.unary_unary("/v1.PodResourcesLister/GetAllocatableResources")
            while True:
                found = _count(ask)
                if not self.changes or self.changes[-1][1] != found:
                    self.changes.append((time.monotonic(), found))
                if self._over.wait(_LOOK):
                    return

    def longest_without(self, count: int) -> float:
        """Return the longest time in seconds, from look to look, with another number of GPUs. Ask after the block."""
        began, longest = None, 0.0
        for at, found in self.changes:
            if began is not None:
                longest = max(longest, at - began)
            began = None if found == count else began if began is not None else at
        return longest


def held_devices(cluster: Cluster) -> Mapping[str, frozenset[str]]:
    """Return the ids of the devices that each pod of the namespace default was given, by the kubelet's word."""
    path = cluster.machine.inside(_SOCKET)
    with grpc.insecure_channel(f"unix:{path}", options=_OPTIONS) as channel:
        ask: grpc.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary("/v1.PodResourcesLister/List")
        answer = wire.ListPodResourcesResponse.FromString(ask(b"", timeout=_ANSWER_LIMIT))
    return {
        pod.name: frozenset(each for main in pod.containers for device in main.devices for each in device.device_ids)
        for pod in answer.pod_resources
        if pod.namespace == "default"
    }


def _count(ask: "grpc.UnaryUnaryMultiCallable[bytes, bytes]") -> int:
    """Return how many GPUs the kubelet can give to pods. A kubelet that does not answer gives none."""
    try:
        answer = wire.AllocatableResourcesResponse.FromString(ask(b"", timeout=_ANSWER_LIMIT))
    except grpc.RpcError:
        return 0
    return sum(len(each.device_ids) for each in answer.devices if each.resource_name == RESOURCE)
