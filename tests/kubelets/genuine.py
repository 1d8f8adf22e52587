"""A genuine device manager, in a program of its own. It takes commands on standard input, and writes events."""

import asyncio
import json
import os
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any, Self

from kubelets.build import BUILT, PROGRAMS
from plugin_gateway.adapters.fake_kubelet import AdmissionError
from plugin_gateway.adapters.fake_kubelet.events import Answer, Container

GENUINE = tuple(
    sorted((path.name for path in PROGRAMS.glob("v*")), key=lambda name: [int(n) for n in name[1:].split(".")])
)
"""The releases that have a program, the oldest first."""
START_LIMIT = 30.0
"""Seconds until the program is ready."""
ANSWER_LIMIT = 20.0
"""Seconds until a command is answered."""
TAIL = 20
"""Lines of the log in an error message."""
_COMPLAINT = re.compile(r"[WEF]\d{4} ")
"""The beginning of a warning, an error or a fatal error in the log format of glog and klog."""
_ANY_KUBELET_SAYS = (
    re.compile(r"[Cc]heckpoint"),  # there is no checkpoint at the first start
    re.compile(r"Failed to stat file"),  # it empties its directory while the gateway removes old sockets
    re.compile(r"Device \S+ is now (Unh|H)ealthy"),  # old releases log each change of health as an error
)
"""Complaints that are normal."""


class KubeletProgramError(Exception):
    """The program failed, or wrote something that is no event. The message ends with the tail of its log."""


