"""Network cards beside GPUs in one process: their sections come and go with the file, and the GPUs notice nothing."""

import asyncio
import json
import re
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from cards.builder import Cards
from harness.process import Process, run_to_end, started
from plugin_gateway.adapters.fake_kubelet import FakeKubelet, release

GPUS, VFS, SHARED, ONLOAD = "nvidia.com/gpu", "example.com/vf", "rdma/hca", "amd.com/onload"
RENAMED = "example.com/other"
NOTHING = "version: v1\n"
EXCLUSIVE = f"version: v1\nresources:\n  rdma: [{{name: {VFS}, select: {{functions: vf}}}}]\n"
BOTH = f"{EXCLUSIVE}  onload: {{}}\n"
EVERY = "version: v1\nresources: {rdma: {}}\n"


@pytest.fixture
def host(tmp_path: Path) -> Path:
    """The root of the host."""
    return tmp_path / "host"


@pytest.fixture
def cards(host: Path) -> Cards:
    """A dual-port ConnectX-6, which has four virtual functions, and an X2522 with two ports."""
    return Cards(host).connectx6().solarflare()


@pytest.fixture
def config(tmp_path: Path) -> Path:
    return tmp_path / "config.yaml"


@asynccontextmanager
async def gateway(kubelet_dir: Path, config: Path, *more: str) -> AsyncIterator[Process]:
    arguments = ("--kubelet-dir", str(kubelet_dir), "--backend", "simulated:2xH100,auto", "--config-file", str(config))
    async with started(*arguments, *more) as process:
        yield process


async def offered(kubelet: FakeKubelet, limit: float = 10, **wanted: int | None) -> None:
    names = {"gpus": GPUS, "vfs": VFS, "shared": SHARED, "onload": ONLOAD}
    await kubelet.wait_for(
        lambda: all(kubelet.allocatable(names[each]) == count for each, count in wanted.items()),
        timeout=limit,
        what=str(wanted),
    )


@pytest.mark.usefixtures("cards")
async def test_a_section_that_comes_and_goes_touches_no_stream_of_the_gpus(
    kubelet_dir: Path, host: Path, config: Path, tmp_path: Path
) -> None:
    config.write_text(NOTHING)
    recording = str(tmp_path / "recording.jsonl")
    async with (
        FakeKubelet(kubelet_dir, release("1.36")) as kubelet,
        gateway(kubelet_dir, config, "--host-root", str(host), "--record", recording) as process,
    ):
        await offered(kubelet, gpus=2, vfs=None, onload=None)
        config.write_text(BOTH)
        process.send(signal.SIGHUP)
        await offered(kubelet, gpus=2, vfs=4, onload=100)
        line = await process.wait_for_event("backends changed")
        assert (line["started"], line["backends"]) == (["rdma", "onload"], ["simulated", "rdma", "onload"])
        vf = await kubelet.allocate(VFS, 1, pod="a")
        gpu = await kubelet.allocate(GPUS, 1, pod="b")
        assert list(gpu.environment) == ["NVIDIA_VISIBLE_DEVICES"]
        assert re.fullmatch(r"0000:3b:00\.[2-5]", vf.environment["PCIDEVICE_EXAMPLE_COM_VF"])
        await process.wait_for_control()
        told = json.loads((await run_to_end("status", "--json"))[1])
        assert [each["name"] for each in told["backends"]] == ["simulated", "rdma", "onload"]
        assert {each["backend"] for each in told["devices"]} == {"simulated", "rdma", "onload"}
        assert (await run_to_end("driver", "take", "rdma"))[0] == 0
        config.write_text(EXCLUSIVE)
        process.send(signal.SIGHUP)
        line = await process.wait_for_event("backends changed", 2)
        assert (line["stopped"], line["backends"]) == (["onload"], ["simulated", "rdma"])
        await offered(kubelet, gpus=2, vfs=4, onload=0)
        config.write_text(NOTHING)
        process.send(signal.SIGHUP)
        await process.wait_for_event("backends changed", 3)
        await offered(kubelet, gpus=2, vfs=0, onload=0)
        assert kubelet.open_streams(GPUS) == 1
        assert [each.resource for each in kubelet.registrations].count(GPUS) == 1
        told = json.loads((await run_to_end("status", "--json"))[1])
        assert [each["name"] for each in told["backends"]] == ["simulated"]
    status, output, errors = await run_to_end("replay", recording)
    assert (status, errors) == (0, ""), output


