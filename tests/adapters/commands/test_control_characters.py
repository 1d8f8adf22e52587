"""Names and words that others chose are shown by every command without control characters, each in one line."""

import json
from pathlib import Path

import pytest

from adapters.fake_kubelet.plugin import RESOURCE, Plugin
from adapters.support.test_terminal import EVIL, harmless
from harness.process import run_to_end, started
from plugin_gateway.adapters.commands.fake_kubelet.views import Lines
from plugin_gateway.adapters.fake_kubelet import FakeKubelet, release
from plugin_gateway.adapters.support.console import PlainConsole
from plugin_gateway.core.errors import GatewayError


@pytest.fixture
def checkpoint(kubelet_dir: Path) -> Path:
    """A directory with a checkpoint in which the pod and the device have terminal sequences in their names."""
    data = {"PodUID": "p\x1b[31m\nEVIL", "ContainerName": "c", "ResourceName": "nvidia.com/gpu"}
    entry = {**data, "DeviceIDs": {"0": ["GPU-\x1b]0;x\x07"]}, "AllocResp": ""}
    content = {"Data": {"PodDeviceEntries": [entry], "RegisteredDevices": {}}, "Checksum": 1}
    (kubelet_dir / "kubelet_internal_checkpoint").write_text(json.dumps(content))
    return kubelet_dir


async def test_doctor_shows_a_pod_with_such_a_name_in_one_line(checkpoint: Path) -> None:
    (checkpoint / "\x1b[31mEVIL.sock").write_text("")
    _, output, _ = await run_to_end("doctor", "--kubelet-dir", str(checkpoint), "--backend", "simulated:1xH100")
    assert harmless(output)
    assert r"pod p\x1b[31m\nEVIL hold GPU-\x1b]0;x\x07" in output


async def test_status_shows_such_names_in_one_line(checkpoint: Path) -> None:
    arguments = ("--kubelet-dir", str(checkpoint), "--backend", "simulated:1xH100")
    async with started(*arguments) as process:
        await process.wait_for_control()
        path = checkpoint / "kubelet_internal_checkpoint"
        _, shown, _ = await run_to_end("status", "--json")
        device = json.loads(shown)["devices"][0]["id"]
        path.write_text(path.read_text().replace(r"GPU-\u001b]0;x\u0007", device))
        _, output, _ = await run_to_end("status")
    assert harmless(output)
    assert r"p\x1b[31m\nEVIL c" in output


async def test_inspect_shows_what_a_plugin_says_without_them(kubelet_dir: Path) -> None:
    async with Plugin(kubelet_dir, release("1.36"), ids=[EVIL]) as plugin:
        _, output, _ = await run_to_end("inspect", str(kubelet_dir / plugin.name))
        assert harmless(output)
        assert "EVIL" in output
        plugin.answers = {"GetDevicePluginOptions": EVIL, "Allocate": EVIL}
        _, output, errors = await run_to_end("inspect", str(kubelet_dir / plugin.name), "--allocate", "x")
        assert harmless(output + errors)
        assert "EVIL" in errors


async def test_the_fake_kubelet_shows_what_a_plugin_says_without_them(
    kubelet_dir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lines = Lines(PlainConsole())
    async with (
        FakeKubelet(kubelet_dir, release("1.36"), on_event=lines.show) as kubelet,
        Plugin(kubelet_dir, release("1.36"), ids=[EVIL]) as plugin,
    ):
        await plugin.register()
        await kubelet.wait_for(lambda: kubelet.capacity(RESOURCE) == 1, what="a device")
        plugin.answers = {"Allocate": EVIL}
        with pytest.raises(GatewayError):
            await kubelet.allocate(RESOURCE, 1, pod="pod")
    lines.say(EVIL)
    written = capsys.readouterr().out
    assert "EVIL" in written
    assert harmless(written)
