"""What the doctor advises for a GPU that is not healthy has an effect, and nothing has to be done twice."""

import json
import re
from pathlib import Path

from driver.driver import Driver
from harness.node import RESOURCE
from harness.process import run_to_end, started
from plugin_gateway.adapters.fake_kubelet import FakeKubelet, release


async def test_the_advice_for_each_gpu_has_an_effect(kubelet_dir: Path, driver: Driver) -> None:
    arguments = ("--kubelet-dir", str(kubelet_dir), "--driver-root", str(driver.root))
    quiet, lost, reset, asking = (driver.uuid(index) for index in (2, 3, 4, 5))
    async with (
        FakeKubelet(kubelet_dir, release("1.36")) as kubelet,
        started(*arguments, environment=driver.environment) as process,
    ):
        await process.wait_for_event("registered")
        await process.wait_for_control()
        driver.xid(2, 9999)
        driver.lose(3)
        driver.xid(4, 119)
        driver.ask_for_recovery(5, 1)
        await kubelet.wait_for(lambda: kubelet.allocatable(RESOURCE) == 4, timeout=15, what="4 devices")
        await process.wait_for_event("device changed its health", times=5, limit=30)
        _, output, _ = await run_to_end("doctor", "--json")
        _, status, _ = await run_to_end("status")
        _, document, _ = await run_to_end("status", "--json")
    found = {each["what"].split()[0]: each for each in json.loads(output)}
    assert found[quiet]["what"] == f"{quiet} is on probation and not given out yet: XID 9999"
    assert found[quiet]["verdict"] == "hint"
    assert re.fullmatch(
        r"it is given out again after a quiet time, \d+ s of it are left, if nothing happens", found[quiet]["todo"]
    )
    assert len(found[quiet]["details"]) == 1, "what to do was done"
    assert re.search(rf"^{quiet}, probation; it needs a quiet time, \d+ s of it are left$", status, re.MULTILINE)
    left = {each["id"]: each.get("quiet_left") for each in json.loads(document)["devices"]}
    assert 0 < left[quiet] <= 60
    assert left[lost] is None
    assert found[lost]["todo"] == "it needs a check that no longer finds 'does not answer: GPU is lost'"
    assert found[reset]["todo"].endswith(
        f"; after a reset that the driver does not report: plugin-gateway health clear {reset}"
    )
    assert found[asking]["todo"] == "it needs what the driver asks for: GPU reset"
