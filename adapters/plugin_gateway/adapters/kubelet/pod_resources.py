"""Asks the kubelet which pod holds which device, with the PodResources API.

The API exists from 1.13 on. It is off by default in 1.13 and 1.14.
"""

from pathlib import Path

import grpc
from google.protobuf.message import DecodeError

from plugin_gateway.adapters.kubelet.checkpoint import Holder
from plugin_gateway.adapters.support.unix_files import explain_unreachable
from plugin_gateway.api.podresources import api_pb2 as wire
from plugin_gateway.core.errors import GatewayError

TIMEOUT = 5.0
"""Seconds for one call."""
PACKAGES = ("v1", "v1alpha1")
"""The packages of the service, newest first. The fields that are read here are the same in both."""
MAX_ANSWER_LENGTH = 16 * 1024 * 1024
"""Bytes. The response lists every pod of the node."""


class PodResourcesError(GatewayError):
    """The kubelet gives no answer."""


def list_holders(path: Path, timeout: float | None = None) -> tuple[Holder, ...]:
    """Return the containers that hold devices, as the kubelet reports them. It has ``timeout`` seconds, or TIMEOUT.

    Raises:
        PodResourcesError: the kubelet cannot be asked, does not answer, or has no such service.
    """
    if problem := explain_unreachable(path):
        raise PodResourcesError(f"{path}: {problem}")
    options = (("grpc.default_authority", "localhost"), ("grpc.max_receive_message_length", MAX_ANSWER_LENGTH))
    with grpc.insecure_channel(f"unix:{path}", options=options) as channel:
        for package in PACKAGES:
            call: grpc.UnaryUnaryMultiCallable[bytes, bytes]
            call = channel.unary_unary(f"/{package}.PodResourcesLister/List")
            try:
                return _read(wire.ListPodResourcesResponse.FromString(call(b"", timeout=timeout or TIMEOUT)))
            except DecodeError as error:
                raise PodResourcesError(f"{path}: the kubelet's answer is no list of pods") from error
            except grpc.RpcError as error:
                if error.code() is not grpc.StatusCode.UNIMPLEMENTED:
                    raise PodResourcesError(f"{path}: {error.code().name}: {error.details()}") from error
    raise PodResourcesError(f"{path}: the kubelet serves neither of {' and '.join(PACKAGES)}.PodResourcesLister")


def _read(answer: wire.ListPodResourcesResponse) -> tuple[Holder, ...]:
    held: dict[tuple[str, str, str], set[str]] = {}
    for pod in answer.pod_resources:
        for container in pod.containers:
            for entry in container.devices:
                key = (f"{pod.namespace}/{pod.name}", container.name, entry.resource_name)
                held.setdefault(key, set()).update(entry.device_ids)
    return tuple(Holder(*key, frozenset(devices)) for key, devices in held.items())
