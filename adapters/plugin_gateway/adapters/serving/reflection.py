"""gRPC server reflection of an endpoint, for tools such as grpcurl."""

from collections.abc import AsyncIterator, Sequence
from typing import Any

from google.protobuf import descriptor_pb2
from google.protobuf.descriptor_pool import DescriptorPool
from grpc_reflection.v1alpha import reflection, reflection_pb2

from plugin_gateway.adapters.dialects.dialect import Dialect
from plugin_gateway.adapters.serving import grpc_health as endpoint_health


def _pool(dialects: Sequence[Dialect]) -> DescriptorPool:
    """Return a descriptor pool with these dialects and the services of every endpoint. No two may share a package."""
    pool = DescriptorPool()
    for file in (reflection_pb2.DESCRIPTOR, endpoint_health.DESCRIPTOR, *(dialect.file for dialect in dialects)):
        description = descriptor_pb2.FileDescriptorProto()
        file.CopyToProto(description)
        pool.Add(description)
    return pool


async def reflect(dialects: Sequence[Dialect], requests: AsyncIterator[bytes], context: Any) -> AsyncIterator[bytes]:
    """Answer one reflection stream."""
    names = (*(dialect.service for dialect in dialects), endpoint_health.SERVICE, reflection.SERVICE_NAME)
    servicer = reflection.aio.ReflectionServicer(names, pool=_pool(dialects))

    async def parsed() -> AsyncIterator[reflection_pb2.ServerReflectionRequest]:
        async for request in requests:
            yield reflection_pb2.ServerReflectionRequest.FromString(request)

    answers: Any = servicer.ServerReflectionInfo(parsed(), context)
    async for answer in answers:
        yield answer.SerializeToString()
