"""A device that a pod holds is given to nobody in another form, however the form changes."""

import json
import signal
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from itertools import permutations
from pathlib import Path
from typing import NamedTuple

import pytest

from driver.driver import Driver
from harness.node import until
from harness.process import Process, run_to_end, started
from plugin_gateway.adapters.fake_kubelet import AdmissionError, FakeKubelet, release

POD = "0a1b2c3d-0000-4000-8000-000000000001"
WITH_MACHINE = """\
import sys
from plugin_gateway.nvidia.backend import NvmlBackend
NvmlBackend.__init__.__kwdefaults__.update(proc=sys.argv[1], sysfs=sys.argv[2])
from plugin_gateway.__main__ import main
sys.exit(main(sys.argv[4:]))
"""
"""Runs the program with the machine of the stand-in driver, which has the device nodes of MIG devices."""
LIMIT = 20.0
"""Seconds. A look at the pods comes every 5 s, and one at the MIG layouts too."""


class Form(NamedTuple):
    """One way to offer the first GPU."""

    resource: str
    rules: str = ""
    """The file, without its version."""
    layout: str = ""
    suffixes: tuple[str, ...] = ("",)
    """What is added to the id of the GPU. None of it with a layout."""

    def ids(self, driver: Driver) -> list[str]:
        if self.layout:
            return [driver.mig.uuid(0, slot) for slot in range(2)]
        return [f"{driver.uuid(0)}{each}" for each in self.suffixes]


FORMS = {
    "exclusive": Form("nvidia.com/gpu"),
    "replicas": Form(
        "nvidia.com/gpu",
        "sharing: {timeSlicing: {resources: [{name: nvidia.com/gpu, replicas: 2}]}}\n",
        suffixes=("::0", "::1"),
    ),
    "mig": Form("nvidia.com/mig-3g.40gb", layout="0:3g.40gb,3g.40gb"),
    "other-name": Form("nvidia.com/a100", 'resources: {gpus: [{pattern: "*", name: nvidia.com/a100}]}\n'),
}
PAIRS = list(permutations(FORMS, 2))
every_pair = pytest.mark.parametrize(("before", "after"), PAIRS, ids=[f"{a}-to-{b}" for a, b in PAIRS])


class Machine:
    """A node with a kubelet, two GPUs and folders of pods. Gateways come and go."""

    def __init__(self, kubelet: FakeKubelet, driver: Driver, folder: Path) -> None:
        self.kubelet = kubelet
        self.driver = driver
        self._folder = folder
        self.pods = kubelet.directory.parent / "pods"
        self.pods.mkdir(exist_ok=True)

    def write(self, form: Form, name: str = "config") -> str:
        file = self._folder / f"{name}.yaml"
        file.write_text(f"version: v1\n{form.rules}")
        return str(file)

    @asynccontextmanager
    async def gateway(self, form: Form, driver: Driver | None = None, name: str = "config") -> AsyncIterator[Process]:
        """Run a gateway that offers the first GPU in this form. Its driver has to have the layout."""
        driver = driver or self.driver
        flags = ("--kubelet-dir", str(self.kubelet.directory), "--driver-root", str(driver.root))
        more = ("--mig-strategy", "mixed", "--quiet-time", "0", "--config-file", self.write(form, name))
        within = (sys.executable, "-c", WITH_MACHINE, str(driver.proc), str(driver.sysfs))
        async with started(*flags, *more, environment=driver.environment, within=within) as process:
            await process.wait_for_control()
            yield process

    async def has(self, form: Form, health: str) -> None:
        """Wait until the kubelet has all ids of this form with this health."""
        ids = form.ids(self.driver)
        await self.kubelet.wait_for(
            lambda: all(self.kubelet.devices(form.resource).get(each) == health for each in ids),
            timeout=LIMIT,
            what=f"{health} {ids} as {form.resource}",
        )

    def healthy(self, form: Form) -> set[str]:
        """Return the ids of its resource that the kubelet could give to a pod now."""
        return {each for each, health in self.kubelet.devices(form.resource).items() if health == "Healthy"}

    async def begin_pod(self, form: Form) -> None:
        """Let a pod hold the first id of this form."""
        await self.kubelet.allocate(form.resource, pod=POD, container="main", ids=form.ids(self.driver)[:1])
        (self.pods / POD).mkdir()

    async def end_pod(self) -> None:
        """The checkpoint of the kubelet goes on to name the pod, as that of a genuine one does."""
        await self.kubelet.remove(POD)
        (self.pods / POD).rmdir()

    async def is_withheld(self, form: Form, since: int) -> None:
        """Look that the first GPU is listed in this form, was never healthy in it, and that the pod is named."""
        await self.has(form, "Unhealthy")
        ids = form.ids(self.driver)

        reasons: list[str] = []

        async def names_pod() -> bool:
            _, output, _ = await run_to_end("status", "--json")
            told = json.loads(output)
            devices = [each for status in (told, *told["other_gateways"]) for each in status["devices"]]
            reasons[:] = [str(each["reason"]) for each in devices if each["resource"] == form.resource]
            return any(f"by {POD} main" in each for each in reasons)

        for _ in range(10):
            if await names_pod():
                break
        else:
            raise AssertionError(f"status does not name the pod: {reasons}")
        listed = [sent for sent in self.kubelet.lists[since:] if sent.resource == form.resource]
        assert all(dict(sent.devices).get(each, "Unhealthy") == "Unhealthy" for sent in listed for each in ids)
        with pytest.raises(AdmissionError):
            await self.kubelet.allocate(form.resource, pod="another", ids=ids[:1])


