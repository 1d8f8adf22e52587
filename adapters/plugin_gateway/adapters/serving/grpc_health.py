"""gRPC's health service on the plugin's socket: which dialect is in force, and whether the kubelet listens."""

from collections.abc import Collection

from google.protobuf.message import DecodeError
from grpc_health.v1 import health_pb2

from plugin_gateway.adapters.dialects.dialect import MalformedRequestError

SERVICE = "grpc.health.v1.Health"
DESCRIPTOR = health_pb2.DESCRIPTOR


def check(request: bytes, *, served: Collection[str], in_force: str | None) -> bytes | None:
    """Answer Check: the whole serves always, a dialect while the kubelet's stream is open; None where it is unknown.

    Raises:
        MalformedRequestError: it is no request.
    """
    try:
        service = health_pb2.HealthCheckRequest.FromString(request).service
    except DecodeError as error:
        raise MalformedRequestError("not a grpc.health.v1.HealthCheckRequest") from error
    if service and service not in served:
        return None
    serves = not service or service == in_force
    status = health_pb2.HealthCheckResponse.SERVING if serves else health_pb2.HealthCheckResponse.NOT_SERVING
    return bytes(health_pb2.HealthCheckResponse(status=status).SerializeToString())
