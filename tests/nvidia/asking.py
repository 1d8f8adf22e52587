"""Asks the stand-in driver without a backend."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pynvml

from driver.driver import Driver
from plugin_gateway.nvidia import nvml
from plugin_gateway.nvidia.library import initialised_library


@contextmanager
def asked(driver: Driver) -> Iterator[list[nvml.Handle]]:
    """Initialise NVML in this thread for the length of a block, and return the handles of all GPUs."""
    with initialised_library(str(driver.root), lambda: None) as library:
        nvml.adopt(library)
        try:
            yield [nvml.handle_by_index(index) for index in range(nvml.device_count())]
        finally:
            nvml.shut_down()


def told(function: Callable[..., Any], *arguments: Any) -> Any:
    """Return what a function of pynvml returns, or the number of its error, negative."""
    try:
        return function(*arguments)
    except pynvml.NVMLError as error:
        return -nvml.NvmlError(error).code