@pytest.fixture
async def machine(kubelet_dir: Path, tmp_path: Path) -> AsyncIterator[Machine]:
    driver = Driver(tmp_path, gpus=2)
    try:
        async with FakeKubelet(kubelet_dir, release("1.36")) as kubelet:
            yield Machine(kubelet, driver, tmp_path)
    finally:
        driver.close()


@pytest.fixture
def other_driver(tmp_path: Path) -> Iterator[Driver]:
    """A driver with the same GPUs, so that two gateways can see them in two forms at one time."""
    (tmp_path / "other").mkdir()
    made = Driver(tmp_path / "other", gpus=2)
    yield made
    made.close()


async def divide(driver: Driver, before: Form, after: Form) -> None:
    """Change the layout as an administrator does while a gateway runs."""
    if before.layout != after.layout:
        assert (await run_to_end("driver", "release"))[0] == 0
        driver.mig(after.layout)
        assert (await run_to_end("driver", "take"))[0] == 0


@every_pair
async def test_by_another_file_or_layout_while_the_gateway_runs(before: str, after: str, machine: Machine) -> None:
    old, new = FORMS[before], FORMS[after]
    machine.driver.mig(old.layout)
    async with machine.gateway(old) as process:
        await machine.has(old, "Healthy")
        await machine.begin_pod(old)
        since = len(machine.kubelet.lists)
        await divide(machine.driver, old, new)
        machine.write(new)
        process.send(signal.SIGHUP)
        await machine.is_withheld(new, since)
        await machine.end_pod()
        await machine.has(new, "Healthy")


@every_pair
async def test_by_another_gateway_after_the_end_of_the_first(before: str, after: str, machine: Machine) -> None:
    old, new = FORMS[before], FORMS[after]
    machine.driver.mig(old.layout)
    async with machine.gateway(old):
        await machine.has(old, "Healthy")
        await machine.begin_pod(old)
    since = len(machine.kubelet.lists)
    machine.driver.mig(new.layout)
    async with machine.gateway(new):
        await machine.is_withheld(new, since)
        await machine.end_pod()
        await machine.has(new, "Healthy")


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGKILL], ids=["stopped", "killed"])
@every_pair
async def test_by_another_gateway_beside_the_first(
    before: str, after: str, how: signal.Signals, machine: Machine, other_driver: Driver
) -> None:
    """The pod begins while both run."""
    old, new = FORMS[before], FORMS[after]
    machine.driver.mig(old.layout)
    other_driver.mig(new.layout)
    async with AsyncExitStack() as gateways:
        elder = await gateways.enter_async_context(machine.gateway(old))
        await machine.has(old, "Healthy")
        since = len(machine.kubelet.lists)
        younger = await gateways.enter_async_context(machine.gateway(new, other_driver, "younger"))
        await until(lambda: any(each.endswith(", standing by") for each in younger.events()), "one that waits", LIMIT)
        await younger.wait_for_event("the other gateway will say when it leaves", limit=LIMIT)
        assert not machine.healthy(new) & set(new.ids(other_driver))
        await machine.begin_pod(old)
        machine.driver = other_driver
        elder.send(how)
        await elder.ended()
        await machine.is_withheld(new, since)
        await machine.end_pod()
        await machine.has(new, "Healthy")
