"""The image does for every kubelet what the gateway does, with no privilege and nothing writable but two folders."""

import re
import signal
import stat
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import yaml

from adapters.monitoring.test_listen import free_port
from driver.driver import Driver, built
from harness.api_server import api_server
from harness.node import RESOURCE, until
from harness.process import Process
from image.build import PROJECT, ROOTFS
from image.container import KUBELET_DIR, STATE_DIR, Mount, running, settings
from plugin_gateway.__main__ import NAMES
from plugin_gateway.adapters.cluster.kubernetes_api import SERVICE_ACCOUNT
from plugin_gateway.adapters.fake_kubelet import FakeKubelet, release
from plugin_gateway.adapters.fake_kubelet.releases import RELEASES

MIB = 1024 * 1024
MAX_BYTES, MAX_RSS = 120 * MIB, 64 * MIB
"""The manifest's request of memory is the second."""


@asynccontextmanager
async def deployed(
    kubelet_dir: Path,
    state_dir: Path,
    driver: Driver,
    folder: Path,
    *arguments: str,
    mounts: Sequence[Mount] = (),
    environment: Mapping[str, str] | None = None,
    user: int = 0,
) -> AsyncIterator[Process]:
    """A container with the driver's root where the guide says."""
    state_dir.mkdir(exist_ok=True)
    if user:
        state_dir.chmod(0o777)
    machine = driver.root.parent
    library = built(old=False).parent
    needed = [
        Mount(kubelet_dir, KUBELET_DIR, writable=True),
        Mount(state_dir, STATE_DIR, writable=True),
        Mount(driver.root, "/driver-root"),
        Mount(machine, str(machine), writable=True),  # the machine's own memory, which a driver shares with the kernel
        Mount(library, str(library)),
    ]
    flags = ("--driver-root-ctr-path=/driver-root", *arguments)
    async with running(
        folder / "bundle",
        *flags,
        mounts=[*needed, *mounts],
        environment={**driver.environment, **(environment or {})},
        user=user,
    ) as process:
        yield process


@pytest.mark.parametrize("name", RELEASES)
async def test_it_serves_a_kubelet_of_every_release(
    name: str, kubelet_dir: Path, state_dir: Path, driver: Driver, tmp_path: Path
) -> None:
    async with (
        FakeKubelet(kubelet_dir, release(name)) as kubelet,
        deployed(kubelet_dir, state_dir, driver, tmp_path) as process,
    ):
        await kubelet.wait_for(lambda: kubelet.allocatable(RESOURCE) == 8, timeout=20, what="8 devices")
        container = await kubelet.allocate(RESOURCE, 2, pod="p")
        assert container.environment == {"NVIDIA_VISIBLE_DEVICES": ",".join(sorted(container.ids))}
        driver.xid(7, 79)
        await kubelet.wait_for(lambda: kubelet.allocatable(RESOURCE) == 7, what="7 devices")
        await process.wait_for_event("registered")
    assert process.events().count("registered") == 1


async def test_it_ends_in_order_and_leaves_no_socket(
    kubelet_dir: Path, state_dir: Path, driver: Driver, tmp_path: Path
) -> None:
    async with FakeKubelet(kubelet_dir, release("1.37")):
        async with deployed(kubelet_dir, state_dir, driver, tmp_path) as process:
            await process.wait_for_event("registered")
            process.send(signal.SIGTERM)
            assert await process.ended(limit=2) == 0
        assert process.events()[-1] == "stopped"
        assert [path.name for path in kubelet_dir.iterdir() if path.name.startswith("plugin")] == []


async def test_it_tells_the_api_server_over_tls_what_fails(
    kubelet_dir: Path, state_dir: Path, driver: Driver, tmp_path: Path
) -> None:
    account = tmp_path / "service-account"
    flags = ("--kubernetes-events", "--node-condition=GpuProblem", "--node-name=node-1")
    with api_server(account) as server:
        mounts = (Mount(account, str(SERVICE_ACCOUNT)),)
        async with (
            FakeKubelet(kubelet_dir, release("1.37")),
            deployed(kubelet_dir, state_dir, driver, tmp_path, *flags, mounts=mounts, environment=server.environment),
        ):
            await until(lambda: len(server.conditions()) == 1, "the condition")
            driver.xid(7, 79)
            await until(lambda: len(server.events()) == 1, "an Event")
        assert server.events()[0]["message"].startswith(f"{driver.uuid(7)}: XID 79")


