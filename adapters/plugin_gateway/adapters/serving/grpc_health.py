"""The gRPC health service of an endpoint: which dialect the kubelet uses, and whether its stream is open."""

from collections.abc import Collection

from google.protobuf.message import DecodeError
from grpc_health.v1 import health_pb2

from plugin_gateway.adapters.dialects.dialect import MalformedMessageError

SERVICE = "grpc.health.v1.Health"
DESCRIPTOR = health_pb2.DESCRIPTOR


def check(request: bytes, *, served: Collection[str], in_force: str | None) -> bytes | None:
    """Return the answer to Check. None if the service is unknown.

    The server as a whole is always SERVING. A dialect is SERVING while the kubelet has a stream open in it.

    Raises:
        MalformedMessageError: the bytes are not a HealthCheckRequest.
    """
    try:
        service = health_pb2.HealthCheckRequest.FromString(request).service
    except DecodeError as error:
        raise MalformedMessageError("not a grpc.health.v1.HealthCheckRequest") from error
    if service and service not in served:
        return None
    serves = not service or service == in_force
    status = health_pb2.HealthCheckResponse.SERVING if serves else health_pb2.HealthCheckResponse.NOT_SERVING
    return bytes(health_pb2.HealthCheckResponse(status=status).SerializeToString())
