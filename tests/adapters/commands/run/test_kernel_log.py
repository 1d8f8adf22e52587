"""`run --kernel-log`, where the log can be read and where it cannot."""

import os
from pathlib import Path

from driver.driver import Driver
from harness.process import started
from plugin_gateway.adapters.configuration.health_options import KERNEL_LOG
from plugin_gateway.adapters.fake_kubelet import FakeKubelet, release


async def test_the_gpus_are_offered_whether_the_log_can_be_read_or_not(kubelet_dir: Path, driver: Driver) -> None:
    arguments = ("--kubelet-dir", str(kubelet_dir), "--driver-root", str(driver.root), "--kernel-log")
    async with (
        FakeKubelet(kubelet_dir, release("1.36")),
        started(*arguments, environment=driver.environment) as process,
    ):
        await process.wait_for_event("registered")
        if not can_be_read():
            await process.wait_for_event("the kernel's log cannot be read, only the driver's events count")
        driver.xid(0, 79)
        await process.wait_for_event("device changed its health")


def can_be_read() -> bool:
    try:
        os.close(os.open(KERNEL_LOG, os.O_RDONLY | os.O_NONBLOCK))
    except OSError:
        return False
    return True
