"""systemd takes the unit as it is, and it gives the gateway what the DaemonSet gives it."""

import configparser
import subprocess
import sys
from pathlib import Path

import yaml

DEPLOY = Path(__file__).parents[2] / "deploy"
UNIT = DEPLOY / "systemd" / "plugin-gateway.service"
INSTALLED = "/opt/plugin-gateway/bin/plugin-gateway"


def complaints(folder: Path, text: str) -> str:
    path = folder / UNIT.name
    path.write_text(text)
    ended = subprocess.run(
        ("systemd-analyze", "verify", str(path)), check=True, timeout=30, capture_output=True, text=True
    )
    return ended.stderr


def test_systemd_has_nothing_to_say_about_it(tmp_path: Path) -> None:
    text = UNIT.read_text()
    assert INSTALLED in text
    installed_here = text.replace(INSTALLED, str(Path(sys.executable).with_name("plugin-gateway")))
    assert complaints(tmp_path, installed_here) == ""
    assert "Unknown key 'RestartSecs'" in complaints(tmp_path, installed_here.replace("RestartSec=", "RestartSecs="))


def test_its_limits_are_those_of_the_daemonset() -> None:
    unit = configparser.ConfigParser(interpolation=None, strict=False)
    unit.read(UNIT)
    pod = yaml.safe_load((DEPLOY / "manifests/plugin-gateway.yaml").read_text())["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    assert unit["Service"]["MemoryMax"] == container["resources"]["limits"]["memory"].removesuffix("i")
    assert unit["Service"]["TimeoutStopSec"] == str(pod["terminationGracePeriodSeconds"])
    assert unit["Service"]["CapabilityBoundingSet"] == ""
