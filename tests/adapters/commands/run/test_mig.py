"""The process offers MIG devices as its settings say, and follows other settings without a restart."""

import json
import signal
from pathlib import Path

from adapters.registration.waiting import allocatable
from harness.process import run_to_end, started
from plugin_gateway.adapters.fake_kubelet import FakeKubelet, release
from plugin_gateway.core.resources.names import ResourceName

BACKEND = "simulated:3xH100/mig=0:3g.40gb,3g.40gb;1:3g.40gb"
HALF, GPU = ResourceName("nvidia.com/mig-3g.40gb"), ResourceName("nvidia.com/gpu")


async def test_the_strategy_changes_at_sighup_and_what_a_pod_holds_is_withheld(
    kubelet_dir: Path, tmp_path: Path
) -> None:
    file = tmp_path / "config.yaml"
    file.write_text("version: v1\nflags: {migStrategy: mixed}\n")
    recording = tmp_path / "recording.jsonl"
    flags = ("--kubelet-dir", str(kubelet_dir), "--backend", BACKEND, "--config-file", str(file))
    async with (
        FakeKubelet(kubelet_dir, release("1.37")) as kubelet,
        started(*flags, f"--record={recording}") as process,
    ):
        await allocatable(kubelet, 3, HALF)
        await allocatable(kubelet, 1, GPU)
        held = (await kubelet.allocate(HALF, pod="uid-1")).ids[0]
        file.write_text("version: v1\nflags: {migStrategy: single}\n")
        process.send(signal.SIGHUP)
        await kubelet.wait_for(lambda: kubelet.capacity(GPU) == 3, timeout=15, what="MIG devices as GPUs")
        assert kubelet.devices(GPU)[held] == "Unhealthy"
        await allocatable(kubelet, 2, GPU)
        await process.wait_for_event("resource removed")
        await process.wait_for_control()
        _, output, _ = await run_to_end("devices")
        assert "nvidia.com/gpu: 3 devices" in output
        assert "GPU 2 at 0000:06:00.0: it is a whole GPU, and --mig-strategy=single offers one kind" in output
    status, output, errors = await run_to_end("replay", str(recording))
    assert (status, errors) == (0, ""), output


async def test_commands_see_the_rules_of_the_strategy_that_they_are_given(kubelet_dir: Path, tmp_path: Path) -> None:
    file = tmp_path / "config.yaml"
    file.write_text("version: v1\nresources: {rules: [{index: 2, name: whole}]}\n")
    flags = (
        "--kubelet-dir",
        str(kubelet_dir),
        "--backend",
        BACKEND,
        "--config-file",
        str(file),
        "--mig-strategy=mixed",
    )
    async with FakeKubelet(kubelet_dir, release("1.37")) as kubelet, started(*flags) as process:
        await allocatable(kubelet, 3, HALF)
        await process.wait_for_control()
        for own, names in (
            ((), {HALF, "nvidia.com/whole"}),
            (("--mig-strategy=mixed",), {HALF, "nvidia.com/whole"}),
            (("--mig-strategy=none",), {"nvidia.com/whole"}),
            (("--mig-strategy=single",), {GPU}),
            (("--resource-name=example.com/a",), {HALF, "example.com/a"}),
        ):
            _, output, _ = await run_to_end("devices", "--json", *own)
            assert {each["resource"] for each in json.loads(output)["devices"]} == names
        file.write_text("version: v1\nresources: {rules: [{index: 2, name: other}]}\n")
        _, output, _ = await run_to_end("devices", "--json", "--mig-strategy=mixed")
        assert {each["resource"] for each in json.loads(output)["devices"]} == {HALF, "nvidia.com/whole"}


async def test_another_strategy_is_refused_where_nobody_tells_who_holds_the_devices(
    kubelet_dir: Path, tmp_path: Path
) -> None:
    file = tmp_path / "config.yaml"
    file.write_text("version: v1\nflags: {migStrategy: mixed}\n")
    flags = ("--kubelet-dir", str(kubelet_dir), "--backend", BACKEND, "--config-file", str(file))
    async with FakeKubelet(kubelet_dir, release("1.37")) as kubelet, started(*flags) as process:
        await allocatable(kubelet, 3, HALF)
        await allocatable(kubelet, 1, GPU)  # the kubelet writes its checkpoint with each list
        (kubelet_dir / "kubelet_internal_checkpoint").write_text('{"Data":')
        file.write_text("version: v1\nflags: {migStrategy: none}\n")
        process.send(signal.SIGHUP)
        line = await process.wait_for_event("configuration refused, the old one stays")
        assert "divided in another way, and it cannot be seen which pods hold their devices: " in line["problem"]
        await allocatable(kubelet, 3, HALF)
        assert kubelet.open_streams(HALF) == 1
