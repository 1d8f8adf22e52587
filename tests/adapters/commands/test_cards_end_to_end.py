"""The commands on a node with network cards: genuine ones on disk, made up, and simulated ones beside GPUs."""

import json
import socket
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

import pytest

from cards.builder import Cards
from harness.node import RESOURCE
from harness.process import run_to_end, started
from harness.statuses import assert_valid
from plugin_gateway.adapters.fake_kubelet import AdmissionError, FakeKubelet, release

BOTH = "simulated:2xH100,simulated-rdma:1xCX6+2"
OF_VFS = (2, 3, 4, 5)
"""The numbers of the uverbs of the virtual functions."""
VFS, POOL = "example.com/roce-vf", "rdma/hca_pool"
TEXT = f"""\
version: v1
resources:
  rdma:
  - name: {VFS}
    sharing: exclusive
    select: {{functions: vf}}
  - name: {POOL}
    sharing: pool
    replicas: 63
    select: {{functions: pf}}
"""


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "config.yaml"
    path.write_text(TEXT)
    return path


@pytest.fixture
def cards(tmp_path: Path) -> Cards:
    return Cards(tmp_path / "host").connectx6()


async def run(command: str, cards: Cards, config: Path, *more: str) -> tuple[int, str]:
    """Run a command that looks at the made-up host."""
    flags = ("--backend=rdma", f"--host-root={cards.root}", f"--config-file={config}")
    status, output, errors = await run_to_end(command, *flags, *more)
    assert errors == ""
    return status, output


async def test_cards_of_a_host_below_another_root_are_listed(cards: Cards, config: Path) -> None:
    status, output = await run("devices", cards, config, "--json")
    told = json.loads(output)
    assert status == 0
    assert [(each["id"], each["resource"]) for each in told["devices"]] == [
        *((f"0000:3b:00.{number}", POOL) for number in (0, 1)),
        *((f"0000:3b:00.{number}", VFS) for number in (2, 3, 4, 5)),
    ]


async def test_the_doctor_names_the_module_that_is_missing(cards: Cards, config: Path) -> None:
    cards.unload_mlx5_ib()
    status, output = await run("doctor", cards, config)
    assert status == 1
    assert "mend  the module mlx5_ib is not loaded: 6 functions of mlx5_core have no RDMA device" in output
    assert "NVIDIA" not in output


async def test_the_doctor_says_that_a_pool_needs_shared_mode(cards: Cards, config: Path) -> None:
    cards.make_exclusive()
    _, output = await run("doctor", cards, config, "--json")
    told = [each["what"] for each in json.loads(output)]
    assert any(each.startswith(f"{POOL} is shared, and RDMA is in exclusive mode") for each in told)


def lines_with(words: str, lines: Sequence[str]) -> list[str]:
    return [line for line in lines if words in line]


async def test_a_gateway_with_gpus_and_cards_shows_both(kubelet_dir: Path, config: Path) -> None:
    with closing(socket.socket()) as free:
        free.bind(("127.0.0.1", 0))
        port = int(free.getsockname()[1])
    flags = (f"--kubelet-dir={kubelet_dir}", f"--backend={BOTH}", f"--config-file={config}", f"--listen={port}")
    async with FakeKubelet(kubelet_dir, release("1.36")) as kubelet, started(*flags) as process:
        for name, count in ((RESOURCE, 2), (VFS, 2), (POOL, 63)):
            await kubelet.wait_for(lambda name=name, count=count: kubelet.allocatable(name) == count, what=name)  # type: ignore[misc]
        await process.wait_for_control()
        await kubelet.allocate(VFS, 1, pod="p")
        held = await kubelet.allocate(POOL, 3, pod="q")
        assert len(held.environment) >= 0
        _, output, errors = await run_to_end("status")
        _, as_json, _ = await run_to_end("status", "--json")
        _, doctor, _ = await run_to_end("doctor", f"--kubelet-dir={kubelet_dir}")
    assert errors == ""
    lines = output.splitlines()
    assert "  pool: 3 of 63 ids are held" in lines
    (virtual, _) = lines_with(f"  {VFS}  ", lines)
    assert "ConnectX-6" in virtual
    assert lines_with("vf ens1f0np0#0", lines)
    (first, _) = lines_with(f"{POOL} as a pool of 63", lines)
    assert "ACTIVE" in first
    assert "Gbit/s ethernet" in first
    document = json.loads(as_json)
    assert_valid(document)
    assert {each["kind"] for each in document["devices"]} == {"gpu", "rdma"}
    assert [each["device_word"] for each in document["backends"]] == ["GPU", "RDMA device"]
    assert "ok    backend rdma: 4 RDMA devices are on this machine: ConnectX-6" in doctor
    assert not lines_with("mend", doctor.splitlines()), doctor


async def test_a_device_whose_node_was_not_there_is_unhealthy_soon_after_the_refusal(
    kubelet_dir: Path, cards: Cards, config: Path
) -> None:
    """No event tells of a node that somebody removed, and the next pod should not be refused for it as well."""
    flags = (f"--kubelet-dir={kubelet_dir}", "--backend=rdma", f"--host-root={cards.root}", f"--config-file={config}")
    async with FakeKubelet(kubelet_dir, release("1.36")) as kubelet, started(*flags):
        await kubelet.wait_for(lambda: kubelet.allocatable(VFS) == len(OF_VFS), what=VFS)
        for number in OF_VFS:
            cards.files.remove(f"/dev/infiniband/uverbs{number}")
        with pytest.raises(
            AdmissionError, match=r"/dev/infiniband/uverbs\d is not there; not given out: 0000:3b:00\.\d"
        ):
            await kubelet.allocate(VFS, 1, pod="p")
        await kubelet.wait_for(lambda: kubelet.allocatable(VFS) == 0, timeout=5, what="no healthy device")
