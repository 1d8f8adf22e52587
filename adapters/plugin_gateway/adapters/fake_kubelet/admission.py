"""How the fake kubelet admits pods, chooses devices and starts containers."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import NamedTuple

from plugin_gateway.adapters.fake_kubelet.endpoint import EndpointError, PluginEndpoint, read_answer
from plugin_gateway.adapters.fake_kubelet.events import AdmissionError, Answer, Container, KubeletPanicError
from plugin_gateway.adapters.fake_kubelet.releases import LOST, NOT_ENOUGH, UNAVAILABLE, Release
from plugin_gateway.adapters.fake_kubelet.resource import Resource
from plugin_gateway.core.resources.preference import PreferenceRequest

PRE_START_DEADLINE = 30.0
_PRE_START_FAILED = "device plugin PreStartContainer rpc failed with err: {problem}"
STOPPED = "endpoint &{...} has been stopped"
"""A genuine kubelet shows the values of the endpoint's fields here, among them addresses in memory."""


class Freedom(NamedTuple):
    """What limits the kubelet's choice of devices for one container."""

    reused: tuple[str, ...] = ()
    """Devices that an init container of the pod has. The container gets them first."""
    aligned: Collection[str] | None = None
    """Devices on the NUMA nodes that the topology manager has chosen for the container. None if it chooses none."""


FREE = Freedom()


@dataclass(slots=True)
class Pods:
    """Which container holds which devices, and the answers that are kept for its next start."""

    containers: dict[tuple[str, str], Container] = field(default_factory=dict)
    answers: dict[tuple[str, str], Answer] = field(default_factory=dict)
    tried: set[str] = field(default_factory=set)
    """Resources of which the kubelet has looked for devices since a pod was last removed, without those whose last
    Allocate failed. The kubelet treats these as resources of a plugin even if no plugin offers them any more."""
    reserved: list[tuple[str, Sequence[str]]] = field(default_factory=list)
    """The resource and the devices of each Allocate that has not been answered yet."""
    wanted: dict[tuple[str, str], int] = field(default_factory=dict)
    """How many devices each container asked for, where they are chosen at its start (1.8)."""

    def held(self, resource: str) -> set[str]:
        """Return the devices of a resource that have been given to pods."""
        given = [(container.resource, container.ids) for container in self.containers.values()]
        return {device for name, ids in (*given, *self.reserved) if name == resource for device in ids}

    @contextmanager
    def reserving(self, resource: str, ids: Sequence[str]) -> Iterator[None]:
        """Keep these devices from every other pod while the plugin is asked for them."""
        reserved = (resource, ids)
        self.reserved.append(reserved)
        try:
            yield
        except AdmissionError:
            self.tried.discard(resource)
            raise
        finally:
            self.reserved.remove(reserved)

    def remove(self, pod: str) -> None:
        """Forget a pod."""
        self.tried.clear()
        for key in [key for key in self.containers if key[0] == pod]:
            self.containers.pop(key)
            self.answers.pop(key, None)
            self.wanted.pop(key, None)

    def encoded_answer(self, pod: str, container: str, kubelet: Release) -> bytes:
        """Return the answer for a container as the checkpoint has it. Empty if there is none yet."""
        answer = self.answers.get((pod, container))
        if answer is None:
            return b""
        return kubelet.dialect.allocation.write_answer((answer.edits,))

    def forget_answers(self, *, keep: bool) -> None:
        """Begin a new life of the kubelet; from 1.9 on the checkpoint keeps the answers."""
        self.tried.clear()
        if not keep:
            self.answers.clear()


