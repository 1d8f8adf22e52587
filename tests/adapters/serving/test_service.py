"""An endpoint over a real unix socket: status codes, streams, reflection, and clients that mean no good."""

import asyncio
import itertools
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import grpc
import grpc.aio
import pytest
from google.protobuf.descriptor_pool import DescriptorPool
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase

from adapters.builders import advertisement, served
from plugin_gateway.adapters.dialects.dialect import Dialect
from plugin_gateway.adapters.dialects.v1alpha import V0_1, V1ALPHA2
from plugin_gateway.adapters.dialects.v1beta1 import V1BETA1
from plugin_gateway.adapters.serving.endpoint import BindError, Endpoint
from plugin_gateway.adapters.serving.resource import Pacing, ServedResource
from plugin_gateway.adapters.serving.stream import KubeletStream, StreamEvent
from plugin_gateway.api.v1beta1 import api_pb2 as wire
from plugin_gateway.core.registration.values import StreamEnded, StreamOpened
from plugin_gateway.core.resources.names import parse_resource_name

DIALECTS = (V1BETA1, V1ALPHA2, V0_1)
ALLOCATE = "/v1beta1.DevicePlugin/Allocate"
WATCH = "/v1beta1.DevicePlugin/ListAndWatch"
LOCAL = (("grpc.default_authority", "localhost"), ("grpc.use_local_subchannel_pool", 1))
KUBELET = (*LOCAL, ("grpc.primary_user_agent", "grpc-go/1.79.3"))
Options = tuple[tuple[str, str | int], ...]


def make(
    directory: Path, of: ServedResource, dialect: Dialect = V1BETA1, events: list[StreamEvent] | None = None
) -> Endpoint:
    stream = KubeletStream(events.append if events is not None else lambda _: None)
    stream.attempt = 1
    return Endpoint(
        path=directory / "a.sock", dialect=dialect, dialects=DIALECTS, served=of, pacing=Pacing(), stream=stream
    )


@asynccontextmanager
async def serving(
    directory: Path, of: ServedResource, dialect: Dialect = V1BETA1, events: list[StreamEvent] | None = None
) -> AsyncIterator[Endpoint]:
    endpoint = make(directory, of, dialect, events)
    await endpoint.bind()
    try:
        yield endpoint
    finally:
        await endpoint.close()


@asynccontextmanager
async def connected(endpoint: Endpoint, options: Options = LOCAL) -> AsyncIterator[grpc.aio.Channel]:
    async with grpc.aio.insecure_channel(f"unix:{endpoint.path}", options=options) as channel:
        yield channel


def requested(*ids: str) -> bytes:
    container = wire.ContainerAllocateRequest(devices_ids=ids)
    return wire.AllocateRequest(container_requests=[container]).SerializeToString()


async def call(channel: grpc.aio.Channel, method: str, request: bytes) -> bytes:
    unary: grpc.aio.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(method)
    return await unary(request, timeout=10)


async def refusal(channel: grpc.aio.Channel, method: str, request: bytes) -> tuple[grpc.StatusCode, str]:
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await call(channel, method, request)
    return refused.value.code(), refused.value.details() or ""


def watch(channel: grpc.aio.Channel) -> "grpc.aio.UnaryStreamCall[bytes, bytes]":
    stream: grpc.aio.UnaryStreamMultiCallable[bytes, bytes] = channel.unary_stream(WATCH)
    return stream(b"", timeout=20)


async def next_list(stream: "grpc.aio.UnaryStreamCall[bytes, bytes]") -> int:
    """Read the next list; tells how many of its devices are healthy."""
    data = await asyncio.wait_for(stream.read(), 5)
    assert isinstance(data, bytes)
    return sum(device.health == "Healthy" for device in wire.ListAndWatchResponse.FromString(data).devices)


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(5):
        while not condition():  # noqa: ASYNC110 - the streams tell nobody but the endpoint
            await asyncio.sleep(0.005)


@pytest.mark.parametrize(
    ("ids", "code"),
    [
        (("GPU-9",), grpc.StatusCode.INVALID_ARGUMENT),
        (("GPU-0", "GPU-0"), grpc.StatusCode.INVALID_ARGUMENT),
        (("GPU-1",), grpc.StatusCode.FAILED_PRECONDITION),
    ],
)
async def test_a_refused_allocation_names_the_id(
    ids: tuple[str, ...], code: grpc.StatusCode, kubelet_dir: Path
) -> None:
    async with serving(kubelet_dir, served(unhealthy=(1,))) as endpoint, connected(endpoint) as channel:
        refused = await refusal(channel, ALLOCATE, requested(*ids))
        assert refused[0] is code
        assert ids[0] in refused[1]
        assert await call(channel, ALLOCATE, requested("GPU-0"))


