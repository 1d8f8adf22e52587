"""The handover of resources from one gateway of a node to another, by word over the control sockets.

A gateway that stands by opens a connection to each gateway that it stands by for, and asks it for a word. The first
line of the answer comes at once. The second one comes when the other gateway has given up a resource and its streams
have ended, or when it ends. If the connection breaks without it, and nobody listens on the control socket any more, the
process of the other gateway has ended.

With kubelets that hold several endpoints of one resource, a gateway that stands by can replace an older one without a
gap. It asks that one whether it offers the same devices. If so, the older gateway sends and writes nothing for a while,
the younger one registers, and tells the other one when it has had a stream for a second. The older one then ends its
own. If the younger one ends before, the older one goes on.

Without a word, a gateway cannot tell this from a kubelet that starts and empties its directory. It then takes over
after `TAKE_OVER`, as it does if the other gateway cannot be asked.
"""

import asyncio
import contextlib
import json
import os
import re
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Coroutine, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from plugin_gateway.adapters.control.control_socket import Promise, is_allowed, socket_name
from plugin_gateway.adapters.registration.handover import Handover, Offers
from plugin_gateway.adapters.registration.resource_registration import OfferedDevices
from plugin_gateway.adapters.support.logs import log
from plugin_gateway.adapters.support.strict_json import parse
from plugin_gateway.core.devices import device_of
from plugin_gateway.core.errors import GatewayError
from plugin_gateway.core.registration import pauses
from plugin_gateway.core.resources.names import ResourceName

MAX_WAITING = 16
"""Gateways that can wait for a word at a time."""
FIRST_ANSWER = 5.0
"""Seconds that a gateway has for the first line of its answer."""
MAX_ANSWER = 64 * 1024
"""Bytes."""
MAX_STATUS = 8 * 1024 * 1024
"""Bytes of the status of another gateway."""
OFFERS_INTERVAL = 5.0
"""Seconds between two questions what a gateway with other resources offers."""
AGAIN = 0.01
"""Seconds before a gateway is asked again whose connection broke. If its process has ended, nobody listens by then."""
MIN_RETRY, MAX_RETRY = 0.1, 10.0
"""Seconds before a gateway is asked again that did not answer. They double each time."""
SAY_AGAIN = 1.0
"""Seconds before a gateway that was replaced is told again, if it still has a stream."""
FIRST_GRPC = (1, 82)
"""The version of grpc-go in the first kubelet that holds several endpoints of one resource (1.37.2)."""
Registered = Callable[[], Awaitable[Mapping[str, frozenset[str]]]]
OTHER_DEVICES = "it offers other devices, or no kubelet holds its stream"
_AGENT = re.compile(r"grpc-go/(\d{1,4})\.(\d{1,4})(?!\d)")


class RequestError(GatewayError):
    """The request of another gateway cannot be carried out."""


