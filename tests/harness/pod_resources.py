"""The kubelet's pod-resources socket, with the one method that says which devices it has."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc.aio


@asynccontextmanager
async def pod_resources(root: Path, allocatable: Callable[[bytes, Any], Awaitable[bytes]]) -> AsyncIterator[None]:
    """Answer GetAllocatableResources below the kubelet's folder, as ``allocatable`` says."""
    methods: dict[str, Any] = {"GetAllocatableResources": grpc.unary_unary_rpc_method_handler(allocatable)}
    path = root / "pod-resources" / "kubelet.sock"
    path.parent.mkdir()
    server = grpc.aio.server()
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("v1.PodResourcesLister", methods),))
    server.add_insecure_port(f"unix:{path}")
    await server.start()
    try:
        yield
    finally:
        await server.stop(None)