async def test_malformed_and_unknown_requests_are_refused(kubelet_dir: Path) -> None:
    async with serving(kubelet_dir, served()) as endpoint, connected(endpoint) as channel:
        assert (await refusal(channel, ALLOCATE, b"\xff"))[0] is grpc.StatusCode.INVALID_ARGUMENT
        assert (await refusal(channel, "/v1beta1.DevicePlugin/No", b""))[0] is grpc.StatusCode.UNIMPLEMENTED
        assert (await refusal(channel, "/v1.DevicePlugin/Allocate", b""))[0] is grpc.StatusCode.UNIMPLEMENTED


async def test_a_fault_of_ours_does_not_tell_its_text(kubelet_dir: Path) -> None:
    class Faulty(ServedResource):
        def allocate(self, ids: object) -> object:  # type: ignore[override]  # noqa: ARG002
            raise RuntimeError("a secret")

    good = served()
    faulty = Faulty(good.resource, good.advertisement.value, good.policy, good.nodes)
    async with serving(kubelet_dir, faulty) as endpoint, connected(endpoint) as channel:
        code, words = await refusal(channel, ALLOCATE, requested("GPU-0"))
        assert code is grpc.StatusCode.INTERNAL
        assert "secret" not in words


@pytest.mark.parametrize("authority", ["localhost", "/var/lib/kubelet/a.sock", "%2Fvar%2Flib%2Fa.sock", "[::1]:80"])
async def test_any_authority_is_answered(authority: str, kubelet_dir: Path) -> None:
    options: Options = (("grpc.default_authority", authority), ("grpc.use_local_subchannel_pool", 1))
    async with serving(kubelet_dir, served()) as endpoint, connected(endpoint, options) as channel:
        assert await call(channel, ALLOCATE, requested("GPU-0"))


async def test_every_stream_gets_every_change_and_the_slow_one_only_the_latest(kubelet_dir: Path) -> None:
    of = served()
    async with serving(kubelet_dir, of) as endpoint, connected(endpoint) as one, connected(endpoint) as two:
        streams = [watch(one), watch(two)]
        assert [await next_list(stream) for stream in streams] == [4, 4]
        of.advertisement.publish(advertisement(unhealthy=(1,)))
        assert [await next_list(stream) for stream in streams] == [3, 3]
        for unhealthy in ((1, 2), (1, 2, 3)):
            of.advertisement.publish(advertisement(unhealthy=unhealthy))
        assert [await next_list(stream) for stream in streams] == [1, 1]


async def test_only_a_kubelets_stream_counts_and_it_ends_with_its_client(kubelet_dir: Path) -> None:
    events: list[StreamEvent] = []
    async with serving(kubelet_dir, served(), events=events) as endpoint:
        async with connected(endpoint) as observer, connected(endpoint, KUBELET) as kubelet:
            assert await next_list(watch(observer)) == 4
            assert not endpoint.stream.is_open
            assert await next_list(watch(kubelet)) == 4
            assert endpoint.stream.is_open
            assert events == [StreamOpened(1)]
        await until(lambda: not endpoint.stream.is_open)
    assert [type(event) for event in events] == [StreamOpened, StreamEnded]


async def test_a_kubelet_opens_one_stream_and_other_go_programs_do_not_count(kubelet_dir: Path) -> None:
    async with serving(kubelet_dir, served()) as endpoint:
        endpoint.stream.attempt = None
        async with connected(endpoint, KUBELET) as too_early:
            assert await next_list(watch(too_early)) == 4
            assert not endpoint.stream.is_open
            endpoint.stream.attempt = 1
            async with connected(endpoint, KUBELET) as kubelet:
                assert await next_list(watch(kubelet)) == 4
                async with connected(endpoint, KUBELET) as too_late:
                    assert await next_list(watch(too_late)) == 4
                await asyncio.sleep(0.05)
                assert endpoint.stream.is_open
            await until(lambda: not endpoint.stream.is_open)


async def test_when_nothing_more_is_published_the_stream_ends_in_order(kubelet_dir: Path) -> None:
    of = served()
    async with serving(kubelet_dir, of) as endpoint, connected(endpoint, KUBELET) as channel:
        stream = watch(channel)
        assert await next_list(stream) == 4
        of.advertisement.close()
        assert await asyncio.wait_for(stream.read(), 5) is grpc.aio.EOF


async def test_1_8_gets_the_changes_of_two_resources_one_after_the_other() -> None:
    pacing, times = Pacing(), list[float]()
    loop = asyncio.get_running_loop()
    for name in ("a.b/x", "a.b/x", "a.b/y", "a.b/x"):
        await pacing.take(parse_resource_name(name))
        times.append(loop.time())
    gaps = [later - earlier for earlier, later in itertools.pairwise(times)]
    assert gaps[0] < 0.04
    assert min(gaps[1:]) > 0.04


async def reflected(endpoint: Endpoint) -> tuple[set[str], DescriptorPool]:
    """Ask with grpcio-reflection's own client, which works in a thread."""

    def ask() -> tuple[set[str], DescriptorPool]:
        channel = grpc.insecure_channel(f"unix:{endpoint.path}", options=LOCAL)
        database = ProtoReflectionDescriptorDatabase(channel)
        services = set(database.get_services())
        pool = DescriptorPool(database)
        for service in services:
            pool.FindServiceByName(service)
        pool.FindMessageTypeByName("deviceplugin.AllocateResponse")
        channel.close()
        return services, pool

    return await asyncio.to_thread(ask)


