"""The image stands in for NVIDIA's: its names, its environment, and what the GPU operator's script calls."""

import asyncio
import signal
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from itertools import count
from pathlib import Path

import pytest

from driver.driver import Driver, built
from harness.api_server import api_server
from harness.gpu_operator import ENVIRONMENT
from harness.node import RESOURCE
from harness.process import Process
from image.build import OPERATOR_ROOTFS, ROOTFS
from image.container import KUBELET_DIR, Mount, container_of, running
from plugin_gateway.adapters.cluster.kubernetes_api import SERVICE_ACCOUNT
from plugin_gateway.adapters.configuration.folder_options import LABEL
from plugin_gateway.adapters.fake_kubelet import FakeKubelet, release

NOT_KEPT = "health is not kept over a restart, the state directory is no folder of the host"
POD = {"KUBERNETES_SERVICE_HOST": "127.0.0.1"}
"""What every container of a pod has."""
READY = "/run/nvidia/validations"
SCRIPT = f"""\
#!/bin/sh
# Waits for the validation of the driver, takes over what it found, and starts the plugin.
until [ -f {READY}/driver-ready ]; do
    echo "waiting for the driver"
    sleep 1
done
set -o allexport
cat {READY}/driver-ready
. {READY}/driver-ready
if lsmod 2>&1 | grep -q '^gdrdrv'; then
    GDRCOPY_ENABLED=true
fi
exec nvidia-device-plugin
"""
"""In own words; only what it calls is that of the operator."""
_numbers = count()


@asynccontextmanager
async def swapped(
    kubelet_dir: Path,
    driver: Driver,
    folder: Path,
    *,
    command: Sequence[str],
    mounts: Sequence[Mount] = (),
    environment: Mapping[str, str] = POD,
    rootfs: Path = ROOTFS,
) -> AsyncIterator[Process]:
    """A container as NVIDIA's DaemonSets have it: the kubelet's folder and the driver's root, and no state folder."""
    machine, library = driver.root.parent, built(old=False).parent
    needed = [
        Mount(kubelet_dir, KUBELET_DIR, writable=True),
        Mount(driver.root, "/driver-root"),
        Mount(machine, str(machine), writable=True),
        Mount(library, str(library)),
    ]
    async with running(
        folder / f"bundle-{next(_numbers)}",
        mounts=[*needed, *mounts],
        environment={**driver.environment, **environment},
        command=command,
        rootfs=rootfs,
    ) as process:
        yield process


async def test_nvidias_name_alone_serves_the_kubelet_and_says_that_health_is_not_kept(
    kubelet_dir: Path, driver: Driver, tmp_path: Path
) -> None:
    async with (
        FakeKubelet(kubelet_dir, release("1.37")) as kubelet,
        swapped(kubelet_dir, driver, tmp_path, command=("nvidia-device-plugin",)) as process,
    ):
        await kubelet.wait_for(lambda: kubelet.allocatable(RESOURCE) == 8, timeout=20, what="8 devices")
        line = await process.wait_for_event(NOT_KEPT, limit=20)
        assert (line["state_dir"], line["lost_with"]) == ("/run/plugin-gateway", "container")


async def test_with_a_folder_of_the_host_health_is_kept(
    kubelet_dir: Path, state_dir: Path, driver: Driver, tmp_path: Path
) -> None:
    state_dir.mkdir()
    command, mounts = ("nvidia-device-plugin",), (Mount(state_dir, "/run/plugin-gateway", writable=True),)
    async with FakeKubelet(kubelet_dir, release("1.37")) as kubelet:
        async with swapped(kubelet_dir, driver, tmp_path, command=command, mounts=mounts):
            await kubelet.wait_for(lambda: kubelet.allocatable(RESOURCE) == 8, timeout=20, what="8 devices")
            driver.xid(7, 79)
            await kubelet.wait_for(lambda: kubelet.allocatable(RESOURCE) == 7, what="7 devices")
        async with swapped(kubelet_dir, driver, tmp_path, command=command, mounts=mounts) as process:
            await process.wait_for_event("registered", limit=20)
            assert kubelet.allocatable(RESOURCE) == 7
            await asyncio.sleep(3)
            assert NOT_KEPT not in process.events()


