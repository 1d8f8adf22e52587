"""A program for a container: it loads the libraries of the driver by name, and prints which GPUs each one lists.

It prints JSON, an error included, and then runs on.
"""

import ctypes
import json
import time
import uuid
from collections.abc import Iterator

CUDA, NVML = "libcuda.so.1", "libnvidia-ml.so.1"


def by_cuda() -> Iterator[str]:
    """Yield the UUIDs of the GPUs on which this program could compute."""
    library = ctypes.CDLL(CUDA)
    _require(CUDA, library.cuInit(0))
    count, device, found = ctypes.c_int(), ctypes.c_int(), ctypes.create_string_buffer(16)
    _require(CUDA, library.cuDeviceGetCount(ctypes.byref(count)))
    for number in range(count.value):
        _require(CUDA, library.cuDeviceGet(ctypes.byref(device), number))
        _require(CUDA, library.cuDeviceGetUuid(found, device))
        yield f"GPU-{uuid.UUID(bytes=found.raw)}"


def by_nvml() -> Iterator[str]:
    """Yield the UUIDs of the GPUs about which this program could ask."""
    library = ctypes.CDLL(NVML)
    _require(NVML, library.nvmlInit_v2())
    count, device, found = ctypes.c_uint(), ctypes.c_void_p(), ctypes.create_string_buffer(96)
    _require(NVML, library.nvmlDeviceGetCount_v2(ctypes.byref(count)))
    for number in range(count.value):
        _require(NVML, library.nvmlDeviceGetHandleByIndex_v2(number, ctypes.byref(device)))
        _require(NVML, library.nvmlDeviceGetUUID(device, found, len(found)))
        yield found.value.decode()


def _require(library: str, error: int) -> None:
    if error:
        raise OSError(f"{library} returned {error}")


if __name__ == "__main__":
    try:
        print(json.dumps({CUDA: list(by_cuda()), NVML: list(by_nvml())}), flush=True)
    except OSError as problem:
        print(json.dumps({"error": str(problem)}), flush=True)
    time.sleep(100_000)