class GenuineKubelet:
    """The device manager of one release in one directory."""

    def __init__(self, directory: Path, name: str, topology_policy: str = "none") -> None:
        """With another topology policy than ``none``, which 1.20 and later know, there are two NUMA nodes."""
        self.directory = directory
        self.events: list[Mapping[str, Any]] = []
        """All events, the oldest first."""
        self.expected: list[str] = []
        """Parts of complaints that the test provokes."""
        self._name = name
        self._environment = {**os.environ, "TOPOLOGY_POLICY": topology_policy}
        self._log = directory.parent / f"{directory.name}-kubelet.log"
        self._process: asyncio.subprocess.Process | None = None
        self._reading: asyncio.Task[None] | None = None
        self._counts: Mapping[str, Mapping[str, int]] = {}
        self._answers: dict[int, Mapping[str, Any]] = {}
        self._last_command = 0
        self._pods: dict[str, Mapping[str, object]] = {}
        """Admitted pods. A kubelet that starts again would get them from the API server."""
        self._failure: str | None = None
        self._changed = asyncio.Event()

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.kill()
        self._log.unlink(missing_ok=True)

    async def start(self) -> None:
        """Start the program in its directory, which can contain a checkpoint.

        Raises:
            KubeletProgramError: it does not start.
        """
        self._counts, self._failure, known = {}, None, len(self.events)
        with self._log.open("ab") as log:
            try:
                self._process = await asyncio.create_subprocess_exec(
                    str(BUILT / self._name),
                    str(self.directory),
                    stdin=asyncio.subprocess.PIPE,
                    stdout=asyncio.subprocess.PIPE,
                    stderr=log,
                    env=self._environment,
                )
            except OSError as error:
                raise KubeletProgramError(f"kubelet {self._name} cannot be started: {error.strerror}") from error
        self._reading = asyncio.get_running_loop().create_task(self._read(self._process))
        await self.wait_for(
            lambda: any(event["event"] == "ready" for event in self.events[known:]), timeout=START_LIMIT, what="kubelet"
        )
        for pod in self._pods.values():
            await self._command("bind", **pod)

    async def kill(self) -> None:
        """End as with kill -9. A second call does nothing."""
        process, self._process = self._process, None
        if process is None or self._reading is None:
            return
        self._failure = "it was killed"
        if process.returncode is None:
            process.kill()
        await process.wait()
        await self._reading

    async def restart_as(self, name: str | None = None) -> None:
        """End as with kill -9, and start again; as another release if there is a name."""
        await self.kill()
        self._name = name or self._name
        await self.start()

    def capacity(self, resource: str) -> int | None:
        """Return the number of devices of a resource; None for an unknown resource."""
        return self._counts.get(resource, {}).get("capacity")

    def allocatable(self, resource: str) -> int | None:
        """Return the number of devices that pods can get; None for an unknown resource."""
        return self._counts.get(resource, {}).get("allocatable")

    async def allocate(
        self,
        resource: str,
        wanted: int = 1,
        *,
        pod: str,
        container: str = "main",
        further: Mapping[str, int] = MappingProxyType({}),
    ) -> Container:
        """Admit a pod with a container that wants devices, and start the container. It can want further resources.

        Raises:
            AdmissionError: the pod is not admitted, or its container cannot start. The message is that of the release.
        """
        wants = {"resource": resource, "count": wanted, "pod": pod, "container": container, "further": {**further}}
        answer = await self._command("allocate", **wants)
        if answer["ok"] or answer["stage"] != "admission":
            self._pods[pod] = wants
        return _container(answer, pod, container, resource)

    async def start_container(self, pod: str, container: str = "main") -> Container:
        """Start a container of an admitted pod again.

        Raises:
            AdmissionError: it cannot start.
        """
        return _container(await self._command("start", pod=pod, container=container), pod, container, "")

    async def readmit(self, pod: str, container: str = "main") -> Container:
        """Admit a pod again, as a kubelet does after its restart, and start its container.

        Raises:
            AdmissionError: the pod is not admitted, or its container cannot start. The message is that of the release.
        """
        return _container(await self._command("readmit", pod=pod, container=container), pod, container, "")

    async def age(self, seconds: int) -> None:
        """Let endpoints that have stopped look as if they had stopped so many seconds earlier."""
        await self._command("age", seconds=seconds)

    async def remove(self, pod: str) -> None:
        """Remove a pod, so that its devices are free."""
        self._pods.pop(pod, None)
        await self._command("remove", pod=pod)

    async def drop_stream(self, _resource: str, /) -> None:
        """Close all connections to device plugins. The kubelet runs on."""
        answer = await self._command("drop")
        assert answer["connections"] >= 1

    def complaints(self) -> Sequence[str]:
        """Return warnings and errors in the log that are neither normal nor expected."""
        expected = [*_ANY_KUBELET_SAYS, *(re.compile(re.escape(part)) for part in self.expected)]
        lines = self._log.read_text(errors="replace").splitlines()
        found = [line for line in lines if _COMPLAINT.match(line) or line.startswith("panic")]
        return [line for line in found if not any(part.search(line) for part in expected)]

    async def wait_for(self, condition: Callable[[], bool], *, timeout: float = 10.0, what: str) -> None:  # noqa: ASYNC109
        """Wait until the condition holds.

        Raises:
            TimeoutError: it does not hold in time. ``what`` is in the message.
            KubeletProgramError: the program ended, or wrote something that is no event.
        """
        try:
            async with asyncio.timeout(timeout):
                while not condition():
                    if self._failure is not None:
                        raise KubeletProgramError(f"kubelet {self._name}: {self._failure}\n{self._tail()}")
                    await self._changed.wait()
        except TimeoutError:
            raise TimeoutError(
                f"kubelet {self._name}: no {what} within {timeout:.0f} s; counts {self._counts}\n{self._tail()}"
            ) from None

    async def _command(self, command: str, **arguments: object) -> Mapping[str, Any]:
        assert self._process is not None
        assert self._process.stdin is not None
        self._last_command += 1
        number = self._last_command
        line = json.dumps({"id": number, "command": command, **arguments}) + "\n"
        self._process.stdin.write(line.encode())
        await self.wait_for(lambda: number in self._answers, timeout=ANSWER_LIMIT, what=f"answer to {command}")
        return self._answers[number]

    async def _read(self, process: asyncio.subprocess.Process) -> None:
        assert process.stdout is not None
        async for line in process.stdout:
            try:
                event = json.loads(line)
            except ValueError:
                self._failure = f"it said {line!r}, which is no event"
                break
            self.events.append(event)
            if event["event"] == "capacity":
                self._counts = event["resources"]
            elif event["event"] == "answer":
                self._answers[event["id"]] = event
            self._wake()
        self._failure = self._failure or f"it ended with status {await process.wait()}"
        self._wake()

    def _wake(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()

    def _tail(self) -> str:
        return "\n".join(self._log.read_text(errors="replace").splitlines()[-TAIL:])


def _container(answer: Mapping[str, Any], pod: str, container: str, resource: str) -> Container:
    if not answer["ok"]:
        raise AdmissionError(answer["message"])
    told = answer["container"]
    return Container(
        pod=pod,
        name=container,
        resource=resource,
        ids=tuple(filter(None, told["environment"].get("NVIDIA_VISIBLE_DEVICES", "").split(","))),
        answer=Answer(
            environment=told["environment"],
            mounts={each["container"]: (each["host"], each["read_only"]) for each in told["mounts"] or ()},
            device_nodes={each["container"]: (each["host"], each["permissions"]) for each in told["devices"] or ()},
            annotations=told["annotations"],
            cdi_devices=tuple(told["cdi"] or ()),
        ),
    )
