"""What is done for each call of the kubelet, except for the stream.

The dialect reads the request, the resource decides, and the dialect writes the answer. The time is counted, the call is
recorded if there is a recording, and an error becomes a gRPC status. These are plain functions around each other: an
interceptor of grpc.aio that does the same costs 12 µs for each call, about as much as everything that is done here.
"""

import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from itertools import chain
from typing import NamedTuple

import grpc

from plugin_gateway.adapters.dialects.dialect import Dialect, Ids
from plugin_gateway.adapters.dialects.refusals import REFUSED, status_of
from plugin_gateway.adapters.serving.resource import ServedResource, Timings
from plugin_gateway.adapters.serving.stream import Context
from plugin_gateway.adapters.support.logs import log
from plugin_gateway.adapters.support.tap import tap
from plugin_gateway.core.resources.allocation import ContainerEdits, Edit
from plugin_gateway.core.resources.assignment import Advertisement
from plugin_gateway.core.resources.policy import AllocationPolicy

Unary = Callable[[bytes, Context], Awaitable[bytes]]
"""A method as gRPC calls it."""
_Answering = Callable[[bytes], bytes]


_MAX_KEPT = 256
"""Answers. As many as there are sets of eight devices."""


class _KeptAnswer(NamedTuple):
    ids: tuple[str, ...]
    """The devices of all containers of the request."""
    answer: bytes


class Calls:
    """The calls of one endpoint in one dialect."""

    def __init__(
        self, dialect: Dialect, served: ServedResource, agent: Callable[[], str | None] = lambda: None
    ) -> None:
        """``agent`` returns the user agent of the kubelet. None as long as it is not known."""
        self._dialect = dialect
        self._agent = agent
        self._served = served
        self._lacks = tuple(each for each in Edit if each not in dialect.carries)
        self.left_out: frozenset[Edit] = frozenset()
        """What containers should have got so far that this dialect cannot carry."""
        self._kept: dict[bytes, _KeptAnswer] = {}
        """Answers to Allocate by request, for as long as devices and device nodes are the same."""
        self._kept_for: tuple[Advertisement, int, AllocationPolicy] | None = None
        self._left_of: tuple[AllocationPolicy, str | None] | None = None
        """The policy and the user agent of the kubelet for which `_left` was found."""
        self._left = served.policy
        self._has_fallen_back = False

    def handlers(self) -> Iterator[tuple[str, Unary]]:
        """Yield the name and the handler of each method."""
        for name, answer in self._dialect.answers(self._allocate, self._served.prefer):
            answering = self._allocation if name == self._dialect.allocation.name else answer
            handler = _handler(name, answering, self._served)
            yield name, handler if tap.note is None else self._tapped(name, handler, tap.note)

    def _allocation(self, request: bytes) -> bytes:
        """Return the encoded answer to Allocate. The same request mostly gets the same one, and then it is kept."""
        self._forget_outdated()
        kept = self._kept.get(request)
        if kept is not None:
            self._served.note_granted(kept.ids)
            return kept.answer
        containers = self._dialect.allocation.read_request(request)
        granted = self._allocate(containers)
        answer = self._dialect.allocation.write_answer(granted)
        is_changeable = self._served.advertisement.value.asks_for_more  # nodes can have other names at any time
        is_kept = not is_changeable and not any(edits.absent_nodes for edits in granted)  # absent ones are logged
        if len(self._kept) < _MAX_KEPT and is_kept:
            self._kept[request] = _KeptAnswer(tuple(chain.from_iterable(containers)), answer)
        return answer

    def _allocate(self, containers: Sequence[Ids]) -> Sequence[ContainerEdits]:
        allocate, policy = self._served.allocate, self._served.policy
        if not policy.is_usual and policy.needs_specs:
            policy = self.carried()
        granted = [allocate(ids, policy) for ids in containers]
        if self._lacks:
            self._note_left_out(granted)
        return granted

    def carried(self) -> AllocationPolicy:
        """Return what is left of a policy with CDI for this kubelet."""
        policy, agent = self._served.policy, self._agent()
        if self._left_of is None or self._left_of[0] is not policy or self._left_of[1] != agent:
            from plugin_gateway.core.resources.cdi_names import carried  # noqa: PLC0415 - only where asked for

            self._left_of = policy, agent
            self._left = carried(policy, self._dialect.carries_to(agent))
        return self._left

    def look(self) -> None:
        """Find out whether the kubelet of the stream passes on what the policy asks for. If not, say so once."""
        served, dialect = self._served, self._dialect
        is_in_none = served.advertisement.value.asks_for_more  # its devices are in no CDI spec with any kubelet
        if is_in_none or not served.policy.needs_specs or self.carried().needs_specs:
            served.note_fallback(None)
            return
        agent = self._agent() or "unknown"
        served.note_fallback(f"this kubelet ({dialect.version}, {agent}) does not pass on CDI devices")
        if not self._has_fallen_back:
            self._has_fallen_back = True
            log.warning(
                "containers get device nodes and the variable instead of CDI devices",
                resource=served.resource,
                problem=served.fallback,
                hint="cdi-cri needs kubelet 1.29, cdi-annotations 1.10",
            )

    def _forget_outdated(self) -> None:
        advertised, nodes, policy = (
            self._served.advertisement.value,
            self._served.nodes.generation(),
            self._served.policy,
        )
        known = self._kept_for
        if known is None or known[0] is not advertised or known[1] != nodes or known[2] is not policy:
            self._kept_for = advertised, nodes, policy
            self._kept.clear()

    def _note_left_out(self, granted: Sequence[ContainerEdits]) -> None:
        """Log what the dialect cannot carry, once for each endpoint, and so for each registration."""
        new = frozenset[Edit]().union(*(edits.among(self._lacks) for edits in granted)) - self.left_out
        if not new:
            return
        self.left_out |= new
        log.warning(
            "this kubelet's dialect cannot carry all that a container should get",
            resource=self._served.resource,
            dialect=self._dialect.version,
            left_out=[each.words for each in Edit if each in new],
        )

    def _tapped(self, method: str, handler: Unary, note: Callable[..., None]) -> Unary:
        """Return the handler, wrapped for a recording."""
        from plugin_gateway.adapters.serving.recorded import tapped_unary  # noqa: PLC0415 - only for a recording

        return tapped_unary(handler, note, service=self._dialect.service, method=method, resource=self._served.resource)


def _handler(name: str, answer: _Answering, served: ServedResource) -> Unary:
    """Return the method with its errors turned into gRPC statuses, and its duration counted."""
    timings = served.timings.setdefault(name, Timings())

    async def handle(request: bytes, context: Context) -> bytes:
        began = time.perf_counter()
        try:
            return answer(request)
        except Exception as error:  # noqa: BLE001 - gRPC would send its text to the kubelet
            if isinstance(error, REFUSED):
                log.warning("request refused", method=name, resource=served.resource, problem=str(error))
            else:
                log.exception("request failed", error, method=name, resource=served.resource)
            code, words = status_of(error)
            await context.abort(grpc.StatusCode[code], words)
        finally:
            timings.note(time.perf_counter() - began)

    return handle