async def test_it_runs_as_anybody_who_may_write_to_the_kubelets_folder(
    kubelet_dir: Path, state_dir: Path, driver: Driver, tmp_path: Path
) -> None:
    user = 65534
    for folder in (*tmp_path.parents, tmp_path):  # pytest keeps its folders to itself
        if folder.stat().st_uid == 0 and "pytest" in str(folder):
            folder.chmod(0o755)
    async with FakeKubelet(kubelet_dir, release("1.37")) as kubelet:
        kubelet_dir.chmod(0o777)
        (kubelet_dir / "kubelet.sock").chmod(0o777)
        Path(driver.environment["NVML_STAND_IN"]).chmod(0o666)
        built(old=False).parent.chmod(0o755)
        async with deployed(kubelet_dir, state_dir, driver, tmp_path, user=user):
            await kubelet.wait_for(lambda: kubelet.allocatable(RESOURCE) == 8, timeout=20, what="8 devices")
            (socket,) = kubelet_dir.glob("plugin-gateway*.sock")
            assert socket.stat().st_uid == user


async def test_its_memory_is_what_the_manifest_asks_for(
    kubelet_dir: Path, state_dir: Path, driver: Driver, tmp_path: Path
) -> None:
    manifest = yaml.safe_load((PROJECT / "deploy/manifests/plugin-gateway.yaml").read_text())
    (container,) = manifest["spec"]["template"]["spec"]["containers"]
    assert container["resources"]["requests"]["memory"] == f"{MAX_RSS // MIB}Mi"
    async with (
        FakeKubelet(kubelet_dir, release("1.37")) as kubelet,
        deployed(kubelet_dir, state_dir, driver, tmp_path, f"--listen={free_port()}") as process,
    ):
        await kubelet.wait_for(lambda: kubelet.allocatable(RESOURCE) == 8, timeout=20, what="8 devices")
        threads = Path(f"/proc/{process.pid}/task").glob("*/children")
        (gateway,) = (child for thread in threads for child in thread.read_text().split())
        status = Path(f"/proc/{gateway}/status").read_text()
    resident = int(re.search(r"VmRSS:\s+(\d+) kB", status)[1]) * 1024  # type: ignore[index]
    print(f"resident: {resident / MIB:.1f} MiB")
    assert resident < MAX_RSS
    assert re.search(r"CapEff:\s+0{16}$", status, re.MULTILINE)


def test_it_is_small_and_has_no_shell() -> None:
    size = sum(path.lstat().st_size for path in ROOTFS.rglob("*") if stat.S_ISREG(path.lstat().st_mode))
    print(f"unpacked: {size / MIB:.1f} MiB")
    assert size < MAX_BYTES
    programs = {path.name for path in (ROOTFS / "usr/bin").iterdir()}
    assert programs == {"plugin-gateway", *NAMES, "python3", "python3.13"}
    assert not list(ROOTFS.rglob("pip"))
    as_somebody_else = [
        path for path in ROOTFS.rglob("*") if path.is_file() and path.stat().st_mode & (stat.S_ISUID | stat.S_ISGID)
    ]
    assert as_somebody_else == []


def test_it_says_on_which_terms_its_parts_are_given() -> None:
    texts = {path.parent.name for path in (ROOTFS / "usr/share/doc").glob("*/copyright")}
    assert {"libc6", "libssl3t64", "python3.13-minimal", "libpython3.13-minimal"} <= texts
    wheels = (ROOTFS / "opt/plugin-gateway").glob("grpcio-*.dist-info")
    assert [path for wheel in wheels for path in wheel.rglob("LICENSE*")]
    (ours,) = (ROOTFS / "opt/plugin-gateway").glob("plugin_gateway-*.dist-info/licenses")
    for name in ("LICENSE", "NOTICE"):
        assert (ours / name).read_bytes() == (PROJECT / name).read_bytes()


def test_it_says_what_it_is_and_what_it_wants_of_nvidias_runtime() -> None:
    told = settings()
    assert {"NVIDIA_VISIBLE_DEVICES=all", "NVIDIA_DRIVER_CAPABILITIES=compute,utility"} <= set(told["Env"])
    assert (told["User"], told["Cmd"]) == ("0:0", ["run", "--config-compatibility=nvidia"])
    labels = {name.removeprefix("org.opencontainers.image."): value for name, value in told["Labels"].items()}
    assert labels["title"] == "plugin-gateway"
    assert re.fullmatch("[0-9a-f]{40}", labels["revision"])
    project = (PROJECT / "pyproject.toml").read_text()
    assert f'version = "{labels["version"]}"' in project
