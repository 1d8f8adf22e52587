"""The stand-in driver behaves as NVML's documentation says, seen through pynvml itself, in another process."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from driver.driver import GPU_IS_LOST, Call, Driver, build

ASK = """
import json, sys
import ctypes, pynvml
pynvml.nvmlLib = ctypes.CDLL(sys.argv[1])
def told(function, *arguments):
    try:
        return function(*arguments)
    except pynvml.NVMLError as error:
        return [error.value, str(error)]
answers = [told(pynvml.nvmlDeviceGetCount), told(pynvml.nvmlInit), told(pynvml.nvmlInit)]
answers += [told(pynvml.nvmlSystemGetDriverVersion), told(pynvml.nvmlDeviceGetCount)]
first = pynvml.nvmlDeviceGetHandleByIndex(0)
answers += [told(pynvml.nvmlDeviceGetUUID, first), told(pynvml.nvmlDeviceGetIndex, first)]
answers += [told(lambda: pynvml.nvmlDeviceGetIndex(pynvml.nvmlDeviceGetHandleByUUID("GPU-b")))]
answers += [told(pynvml.nvmlDeviceGetHandleByUUID, "GPU-c"), told(pynvml.nvmlDeviceGetHandleByIndex, 2)]
answers += [told(pynvml.nvmlDeviceGetHandleByIndex, 7), told(pynvml.nvmlDeviceGetHandleByUUID, "GPU-z")]
pci = pynvml.nvmlDeviceGetPciInfo(first)
answers += [pci.busId, [pci.domain, pci.bus, pci.device], told(pynvml.nvmlDeviceGetName, first)]
events = pynvml.nvmlEventSetCreate()
answers += [told(pynvml.nvmlEventSetWait_v2, events, 1), told(pynvml.nvmlEventSetFree, events)]
answers += [told(pynvml.nvmlShutdown), told(pynvml.nvmlShutdown), told(pynvml.nvmlShutdown)]
print(json.dumps(answers))
"""


@pytest.fixture
def library(tmp_path: Path) -> Path:
    return build(tmp_path)


def test_every_call_answers_as_nvml_does(tmp_path: Path, library: Path) -> None:
    driver = Driver(tmp_path, gpus=0)
    for index, name in enumerate((b"GPU-a", b"GPU-b", b"GPU-c")):
        driver.add(index, uuid=name)
    driver.lose(2)
    environment = {**os.environ, **driver.environment}
    shown = subprocess.run(
        [sys.executable, "-c", ASK, str(library)],
        check=True,
        capture_output=True,
        text=True,
        timeout=30,
        env=environment,
    )
    uninitialised, lost = [1, "Uninitialized"], [GPU_IS_LOST, "GPU is lost"]
    assert json.loads(shown.stdout) == [
        *(uninitialised, None, None),
        *("575.57.08", 3),
        *("GPU-a", 0),
        1,
        *(lost, lost),
        *([2, "Invalid Argument"], [6, "Not Found"]),
        *("00000000:10:00.0", [0, 16, 0], "NVIDIA H100 80GB HBM3"),
        *([10, "Timeout"], None),
        *(None, None, uninitialised),
    ]
    assert driver.sessions == 1
    assert driver.calls(Call.WAIT) == 1
    assert len(driver.threads) == 1
