"""What people are told about the number of GPUs: by `status`, by `doctor` and by the page."""

import asyncio
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from harness.node import until
from harness.pages import page_with
from plugin_gateway.adapters.commands.doctor.findings import Verdict
from plugin_gateway.adapters.commands.doctor.gateway_checks import check_gateway
from plugin_gateway.adapters.commands.status import show_status
from plugin_gateway.adapters.control.control_socket import ControlServer
from plugin_gateway.adapters.gateway.device_counter import BY_MEMORY
from plugin_gateway.adapters.gateway.status_document import decode
from plugin_gateway.nvidia.remedies import remedy_for

MISSING = "7 of 8 GPUs can be offered; GPU-7 at 0000:08:00.0 is missing"
EIGHT: Mapping[str, Any] = {
    "expected": 8,
    "decided_by": BY_MEMORY,
    "present": 8,
    "missing": [],
    "rejected": [],
    "problem": None,
    "kept_in": "/run/plugin-gateway/known-devices.json",
    "file_system": "tmpfs",
    "outlives_boot": False,
}
FORGOTTEN = (
    "this number is forgotten at the next boot, because /run/plugin-gateway/known-devices.json is on tmpfs; "
    "--expected-gpus is not"
)


def status_with(kubelet_dir: Path, count: Mapping[str, Any] | None) -> dict[str, Any]:
    status: dict[str, Any] = {
        "driver": {"version": "575", "problem": None, "events_problem": None},
        "kubelet_dir": str(kubelet_dir),
        "configuration_problem": None,
        "configuration": {},
        "resources": [],
        "devices": [],
        "absent": [],
        "rejected": [],
        "set_aside": [],
    }
    return status if count is None else {**status, "device_count": count}


async def shown(state_dir: Path, status: Mapping[str, Any], capsys: pytest.CaptureFixture[str]) -> tuple[str, str]:
    """Return what `status` prints, and the findings of `doctor` that speak of GPUs."""
    async with asyncio.TaskGroup() as tasks:
        task = tasks.create_task(ControlServer(state_dir, "0000000001-aaaa", lambda _: status).run())
        await until((state_dir / "control-0000000001-aaaa.sock").exists, "the socket")
        assert await asyncio.to_thread(show_status, state_dir, as_json=False) == 0
        found = await asyncio.to_thread(lambda: list(check_gateway(state_dir, remedy_for)))
        task.cancel()
    words = {Verdict.MEND: "mend", Verdict.HINT: "note"}
    findings = [f"{words[each.verdict]} {each.what} -> {each.todo}" for each in found if "GPUs" in each.what]
    return capsys.readouterr().out, "\n".join(findings)


@pytest.mark.parametrize(
    ("change", "line", "more", "finding"),
    [
        ({}, f"GPUs: 8 can be offered, 8 are expected: {BY_MEMORY}", FORGOTTEN, ""),
        (
            {"outlives_boot": True, "file_system": "ext4"},
            f"GPUs: 8 can be offered, 8 are expected: {BY_MEMORY}",
            None,
            "",
        ),
        (
            {"decided_by": "flag --expected-gpus"},
            "GPUs: 8 can be offered, 8 are expected: flag --expected-gpus",
            None,
            "",
        ),
        (
            {"decided_by": "flag --expected-gpus", "expected": 6},
            "GPUs: 8 can be offered, 6 are expected: flag --expected-gpus",
            None,
            "note there are 8 GPUs, and 6 are expected by flag --expected-gpus -> ",
        ),
        (
            {"present": 7, "problem": MISSING, "outlives_boot": True},
            f"GPUs: 7 can be offered, 8 are expected: {BY_MEMORY}",
            f"GPUs are missing: {MISSING}",
            (
                f"mend GPUs are missing: {MISSING} (expected by: {BY_MEMORY}) -> see `lspci -d 10de:`, whether the "
                "machine sees them, and `dmesg` for NVRM and for PCIe errors; if they were taken out on purpose: "
                "`plugin-gateway health accept`"
            ),
        ),
        (
            {"not_kept": "/run/plugin-gateway/known-devices.json: No space left on device"},
            f"GPUs: 8 can be offered, 8 are expected: {BY_MEMORY}",
            (
                "this number is forgotten at the next start, because it cannot be kept: "
                "/run/plugin-gateway/known-devices.json: No space left on device"
            ),
            "",
        ),
        (
            {"present": 0, "problem": "0 of 8", "outlives_boot": True},
            f"GPUs: 0 can be offered, 8 are expected: {BY_MEMORY}",
            "GPUs are missing: 0 of 8",
            (
                f"mend GPUs are missing: 0 of 8 (expected by: {BY_MEMORY}) -> see `lspci -d 10de:`, whether the "
                "machine sees them, and `dmesg` for NVRM and for PCIe errors; if they were taken out on purpose: "
                "end the gateway, delete /run/plugin-gateway/known-devices.json, and start it again"
            ),
        ),
    ],
)
async def test_the_number_is_shown_with_where_it_comes_from_and_what_to_do(
    change: Mapping[str, Any],
    line: str,
    more: str | None,
    finding: str,
    state_dir: Path,
    kubelet_dir: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    output, findings = await shown(state_dir, status_with(kubelet_dir, {**EIGHT, **change}), capsys)
    lines = output.splitlines()
    assert lines[1] == line
    assert (more in lines) is (more is not None)
    assert (FORGOTTEN in lines) is (more == FORGOTTEN)
    assert findings == finding


@pytest.mark.parametrize("count", [None, {**EIGHT, "present": None}, {**EIGHT, "expected": None}])
async def test_an_older_gateway_and_one_that_has_seen_nothing_show_no_number(
    count: Mapping[str, Any] | None, state_dir: Path, kubelet_dir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output, findings = await shown(state_dir, status_with(kubelet_dir, count), capsys)
    assert "GPUs" not in output
    assert not findings


def test_the_page_shows_the_number_and_what_is_missing(kubelet_dir: Path) -> None:
    page = page_with(decode(status_with(kubelet_dir, {**EIGHT, "present": 7, "problem": "<b>one</b>"})))
    assert f"<p>7 physical devices, 8 are expected: {BY_MEMORY}</p>" in page
    cards = page_with(decode(status_with(kubelet_dir, {**EIGHT, "word": "RDMA device"})))
    assert f"<p>8 RDMA devices, 8 are expected: {BY_MEMORY}</p>" in cards
    assert "<p class=problem>devices are missing: &lt;b&gt;one&lt;/b&gt;</p>" in page
    assert "are expected" not in page_with(decode(status_with(kubelet_dir, {**EIGHT, "present": None})))
