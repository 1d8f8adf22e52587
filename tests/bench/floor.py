"""The floor: the smallest grpc.aio plugin. It registers, lists eight constant devices, and answers with constant bytes.

It has no driver, device model, dialects, logs or error handling. No plugin in Python can be faster.

Usage: python floor.py KUBELET_DIRECTORY
"""

import asyncio
import ctypes
import os
import sys
from collections.abc import AsyncIterator
from itertools import count
from typing import Any

os.environ["GRPC_VERBOSITY"] = "NONE"

import grpc
import grpc.aio
import inotify_simple

inotify_simple._libc = ctypes.CDLL(None, use_errno=True)

RESOURCE = b"nvidia.com/gpu"
DIRECTORY = sys.argv[1]


def field(number: int, content: bytes) -> bytes:
    """Return a length-delimited protobuf field of less than 128 bytes."""
    return bytes([number << 3 | 2, len(content)]) + content


DEVICES = [b"GPU-00000000-0000-0000-0000-%012d" % index for index in range(8)]
DEVICE_LIST = b"".join(field(1, field(1, device) + field(2, b"Healthy")) for device in DEVICES)
ALLOCATION = field(1, field(1, field(1, b"NVIDIA_VISIBLE_DEVICES") + field(2, DEVICES[0])))
OPTIONS = b""


class Plugin(grpc.GenericRpcHandler):
    """The three methods that a kubelet calls."""

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> Any:
        """Find the method by the last part of its path."""
        return HANDLERS[handler_call_details.method.rpartition("/")[2]]


async def allocate(_request: bytes, _context: Any) -> bytes:
    return ALLOCATION


async def options(_request: bytes, _context: Any) -> bytes:
    return OPTIONS


async def list_and_watch(_request: bytes, _context: Any) -> AsyncIterator[bytes]:
    yield DEVICE_LIST
    await asyncio.Event().wait()


HANDLERS: dict[str, Any] = {
    "Allocate": grpc.unary_unary_rpc_method_handler(allocate),
    "GetDevicePluginOptions": grpc.unary_unary_rpc_method_handler(options),
    "ListAndWatch": grpc.unary_stream_rpc_method_handler(list_and_watch),
}


async def serve_and_register(name: str) -> grpc.aio.Server:
    """Serve on a socket, and register its name with the kubelet."""
    server = grpc.aio.server()
    server.add_generic_rpc_handlers((Plugin(),))
    server.add_insecure_port(f"unix:{DIRECTORY}/{name}")
    await server.start()
    request = field(1, b"v1beta1") + field(2, name.encode()) + field(3, RESOURCE)
    options = (("grpc.default_authority", "localhost"), ("grpc.use_local_subchannel_pool", 1))
    async with grpc.aio.insecure_channel(f"unix:{DIRECTORY}/kubelet.sock", options=options) as channel:
        register: Any = channel.unary_unary("/v1beta1.Registration/Register")
        await register(request)
    return server


async def main() -> None:
    """Register at the start, and whenever kubelet.sock is created."""
    loop = asyncio.get_running_loop()
    made = asyncio.Event()
    watch = inotify_simple.INotify(nonblocking=True)
    watch.add_watch(DIRECTORY, inotify_simple.flags.CREATE)

    def look() -> None:
        if any(event.name == "kubelet.sock" for event in watch.read(timeout=0)):
            made.set()

    loop.add_reader(watch.fileno(), look)
    if os.access(f"{DIRECTORY}/kubelet.sock", os.F_OK):
        made.set()
    server = None
    for number in count():
        await made.wait()
        made.clear()
        previous, server = server, await serve_and_register(f"floor-{number}.sock")
        if previous is not None:
            await previous.stop(None)


asyncio.run(main())
