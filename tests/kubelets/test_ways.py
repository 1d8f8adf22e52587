"""How the genuine and the fake kubelet of each release hand on what a container is told of its GPUs."""

import json
import signal
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, closing
from pathlib import Path
from typing import Any, TypeAlias

import pytest

from driver.driver import Driver
from harness.driver_root import put_libraries
from harness.node import RESOURCE
from harness.process import Process, run_to_end, started
from kubelets.combinations import chosen_releases
from kubelets.scene import Kubelet
from kubelets.table import TOLD
from kubelets.test_combinations import LIMIT
from kubelets.test_gateway import PLUGIN_ENDED, SETTLED, available, settled
from kubelets.ways import WAYS, Column, Era, Told, Way, era_of
from plugin_gateway.adapters.fake_kubelet.events import Container

Make: TypeAlias = Callable[[Path, str], Kubelet]
GPUS = 2
DRIVER = "575.57.08"
KIND = "k8s.device-plugin.nvidia.com/gpu"
FOLDER = "/var/run/nvidia-container-devices"
VISIBLE = "NVIDIA_VISIBLE_DEVICES"
CHANNEL, GDRCOPY = "/dev/nvidia-caps-imex-channels/channel0", "/dev/gdrdrv"
OWN_NODES = (
    *(f"/dev/nvidia{index}" for index in range(GPUS)),
    "/dev/nvidiactl",
    "/dev/nvidia-uvm",
    "/dev/nvidia-uvm-tools",
)
FALLEN_BACK = "containers get device nodes and the variable instead of CDI devices"
WITH_EXTRAS = "imex: {channelIDs: [0]}\nflags: {gdrcopyEnabled: true, "
REQUIRED = "imex: {channelIDs: [0], required: true}\nflags: {"


def each(column: Column) -> Callable[[Any], Any]:
    """Run a test with each chosen release, and with both kubelets of it."""

    def mark(test: Any) -> Any:
        marked = pytest.mark.parametrize("release", chosen_releases(column.releases))(pytest.mark.timeout(120)(test))
        return pytest.mark.column(column, table=TOLD)(marked)

    return mark


class Setup:
    """A kubelet and a gateway. The way in which containers are told their GPUs can change while both run."""

    def __init__(self, kubelet: Kubelet, process: Process, driver: Driver, folder: Path) -> None:
        self.kubelet = kubelet
        self.process = process
        self.driver = driver
        self.ids = [driver.uuid(index) for index in range(GPUS)]
        self.names = tuple(f"{KIND}={each}" for each in self.ids)
        self._folder = folder
        self._pods = 0

    async def use(self, strategies: str, more: str = "flags: {") -> None:
        """Tell containers their GPUs in this way from now on."""
        events = self.process.events()
        configure(self._folder, strategies, more)
        self.process.send(signal.SIGHUP)
        await self.process.wait_for_event("configuration changed", events.count("configuration changed") + 1)
        await settled(self.kubelet, GPUS, LIMIT)

    async def container(self) -> Container:
        """Start a container with all GPUs, start it again, and end its pod."""
        self._pods += 1
        pod = f"pod-{self._pods}"
        found = await self.kubelet.allocate(RESOURCE, GPUS, pod=pod)
        assert (await self.kubelet.start_container(pod)).answer == found.answer
        await self.kubelet.remove(pod)
        return found

    def check(self, container: Container, told: frozenset[Told]) -> None:
        """Check that a container is told its GPUs in these ways, and gets nothing else."""
        by_mounts = Told.MOUNTS in told
        by_variable = {VISIBLE: ",".join(self.ids)} if Told.VARIABLE in told else {}
        assert container.environment == ({VISIBLE: FOLDER} if by_mounts else by_variable)
        mounts = {f"{FOLDER}/{each}": ("/dev/null", False) for each in self.ids}
        assert container.answer.mounts == (mounts if by_mounts else {})
        assert container.device_nodes == (self.nodes(*OWN_NODES) if Told.NODES in told else {})
        annotations = container.answer.annotations
        assert list(annotations.values()) == ([",".join(self.names)] if Told.ANNOTATION in told else [])
        assert all(name.startswith("cdi.k8s.io/plugin-gateway_") for name in annotations)
        assert container.answer.cdi_devices == (self.names if Told.NAMES in told else ())
        if told & {Told.ANNOTATION, Told.NAMES}:
            spec = json.loads((self._folder / "cdi" / f"{KIND.replace('/', '-')}.json").read_bytes())
            assert tuple(f"{spec['kind']}={each['name']}" for each in spec["devices"]) == self.names

    def fallen_back(self) -> int:
        """Return how often the log has said so."""
        return self.process.events().count(FALLEN_BACK)

    def nodes(self, *paths: str) -> Mapping[str, tuple[str, str]]:
        """Return device nodes as a container has them."""
        return {path: (f"{self.driver.root}{path}", "rw") for path in paths}

    def add_node(self, path: str) -> None:
        node = Path(f"{self.driver.root}{path}")
        node.parent.mkdir(exist_ok=True)
        node.touch()


@pytest.fixture
def driver(tmp_path: Path) -> Iterator[Driver]:
    """A stand-in driver with the library that a CDI spec needs."""
    with closing(Driver(tmp_path, gpus=GPUS)) as made:
        put_libraries(made.root, DRIVER, names=("libcuda",))
        yield made


def configure(folder: Path, strategies: str, more: str = "flags: {") -> None:
    text = f"version: v1\n{more}plugin: {{deviceListStrategy: [{strategies}]}}}}\n"
    (folder / "config.yaml").write_text(text)


