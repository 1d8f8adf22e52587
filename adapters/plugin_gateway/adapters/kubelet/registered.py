"""Finds out which devices the kubelet has, of every device plugin: from the kubelet, or from its checkpoint."""

import asyncio
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import grpc
import grpc.aio
from google.protobuf.message import DecodeError

from plugin_gateway.adapters.kubelet.checkpoint import CheckpointError, read_checkpoint
from plugin_gateway.adapters.kubelet.pod_resources import MAX_ANSWER_LENGTH
from plugin_gateway.adapters.support.unix_files import identify_socket
from plugin_gateway.api.podresources import api_pb2 as wire

TIMEOUT = 2.0
"""Seconds that the kubelet has to answer."""
_METHOD = "/v1.PodResourcesLister/GetAllocatableResources"
_OPTIONS = (
    ("grpc.default_authority", "localhost"),
    ("grpc.max_receive_message_length", MAX_ANSWER_LENGTH),
    ("grpc.use_local_subchannel_pool", 1),
    ("grpc.enable_retries", 0),
)


class Registered(NamedTuple):
    """The devices that the kubelet has."""

    devices: Mapping[str, frozenset[str]]
    """The ids of the healthy ones, by resource. Empty if nothing is known."""
    is_live: bool
    """Whether the kubelet told it. Its checkpoint can name the devices of a plugin that has ended."""


async def read_registered(kubelet_dir: Path) -> Registered:
    """Return the devices that the kubelet has, of all device plugins.

    ``kubelet_dir`` is its device plugin directory. The kubelet is asked first (1.21 and later, with a feature gate
    before 1.23). If it does not answer, its checkpoint is read, which has them from 1.9 on.
    """
    path = kubelet_dir.parent / "pod-resources" / "kubelet.sock"
    told = await _ask(path) if identify_socket(path) is not None else None
    if told is not None:
        return Registered(told, is_live=True)
    try:
        checkpoint = await asyncio.to_thread(read_checkpoint, kubelet_dir)
    except CheckpointError:
        checkpoint = None
    return Registered(checkpoint.registered if checkpoint is not None else {}, is_live=False)


async def _ask(path: Path) -> Mapping[str, frozenset[str]] | None:
    """Return what the kubelet tells by pod-resources. None if it tells nothing."""
    async with grpc.aio.insecure_channel(f"unix:{path}", options=_OPTIONS) as channel:
        call: grpc.aio.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(_METHOD)
        try:
            answer = wire.AllocatableResourcesResponse.FromString(await call(b"", timeout=TIMEOUT))
        except (grpc.aio.AioRpcError, DecodeError):
            return None
    found: dict[str, set[str]] = {}
    for entry in answer.devices:
        found.setdefault(entry.resource_name, set()).update(entry.device_ids)
    return {name: frozenset(ids) for name, ids in found.items()}