async def admit(
    pods: Pods,
    kubelet: Release,
    held: Resource | None,
    resource: str,
    wanted: int,
    pod: str,
    container: str,
    ids: Sequence[str] | None,
    *,
    gone: bool,
    freedom: Freedom = FREE,
) -> Container:
    """Choose devices, ask the plugin for them, and start the container.

    Raises:
        AdmissionError: the pod is refused, or the start failed; the message has the release's own words.
    """
    if kubelet.asks_at_every_start:
        return await _admit_by_number(pods, kubelet, held, resource, wanted, pod, container)
    if held is None and (pods.held(resource) or resource in pods.tried):
        raise _refused(kubelet, kubelet.unregistered.format(resource=resource))
    if held is None and (gone or kubelet.misses_unknown):
        raise AdmissionError(NOT_ENOUGH.format(resource=resource, wanted=wanted, used=0, capacity=0))
    if held is None:  # from 1.10 on the kubelet leaves a resource that no plugin offers to others
        started = Container(pod=pod, name=container, resource=resource, ids=(), answer=Answer())
        pods.containers[pod, container] = started
        return started
    free = sorted(held.healthy - pods.held(resource))
    if kubelet.no_healthy and not held.healthy:
        raise _refused(kubelet, kubelet.no_healthy.format(resource=resource))
    pods.tried.add(resource)
    if len(free) + len(freedom.reused) < wanted:
        raise _refused(kubelet, UNAVAILABLE.format(resource=resource, wanted=wanted, free=len(free)))
    chosen = tuple(ids) if ids is not None else await _choose(kubelet, held, free, wanted, freedom)
    with pods.reserving(resource, chosen):
        answer = await _ask(kubelet, held.endpoint, resource, chosen) if chosen else Answer()
    if kubelet.panics_on_vanished and not held.devices.keys() >= set(chosen):
        raise KubeletPanicError("panic: runtime error: invalid memory address or nil pointer dereference")
    started = Container(pod=pod, name=container, resource=resource, ids=chosen, answer=answer)
    pods.containers[pod, container] = started
    pods.answers[pod, container] = answer
    await _pre_start(held, chosen)
    return started


async def start(pods: Pods, kubelet: Release, resources: Mapping[str, Resource], pod: str, container: str) -> Container:
    """Start a container of an admitted pod again: with the kept answer, or, on 1.8, with a new one.

    Raises:
        AdmissionError: the plugin refused.
    """
    if (pod, container) not in pods.containers:
        raise AdmissionError("no such pod")
    started = pods.containers[pod, container]
    if kubelet.asks_at_every_start:
        return await _start_with_a_choice(pods, kubelet, resources.get(started.resource), started)
    held = resources.get(started.resource)
    if held is None and started.ids and kubelet.unregistered_start:
        raise AdmissionError(kubelet.unregistered_start.format(resource=started.resource))
    if held is not None:
        await _pre_start(held, started.ids)
    kept = pods.answers.get((pod, container))
    if kept is None and held is not None and started.ids:
        kept = await _ask(kubelet, held.endpoint, started.resource, started.ids)
    return Container(pod=pod, name=container, resource=started.resource, ids=started.ids, answer=kept or Answer())


async def admit_again(
    pods: Pods, kubelet: Release, resources: Mapping[str, Resource], pod: str, container: str
) -> Container:
    """Admit a pod again, as a kubelet does after a restart of its own, and start the container.

    Raises:
        AdmissionError: the pod is refused, or the start failed; the message has the release's own words.
    """
    before = pods.containers.get((pod, container))
    if before is not None:
        held = resources.get(before.resource)
        if kubelet.asks_at_every_start:
            _check_number(pods, held, before.resource, pods.wanted[pod, container], without=(pod, container))
        elif before.ids and kubelet.no_healthy:
            _check_health(kubelet, held, before)
    return await start(pods, kubelet, resources, pod, container)


def _check_health(kubelet: Release, held: Resource | None, before: Container) -> None:
    """Refuse a pod whose devices are no longer healthy (1.25 and later)."""
    if held is None:
        raise _refused(kubelet, kubelet.unregistered.format(resource=before.resource))
    if not held.healthy:
        raise _refused(kubelet, kubelet.no_healthy.format(resource=before.resource))
    if not held.healthy.issuperset(before.ids):
        raise _refused(kubelet, LOST.format(resource=before.resource))


async def _admit_by_number(
    pods: Pods, kubelet: Release, held: Resource | None, resource: str, wanted: int, pod: str, container: str
) -> Container:
    """Compare what all pods want with what the node last reported, then start the container (1.8)."""
    _check_number(pods, held, resource, wanted)
    admitted = Container(pod=pod, name=container, resource=resource, ids=(), answer=Answer())
    pods.containers[pod, container], pods.wanted[pod, container] = admitted, wanted
    return await _start_with_a_choice(pods, kubelet, held, admitted)


