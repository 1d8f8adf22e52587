"""Network cards beside GPUs, offered by one gateway, with the genuine and the fake kubelet of each release."""

import asyncio
import signal
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, TypeAlias

import pytest

from cards import offered
from cards.builder import Cards
from cards.offered import COUNTS, HCA, ONLOAD, PFS, VF, VFS
from driver.driver import Driver
from harness.node import RESOURCE
from harness.process import Process, started
from kubelets.combinations import GPUS, chosen_releases
from kubelets.genuine import GenuineKubelet
from kubelets.scene import Kubelet
from kubelets.table import CARDS, OfCards
from kubelets.test_combinations import DAMAGING, DEVICES_GONE, JUST_STARTED, LIMIT, REFUSED
from kubelets.test_gateway import PLUGIN_ENDED
from plugin_gateway.adapters.fake_kubelet import AdmissionError
from plugin_gateway.adapters.fake_kubelet.events import Container
from plugin_gateway.adapters.kubelet.checkpoint import DamagedCheckpointError, read_checkpoint

Make: TypeAlias = Callable[[Path, str], Kubelet]
QUIET_TIME = 1.0
"""Seconds."""
ALL = {RESOURCE: GPUS, **COUNTS}
FIRST_PORT, SECOND_PORT = PFS
VARIABLE = "PCIDEVICE_EXAMPLE_COM_VF"


def each(scenario: OfCards) -> Callable[[Any], Any]:
    """Run a test with each chosen release, and with both kubelets of it."""

    def mark(test: Any) -> Any:
        marked = pytest.mark.parametrize("release", chosen_releases())(pytest.mark.timeout(120)(test))
        return pytest.mark.column(scenario, table=CARDS)(marked)

    return mark


@pytest.fixture
def driver(tmp_path: Path) -> Iterator[Driver]:
    """A stand-in driver with a few GPUs."""
    made = Driver(tmp_path, gpus=GPUS)
    yield made
    made.close()


@pytest.fixture
def cards(tmp_path: Path) -> Cards:
    return offered.made_up(tmp_path / "host")


@asynccontextmanager
async def gateway(kubelet_dir: Path, driver: Driver, cards: Cards) -> AsyncIterator[Process]:
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "config.yaml"
        file.write_text(offered.TEXT)
        flags = (
            f"--kubelet-dir={kubelet_dir}",
            f"--driver-root={driver.root}",
            f"--config-file={file}",
            f"--host-root={cards.root}",
            f"--link-quiet-time={QUIET_TIME}",
        )
        async with started(*flags, environment=driver.environment) as process:
            yield process


async def available(kubelet: Kubelet, **changed: int) -> None:
    """Wait until the kubelet has all devices, or other numbers of some: of ``vf``, ``hca`` and ``onload``."""
    names = {"vf": VF, "hca": HCA, "onload": ONLOAD}
    wanted = {**ALL, **{names[each]: count for each, count in changed.items()}}
    await kubelet.wait_for(
        lambda: all((kubelet.allocatable(each) or 0) == count for each, count in wanted.items()),
        timeout=LIMIT,
        what=str(wanted),
    )


@asynccontextmanager
async def node(make: Make, kubelet_dir: Path, driver: Driver, cards: Cards, release: str) -> AsyncIterator[Kubelet]:
    """Run a kubelet and a gateway inside the block. At the end the kubelet's log must have no unexpected complaint."""
    async with make(kubelet_dir, release) as kubelet, gateway(kubelet_dir, driver, cards) as process:
        kubelet.expected += JUST_STARTED
        await available(kubelet)
        yield kubelet
        assert not kubelet.complaints()
        assert "ends" not in process.events()


def vfs_of(container: Container) -> list[str]:
    """Return the virtual functions that the variable of a container names."""
    return container.environment[VARIABLE].split(",")


def port_of(container: Container) -> str:
    """Return the port whose nodes a container has."""
    (port,) = (each for each in PFS if offered.uverbs(each) in container.device_nodes)
    return port


async def held(kubelet: Kubelet, release: str) -> Mapping[str, set[tuple[str, str]]] | None:
    """Return what each pod holds, as resource and id, from the checkpoint. None if it is damaged, and stays so."""
    for _ in range(20):
        try:
            found = read_checkpoint(kubelet.directory)
        except DamagedCheckpointError:
            await asyncio.sleep(0.05)
            continue
        assert found is not None
        pods = {holder.pod for holder in found.holders}
        return {
            pod: {(each.resource, id_) for each in found.holders if each.pod == pod for id_ in each.devices}
            for pod in pods
        }
    assert release.startswith(DAMAGING)
    return None


@each(OfCards.ALLOCATED)
async def test_a_container_gets_the_nodes_variables_and_mounts_of_all_that_it_asks_for(
    make: Make, release: str, kubelet_dir: Path, driver: Driver, cards: Cards
) -> None:
    async with node(make, kubelet_dir, driver, cards, release) as kubelet:
        gpu = await kubelet.allocate(RESOURCE, 1, pod="gpu")
        assert gpu.environment.keys() == {"NVIDIA_VISIBLE_DEVICES"}
        assert not any("infiniband" in each for each in gpu.device_nodes)
        two = await kubelet.allocate(VF, 2, pod="two")
        assert set(vfs_of(two)) < set(VFS)
        assert two.answer == offered.of_vfs(vfs_of(two))
        assert (await kubelet.start_container("two")).answer == two.answer
        ports = [await kubelet.allocate(HCA, 1, pod=f"part-{number}") for number in range(COUNTS[HCA])]
        assert [port.answer for port in ports] == [offered.of_hca([port_of(port)]) for port in ports]
        assert sorted(map(port_of, ports)) == sorted(PFS * 3)
        onload = await kubelet.allocate(ONLOAD, COUNTS[ONLOAD] - 1, pod="onload")
        assert onload.answer == offered.of_onload()
        kubelet.expected += REFUSED
        with pytest.raises(AdmissionError):
            await kubelet.allocate(HCA, 1, pod="one more")
        if isinstance(kubelet, GenuineKubelet):  # the fake one admits a container resource by resource
            await kubelet.remove("part-0")
            every = await kubelet.allocate(RESOURCE, 1, pod="every", further={VF: 1, HCA: 1, ONLOAD: 1})
            assert set(gpu.environment) < set(every.environment)
            vf, port = offered.of_vfs(vfs_of(every)), offered.of_hca([port_of(ports[0])])
            own = {**vf.device_nodes, **port.device_nodes, **offered.of_onload().device_nodes}
            assert {path: node for path, node in every.device_nodes.items() if "nvidia" not in path} == own
            assert every.answer.mounts == offered.of_onload().mounts


