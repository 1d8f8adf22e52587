"""What people are shown of MIG devices, and of those that cannot be offered."""

import json
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest
from prometheus_client.parser import text_string_to_metric_families

from driver.driver import Driver
from harness.driven import DrivenNode
from harness.node import until
from harness.pages import page_of, process_status
from harness.process import run_to_end
from plugin_gateway.adapters.commands.devices import show_devices
from plugin_gateway.adapters.commands.gateway_settings import View

LAYOUT = "0:3g.40gb,1g.10gb+me;1:"


def rules_only(node: DrivenNode) -> View:
    settings: Any = type("Settings", (), {"resources": node.gateway.rules, "remarks": ()})()
    return View(settings, ())


@pytest.mark.parametrize("as_json", [True, False])
def test_devices_shows_kind_profile_and_place(
    driver: Driver, kubelet_dir: Path, capsys: pytest.CaptureFixture[str], *, as_json: bool
) -> None:
    driver.mig(LAYOUT)
    node = DrivenNode(kubelet_dir, driver, "mixed")
    with patch.dict("os.environ", driver.environment):
        assert (
            show_devices({"nvml": node.make()}, rules_only(node), as_json=as_json, with_reasons=True, with_links=False)
            == 0
        )
    output = capsys.readouterr().out
    if as_json:
        devices = {each["id"]: each for each in json.loads(output)["devices"]}
        shown = devices[driver.mig.uuid(0, 1)]
        assert (shown["kind"], shown["profile"], shown["place"]) == ("mig", "1g.10gb+me", "0:1")
        assert shown["resource"] == "nvidia.com/mig-1g.10gb.me"
        whole = devices[driver.uuid(2)]
        assert (whole["kind"], whole["profile"], whole["place"]) == ("gpu", None, "2")
        assert json.loads(output)["rules"][0]["words"] == "kind mig=nvidia.com/mig-PROFILE"
    else:
        assert "nvidia.com/mig-3g.40gb: 1 device " in output
        assert f"0:1 {driver.mig.uuid(0, 1)}, NVIDIA H100 80GB HBM3 1g.10gb+me\n" in output
        assert (
            "  taken by rule 1: kind mig=nvidia.com/mig-PROFILE\n  not by rule 2: *=nvidia.com/gpu: it comes" in output
        )
        assert "  not by rule 1: kind mig=nvidia.com/mig-PROFILE: its kind is 'gpu', and not 'mig'" in output
        place = "GPU 1 at 0000:11:00.0"
        assert f"not offered: {place}: it is in MIG mode and has no MIG devices; make some: nvidia-smi mig" in output


async def test_a_gpu_in_mig_mode_is_named_by_devices_and_doctor_with_what_to_do(
    kubelet_dir: Path, driver: Driver
) -> None:
    driver.mig(LAYOUT)
    flags = ("--driver-root", str(driver.root))
    _, output, _ = await run_to_end("devices", *flags, environment=driver.environment)
    assert "not offered: GPU 0 at 0000:10:00.0: it is in MIG mode, in which CUDA does not use it as a whole" in output
    driver.mig.permit(privileged=False)
    status, output, _ = await run_to_end(
        "doctor",
        *flags,
        f"--kubelet-dir={kubelet_dir}",
        "--mig-strategy=mixed",
        environment=driver.environment,
    )
    assert status == 1
    assert "mend  MIG device 0 of GPU 0 cannot be offered: the driver does not tell what it is: Insuff" in output
    assert "      -> give the container the capability SYS_ADMIN and NVIDIA_MIG_MONITOR_DEVICES=all" in output
    assert "the capability SYS_ADMIN, with which NVML tells the profiles of MIG devices" in output


@pytest.mark.parametrize("strategy", ["none", "mixed"])
async def test_doctor_does_not_look_for_a_gpu_that_the_driver_shows(
    kubelet_dir: Path, tmp_path: Path, strategy: str
) -> None:
    flags = (f"--kubelet-dir={kubelet_dir}", f"--state-dir={tmp_path}", f"--mig-strategy={strategy}")
    _, output, _ = await run_to_end("doctor", "--backend=simulated:1xH100/mig=0:", *flags)
    assert "mend  GPU 0 at 0000:02:00.0 cannot be offered: it is in MIG mode" in output
    assert "shows no device" not in output


async def test_page_and_metrics_have_kinds_and_profiles(kubelet_dir: Path, driver: Driver) -> None:
    driver.mig(LAYOUT)
    node = DrivenNode(kubelet_dir, driver, "mixed")
    async with node.running():
        await until(lambda: len(node.gateway.state.devices) == 8, "the devices")
        page = (await page_of(node, "/")).body
        assert ">0:1<" in page
        assert "NVIDIA H100 80GB HBM3" in page
        assert "1g.10gb+me" in page
        text = (await page_of(node, "/metrics")).body
    found = {
        tuple(sample.labels.values()): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if sample.name == "plugin_gateway_devices_by_kind"
    }
    assert found == {("gpu", ""): 6, ("mig", "3g.40gb"): 1, ("mig", "1g.10gb+me"): 1}
    assert process_status().gateway is not None
