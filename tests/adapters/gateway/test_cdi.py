"""A gateway whose containers get their GPUs by CDI, as a process with a kubelet and the stand-in for the driver."""

import contextlib
import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from driver.driver import Driver
from harness.cdi_schema import checked
from harness.driver_root import LIBRARIES, put_libraries
from harness.process import run_to_end, started
from plugin_gateway.adapters.fake_kubelet import FakeKubelet, release

from .cdi_scene import FILE, HEALTHY, KIND, RESOURCE, UNHEALTHY, Scene, V, running


@pytest.fixture
def driver(tmp_path: Path) -> Iterator[Driver]:
    with contextlib.closing(Driver(tmp_path, gpus=2)) as made:
        put_libraries(made.root, V)
        yield made


FALLBACK = "containers get device nodes and the variable instead of CDI devices"


async def test_the_spec_is_there_before_the_devices_are_listed(
    driver: Driver, kubelet_dir: Path, tmp_path: Path
) -> None:
    async with running(driver, kubelet_dir, tmp_path / "cdi") as scene:
        await scene.kubelet.wait_for(lambda: bool(scene.health), timeout=15, what="a list")
        assert scene.health == [HEALTHY.value, HEALTHY.value], "the first list is kept back until the spec is written"
        document = scene.spec()
        ids = sorted(scene.kubelet.devices(RESOURCE))
        assert (document["kind"], [each["name"] for each in document["devices"]]) == (KIND, ids)
        assert f"{driver.root}/{LIBRARIES}/libcuda.so.{V}" in [
            each["hostPath"] for each in document["containerEdits"]["mounts"]
        ]
        assert "NVIDIA_VISIBLE_DEVICES=void" in document["containerEdits"]["env"]
        container = await scene.kubelet.allocate(RESOURCE, pod="pod", ids=ids)
        assert (container.answer.cdi_devices, container.environment, container.device_nodes) == (
            tuple(f"{KIND}={each}" for each in ids),
            {},
            {},
        )
        assert [path.name for path in scene.folder.iterdir()] == [FILE], "no other file is left"


