"""A client for any device plugin. It uses the plugin's own descriptors if there is reflection, and ours otherwise."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import grpc
from google.protobuf.descriptor import Descriptor, ServiceDescriptor
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message import DecodeError, Message
from google.protobuf.message_factory import GetMessageClass
from grpc_health.v1 import health_pb2
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase

from plugin_gateway.adapters.support.unix_files import explain_unreachable
from plugin_gateway.api.v1alpha import api_pb2 as wire19
from plugin_gateway.api.v1beta1 import api_pb2 as wire
from plugin_gateway.core.errors import GatewayError

TIMEOUT = 5.0
"""Seconds for each answer."""
PACKAGES = ("v1beta1", "deviceplugin")
"""The packages of the service DevicePlugin, the newest first."""
HEALTH_CHECK = "/grpc.health.v1.Health/Check"
KUBELET_LIMIT = 16 * 1024 * 1024
"""Bytes of an answer that are accepted; the same as in kubelet 1.37."""
_OURS: Mapping[str, Any] = {"v1beta1": wire, "deviceplugin": wire19}
"""Our modules for each package. Kubernetes 1.8 and 1.9 have the same package; 1.9 is the later form."""
_ABSENT = (grpc.StatusCode.UNIMPLEMENTED, grpc.StatusCode.NOT_FOUND)
"""Codes that mean that the plugin does not have what was called."""


class InspectionError(GatewayError):
    """The plugin cannot be asked, or does not answer. The message is for an administrator."""


class PluginService(NamedTuple):
    """A service DevicePlugin of the plugin."""

    descriptor: ServiceDescriptor
    is_reflected: bool
    """Whether the descriptor comes from the plugin itself."""
    is_in_force: bool | None
    """Whether the kubelet uses it, by the plugin's health service; None if that is not known."""

    @property
    def package(self) -> str:
        """Return the package, such as ``v1beta1``."""
        return str(self.descriptor.full_name).rpartition(".")[0]


class _Details(NamedTuple):
    """The details of a call before it is made. gRPC expects these names."""

    method: str
    timeout: float | None
    metadata: Any
    credentials: Any
    wait_for_ready: bool | None
    compression: Any


class _Limit(grpc.StreamStreamClientInterceptor):
    """Adds our timeout to each call of the library for reflection, which has none itself."""

    def intercept_stream_stream(self, continuation: Any, client_call_details: Any, request_iterator: Any) -> Any:
        details = client_call_details
        details = _Details(
            details.method, TIMEOUT, details.metadata, details.credentials, details.wait_for_ready, details.compression
        )
        return continuation(details, request_iterator)