def _check_number(
    pods: Pods, held: Resource | None, resource: str, wanted: int, without: tuple[str, str] | None = None
) -> None:
    wants = {key: number for key, number in pods.wanted.items() if key != without}
    used = sum(number for key, number in wants.items() if pods.containers[key].resource == resource)
    capacity = held.last_count if held else 0
    if used + wanted > capacity:
        raise AdmissionError(NOT_ENOUGH.format(resource=resource, wanted=wanted, used=used, capacity=capacity))


async def _start_with_a_choice(pods: Pods, kubelet: Release, held: Resource | None, container: Container) -> Container:
    """Choose the devices that the container still lacks, and ask the plugin for all its devices (1.8)."""
    resource, key = container.resource, (container.pod, container.name)
    if held is None and kubelet.fails_unknown:
        raise AdmissionError(f"Unknown Device Plugin {resource}")
    if held is None:  # while no plugin is registered, it starts without devices and without an error
        return container
    lacks = pods.wanted[key] - len(container.ids)
    free = sorted(held.healthy - pods.held(resource))
    if len(free) < lacks:
        raise AdmissionError(UNAVAILABLE.format(resource=resource, wanted=lacks, free=len(free)))
    pods.containers[key] = chosen = replace(container, ids=(*container.ids, *free[:lacks]))
    if not chosen.ids:
        return chosen
    return replace(chosen, answer=await _ask(kubelet, held.endpoint, resource, chosen.ids))


async def _choose(
    kubelet: Release, held: Resource, free: Sequence[str], wanted: int, freedom: Freedom
) -> tuple[str, ...]:
    """Choose as many devices as wanted: reused ones, then aligned ones; the plugin says which of them it prefers.

    Of aligned devices that are all needed the plugin is not asked, and neither of reused ones.
    """
    chosen = freedom.reused[:wanted]
    among = [each for each in free if freedom.aligned is not None and each in freedom.aligned]
    if len(among) <= wanted - len(chosen):
        chosen = (*chosen, *among)
        among = [each for each in free if each not in chosen]
    if len(chosen) == wanted:
        return chosen
    preferred = await _preferred(kubelet, held, PreferenceRequest((*chosen, *among), chosen, wanted))
    return tuple(dict.fromkeys([*chosen, *(each for each in preferred if each in among), *among]))[:wanted]


async def _preferred(kubelet: Release, held: Resource, request: PreferenceRequest) -> Sequence[str]:
    """Ask the plugin which devices it prefers. Nothing if the release or the plugin knows no such question."""
    method, is_wanted = kubelet.dialect.preference, held.options.get_preferred_allocation_available
    if not kubelet.prefers or method is None or not is_wanted or held.endpoint is None:
        return ()
    try:
        data = await held.endpoint.call(method.name, method.write_request([request]))
        containers = read_answer(data, method, kubelet)
    except EndpointError as error:
        raise _refused(kubelet, f"device plugin GetPreferredAllocation rpc failed with err: {error}") from error
    return containers[0] if containers else ()


async def _ask(kubelet: Release, endpoint: PluginEndpoint | None, resource: str, ids: Sequence[str]) -> Answer:
    if endpoint is None:
        raise _refused(kubelet, f"Unknown Device Plugin {resource}" if kubelet.asks_at_every_start else STOPPED)
    method = kubelet.dialect.allocation
    try:
        containers = read_answer(await endpoint.call(method.name, method.write_request([tuple(ids)])), method, kubelet)
    except EndpointError as error:
        raise _refused(kubelet, str(error)) from error
    if not containers and kubelet.panics:
        raise KubeletPanicError("panic: runtime error: index out of range")
    if not containers:
        raise _refused(kubelet, kubelet.no_container)
    answer = Answer.of(containers[0])
    return answer if kubelet.takes_cdi else replace(answer, cdi_devices=())


async def _pre_start(held: Resource, ids: Sequence[str]) -> None:
    method = held.kubelet.dialect.pre_start
    if method is None or not held.options.pre_start_required:
        return
    if held.endpoint is None:
        raise AdmissionError(_PRE_START_FAILED.format(problem=STOPPED))
    try:
        data = await held.endpoint.call(method.name, method.write_request(tuple(ids)), PRE_START_DEADLINE)
        read_answer(data, method, held.kubelet)
    except EndpointError as error:
        raise AdmissionError(_PRE_START_FAILED.format(problem=error)) from error


def _refused(kubelet: Release, problem: str) -> AdmissionError:
    return AdmissionError(kubelet.admission_error.format(problem=problem))