@pytest.mark.usefixtures("cards")
async def test_a_section_is_offered_from_the_start(kubelet_dir: Path, host: Path, config: Path) -> None:
    config.write_text(BOTH)
    async with (
        FakeKubelet(kubelet_dir, release("1.36")) as kubelet,
        gateway(kubelet_dir, config, "--host-root", str(host)),
    ):
        await offered(kubelet, gpus=2, vfs=4, onload=100)
        onload = await kubelet.allocate(ONLOAD, 1, pod="a")
        assert sorted(onload.device_nodes) == ["/dev/onload", "/dev/onload_epoll", "/dev/sfc_char"]
        assert onload.environment == {"LD_PRELOAD": "/opt/onload/usr/lib64/libonload.so"}


@pytest.mark.usefixtures("cards")
async def test_another_root_of_the_host_takes_another_backend(
    kubelet_dir: Path, host: Path, config: Path, tmp_path: Path
) -> None:
    other = tmp_path / "other"
    Cards(other).infiniband()
    config.write_text(f"{EVERY}flags: {{plugin: {{hostRoot: {host}}}}}\n")
    async with FakeKubelet(kubelet_dir, release("1.36")) as kubelet, gateway(kubelet_dir, config) as process:
        await offered(kubelet, gpus=2, shared=200)
        config.write_text(f"{EVERY}flags: {{plugin: {{hostRoot: {other}}}}}\n")
        process.send(signal.SIGHUP)
        await kubelet.wait_for(lambda: kubelet.capacity(SHARED) == 100, timeout=10, what="the ids of another card")
        assert kubelet.allocatable(SHARED) == 0, "its port is down"


@pytest.mark.usefixtures("cards")
async def test_gpus_that_are_renamed_with_a_new_section_stay_with_their_pods(
    kubelet_dir: Path, host: Path, config: Path
) -> None:
    config.write_text(NOTHING)
    async with (
        FakeKubelet(kubelet_dir, release("1.36")) as kubelet,
        gateway(kubelet_dir, config, "--host-root", str(host)) as process,
    ):
        await offered(kubelet, gpus=2)
        held = (await kubelet.allocate(GPUS, 1, pod="a")).environment["NVIDIA_VISIBLE_DEVICES"]
        config.write_text(f"{EXCLUSIVE}  gpus: [{{pattern: '*', name: {RENAMED}}}]\n")
        process.send(signal.SIGHUP)
        await offered(kubelet, vfs=4, gpus=0)
        await kubelet.wait_for(lambda: kubelet.allocatable(RENAMED) == 1, what="the GPU that no pod has")
        assert kubelet.devices(RENAMED)[held] == "Unhealthy"
        line = next(
            each
            for each in process.lines
            if each["event"] == "network cards match no rule under resources, they are not offered"
        )
        assert (line["level"], line["count"]) == ("info", 2), "the physical functions"


@pytest.mark.usefixtures("cards")
async def test_a_file_for_multus_is_there_when_the_pod_starts(
    kubelet_dir: Path, host: Path, config: Path, tmp_path: Path
) -> None:
    config.write_text(EXCLUSIVE)
    folder = tmp_path / "dp"
    async with (
        FakeKubelet(kubelet_dir, release("1.36")) as kubelet,
        gateway(kubelet_dir, config, "--host-root", str(host), "--device-info-dir", str(folder)),
    ):
        await offered(kubelet, vfs=4)
        container = await kubelet.allocate(VFS, 2, pod="a")
        for device in container.environment["PCIDEVICE_EXAMPLE_COM_VF"].split(","):
            told = json.loads((folder / f"example.com-vf-{device}-device.json").read_text())
            assert told["pci"] == {"pci-address": device, "rdma-device": f"mlx5_{device[-1]}"}
    assert len(list(folder.iterdir())) == 2, "a pod that just starts still needs them"


