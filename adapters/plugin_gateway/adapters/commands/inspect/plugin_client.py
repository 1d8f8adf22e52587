"""A client for any device plugin. It finds the services by reflection if there is any, and by calling otherwise."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import grpc
from google.protobuf.descriptor import ServiceDescriptor
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message import DecodeError, Message
from google.protobuf.message_factory import GetMessageClass
from grpc_health.v1 import health_pb2
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase

from plugin_gateway.adapters.dialects import load_dialects
from plugin_gateway.adapters.dialects.dialect import (
    Answer,
    Dialect,
    ListedDevice,
    MalformedMessageError,
    Method,
)
from plugin_gateway.adapters.support.unix_files import explain_unreachable
from plugin_gateway.core.errors import GatewayError

TIMEOUT = 5.0
"""Seconds for each answer."""
HEALTH_CHECK = "/grpc.health.v1.Health/Check"
KUBELET_LIMIT = 16 * 1024 * 1024
"""Bytes of an answer that are accepted; the same as in kubelet 1.37."""
_ABSENT = (grpc.StatusCode.UNIMPLEMENTED, grpc.StatusCode.NOT_FOUND)
"""Codes that mean that the plugin does not have what was called."""


class InspectionError(GatewayError):
    """The plugin cannot be asked, or does not answer. The message is for an administrator."""


class PluginService(NamedTuple):
    """A service DevicePlugin of the plugin."""

    descriptor: ServiceDescriptor
    dialect: Dialect
    """The newest dialect with its package, or else the newest of all, to read and write the messages."""
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
        self._dialects = load_dialects()
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
            PluginService(
                pool.FindServiceByName(name),
                self._dialect(name),
                is_reflected=True,
                is_in_force=self._is_in_force(name),
            )
            for name in names
        ]
        if not found:
            raise InspectionError(f"{self.path}: it serves {', '.join(reflected)}, so it is no device plugin")
        return sorted(
            found, key=lambda service: (not service.is_in_force, service.package != self._dialects[0].package)
        )

    def _dialect(self, service: str) -> Dialect:
        """Return the dialect that reads and writes the messages of a service."""
        return next((each for each in self._dialects if each.service == service), self._dialects[0])

    def _services_by_calling(self) -> Sequence[PluginService]:
        """Return the first service that answers to ListAndWatch."""
        packages = {each.package: each for each in reversed(self._dialects)}  # of two with the same, the newer
        for dialect in reversed(packages.values()):
            descriptor = dialect.file.services_by_name["DevicePlugin"]
            service = PluginService(descriptor, dialect, is_reflected=False, is_in_force=None)
            try:
                self.snapshot(service)
            except AbsentError:
                continue
            return (service,)
        tried = " and ".join(reversed(packages))
        raise InspectionError(f"{self.path}: it answers, and serves neither of {tried}.DevicePlugin")

    def _is_in_force(self, service: str) -> bool | None:
        """Return what the plugin's health service says about a service; None if it says nothing."""
        request = health_pb2.HealthCheckRequest(service=service)
        try:
            data = self._unary(HEALTH_CHECK)(request.SerializeToString(), timeout=TIMEOUT)
            answer = health_pb2.HealthCheckResponse.FromString(data)
        except (grpc.RpcError, DecodeError):
            return None
        return bool(answer.status == health_pb2.HealthCheckResponse.SERVING)

    def snapshot(self, service: PluginService) -> Sequence[ListedDevice]:
        """Return the devices in the first list of ListAndWatch, and end the stream.

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
        try:
            return service.dialect.read_list(data)
        except MalformedMessageError as error:
            raise self._malformed(service, "ListAndWatch") from error

    def ask(self, service: PluginService, method: Method[Any, Answer], request: bytes) -> Answer | None:
        """Send an encoded request, and return the answer; None if the plugin does not have the method.

        Raises:
            InspectionError: the call fails.
        """
        data = self._call(service, method, request)
        try:
            return method.read_answer(data) if data is not None else None
        except MalformedMessageError as error:
            raise self._malformed(service, method.name) from error

    def ask_for_message(self, service: PluginService, method: Method[Any, Answer], request: bytes) -> Message | None:
        """Do as `ask`, and return the answer as a message of the service's own form, with all its fields."""
        data = self._call(service, method, request)
        try:
            kind = service.descriptor.methods_by_name[method.name].output_type
            return GetMessageClass(kind).FromString(data) if data is not None else None
        except DecodeError as error:
            raise self._malformed(service, method.name) from error

    def _call(self, service: PluginService, method: Method[Any, Answer], request: bytes) -> bytes | None:
        if method.name not in service.descriptor.methods_by_name:
            return None
        unary = self._unary(f"/{service.descriptor.full_name}/{method.name}")
        try:
            return bytes(unary(request, timeout=TIMEOUT))
        except grpc.RpcError as error:
            if error.code() in _ABSENT:
                return None
            raise self._failed(method.name, error) from error

    def _unary(self, path: str) -> Any:
        return self._channel.unary_unary(path)

    def _malformed(self, service: PluginService, method: str) -> InspectionError:
        kind = service.descriptor.methods_by_name[method].output_type.full_name
        return InspectionError(f"{self.path}: the answer to {method} is no {kind}")

    def _failed(self, what: str, error: grpc.RpcError) -> InspectionError:
        """Return the error for a failed call."""
        if error.code() is grpc.StatusCode.DEADLINE_EXCEEDED:
            return InspectionError(f"{self.path}: no answer to {what} within {TIMEOUT:.0f} s")
        return InspectionError(f"{self.path}: {what}: {error.code().name}: {error.details()}")


class AbsentError(InspectionError):
    """The plugin does not have this service."""
