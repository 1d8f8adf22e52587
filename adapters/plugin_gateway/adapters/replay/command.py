"""`plugin-gateway replay`: plays the kubelet's side of a recording to a gateway of today, and tells the differences."""

import asyncio
import sys
import tempfile
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from difflib import unified_diff
from pathlib import Path
from typing import Any

from google.protobuf.json_format import MessageToJson
from google.protobuf.message import DecodeError

from plugin_gateway.adapters.dialect import Dialect
from plugin_gateway.adapters.exception_groups import leaves
from plugin_gateway.adapters.gateway import Gateway, Offering
from plugin_gateway.adapters.kubelet_directory import KubeletDirectory
from plugin_gateway.adapters.kubelet_stream import KUBELET_AGENT
from plugin_gateway.adapters.logs import LogFormat, set_up_logs
from plugin_gateway.adapters.mailbox import Mailbox
from plugin_gateway.adapters.registrar import Registrar
from plugin_gateway.adapters.replay.kubelet_side import KubeletSide, MissedError
from plugin_gateway.adapters.replay.plain import read_observation, read_policy
from plugin_gateway.adapters.replay.reading import Happening, Recording, read_recording
from plugin_gateway.adapters.unhealthy_first import UnhealthyFirst
from plugin_gateway.api.v1alpha import api_pb2 as wire19
from plugin_gateway.api.v1alpha1 import api_pb2 as wire18
from plugin_gateway.api.v1beta1 import api_pb2 as wire
from plugin_gateway.core.errors import InvalidValueError
from plugin_gateway.core.faults import Moment
from plugin_gateway.core.policy import AllocationPolicy, DeviceIdStrategy
from plugin_gateway.core.resource_names import parse_resource_name
from plugin_gateway.core.resources import ResourceRule

SETTLING = 0.002
"""Seconds in which the gateway's tasks have their turn; the recorded time stands still meanwhile."""
_MESSAGES: Mapping[str, Sequence[Any]] = {
    "ListAndWatch": (wire.ListAndWatchResponse,),
    "Allocate": (wire.AllocateResponse, wire19.AllocateResponse, wire18.AllocateResponse),
    "GetPreferredAllocation": (wire.PreferredAllocationResponse,),
    "GetDevicePluginOptions": (wire.DevicePluginOptions,),
}


class RecordedNodes:
    """The device nodes that the recorded answers named: those were there then."""

    def __init__(self, answers: Sequence[bytes]) -> None:
        self._answers = answers

    def present(self, paths: Sequence[str]) -> frozenset[str]:
        """Tell which of these paths were there."""
        return frozenset(path for path in paths if any(path.encode() in answer for answer in self._answers))


class RecordedClock:
    """Stands where the recording stands."""

    def __init__(self, began: float) -> None:
        self._began = began
        self.at = 0.0

    def now(self) -> Moment:
        """Tell the time of the last line that was played."""
        return Moment(uptime=self.at, epoch=self._began + self.at)


def replay(path: Path, dialects: Sequence[Dialect], api_versions: Mapping[str, Sequence[str]]) -> int:
    """Play it; 0 where nothing differs.

    Raises:
        InvalidValueError: it is no recording of this version.
    """
    set_up_logs("error", LogFormat.TEXT)
    recording = read_recording(path)
    try:
        differences = asyncio.run(_Replay(recording, dialects, api_versions).run())
    except (KeyError, TypeError, ValueError) as error:
        raise InvalidValueError(f"recording {path}: {error!r}") from error
    except ExceptionGroup as group:
        known = [
            each for each in leaves(group) if isinstance(each, KeyError | TypeError | ValueError | InvalidValueError)
        ]
        if not known:
            raise
        raise InvalidValueError(f"recording {path}: {known[0]}") from group
    for line, difference in differences:
        sys.stdout.write(f"{path}:{line}: {difference}\n")
    told = f"{len(differences)} differences" if differences else "no difference"
    sys.stdout.write(f"{len(recording.happenings)} lines played, {told}\n")
    return 1 if differences else 0