async def test_a_card_in_a_pod_belongs_to_its_resource_after_a_restart(
    kubelet_dir: Path, host: Path, config: Path, cards: Cards
) -> None:
    config.write_text(f"version: v1\nresources: {{rdma: [{{name: {VFS}, select: {{interfaces: [ens1f0v*]}}}}]}}\n")
    root = ("--host-root", str(host))
    async with FakeKubelet(kubelet_dir, release("1.36")) as kubelet:
        async with gateway(kubelet_dir, config, *root):
            await offered(kubelet, vfs=4)
        cards.give_away("0000:3b:00.4")
        async with gateway(kubelet_dir, config, *root) as process:
            await process.wait_for_event("registered", 2)
            await offered(kubelet, vfs=4)


async def test_a_card_that_hangs_keeps_its_section_from_nothing(
    kubelet_dir: Path, host: Path, config: Path, cards: Cards
) -> None:
    cards.hang(f"{cards.port_folder('0000:3b:00.0')}/state")
    config.write_text(EVERY)
    async with (
        FakeKubelet(kubelet_dir, release("1.36")) as kubelet,
        gateway(kubelet_dir, config, "--host-root", str(host)) as process,
    ):
        await offered(kubelet, 20, gpus=2, shared=100)
        config.write_text(NOTHING)
        process.send(signal.SIGHUP)
        await offered(kubelet, gpus=2, shared=0)
        config.write_text(EVERY)
        process.send(signal.SIGHUP)
        await offered(kubelet, gpus=2, shared=100)


async def test_cards_that_are_simulated_run_beside_simulated_gpus(kubelet_dir: Path) -> None:
    backends = "simulated:2xH100,simulated-rdma:2xCX6+4,simulated-onload:1xX2522"
    async with (
        FakeKubelet(kubelet_dir, release("1.36")) as kubelet,
        started("--kubelet-dir", str(kubelet_dir), "--backend", backends),
    ):
        await offered(kubelet, gpus=2, shared=400, onload=100)
        assert (await kubelet.allocate(SHARED, 1, pod="a")).environment == {}


async def test_cards_can_be_alone(kubelet_dir: Path) -> None:
    arguments = ("--kubelet-dir", str(kubelet_dir), "--backend", "simulated-rdma:1xCX7")
    async with FakeKubelet(kubelet_dir, release("1.36")) as kubelet, started(*arguments):
        await offered(kubelet, gpus=None, shared=200)


async def test_a_file_without_a_section_imports_nothing_of_cards(config: Path) -> None:
    config.write_text("version: v1\nhealth: {evidence: {fabric: report}}\nresources: {rules: [{name: a/b}]}\n")
    code = (
        "import sys; from plugin_gateway.__main__ import PARTS;"
        "from plugin_gateway.adapters.commands.flags import decide_all;"
        "from plugin_gateway.adapters.configuration.option import GivenFlag;"
        "from plugin_gateway.adapters.configuration.settings import make_settings;"
        f"make_settings(decide_all({{'config_file': GivenFlag('', {str(config)!r})}}, PARTS));"
        "print([name for name in sys.modules if 'card_rules' in name or 'card_words' in name or 'cards_section' in name"
        " or name.startswith(('plugin_gateway.linux', 'plugin_gateway.rdma', 'plugin_gateway.solarflare'))])"
    )
    child = await asyncio.create_subprocess_exec(sys.executable, "-c", code, stdout=asyncio.subprocess.PIPE)
    output, _ = await child.communicate()
    assert (child.returncode, output) == (0, b"[]\n")