@pytest.mark.parametrize(("dialect", "field"), [(V0_1, "spec"), (V1ALPHA2, "envs"), (V1BETA1, "envs")])
async def test_reflection_shows_the_dialect_in_force(dialect: Dialect, field: str, kubelet_dir: Path) -> None:
    async with serving(kubelet_dir, served(), dialect) as endpoint:
        services, pool = await reflected(endpoint)
        assert services == {
            "v1beta1.DevicePlugin",
            "deviceplugin.DevicePlugin",
            "grpc.health.v1.Health",
            "grpc.reflection.v1alpha.ServerReflection",
        }
        answer = pool.FindMessageTypeByName("deviceplugin.AllocateResponse")
        assert field in answer.fields_by_name
        assert "annotations" not in answer.fields_by_name
        assert "cdi_devices" in pool.FindMessageTypeByName("v1beta1.ContainerAllocateResponse").fields_by_name


async def test_garbage_and_crowds_do_not_disturb_the_kubelet(kubelet_dir: Path) -> None:
    of = served()
    async with serving(kubelet_dir, of) as endpoint, connected(endpoint, KUBELET) as channel:
        stream = watch(channel)
        assert await next_list(stream) == 4
        crowd = [socket.socket(socket.AF_UNIX) for _ in range(1000)]
        for number, client in enumerate(crowd):
            client.setblocking(False)
            try:
                client.connect(str(endpoint.path))
                client.send(b"PRI * HTTP/2.0\r\n\r\nSM" if number % 2 else b"\0\xff" * 100)
            except (BlockingIOError, BrokenPipeError, ConnectionResetError):
                pass
        assert await call(channel, ALLOCATE, requested("GPU-0"))
        of.advertisement.publish(advertisement(unhealthy=(0,)))
        assert await next_list(stream) == 3
        for client in crowd:
            client.close()
        assert endpoint.stream.is_open


async def test_a_request_of_100_mb_is_refused_and_the_stream_goes_on(kubelet_dir: Path) -> None:
    of = served()
    options: Options = (*LOCAL, ("grpc.max_send_message_length", -1))
    async with serving(kubelet_dir, of) as endpoint, connected(endpoint, KUBELET) as kubelet:
        stream = watch(kubelet)
        assert await next_list(stream) == 4
        async with connected(endpoint, options) as channel:
            assert (await refusal(channel, ALLOCATE, bytes(100_000_000)))[0] is grpc.StatusCode.RESOURCE_EXHAUSTED
        of.advertisement.publish(advertisement(unhealthy=(0,)))
        assert await next_list(stream) == 3


async def test_a_directory_that_is_gone_is_told_by_name(kubelet_dir: Path) -> None:
    endpoint = make(kubelet_dir / "gone", served())
    with pytest.raises(BindError, match=r"gone: No such file or directory"):
        await endpoint.bind()
    await endpoint.close()


async def test_an_endpoint_knows_whether_its_name_still_leads_to_it(kubelet_dir: Path) -> None:
    async with serving(kubelet_dir, served()) as endpoint:
        assert endpoint.is_in_place()
        endpoint.path.rename(kubelet_dir / "b.sock")
        assert not endpoint.is_in_place()
        endpoint.path.touch()
        assert not endpoint.is_in_place()


async def test_of_more_devices_than_fit_in_a_message_as_many_as_fit_are_told(kubelet_dir: Path) -> None:
    small = V1BETA1._replace(max_list_size=100)
    async with serving(kubelet_dir, served(), small) as endpoint, connected(endpoint) as channel:
        data = await asyncio.wait_for(watch(channel).read(), 5)
        assert isinstance(data, bytes)
        assert 50 < len(data) <= 100
        told = [device.ID for device in wire.ListAndWatchResponse.FromString(data).devices]
        assert told == [f"GPU-{number}" for number in range(len(told))]


async def test_a_preference_among_more_devices_than_4_mib_is_answered(kubelet_dir: Path) -> None:
    """The kubelet names every available id, of which a list has up to 4 MiB, and then those that must be included."""
    available = [f"GPU-{number:060}" for number in range(80_000)]
    request = wire.PreferredAllocationRequest(
        container_requests=[wire.ContainerPreferredAllocationRequest(available_deviceIDs=available, allocation_size=2)]
    ).SerializeToString()
    assert len(request) > 5 * 2**20
    options: Options = (*LOCAL, ("grpc.max_send_message_length", -1))
    async with serving(kubelet_dir, served()) as endpoint, connected(endpoint, options) as channel:
        data = await call(channel, "/v1beta1.DevicePlugin/GetPreferredAllocation", request)
        (container,) = wire.PreferredAllocationResponse.FromString(data).container_responses
        assert list(container.deviceIDs) == available[:2]