class Successors:
    """The gateways that stand by for this one. Each is told once which of the resources were given up."""

    def __init__(self, handover: Handover) -> None:
        self._handover = handover
        self._waiting: dict[socket.socket, Collection[ResourceName]] = {}
        """The connections, each with the resources that are waited for."""
        handover.on_given_up = self._tell

    def answer(self, request: Mapping[str, Any]) -> Mapping[str, Any] | Promise:
        """Carry out the request of another gateway, and return the answer.

        Raises:
            RequestError: it is unknown, or no more gateways can wait.
        """
        match request:
            case {"command": "await_leave", "resources": list(resources), **rest} if not rest:
                if len(self._waiting) >= MAX_WAITING:
                    raise RequestError(f"{MAX_WAITING} gateways wait already")
                names = _strings(resources)
                return Promise({"waits": True}, lambda client: self._keep(client, names))
            case {"command": "share", "resources": dict(digests), **rest} if not rest:
                return self._agree(digests)
            case {"command": "take_over", "instance": str(instance), "resources": list(resources), **rest} if not rest:
                self._handover.note_replaced(instance, _strings(resources))
                return {}
        raise RequestError("unknown command; is the gateway of another version?")

    def _agree(self, digests: Mapping[str, Any]) -> Mapping[str, Any]:
        """Return for which resources this gateway can be replaced now, of those with these digests of their ids.

        There are none if the user agent says that the kubelet is too old. That is a hint: it can say no, but never yes.
        If one is missing, the answer has the reason for people.
        """
        agent = self._handover.kubelet_agent()
        if agent is not None and not _may_hold_several(agent):
            return {"agreed": [], "problem": f"the kubelet is older than --kubelet-version says: it uses {agent}"}
        agreed = [] if agent is None else list(self._handover.agree(digests))
        return {"agreed": agreed} | ({} if set(digests) <= set(agreed) else {"problem": OTHER_DEVICES})

    def leave(self) -> None:
        """Tell everybody that everything was given up, at the end of the process."""
        for client, resources in list(self._waiting.items()):
            self._answer(client, resources)

    def _keep(self, client: socket.socket, resources: Collection[ResourceName]) -> None:
        self._waiting[client] = resources
        asyncio.get_running_loop().add_reader(client, self._forget, client)  # it says nothing more, so it is the end
        self._tell()

    def _tell(self) -> None:
        for client, resources in list(self._waiting.items()):
            left = [name for name in resources if name not in self._handover.held]
            if left:
                self._answer(client, left)

    def _answer(self, client: socket.socket, left: Collection[str]) -> None:
        with contextlib.suppress(OSError):
            client.send(_line({"answer": {"left": list(left)}}))
        self._close(client)

    def _forget(self, client: socket.socket) -> None:
        self._handover.go_on(self._waiting[client])
        self._close(client)

    def _close(self, client: socket.socket) -> None:
        del self._waiting[client]
        asyncio.get_running_loop().remove_reader(client)
        client.close()


