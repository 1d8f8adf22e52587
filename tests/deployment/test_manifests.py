"""What is deployed is what each release takes, and asks for no more than it needs."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from deployment.schemas import RELEASES, api
from plugin_gateway.adapters.configuration.option import GivenFlag
from plugin_gateway.adapters.configuration.options import run_options
from plugin_gateway.adapters.configuration.reading import decide
from plugin_gateway.adapters.configuration.settings import make_settings
from plugin_gateway.core.health.policy import HealthPolicy

DEPLOY = Path(__file__).parents[2] / "deploy"
NEWER, OLDEST = "plugin-gateway.yaml", "plugin-gateway-1.8.yaml"
EXAMPLES = [*sorted(path.name for path in (DEPLOY / "examples").glob("*.yaml")), "probation-test/job.yaml"]


def load(path: Path) -> Any:
    return yaml.safe_load(path.read_text())


def spec_of(name: str) -> Any:
    return load(DEPLOY / "manifests" / name)["spec"]["template"]["spec"]


@pytest.mark.parametrize(("name", "release"), [(OLDEST, RELEASES[0]), *((NEWER, each) for each in RELEASES[1:])])
def test_the_daemonset_is_taken(name: str, release: str) -> None:
    assert list(api(release).problems(load(DEPLOY / "manifests" / name))) == []


def test_the_newer_one_is_not_for_1_8() -> None:
    problems = list(api(RELEASES[0]).problems(load(DEPLOY / "manifests" / NEWER)))
    assert problems == ["apps/v1 DaemonSet is not served"]


@pytest.mark.parametrize("name", [NEWER, OLDEST])
def test_it_has_no_more_privilege_than_it_needs(name: str) -> None:
    spec = spec_of(name)
    (container,) = spec["containers"]
    assert container["securityContext"] == {
        "runAsUser": 0,
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    paths = {volume["name"]: volume["hostPath"]["path"] for volume in spec["volumes"]}
    assert paths == {"device-plugins": "/var/lib/kubelet/device-plugins", "state": "/run/plugin-gateway"}
    assert {mount["name"]: mount["mountPath"] for mount in container["volumeMounts"]} == paths
    assert not spec.keys() & {"hostNetwork", "hostPID", "hostIPC"}
    assert (spec["serviceAccountName"], spec["automountServiceAccountToken"]) == ("default", False)


@pytest.mark.parametrize("name", [NEWER, OLDEST])
def test_it_asks_nvidias_runtime_for_every_node_that_it_gives_out(name: str) -> None:
    """Without compute that runtime hides nvidia-uvm, and the gateway gives out only what it sees."""
    environment = {each["name"]: each.get("value") for each in spec_of(name)["containers"][0]["env"]}
    assert environment["NVIDIA_VISIBLE_DEVICES"] == "all"
    assert environment["NVIDIA_DRIVER_CAPABILITIES"] == "compute,utility"


@pytest.mark.parametrize("name", [NEWER, OLDEST])
def test_its_flags_are_those_that_the_gateway_knows(name: str) -> None:
    command, *flags = spec_of(name)["containers"][0]["args"]
    assert command == "run"
    known = {flag for option in run_options(("auto",), str) for flag in option.flags}
    assert {flag.partition("=")[0] for flag in flags} <= known


@pytest.mark.parametrize("release", RELEASES)
@pytest.mark.parametrize("name", EXAMPLES)
def test_an_example_is_taken_by_every_release(name: str, release: str) -> None:
    assert list(api(release).problems(load(DEPLOY / "examples" / name))) == []


MPS = DEPLOY / "examples" / "mps-control-daemon"


@pytest.mark.parametrize("release", [each for each in RELEASES if not each.startswith("1.8.")])
@pytest.mark.parametrize("name", ["configmap.yaml", "daemonset.yaml"])
def test_the_example_of_mps_is_taken_by_every_release_with_apps_v1(name: str, release: str) -> None:
    assert list(api(release).problems(load(MPS / name))) == []


def test_the_example_of_mps_has_a_file_that_the_gateway_follows(tmp_path: Path) -> None:
    file = tmp_path / "config.yaml"
    file.write_text(load(MPS / "configmap.yaml")["data"]["config.yaml"])
    given = {"config_file": GivenFlag("--config-file", str(file))}
    volumes = {each["name"]: each for each in load(MPS / "daemonset.yaml")["spec"]["template"]["spec"]["volumes"]}
    root = volumes["mps-root"]["hostPath"]["path"]
    settings = make_settings(decide(run_options(("auto",), str), given, {"MPS_ROOT": root}, HealthPolicy))
    assert [rule.words for rule in settings.resources] == ["*=nvidia.com/gpu x4 through mps"]
    assert volumes["mps-shm"]["hostPath"]["path"] == f"{root}/shm"


@pytest.mark.parametrize("release", RELEASES)
def test_a_node_takes_the_resource_that_is_counted(release: str) -> None:
    (operation,) = load(DEPLOY / "examples" / "node-resource.json")
    *way, name = [step.replace("~1", "/") for step in operation["path"].lstrip("/").split("/")]
    assert (operation["op"], way) == ("add", ["status", "capacity"])
    node = {"apiVersion": "v1", "kind": "Node", "status": {"capacity": {name: operation["value"]}}}
    assert list(api(release).problems(node)) == []
    asked = load(DEPLOY / "examples" / "node-resource.yaml")["spec"]["containers"][0]["resources"]["limits"]
    assert list(asked) == [name]