class _Replay:
    def __init__(
        self, recording: Recording, dialects: Sequence[Dialect], api_versions: Mapping[str, Sequence[str]]
    ) -> None:
        self._recording = recording
        self._dialects = dialects
        self._allowed = [each for each in dialects if each.version in api_versions[recording.about["api_version"]]]
        self._mailbox = Mailbox()
        self._clock = RecordedClock(recording.about["at"])
        self._differences: list[tuple[int, str]] = []

    async def run(self) -> list[tuple[int, str]]:
        with tempfile.TemporaryDirectory(prefix="replay-") as folder:
            side = KubeletSide(Path(folder))
            try:
                await self._play_all(side, Path(folder))
            finally:
                await side.vanish()
        return self._differences

    async def _play_all(self, side: KubeletSide, directory: Path) -> None:
        happenings = list(self._recording.happenings)
        if happenings and happenings[0].what == "kubelet" and happenings[0].fields["is_there"]:
            await side.appear()  # it was there before the gateway, and may have known the devices
            del happenings[0]
        async with self._gateway(directory):
            for happening in happenings:
                await self._play(side, happening)
            last = happenings[-1].line if happenings else 1
            self._differences += [(last, each) for each in side.left_over()]

    @asynccontextmanager
    async def _gateway(self, directory: Path) -> AsyncIterator[None]:
        gateway = Gateway(
            mailbox=self._mailbox,
            registrar=Registrar(directory=KubeletDirectory(directory), dialects=self._dialects, allowed=self._allowed),
            offering=self._offering(),
            silent_for=lambda: 0.0,
            now=self._clock.now,
        )
        async with asyncio.TaskGroup() as tasks:
            task = tasks.create_task(gateway.run())
            try:
                yield
            finally:
                task.cancel()

    def _offering(self) -> Offering:
        about = self._recording.about
        answers = [each.fields["answer"] for each in self._recording.happenings if each.what == "call"]
        return Offering(
            rules=tuple(
                ResourceRule(pattern=each["pattern"], name=parse_resource_name(each["name"])) for each in about["rules"]
            ),
            policy=AllocationPolicy(
                pass_device_specs=about["pass_device_specs"],
                device_id_strategy=DeviceIdStrategy(about["device_id_strategy"]),
                dev_root=about["dev_root"],
            ),
            nodes=RecordedNodes([answer for answer in answers if answer is not None]),
            unhealthy_first=UnhealthyFirst(about["unhealthy_first"]),
            health=read_policy(about["health"]),
        )

    async def _play(self, side: KubeletSide, happening: Happening) -> None:
        await self._settle()
        self._clock.at = happening.at
        self._mailbox.ring()
        await self._settle()
        try:
            await self._act(side, happening.what, happening.fields)
        except MissedError as error:
            self._differences.append((happening.line, str(error)))

    async def _settle(self) -> None:
        """Let the gateway do what is due at the time at which the clock stands, before that goes on."""
        await asyncio.sleep(SETTLING)

    async def _act(self, side: KubeletSide, what: str, fields: Mapping[str, Any]) -> None:
        match what:
            case "seen":
                self._mailbox.put(read_observation(fields["observation"]))
            case "kubelet":
                await (side.appear() if fields["is_there"] else side.vanish())
            case "register":
                await side.expect_register(fields["api_version"], fields["request"].resource_name)
            case "answered":
                side.answer(fields["api_version"], fields["code"], fields["words"])
            case "opened" if fields["agent"].startswith(KUBELET_AGENT):
                await side.open(fields["stream"], fields["service"], fields["resource"], fields["agent"])
            case "list":
                now = await side.next_list(fields["stream"])
                if now is not None:
                    _compare("ListAndWatch", fields["message"], now)
            case "ended":
                await side.end(fields["stream"])
            case "call" if fields["agent"].startswith(KUBELET_AGENT):
                now_answered = await side.call(
                    fields["service"], fields["method"], fields["resource"], fields["agent"], fields["request"]
                )
                then = fields["answer"] if fields["answer"] is not None else fields["error"]
                _compare(fields["method"], then, now_answered)


def _compare(method: str, then: bytes | str, now: bytes | str) -> None:
    """See whether the same is said.

    Raises:
        MissedError: it is not; with the difference.
    """
    if then == now:
        return
    before, after = (_shown(method, each).splitlines() for each in (then, now))
    difference = "\n".join(unified_diff(before, after, "then", "now", lineterm="", n=1))
    raise MissedError(f"{method} differs\n{difference}")


def _shown(method: str, said: bytes | str) -> str:
    if isinstance(said, str):
        return said
    for message in _MESSAGES.get(method, ()):
        try:
            parsed = message.FromString(said)
        except DecodeError:
            continue
        if parsed.SerializeToString() == said:
            return MessageToJson(parsed)
    return said.hex()