class OtherGateways:
    """The gateways that this one stands by for."""

    def __init__(
        self,
        directory: Path,
        handover: Handover,
        *,
        can_share: bool = False,
        registered: Registered | None = None,
        until_ready: Callable[[], Coroutine[Any, Any, None]] | None = None,
    ) -> None:
        """``directory`` is the state directory, which has to be that of the other gateways.

        ``can_share`` says whether it is certain that the kubelet holds several endpoints of one resource.
        ``registered`` returns the ids that the kubelet has, by resource. ``until_ready`` waits until this gateway can
        give out its devices, which it has to as soon as it has replaced another one.
        """
        self._registered = registered
        self._directory = directory
        self._handover = handover
        self._can_share = can_share
        self._until_ready = until_ready

    async def run(self) -> None:
        """Wait for the word of each of them until cancelled."""
        version, asked = -1, dict[tuple[str, frozenset[ResourceName]], asyncio.Task[None]]()
        async with asyncio.TaskGroup() as tasks:
            if self._can_share:
                tasks.create_task(self._tell_replaced(), name="word to a replaced gateway")
            tasks.create_task(self._follow_strangers(), name="gateways with other resources")
            while True:
                version, awaited = await self._handover.awaited.newer_than(version)
                for key in asked.keys() - awaited.items():
                    asked.pop(key).cancel()
                for key in awaited.items() - asked.keys():
                    asked[key] = tasks.create_task(self._ask(*key), name="word of another gateway")

    async def _follow_strangers(self) -> None:
        """Find out again and again with which devices the gateways with other resources offer these."""
        version, strangers = -1, frozenset[str]()
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(OFFERS_INTERVAL if strangers else None):
                    version, strangers = await self._handover.strangers.newer_than(version)
            for instance in strangers:
                await self._learn_offers(instance)

    async def _learn_offers(self, instance: str) -> None:
        """Ask a gateway what it offers. If it does not answer, what the kubelet has of all plugins counts."""
        try:
            answer = await self._tell(instance, {"command": "status"}, MAX_STATUS)
            offers = _offers_of(answer)
        except (OSError, TimeoutError, ValueError, EOFError):
            registered = await self._registered() if self._registered is not None else {}
            offers = {
                ResourceName(name): OfferedDevices(frozenset(map(device_of, ids))) for name, ids in registered.items()
            }
        self._handover.note_offers(instance, offers)

    async def _ask(self, instance: str, resources: frozenset[ResourceName]) -> None:
        """Ask one of them, again and again if it does not answer."""
        pause, now = MIN_RETRY, asyncio.get_running_loop().time
        try:
            while True:
                answered_before, began = instance in self._handover.answering, now()
                try:
                    if await self._await_word(instance, resources):
                        return
                    await asyncio.Event().wait()  # it takes over as it would without a word
                except (ConnectionRefusedError, FileNotFoundError):
                    if answered_before:
                        self._handover.note_left(instance, resources)
                        return
                except (OSError, TimeoutError, ValueError, EOFError):
                    pass  # a connection that broke, or an answer that is none
                if now() - began > MAX_RETRY:
                    pause = MIN_RETRY  # it answered for long
                if not answered_before and instance in self._handover.answering:
                    await asyncio.sleep(AGAIN)
                    continue
                self._handover.answering.discard(instance)
                await asyncio.sleep(pause)
                pause = min(2 * pause, MAX_RETRY)
        finally:
            self._handover.answering.discard(instance)

    async def _await_word(self, instance: str, resources: frozenset[ResourceName]) -> bool:
        """Ask once, and wait for the word. Return False at once if it gives none, because it is of an older version.

        Raises:
            OSError, EOFError: the connection cannot be made, or broke.
            TimeoutError: there is no answer.
            ValueError: the answer is none.
        """
        if instance in self._handover.strangers.value:
            await self._learn_offers(instance)
        names = {each: self._handover.names_at(instance, each) for each in resources}
        async with _connected(self._directory / socket_name(instance)) as reader:
            async with asyncio.timeout(FIRST_ANSWER):
                wanted = sorted(frozenset[ResourceName]().union(*names.values()))
                first = await reader.ask({"command": "await_leave", "resources": wanted})
            self._handover.answering.add(instance)
            if "error" in first:
                log.info(
                    "the other gateway does not say when it leaves", instance=instance, problem=str(first["error"])
                )
                return False
            log.info("the other gateway will say when it leaves", instance=instance, resources=sorted(resources))
            word = asyncio.create_task(reader.line())
            try:
                if self._can_share and instance < self._handover.instance and await self._is_ready_before(word):
                    await self._share(instance, resources)
                left = _names(await word, "left")
            finally:
                word.cancel()
                await asyncio.wait({word})
        self._handover.note_left(instance, [each for each in resources if names[each] <= left])
        return True

    async def _is_ready_before(self, word: asyncio.Task[Any]) -> bool:
        """Wait until this gateway can give out its devices. Return False if the word comes before."""
        if self._until_ready is None:
            return True
        ready = asyncio.create_task(self._until_ready())
        try:
            await asyncio.wait({ready, word}, return_when=asyncio.FIRST_COMPLETED)
            return ready.done()
        finally:
            ready.cancel()

    async def _share(self, instance: str, resources: frozenset[ResourceName]) -> None:
        """Ask an older gateway whether this one may replace it. It may if both offer the same devices."""
        answer = await self._tell(instance, self._share_request(resources))
        agreed = resources & (_names(answer, "agreed") if "answer" in answer else frozenset())
        if refused := resources - agreed:
            problem = answer["answer"].get("problem") if "answer" in answer else answer["error"]
            log.warning(
                "the other gateway cannot be replaced without a gap",
                instance=instance,
                resources=sorted(refused),
                problem=str(problem or "it does not say why"),
            )
        self._handover.note_agreed(instance, agreed)

    async def _tell_replaced(self) -> None:
        """Tell each older gateway, when this one has had a stream beside it for a while, until it ends its own."""
        version, sharing, told = -1, dict[str, frozenset[ResourceName]](), dict[str, frozenset[ResourceName]]()
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(SAY_AGAIN if sharing else None):
                    version, now = await self._handover.sharing.newer_than(version)
                    sharing = dict(now)
            is_told = sharing == told
            if not is_told:
                await asyncio.sleep(pauses.BOTH_HOLD.seconds)
                if self._handover.sharing.value != sharing:
                    continue  # a stream has ended meanwhile, and the older gateway is the one that serves
                told = sharing
            for instance, resources in sharing.items():
                with contextlib.suppress(OSError, TimeoutError, ValueError, EOFError):
                    if is_told:  # it may have forgotten that it agreed, because it saw a kubelet.sock meanwhile
                        await self._tell(instance, self._share_request(resources))
                    request = {"command": "take_over", "instance": self._handover.instance}
                    await self._tell(instance, request | {"resources": sorted(resources)})

    def _share_request(self, resources: frozenset[ResourceName]) -> Mapping[str, Any]:
        return {"command": "share", "resources": self._handover.digests(resources)}

    async def _tell(self, instance: str, request: Mapping[str, Any], max_answer: int = MAX_ANSWER) -> Mapping[str, Any]:
        """Send a gateway a request, and return its answer.

        Raises:
            OSError, EOFError, TimeoutError, ValueError: see `_await_word`.
        """
        async with asyncio.timeout(FIRST_ANSWER), _connected(self._directory / socket_name(instance)) as reader:
            return await reader.ask(request, max_answer)