async def test_the_operators_script_starts_it_to_ready(kubelet_dir: Path, driver: Driver, tmp_path: Path) -> None:
    script, ready = tmp_path / "entrypoint.sh", tmp_path / "validations"
    script.write_text(SCRIPT)
    script.chmod(0o700)
    ready.mkdir()
    mounts = (Mount(script, "/bin/entrypoint.sh"), Mount(ready, READY))
    command = ("/bin/sh", "-c", "/bin/entrypoint.sh")
    async with (
        FakeKubelet(kubelet_dir, release("1.37")) as kubelet,
        swapped(
            kubelet_dir, driver, tmp_path,
            command=command, mounts=mounts, environment={**POD, **ENVIRONMENT}, rootfs=OPERATOR_ROOTFS,
        ) as process,
    ):  # fmt: skip
        await asyncio.sleep(2)
        assert not process.lines, "it waits for the validation"
        (ready / "driver-ready").write_text(
            f"IS_HOST_DRIVER=true\nNVIDIA_DRIVER_ROOT={driver.root}\nDRIVER_ROOT_CTR_PATH=/driver-root\n"
        )
        await kubelet.wait_for(lambda: kubelet.allocatable(RESOURCE) == 8, timeout=20, what="8 devices")
        container = await kubelet.allocate(RESOURCE, 2, pod="p")
        assert container.environment == {"NVIDIA_VISIBLE_DEVICES": ",".join(sorted(container.ids))}
        assert {f"{driver.root}/dev/nvidiactl"} <= {host for host, _ in container.device_nodes.values()}
        process.send(signal.SIGTERM)
        assert await process.ended(limit=5) == 0, "the shell does not keep the signal"
        assert process.events()[-1] == "stopped"


def test_the_tools_are_in_the_operators_image_alone() -> None:
    tools = {"cat", "grep", "lsmod", "sh", "sleep"}
    there = {path.name for path in (OPERATOR_ROOTFS / "usr/bin").iterdir()}
    assert tools <= there
    assert not tools & {path.name for path in (ROOTFS / "usr/bin").iterdir()}
    licensed = {path.parent.name for path in (OPERATOR_ROOTFS / "usr/share/doc").glob("*/copyright")}
    assert {"bash", "coreutils", "grep", "libkmod2"} <= licensed  # that of kmod is a link to the last


@pytest.mark.parametrize("command", [("lsmod", "--version"), ("grep", "--version"), ("cat", "--version")])
async def test_a_tool_finds_its_libraries(command: Sequence[str], tmp_path: Path) -> None:
    ended, out, errors = await container_of(tmp_path / "bundle", *command, rootfs=OPERATOR_ROOTFS)
    assert (ended, errors) == (0, "")
    assert out


async def test_config_manager_links_the_configuration_once(tmp_path: Path) -> None:
    configs, config = tmp_path / "configs", tmp_path / "config"
    configs.mkdir()
    config.mkdir()
    (configs / "first").write_text("version: v1\n")
    with api_server(tmp_path / "account") as server:
        server.node.label(**{LABEL.replace("/", "__"): "first"})
        ended, out, errors = await container_of(
            tmp_path / "bundle", "config-manager",
            mounts=(
                Mount(server.service_account, str(SERVICE_ACCOUNT)),
                Mount(configs, "/available-configs"),
                Mount(config, "/config", writable=True),
            ),
            environment={
                **server.environment,
                "ONESHOT": "true",
                "KUBECONFIG": "",
                "NODE_NAME": "node-1",
                "CONFIG_FILE_SRCDIR": "/available-configs",
                "CONFIG_FILE_DST": "/config/config.yaml",
                "DEFAULT_CONFIG": "",
                "FALLBACK_STRATEGIES": "named,single",
            },
        )  # fmt: skip
    assert (ended, errors) == (0, "")
    assert out == f"/config/config.yaml leads to /available-configs/first: label {LABEL}\n"
    assert str((config / "config.yaml").readlink()) == "/available-configs/first"


@pytest.mark.parametrize("arguments", [(), ("mount-shm",)])
async def test_the_mps_daemon_is_nvidias(arguments: Sequence[str], tmp_path: Path) -> None:
    ended, out, errors = await container_of(tmp_path / "bundle", "mps-control-daemon", *arguments)
    assert (ended, out, errors.count("\n")) == (1, "", 1)
    assert "keep the image of NVIDIA's device plugin" in errors