async def test_a_folder_that_cannot_be_written_is_named_and_tried_again(
    driver: Driver, kubelet_dir: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "cdi"
    folder.symlink_to(tmp_path)
    async with running(driver, kubelet_dir, folder) as scene:
        await scene.wait_for_health(UNHEALTHY, UNHEALTHY)
        line = await scene.process.wait_for_event("devices are in no CDI spec, so they are not given out")
        assert "is a link" in line["problem"]
        folder.unlink()
        await scene.wait_for_health(HEALTHY, HEALTHY)
        assert scene.spec()


async def test_without_libraries_devices_are_unhealthy_until_they_are_installed(
    kubelet_dir: Path, tmp_path: Path
) -> None:
    with contextlib.closing(Driver(tmp_path, gpus=1)) as bare:
        async with running(bare, kubelet_dir, tmp_path / "cdi") as scene:
            await scene.wait_for_health(UNHEALTHY)
            line = await scene.process.wait_for_event("devices are in no CDI spec, so they are not given out")
            assert f"libcuda.so.{V} is in none of" in line["problem"]
            assert not (tmp_path / "cdi" / FILE).exists()
            put_libraries(bare.root, V)
            await scene.wait_for_health(HEALTHY)


@pytest.mark.parametrize(
    ("kubelet", "strategies", "is_told"),
    [
        ("1.37", "cdi-cri", True),
        ("1.29", "cdi-cri", True),
        ("1.28", "cdi-cri", False),
        ("1.28", "cdi-annotations,cdi-cri", True),
        ("1.10.13", "cdi-annotations", True),
        ("1.9.11", "cdi-annotations,cdi-cri", False),
        ("1.8.15", "cdi-cri", False),
    ],
)
async def test_a_kubelet_that_cannot_pass_names_on_gets_nodes_and_the_variable(
    driver: Driver, kubelet_dir: Path, tmp_path: Path, kubelet: str, strategies: str, is_told: bool
) -> None:
    async with running(driver, kubelet_dir, tmp_path / "cdi", strategies=strategies, kubelet=kubelet) as scene:
        await scene.wait_for_health(HEALTHY, HEALTHY)
        container = await scene.kubelet.allocate(RESOURCE, pod="pod")
        (first,) = container.ids
        named = f"{KIND}={first}" in (*container.answer.cdi_devices, *container.answer.annotations.values())
        assert named == is_told
        assert dict(container.environment) == ({} if is_told else {"NVIDIA_VISIBLE_DEVICES": first})
        assert bool(container.device_nodes) != is_told
        if not is_told:
            await scene.process.wait_for_event(FALLBACK)
        assert len([each for each in scene.process.lines if each["event"] == FALLBACK]) == (not is_told)


@pytest.mark.parametrize("kubelet", ["1.37", "1.28"])
async def test_a_recording_plays_again_without_a_difference(
    driver: Driver, kubelet_dir: Path, tmp_path: Path, kubelet: str
) -> None:
    flags = (f"--record={tmp_path / 'recording'}",)
    async with running(driver, kubelet_dir, tmp_path / "cdi", *flags, kubelet=kubelet) as scene:
        await scene.wait_for_health(HEALTHY, HEALTHY)
        await scene.kubelet.allocate(RESOURCE, 1, pod="pod")
    status, said, _ = await run_to_end("replay", str(tmp_path / "recording"))
    assert status == 0, said


CHANNEL = "/dev/nvidia-caps-imex-channels/channel0"


async def test_what_containers_get_besides_has_specs_of_its_own_and_is_named_once_they_are_there(
    driver: Driver, kubelet_dir: Path, tmp_path: Path
) -> None:
    flags = ("--gdrcopy-enabled", "--gds-enabled", f"--record={tmp_path / 'recording'}")
    (driver.root / "dev/nvidia-fs0").touch()
    async with running(driver, kubelet_dir, tmp_path / "cdi", *flags) as scene:
        await scene.wait_for_health(HEALTHY, HEALTHY)
        (first, second) = scene.kubelet.devices(RESOURCE)
        container = await scene.kubelet.allocate(RESOURCE, pod="pod", ids=[first])
        gds, gdrcopy = "k8s.device-plugin.nvidia.com/gds", "k8s.device-plugin.nvidia.com/gdrcopy"
        assert container.answer.cdi_devices == (f"{KIND}={first}", f"{gds}=all")
        assert container.environment == {"NVIDIA_GDRCOPY": "enabled", "NVIDIA_GDS": "enabled"}
        document = checked((scene.folder / "k8s.device-plugin.nvidia.com-gds.json").read_bytes())
        assert [each["path"] for each in document["devices"][0]["containerEdits"]["deviceNodes"]] == ["/dev/nvidia-fs0"]
        (driver.root / "dev/gdrdrv").touch()
        file = scene.folder / "k8s.device-plugin.nvidia.com-gdrcopy.json"
        await scene.process.wait_for_event("CDI spec written", times=3, limit=20)
        assert checked(file.read_bytes())["kind"] == gdrcopy
        container = await scene.kubelet.allocate(RESOURCE, pod="other", ids=[second])
        assert container.answer.cdi_devices == (f"{KIND}={second}", f"{gdrcopy}=all", f"{gds}=all")
    status, said, _ = await run_to_end("replay", str(tmp_path / "recording"))
    assert status == 0, said


async def test_a_channel_that_every_container_needs_is_named_before_a_device_is_given_out(
    driver: Driver, kubelet_dir: Path, tmp_path: Path
) -> None:
    config = tmp_path / "config.yaml"
    config.write_text("version: v1\nimex: {channelIDs: [0], required: true}\n")
    flags = (f"--config-file={config}", f"--record={tmp_path / 'recording'}")
    async with running(driver, kubelet_dir, tmp_path / "cdi", *flags) as scene:
        await scene.wait_for_health(UNHEALTHY, UNHEALTHY)
        channel = driver.root / CHANNEL.lstrip("/")
        channel.parent.mkdir()
        channel.touch()
        await scene.wait_for_health(HEALTHY, HEALTHY)
        (first, _) = scene.kubelet.devices(RESOURCE)
        container = await scene.kubelet.allocate(RESOURCE, pod="pod", ids=[first])
        name = "k8s.device-plugin.nvidia.com/imex-channel=0"
        assert (container.answer.cdi_devices, container.environment) == ((f"{KIND}={first}", name), {})
        assert checked((scene.folder / "k8s.device-plugin.nvidia.com-imex-channel.json").read_bytes())
    status, said, _ = await run_to_end("replay", str(tmp_path / "recording"))
    assert status == 0, said


async def test_status_says_how_containers_find_the_driver(driver: Driver, kubelet_dir: Path, tmp_path: Path) -> None:
    async with running(driver, kubelet_dir, tmp_path / "cdi", kubelet="1.28") as scene:
        await scene.wait_for_health(HEALTHY, HEALTHY)
        await scene.process.wait_for_control()
        _, said, _ = await run_to_end("status")
        assert f"CDI specs in {tmp_path / 'cdi'}: without hooks, libraries lie where the loader of a container" in said
        assert (
            "containers get device nodes and the variable instead of CDI devices: this kubelet (v1beta1, grpc" in said
        )


async def test_a_file_of_another_program_is_named_and_left_alone(
    driver: Driver, kubelet_dir: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "cdi"
    folder.mkdir()
    foreign = folder / "old plugin.yaml"
    foreign.write_text(f"cdiVersion: 0.5.0\nkind: {KIND}\ndevices: []\n")
    (folder / "other.json").write_text(json.dumps({"kind": "nvidia.com/gpu"}))
    (folder / FILE).write_text("what lay here before")
    async with running(driver, kubelet_dir, folder) as scene:
        line = await scene.process.wait_for_event(
            "other files have CDI devices of this kind; a device in two files of one folder resolves to nothing"
        )
        assert line["files"] == [str(foreign)]
        await scene.wait_for_health(HEALTHY, HEALTHY)
        assert scene.spec()
        assert foreign.exists()


async def test_the_strategy_can_change_while_the_gateway_runs(
    driver: Driver, kubelet_dir: Path, tmp_path: Path
) -> None:
    file = tmp_path / "config.yaml"

    def write(strategy: str) -> None:
        file.write_text(f"version: v1\nflags: {{plugin: {{deviceListStrategy: {strategy}}}}}\n")

    write("envvar")
    environment = {"DEVICE_LIST_STRATEGY": ""}
    arguments = (f"--kubelet-dir={kubelet_dir}", f"--driver-root={driver.root}", f"--cdi-spec-dir={tmp_path / 'cdi'}")
    async with FakeKubelet(kubelet_dir, release("1.37")) as kubelet:
        given = {**driver.environment, **environment}
        async with started(*arguments, f"--config-file={file}", environment=given) as process:
            scene = Scene(driver, kubelet, tmp_path / "cdi", process)
            await scene.wait_for_health(HEALTHY, HEALTHY)
            assert not scene.folder.exists()
            write("[cdi-annotations, cdi-cri]")
            os.kill(process.pid, signal.SIGHUP)
            await process.wait_for_event("configuration changed")
            await process.wait_for_event("CDI spec written")
            await scene.wait_for_health(HEALTHY, HEALTHY)
            (first, _) = scene.kubelet.devices(RESOURCE)
            container = await kubelet.allocate(RESOURCE, pod="pod", ids=[first])
            assert container.answer.cdi_devices == (f"{KIND}={first}",)
            write("envvar")
            os.kill(process.pid, signal.SIGHUP)
            await process.wait_for_event("configuration changed", times=2)
            container = await kubelet.allocate(RESOURCE, pod="other", ids=[first])
            assert container.environment == {"NVIDIA_VISIBLE_DEVICES": first}
            sent = [health for each in kubelet.lists for _, health in each.devices]
            assert set(sent) == {HEALTHY.value}, "no pod is refused meanwhile"


async def test_where_the_kubelet_passes_no_names_on_devices_need_no_spec(
    driver: Driver, kubelet_dir: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "cdi"
    folder.symlink_to(tmp_path)
    async with running(driver, kubelet_dir, folder, kubelet="1.28") as scene:
        await scene.wait_for_health(HEALTHY, HEALTHY)
        container = await scene.kubelet.allocate(RESOURCE, pod="pod")
        assert container.environment == {"NVIDIA_VISIBLE_DEVICES": container.ids[0]}
        await scene.kubelet.stop()
        async with FakeKubelet(kubelet_dir, release("1.29")) as newer:
            await newer.wait_for(lambda: len(newer.lists) > 0, timeout=15, what="a list")
            assert {health for each in newer.lists for _, health in each.devices} == {UNHEALTHY.value}


async def test_what_status_says_of_the_kubelet_follows_the_configuration(
    driver: Driver, kubelet_dir: Path, tmp_path: Path
) -> None:
    file = tmp_path / "config.yaml"

    async def says_it(strategies: str) -> bool:
        file.write_text(f"version: v1\nflags: {{plugin: {{deviceListStrategy: {strategies}}}}}\n")
        assert (await run_to_end("reload"))[0] == 0
        return FALLBACK in (await run_to_end("status"))[1]

    file.write_text("version: v1\nflags: {plugin: {deviceListStrategy: cdi-cri}}\n")
    flags, environment = (f"--config-file={file}",), {"DEVICE_LIST_STRATEGY": ""}
    given = (f"--kubelet-dir={kubelet_dir}", f"--driver-root={driver.root}", f"--cdi-spec-dir={tmp_path / 'cdi'}")
    async with (
        FakeKubelet(kubelet_dir, release("1.28")) as kubelet,
        started(*given, *flags, environment={**driver.environment, **environment}) as process,
    ):
        await kubelet.wait_for(lambda: RESOURCE in kubelet.resources, timeout=15, what="a list")
        await process.wait_for_control()
        assert await says_it("cdi-cri")
        assert not await says_it("'cdi-cri,cdi-annotations'")
        assert await says_it("cdi-cri")
        assert not await says_it("envvar")
        assert process.events().count(FALLBACK) == 1