class _Lines:
    """A connection with JSON values, one a line."""

    def __init__(self, client: socket.socket) -> None:
        self._client = client
        self._data = b""

    async def ask(self, value: Mapping[str, Any], max_answer: int = MAX_ANSWER) -> Mapping[str, Any]:
        await asyncio.get_running_loop().sock_sendall(self._client, _line(value))
        return await self.line(max_answer)

    async def line(self, max_answer: int = MAX_ANSWER) -> Mapping[str, Any]:
        while b"\n" not in self._data:
            more = await asyncio.get_running_loop().sock_recv(self._client, MAX_ANSWER)
            if not more:
                raise EOFError
            self._data += more
            if len(self._data) > max_answer:
                raise ValueError
        line, self._data = self._data.split(b"\n", 1)
        found = parse(line)
        if not isinstance(found, dict) or not found.keys() <= {"answer", "error"}:
            raise ValueError
        return found


@asynccontextmanager
async def _connected(path: Path) -> AsyncIterator[_Lines]:
    """Connect to a control socket of root or of our user.

    Raises:
        OSError: nobody listens, or it belongs to somebody else.
    """
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK) as client:
        await asyncio.get_running_loop().sock_connect(client, os.fspath(path))
        if not is_allowed(client):
            raise PermissionError
        yield _Lines(client)


def _line(value: Mapping[str, Any]) -> bytes:
    return json.dumps(value).encode() + b"\n"


def _names(answer: Mapping[str, Any], key: str) -> frozenset[ResourceName]:
    """Return the resources in an answer.

    Raises:
        ValueError: it has none.
    """
    found = answer.get("answer")
    names = found.get(key) if isinstance(found, dict) else None
    if not isinstance(names, list):
        raise ValueError  # noqa: TRY004 - what came is no answer
    return _strings(names)


def _offers_of(answer: Mapping[str, Any]) -> Offers:
    """Return the devices of each resource in the status of a gateway of any version.

    Raises:
        ValueError: it has none.
    """
    status = answer.get("answer")
    resources, devices = (status.get(key) if isinstance(status, dict) else None for key in ("resources", "devices"))
    if not isinstance(resources, list) or not isinstance(devices, list):
        raise ValueError  # noqa: TRY004 - what came is no status
    named = [str(each.get("name")) for each in resources if isinstance(each, dict)]
    offered = [(str(each["resource"]), each) for each in devices if isinstance(each, dict) and each.get("resource")]
    return {
        ResourceName(name): OfferedDevices(
            frozenset(str(each.get("id")) for of, each in offered if of == name),
            frozenset(str(each["physical"]) for of, each in offered if of == name and each.get("physical")),
        )
        for name in dict.fromkeys([*named, *(of for of, _ in offered)])
    }


def _strings(names: Sequence[Any]) -> frozenset[ResourceName]:
    return frozenset(ResourceName(name) for name in names if isinstance(name, str))


def _may_hold_several(agent: str) -> bool:
    """Whether a kubelet with this user agent may be one that holds several endpoints of one resource."""
    found = _AGENT.match(agent)
    return found is not None and (int(found[1]), int(found[2])) >= FIRST_GRPC