@each(OfCards.PORT_DOWN)
async def test_a_port_without_a_link_is_not_allocatable_and_is_after_the_quiet_time(
    make: Make, release: str, kubelet_dir: Path, driver: Driver, cards: Cards
) -> None:
    async with node(make, kubelet_dir, driver, cards, release) as kubelet:
        cards.port_down(FIRST_PORT)
        cards.carrier("ens1f0np0", is_up=False)
        await available(kubelet, hca=3)
        assert port_of(await kubelet.allocate(HCA, 3, pod="others")) == SECOND_PORT
        cards.port_up(FIRST_PORT)
        cards.carrier("ens1f0np0", is_up=True)
        began = time.monotonic()
        await available(kubelet)
        assert time.monotonic() - began > QUIET_TIME
        assert port_of(await kubelet.allocate(HCA, 3, pod="again")) == FIRST_PORT
        cards.carrier("enp94s0f0np0", is_up=False)
        await available(kubelet, onload=0)
        cards.carrier("enp94s0f0np0", is_up=True)
        await available(kubelet)
        assert (await kubelet.allocate(ONLOAD, 1, pod="onload")).answer == offered.of_onload()


@each(OfCards.COME_AND_GO)
async def test_virtual_functions_come_and_go_and_have_the_nodes_of_the_moment(
    make: Make, release: str, kubelet_dir: Path, driver: Driver, cards: Cards
) -> None:
    async with node(make, kubelet_dir, driver, cards, release) as kubelet:
        kubelet.expected += DEVICES_GONE
        cards.unplug(VFS[0])
        offered.tell_of_devices()
        await available(kubelet, vf=3)
        rest = await kubelet.allocate(VF, 3, pod="rest")
        assert sorted(vfs_of(rest)) == list(VFS[1:])
        await kubelet.remove("rest")
        cards.plug(VFS[0])
        offered.tell_of_devices()
        await available(kubelet)
        cards.numvfs(FIRST_PORT, 0)
        offered.tell_of_devices()
        await available(kubelet, vf=0)
        cards.numvfs(FIRST_PORT, 4, first_uverbs=6)
        offered.tell_of_devices()
        await available(kubelet)
        for number in range(4):
            one = await kubelet.allocate(VF, 1, pod=f"pod-{number}")
            (vf,) = vfs_of(one)
            assert one.answer == offered.of_vfs([vf], 6 + VFS.index(vf))


@each(OfCards.KUBELET_KILLED)
async def test_a_kubelet_that_is_killed_and_started_gives_no_card_twice(
    make: Make, release: str, kubelet_dir: Path, driver: Driver, cards: Cards
) -> None:
    async with node(make, kubelet_dir, driver, cards, release) as kubelet:
        before = await kubelet.allocate(VF, 2, pod="before")
        part = await kubelet.allocate(HCA, 1, pod="part")
        known = await held(kubelet, release)
        await kubelet.restart_as()
        await available(kubelet)
        assert (await kubelet.start_container("before")).answer == before.answer
        assert (await kubelet.start_container("part")).answer == part.answer
        after = await kubelet.allocate(VF, 2, pod="after")
        assert sorted((*vfs_of(before), *vfs_of(after))) == list(VFS)
        kubelet.expected += REFUSED
        with pytest.raises(AdmissionError):
            await kubelet.allocate(VF, 1, pod="one more")
        now = await held(kubelet, release)
        if known is not None and now is not None and not release.startswith(DAMAGING):
            assert known["before"] == {(VF, each) for each in vfs_of(before)}
            assert {**now, **known} == now


@each(OfCards.GATEWAY_KILLED)
async def test_a_function_that_a_pod_has_is_neither_gone_nor_given_again_by_the_next_gateway(
    make: Make, release: str, kubelet_dir: Path, driver: Driver, cards: Cards
) -> None:
    async with make(kubelet_dir, release) as kubelet:
        kubelet.expected += (*PLUGIN_ENDED, *JUST_STARTED)
        async with gateway(kubelet_dir, driver, cards) as process:
            await available(kubelet)
            (taken,) = vfs_of(await kubelet.allocate(VF, 1, pod="holder"))
            process.send(signal.SIGKILL)
            await process.ended()
            await kubelet.wait_for(lambda: not kubelet.allocatable(VF), timeout=LIMIT, what="end of the gateway")
        cards.give_away(taken)
        async with gateway(kubelet_dir, driver, cards):
            await available(kubelet)
            others = await kubelet.allocate(VF, 3, pod="others")
            assert sorted((*vfs_of(others), taken)) == list(VFS)
            await kubelet.remove("holder")
            cards.take_back(taken, number=9)
            again = await kubelet.allocate(VF, 1, pod="next")
            assert again.answer == offered.of_vfs([taken], 9)
        assert not kubelet.complaints()