class PluginClient:
    """A connection to one plugin."""

    def __init__(self, path: Path) -> None:
        """Prepare the connection. It is made by the first call.

        Raises:
            InspectionError: there is no socket at this path, or it cannot be reached.
        """
        self.path = path
        if problem := explain_unreachable(path):
            raise InspectionError(f"{path}: {problem}")
        self._channel = grpc.insecure_channel(
            f"unix:{path}",
            options=(
                ("grpc.default_authority", "localhost"),
                ("grpc.max_receive_message_length", KUBELET_LIMIT),
                ("grpc.enable_retries", 0),
            ),
        )
        self._limited = grpc.intercept_channel(self._channel, _Limit())
        """For the library for reflection, which would wait for ever."""

    def close(self) -> None:
        """Close the connection."""
        self._channel.close()

    def reflected(self) -> Sequence[str] | None:
        """Return the names of all services by reflection; None if the plugin has no reflection.

        Raises:
            InspectionError: the plugin does not answer.
        """
        try:
            return tuple(sorted(ProtoReflectionDescriptorDatabase(self._limited).get_services()))
        except grpc.RpcError as error:
            if error.code() in _ABSENT:
                return None
            raise self._failed("reflection", error) from error

    def services(self, reflected: Sequence[str] | None) -> Sequence[PluginService]:
        """Return the DevicePlugin services. The one that the kubelet uses is first.

        Raises:
            InspectionError: the plugin does not answer, or has no such service.
        """
        if reflected is None:
            return self._services_by_calling()
        names = [name for name in reflected if name.endswith(".DevicePlugin")]
        pool = DescriptorPool(ProtoReflectionDescriptorDatabase(self._limited))
        found = [
            PluginService(pool.FindServiceByName(name), is_reflected=True, is_in_force=self._is_in_force(name))
            for name in names
        ]
        if not found:
            raise InspectionError(f"{self.path}: it serves {', '.join(reflected)}, so it is no device plugin")
        return sorted(found, key=lambda service: (not service.is_in_force, service.package not in PACKAGES[:1]))

    def _services_by_calling(self) -> Sequence[PluginService]:
        """Return the first service that answers to ListAndWatch."""
        for package in PACKAGES:
            descriptor = _OURS[package].DESCRIPTOR.services_by_name["DevicePlugin"]
            service = PluginService(descriptor, is_reflected=False, is_in_force=None)
            try:
                self.snapshot(service)
            except AbsentError:
                continue
            return (service,)
        raise InspectionError(f"{self.path}: it answers, and serves neither of {' and '.join(PACKAGES)}.DevicePlugin")

    def _is_in_force(self, service: str) -> bool | None:
        """Return what the plugin's health service says about a service; None if it says nothing."""
        request = health_pb2.HealthCheckRequest(service=service)
        try:
            data = self._unary(HEALTH_CHECK)(request.SerializeToString(), timeout=TIMEOUT)
            answer = health_pb2.HealthCheckResponse.FromString(data)
        except (grpc.RpcError, DecodeError):
            return None
        return bool(answer.status == health_pb2.HealthCheckResponse.SERVING)

    def snapshot(self, service: PluginService) -> Message:
        """Return the first list of ListAndWatch, and end the stream.

        Raises:
            AbsentError: the plugin does not have the service.
            InspectionError: there is no list.
        """
        listen: grpc.UnaryStreamMultiCallable[bytes, bytes]
        listen = self._channel.unary_stream(f"/{service.descriptor.full_name}/ListAndWatch")
        stream = listen(b"", timeout=TIMEOUT)
        try:
            data = next(stream, None)
        except grpc.RpcError as error:
            if error.code() in _ABSENT:
                raise AbsentError(service.descriptor.full_name) from error
            raise self._failed("ListAndWatch", error) from error
        finally:
            stream.cancel()
        if data is None:
            raise InspectionError(f"{self.path}: ListAndWatch ended without a list")
        return self._parse(service, "ListAndWatch", data)

    def call(self, service: PluginService, method: str, fields: Mapping[str, Any]) -> Message | None:
        """Make a call, and return the answer; None if the plugin does not have the method.

        Raises:
            InspectionError: the call fails.
        """
        described = service.descriptor.methods_by_name.get(method)
        if described is None:
            return None
        request = _message(described.input_type, fields)
        path = f"/{service.descriptor.full_name}/{method}"
        try:
            data = self._unary(path)(request.SerializeToString(), timeout=TIMEOUT)
        except grpc.RpcError as error:
            if error.code() in _ABSENT:
                return None
            raise self._failed(method, error) from error
        return self._parse(service, method, data)

    def _unary(self, path: str) -> Any:
        return self._channel.unary_unary(path)

    def _parse(self, service: PluginService, method: str, data: bytes) -> Message:
        kind = service.descriptor.methods_by_name[method].output_type
        try:
            return GetMessageClass(kind).FromString(data)
        except DecodeError as error:
            raise InspectionError(f"{self.path}: the answer to {method} is no {kind.full_name}") from error

    def _failed(self, what: str, error: grpc.RpcError) -> InspectionError:
        """Return the error for a failed call."""
        if error.code() is grpc.StatusCode.DEADLINE_EXCEEDED:
            return InspectionError(f"{self.path}: no answer to {what} within {TIMEOUT:.0f} s")
        return InspectionError(f"{self.path}: {what}: {error.code().name}: {error.details()}")


class AbsentError(InspectionError):
    """The plugin does not have this service."""


def _message(kind: Descriptor, fields: Mapping[str, Any]) -> Message:
    return GetMessageClass(kind)(**fields)