@asynccontextmanager
async def setup(make: Make, release: str, driver: Driver, kubelet_dir: Path, *first: str) -> AsyncIterator[Setup]:
    """Run a kubelet and a gateway inside the block. At the end the kubelet's log must have no unexpected complaint."""
    folder = driver.root.parent
    configure(folder, *first)
    flags = (
        f"--kubelet-dir={kubelet_dir}",
        f"--driver-root={driver.root}",
        f"--config-file={folder / 'config.yaml'}",
        f"--cdi-spec-dir={folder / 'cdi'}",
    )
    async with make(kubelet_dir, release) as kubelet, started(*flags, environment=driver.environment) as process:
        yield Setup(kubelet, process, driver, folder)
        assert not kubelet.complaints()
        assert "ends" not in process.events()


@each(Column.EVERY_WAY)
async def test_a_container_is_told_its_gpus_in_every_way_that_its_kubelet_hands_on(
    make: Make, release: str, kubelet_dir: Path, driver: Driver
) -> None:
    first, *others = WAYS
    async with setup(make, release, driver, kubelet_dir, first.strategies) as found:
        await available(found.kubelet, GPUS, LIMIT)
        found.check(await found.container(), first.told[era_of(release)])
        for way in others:
            await found.use(way.strategies)
            found.check(await found.container(), way.told[era_of(release)])


def way(strategies: str) -> Way:
    return next(each for each in WAYS if each.strategies == strategies)


@each(Column.FALLS_BACK)
async def test_what_a_kubelet_does_not_hand_on_is_warned_of_once_a_registration(
    make: Make, release: str, kubelet_dir: Path, driver: Driver
) -> None:
    era, by_name, by_annotation = era_of(release), way("cdi-cri"), way("cdi-annotations")
    warnings = int(era in by_name.falls_back)
    async with setup(make, release, driver, kubelet_dir, by_name.strategies) as found:
        found.kubelet.expected += PLUGIN_ENDED
        await settled(found.kubelet, GPUS, LIMIT)
        for _ in range(2):
            found.check(await found.container(), by_name.told[era])
        assert found.fallen_back() == warnings
        await found.kubelet.restart_as()
        await settled(found.kubelet, GPUS, LIMIT)
        found.check(await found.container(), by_name.told[era])
        assert found.fallen_back() == 2 * warnings
        await said(found, fallen=era in by_name.falls_back)
        await found.use(by_annotation.strategies)
        found.check(await found.container(), by_annotation.told[era])
        assert found.fallen_back() == 2 * warnings, "it is the same registration"
        await said(found, fallen=era in by_annotation.falls_back)


async def said(found: Setup, *, fallen: bool) -> None:
    """Check what `status` says."""
    await found.process.wait_for_control()
    _, shown, _ = await run_to_end("status")
    assert (FALLEN_BACK in shown) == fallen


@each(Column.EXTRAS)
async def test_gdrcopy_and_an_imex_channel_reach_the_container(
    make: Make, release: str, kubelet_dir: Path, driver: Driver
) -> None:
    async with setup(make, release, driver, kubelet_dir, "envvar", WITH_EXTRAS) as found:
        await available(found.kubelet, GPUS, LIMIT)
        bare = await found.container()
        assert bare.environment == {VISIBLE: ",".join(found.ids), "NVIDIA_GDRCOPY": "enabled"}
        assert bare.device_nodes == found.nodes(*OWN_NODES), "nodes only where they are"
        found.add_node(CHANNEL)
        found.add_node(GDRCOPY)
        for strategies in ("envvar", "volume-mounts", "envvar,volume-mounts", "envvar,cdi-cri"):
            if strategies != "envvar":
                await found.use(strategies, WITH_EXTRAS)
            container = await found.container()
            by_mounts, names = "volume-mounts" in strategies, "envvar" in strategies
            assert container.environment == {
                VISIBLE: FOLDER if by_mounts else ",".join(found.ids),
                "NVIDIA_GDRCOPY": "enabled",
                **({"NVIDIA_IMEX_CHANNELS": "0"} if names else {}),
            }
            assert container.device_nodes == found.nodes(*OWN_NODES, GDRCOPY, CHANNEL)
            assert (f"{FOLDER}/imex/0" in container.answer.mounts) == by_mounts
            cdi = [name for name in container.answer.cdi_devices if name.startswith(f"{KIND}=")]
            assert cdi == (list(found.names) if "cdi" in strategies and era_of(release) is Era.NAMES else [])


@each(Column.REQUIRED)
async def test_no_container_gets_a_gpu_before_a_required_imex_channel_is_there(
    make: Make, release: str, kubelet_dir: Path, driver: Driver
) -> None:
    async with setup(make, release, driver, kubelet_dir, "envvar", REQUIRED) as found:
        await found.process.wait_for_event("registered")
        await found.process.wait_for_event("devices are not given out, the node lacks what every container needs")
        with pytest.raises(TimeoutError):
            await found.kubelet.wait_for(
                lambda: (found.kubelet.allocatable(RESOURCE) or 0) > 0, timeout=SETTLED, what="a GPU"
            )
        found.add_node(CHANNEL)
        await available(found.kubelet, GPUS, LIMIT)
        container = await found.container()
        assert container.environment["NVIDIA_IMEX_CHANNELS"] == "0"
        assert container.device_nodes == found.nodes(*OWN_NODES, CHANNEL)
