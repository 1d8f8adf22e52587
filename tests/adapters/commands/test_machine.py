"""What people are told of a machine whose kernel shows more, or less, than the driver."""

import json
from pathlib import Path

import pytest

from driver.driver import Driver
from harness.confined import needs_mounts, showing
from harness.devices import altered
from harness.devices import inventory as inventory_of
from harness.node import device
from harness.process import run_to_end, started
from plugin_gateway.adapters.commands.doctor.node_checks import check_nodes, check_numa
from plugin_gateway.adapters.fake_kubelet import FakeKubelet, release
from plugin_gateway.core.devices import Recipe, RejectedDevice

ELSEWHERE = "0000:1b:00.0"
PCI = Path("/sys/bus/pci/devices")


def flags(kubelet_dir: Path, driver: Driver) -> tuple[str, ...]:
    return "--kubelet-dir", str(kubelet_dir), "--driver-root", str(driver.root)


@needs_mounts
async def test_a_gpu_that_the_driver_failed_to_start_is_told_by_log_status_and_doctor(
    kubelet_dir: Path, driver: Driver
) -> None:
    driver.add_function(ELSEWHERE, "nvidia")
    driver.add_function("0000:1c:00.0", "vfio-pci")
    machine = showing({PCI: driver.sysfs / "bus/pci/devices"})
    problem = "the machine has it, the kernel driver nvidia too, but NVML does not list it"
    async with started(*flags(kubelet_dir, driver), environment=driver.environment, within=machine) as process:
        line = await process.wait_for_event("device cannot be offered")
        assert (line["device"], line["problem"], line["level"]) == (f"GPU at {ELSEWHERE}", problem, "error")
        line = await process.wait_for_event("device is left to others")
        assert (line["device"], line["level"]) == ("GPU at 0000:1c:00.0", "info")
        await process.wait_for_control()
        _, shown, _ = await run_to_end("status")
        _, document, _ = await run_to_end("status", "--json")
    assert f"GPU at {ELSEWHERE} cannot be offered: {problem}\n" in shown
    assert "GPU at 0000:1c:00.0 is left to others: the kernel driver vfio-pci has it\n" in shown
    (rejected,) = json.loads(document)["rejected"]
    assert (rejected["place"], rejected["problem"]) == (f"GPU at {ELSEWHERE}", problem)
    arguments = flags(kubelet_dir, driver)
    status, shown, _ = await run_to_end("doctor", *arguments, environment=driver.environment, within=machine)
    assert status == 1
    assert f"mend  GPU at {ELSEWHERE} cannot be offered: {problem}\n      -> see `dmesg` for NVRM" in shown
    assert "note  GPU at 0000:1c:00.0 is left to others: the kernel driver vfio-pci has it\n" in shown


@needs_mounts
async def test_a_pod_that_another_runtime_started_is_told_by_log_and_doctor(
    kubelet_dir: Path, driver: Driver, tmp_path: Path
) -> None:
    (tmp_path / "driver/nvidia").mkdir(parents=True)
    (tmp_path / "driver/nvidia/version").write_text("NVRM version: 575.57.08\n")
    machine = showing({PCI: driver.sysfs / "bus/pci/devices", Path("/proc/driver"): tmp_path / "driver"})
    environment = {"NVIDIA_VISIBLE_DEVICES": "all"}
    arguments = ("--kubelet-dir", str(kubelet_dir))
    async with started(*arguments, environment=environment, within=machine) as process:
        line = await process.wait_for_event("waiting for the driver")
        await process.wait_for_control()
        _, both, _ = await run_to_end("doctor", *arguments, environment=environment, within=machine)
        _, told, _ = await run_to_end("status")
    assert line["problem"].endswith("NVIDIA's container runtime did not start this container")
    assert line["todo"].startswith("give the pod `runtimeClassName: nvidia` (k3s, RKE2 and Talos need it")
    _, shown, _ = await run_to_end("doctor", *arguments, environment=environment, within=machine)
    assert "NVIDIA's container runtime did not start this container\n      -> give the pod `runtimeClassName" in shown
    assert both.count("NVIDIA's container runtime did not start this container\n      -> give the pod") == 2
    assert "NVIDIA's container runtime did not start this container\n  -> give the pod" in told
    _, _, errors = await run_to_end("devices", environment=environment, within=machine)
    assert "give the pod `runtimeClassName: nvidia`" in errors


async def test_what_is_not_in_an_image_is_not_said_of_the_node(kubelet_dir: Path, driver: Driver) -> None:
    _, shown, _ = await run_to_end("doctor", *flags(kubelet_dir, driver), environment=driver.environment)
    assert "neither NVIDIA's container runtime nor a CDI specification is in the file system of this process" in shown
    assert "\n      -> look on the node, not in the image of a container" in shown


@pytest.mark.parametrize("explained", [False, True])
def test_a_device_node_without_a_gpu_is_a_note_where_nothing_explains_it(driver: Driver, explained: bool) -> None:
    (driver.root / "dev/nvidia8").touch()
    (driver.root / "dev/nvidia-caps").mkdir()
    aside = (RejectedDevice("GPU at 0000:1c:00.0", "vfio-pci has it"),) if explained else ()
    inventory = inventory_of(set_aside=aside, recipe=Recipe(shared_nodes=("/dev/nvidiactl",)))
    told = [each.what for each in check_nodes(inventory, str(driver.root)) if "driver's list" in each.what]
    nodes = ", ".join(f"/dev/nvidia{number}" for number in range(9))
    expected = (
        f"no GPU is in the driver's list for {nodes}: the driver failed to start it, or it was removed since the boot"
    )
    assert told == ([] if explained else [expected])


async def numa_nodes(kubelet_dir: Path) -> list[list[int]]:
    (socket,) = kubelet_dir.glob("plugin-gateway-*.sock")
    _, shown, _ = await run_to_end("inspect", "--json", str(socket))
    (report,) = json.loads(shown)
    return [each["numa_nodes"] for each in report["devices"]]


async def test_a_reload_takes_the_numa_nodes_out_of_the_list(kubelet_dir: Path, tmp_path: Path) -> None:
    file = tmp_path / "config.yaml"
    file.write_text("version: v1\n")
    arguments = ("--kubelet-dir", str(kubelet_dir), "--backend=simulated:2xH100", "--config-file", str(file))
    async with FakeKubelet(kubelet_dir, release("1.36")), started(*arguments) as process:
        await process.wait_for_event("registered")
        await process.wait_for_control()
        assert await numa_nodes(kubelet_dir) == [[0], [1]]
        file.write_text("version: v1\nflags: {plugin: {numaHints: false}}\n")
        status, shown, _ = await run_to_end("reload")
        assert (status, "numa_hints: True -> False" in shown) == (0, True)
        assert await numa_nodes(kubelet_dir) == [[], []]


@pytest.mark.parametrize(("count", "told"), [(2, False), (8, False), (36, True)])
def test_so_many_numa_nodes_that_a_kubelet_stands_still_are_told(count: int, told: bool, tmp_path: Path) -> None:
    for number in range(count):
        (tmp_path / f"node{number}").mkdir()
    (tmp_path / "online").touch()
    inventory = inventory_of(altered(device(0), numa_node=0))
    found = list(check_numa(inventory, tmp_path))
    assert [each.todo for each in found] == (
        ["with such a kubelet, give the gateway --numa-hints=false (numaHints in the chart)"] if told else []
    )
    without = inventory_of(altered(device(0), numa_node=None))
    assert list(check_numa(without, tmp_path)) == []
