"""The status page as a person sees it: in a browser, with a picture kept in the build folder."""

import asyncio
import re
from pathlib import Path

import pytest

from adapters.monitoring.test_listen import listening
from driver.driver import Driver
from harness.node import RESOURCE, device
from plugin_gateway.adapters.fake_kubelet import FakeKubelet, release

BROWSER = "chromium"
PICTURES = Path(__file__).parents[2] / "build" / "page"
LIMIT = 60


async def browse(*arguments: str) -> tuple[str, str]:
    """Run the browser to its end; tells what it wrote, and what it complained about."""
    process = await asyncio.create_subprocess_exec(
        BROWSER,
        "--headless=new",
        "--no-sandbox",  # as root it has none; it reads our page alone
        "--disable-gpu",
        "--enable-logging=stderr",
        *arguments,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        written, complaints = await asyncio.wait_for(process.communicate(), LIMIT)
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    assert process.returncode == 0, complaints.decode()
    return written.decode(), complaints.decode()


@pytest.mark.timeout(4 * LIMIT)
async def test_a_person_sees_devices_with_reasons_and_the_history_of_registrations(
    kubelet_dir: Path, driver: Driver, tmp_path: Path
) -> None:
    PICTURES.mkdir(parents=True, exist_ok=True)
    profile = f"--user-data-dir={tmp_path / 'profile'}"
    async with (
        FakeKubelet(kubelet_dir, release("1.36")) as kubelet,
        listening(kubelet_dir, driver) as (port, process),
    ):
        await process.wait_for_event("registered")
        await kubelet.restart(release("1.9"))
        await process.wait_for_event("registered", times=2)
        driver.xid(3, 79)
        await kubelet.wait_for(lambda: kubelet.allocatable(RESOURCE) == 7, what="7 devices")
        page = f"http://127.0.0.1:{port}/"
        document, complaints = await browse(profile, "--dump-dom", page)
        for name, size in (("wide", "1200,900"), ("narrow", "500,1400")):
            picture = PICTURES / f"{name}.png"
            picture.unlink(missing_ok=True)
            await browse(profile, f"--screenshot={picture}", f"--window-size={size}", page)
            assert picture.read_bytes().startswith(b"\x89PNG")
    rows = re.findall(r"<tr>(.*?)</tr>", document, re.DOTALL)
    assert len(rows) == 1 + 8, "what names the columns, and the devices"
    assert sum('class="healthy"' in row for row in rows) == 7
    (bad,) = (row for row in rows if 'class="unhealthy"' in row)
    assert "XID 79; needs a reboot of the node" in bad
    assert f">{device(3).physical.index}</td>" in bad
    registered = re.findall(r"<li>.*?registered as (\w+)", document, re.DOTALL)
    assert registered == ["v1alpha2", "v1beta1"], "the latest first"
    assert "stream open since" in document
    assert "CONSOLE" not in complaints, "its own policy forbids nothing that it has"
