"""Called by the name of NVIDIA's executable, driver and MPS daemon are where NVIDIA's manifests mount them."""

from collections.abc import Mapping
from pathlib import Path

import pytest

from plugin_gateway.__main__ import PARTS
from plugin_gateway.adapters.commands.flags import options
from plugin_gateway.adapters.configuration import nvidias_defaults
from plugin_gateway.adapters.configuration.nvidias_defaults import visible_daemon_root, with_nvidias
from plugin_gateway.adapters.configuration.option import GivenFlag
from plugin_gateway.adapters.configuration.options import run_options
from plugin_gateway.adapters.configuration.reading import decide
from plugin_gateway.core.health.policy import HealthPolicy

OPTIONS = run_options(("auto",), str)
NOTHING: Mapping[str, str] = {}
HOST = {"NVIDIA_DRIVER_ROOT": "/run/nvidia/driver"}


def decided(mounted: Path, environment: Mapping[str, str], flags: Mapping[str, GivenFlag] | None = None) -> str:
    return decide(
        with_nvidias(OPTIONS, str(mounted)), flags or {}, environment, HealthPolicy
    ).options.container_driver_root


@pytest.fixture
def mounted(tmp_path: Path) -> Path:
    (tmp_path / "usr").mkdir()
    return tmp_path


@pytest.mark.parametrize("environment", [NOTHING, HOST])
def test_a_driver_that_is_mounted_where_nvidias_manifests_do_is_found(
    environment: Mapping[str, str], mounted: Path
) -> None:
    assert decided(mounted, environment) == str(mounted)


@pytest.mark.parametrize("name", ["usr/none", "usr"])
def test_where_nothing_is_mounted_the_library_is_that_of_the_container(name: str, mounted: Path) -> None:
    assert decided(mounted / name, NOTHING) == "/"


def test_they_are_for_nvidias_name_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nvidias_defaults, "with_nvidias", lambda _: ())
    assert options(PARTS, "/usr/bin/nvidia-device-plugin") == ()
    assert options(PARTS, "/usr/bin/plugin-gateway") != ()


def test_what_is_given_takes_precedence_as_always(mounted: Path, tmp_path: Path) -> None:
    assert decided(mounted, {"CONTAINER_DRIVER_ROOT": "/own"}) == "/own"
    flag = {"container_driver_root": GivenFlag("--driver-root-ctr-path", "/own")}
    assert decided(mounted, HOST, flag) == "/own"
    file = tmp_path / "config.yaml"
    file.write_text("version: v1\nflags:\n  plugin:\n    containerDriverRoot: /own\n")
    assert decided(mounted, {"CONFIG_FILE": str(file)}) == "/own"


def test_an_mps_daemon_is_seen_where_nvidias_manifests_mount_its_folder(mounted: Path) -> None:
    on_host = "/run/nvidia/mps"
    assert visible_daemon_root(on_host, "/usr/bin/nvidia-device-plugin", str(mounted)) == str(mounted)
    assert visible_daemon_root(on_host, "/usr/bin/plugin-gateway", str(mounted)) == on_host
    assert visible_daemon_root(on_host, "nvidia-device-plugin", str(mounted / "none")) == on_host
