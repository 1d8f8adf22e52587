"""A file of values for NVIDIA's chart renders with the same meaning, or is refused with the reason."""

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from deployment.chart import CHART, daemonset, refused, rendered
from deployment.nvidias_values import (
    BY_LABELS,
    LATER,
    MIXED,
    MPS,
    OWN_IMAGE,
    REAL,
    RELEASES_OF_NVIDIA,
    SHARED,
    V0_20,
)
from deployment.schemas import RELEASES, api
from plugin_gateway.adapters.configuration.nvidia_names import CHART_VALUES, ChartValue

Values = Mapping[str, Any]


def spec_of(folder: Path, values: Values, **more: Any) -> Any:
    return daemonset(folder, {**values, **OWN_IMAGE}, **more)["spec"]["template"]["spec"]


def container_of(folder: Path, values: Values) -> Any:
    (container,) = spec_of(folder, values)["containers"]
    return container


def variables(folder: Path, values: Values) -> dict[str, Any]:
    return {each["name"]: each.get("value") for each in container_of(folder, values)["env"]}


@pytest.mark.parametrize("values", RELEASES_OF_NVIDIA.values(), ids=RELEASES_OF_NVIDIA)
def test_the_values_of_every_release_ask_for_nothing_but_places(values: Values, tmp_path: Path) -> None:
    ours = daemonset(tmp_path, OWN_IMAGE)
    theirs = daemonset(tmp_path, {**values, **OWN_IMAGE})
    for each in (ours, theirs):
        spec = each["spec"]["template"]["spec"]
        spec.pop("affinity", None)
        spec["tolerations"] = spec["tolerations"][-1:]
        spec["containers"][0]["env"].sort(key=lambda variable: variable["name"])
        del each["spec"]["updateStrategy"]
    assert theirs == ours


@pytest.mark.parametrize("release", RELEASES[3:])
@pytest.mark.parametrize("values", [V0_20, LATER, *REAL.values()])
def test_what_is_rendered_from_them_is_taken(values: Values, release: str, tmp_path: Path) -> None:
    objects = rendered(tmp_path, {**values, **OWN_IMAGE}, release)
    assert [problem for each in objects for problem in api(release).problems(each)] == []


def laid_over(below: Values, above: Values) -> Values:
    """Lay values over others as helm does: maps are merged, everything else is replaced."""
    laid = dict(below)
    for name, value in above.items():
        other = laid.get(name)
        laid[name] = laid_over(other, value) if isinstance(value, dict) and isinstance(other, dict) else value
    return laid


@pytest.fixture
def reused(tmp_path: Path) -> Path:
    """The chart as `helm upgrade --reuse-values` sees it: the values of the old chart take the place of its own."""
    chart = tmp_path / "reused"
    shutil.copytree(CHART, chart)
    return chart


@pytest.mark.parametrize("values", RELEASES_OF_NVIDIA.values(), ids=RELEASES_OF_NVIDIA)
@pytest.mark.parametrize("own", [{}, *REAL.values()])
def test_an_upgrade_that_keeps_the_values_renders_what_a_file_of_them_does(
    values: Values, own: Values, reused: Path, tmp_path: Path
) -> None:
    (reused / "values.yaml").write_text(yaml.safe_dump(dict(values)))
    kept = rendered(tmp_path, {**own, **OWN_IMAGE}, chart=reused)
    assert kept == rendered(tmp_path, laid_over(laid_over(values, own), OWN_IMAGE))


def test_an_upgrade_can_let_go_of_the_labels_that_pods_ask_for(reused: Path, tmp_path: Path) -> None:
    (reused / "values.yaml").write_text(yaml.safe_dump(dict(V0_20)))
    assert daemonset(tmp_path, OWN_IMAGE, chart=reused)["spec"]["template"]["spec"]["affinity"] == BY_LABELS
    let_go = daemonset(tmp_path, {**OWN_IMAGE, "affinity": None}, chart=reused)
    assert "affinity" not in let_go["spec"]["template"]["spec"]


def test_the_image_of_nvidia_is_refused(tmp_path: Path) -> None:
    for repository in ("nvcr.io/nvidia/k8s-device-plugin", "mirror.example/nvidia/k8s-device-plugin"):
        words = refused(tmp_path, {**V0_20, "image": {"repository": repository}})
        assert f"image.repository is {repository}, the image of NVIDIA's plugin" in words


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"nfd": {"enabled": True}}, "nfd.enabled: this chart does not have node-feature-discovery"),
        ({"devicePlugin": {"enabled": False}}, "devicePlugin.enabled is false"),
        ({"componentSelectorLabels": {"enabled": True}}, "componentSelectorLabels.enabled"),
        ({"deviceDiscoveryStrategy": "tegra"}, "deviceDiscoveryStrategy is tegra"),
        ({"cdi": {"featureFlags": "disable-nvsandboxutils, enable-x"}}, "cdi.featureFlags has enable-x"),
        ({"config": {"name": "a", "map": {"b": SHARED}}}, "config.file, config.map and config.name: one of the three"),
        ({"config": {"map": {"a": SHARED, "b": MIXED}}}, "a node without the label gets none of a, b"),
        ({"config": {"map": {"a": SHARED}, "fallbackStrategies": ["named"]}}, "gets none of a"),
        (
            {"config": {"map": {"a": SHARED}, "default": "b"}},
            "config.map has no file b, which config.default or config.use names",
        ),
        ({"config": {"map": {"a": "{"}}}, "config.map.a is not YAML"),
        ({"config": {"map": {"a": MPS}}}, "config.map.a has sharing.mps: this chart runs no MPS control daemon"),
        (
            {"config": {"file": yaml.safe_load(MPS)}},
            "config.file has sharing.mps: this chart runs no MPS control daemon",
        ),
        (
            {"config": {"map": {"default": "flags: {mpsRoot: /a}", "b": "flags: {mpsRoot: /b}"}}},
            "config.map has several mpsRoot, and one is mounted: /b, /a",
        ),
        ({"config": {"map": {"a": SHARED}, "fallbackStrategies": ["first"]}}, "fallbackStrategies"),
        ({"namespace": "gpus"}, "namespace"),
    ],
)
def test_what_is_not_done_is_refused_with_the_reason(values: Values, words: str, tmp_path: Path) -> None:
    assert words in refused(tmp_path, {**V0_20, **values, **OWN_IMAGE})


TELLING: Mapping[str, object] = {
    "deviceDiscoveryStrategy": "tegra",
    "image.repository": "registry.example/plugin-gateway",
    "image.tag": "1",
    "configManager.resources": {"limits": {"cpu": 1}},
    "cdi.featureFlags": "something-else",
}
"""Values that ask for something, where that is no switch."""


@pytest.mark.parametrize("value", [each for each in CHART_VALUES if not each.becomes], ids=lambda value: value.path)
def test_the_table_of_values_says_which_ones_are_refused(value: ChartValue, tmp_path: Path) -> None:
    asking = TELLING.get(value.path, not value.neutral[0])
    for word in reversed(value.path.split(".")):
        asking = {word: asking}
    assert isinstance(asking, dict)
    values = laid_over(OWN_IMAGE, asking)
    if value.in_chart:
        assert rendered(tmp_path, values)
    else:
        assert value.path in refused(tmp_path, values)


def test_the_default_namespace_is_refused_as_there(tmp_path: Path) -> None:
    words = "allowDefaultNamespace is false and the namespace is default"
    assert words in refused(tmp_path, {**V0_20, **OWN_IMAGE}, namespace="default")
    for allowed in ({"allowDefaultNamespace": True}, {"namespaceOverride": "gpus"}):
        assert rendered(tmp_path, {**V0_20, **OWN_IMAGE, **allowed}, namespace="default")
    assert rendered(tmp_path, {}, namespace="default")


def test_names_of_objects_are_those_that_are_asked_for(tmp_path: Path) -> None:
    objects = rendered(tmp_path, {**V0_20, **REAL["machines that differ"], **OWN_IMAGE})
    assert {each["metadata"].get("namespace", "gpus") for each in objects} == {"gpus"}
    (found,) = (each for each in objects if each["kind"] == "DaemonSet")
    assert found["metadata"]["name"] == "nvidia-device-plugin"
    labels = found["spec"]["template"]["metadata"]["labels"]
    assert found["spec"]["selector"]["matchLabels"] == {"team": "ml"}
    assert labels.items() >= {"team": "ml", "app.kubernetes.io/instance": "gpus"}.items()
    (binding,) = (each for each in objects if each["kind"] == "ClusterRoleBinding")
    assert binding["subjects"][0]["namespace"] == "gpus"
    assert {each["metadata"]["name"] for each in objects} == {"nvidia-device-plugin"}


def test_each_node_gets_the_file_that_its_label_names(tmp_path: Path) -> None:
    values = {**V0_20, **REAL["machines that differ"]}
    container = container_of(tmp_path, values)
    chosen = {"--config-dir=/config", "--config-default=shared", "--config-fallback-strategies=named,single"}
    assert chosen <= set(container["args"])
    assert container["securityContext"]["capabilities"]["add"] == ["SYS_ADMIN"], "one of them is for MIG devices"
    (config,) = (each for each in rendered(tmp_path, {**values, **OWN_IMAGE}) if each["kind"] == "ConfigMap")
    assert config["data"] == {"shared": SHARED, "mixed": MIXED}


def test_a_driver_root_is_mounted_where_it_is_given(tmp_path: Path) -> None:
    values = REAL["a driver of a managed node image"]
    container = container_of(tmp_path, {**V0_20, **values})
    assert {"--driver-root=/home/kubernetes/bin/nvidia", "--driver-root-ctr-path=/driver-root"} <= set(
        container["args"]
    )
    (volume,) = (each for each in spec_of(tmp_path, values)["volumes"] if each["name"] == "driver-root")
    assert volume["hostPath"]["path"] == "/home/kubernetes/bin/nvidia"
    without = container_of(tmp_path, {**values, "mountDriverRoot": False})
    assert "/driver-root" not in {each["mountPath"] for each in without["volumeMounts"]}


def test_rights_that_are_given_are_rights_that_the_api_server_takes(tmp_path: Path) -> None:
    """It refuses allowPrivilegeEscalation: false beside them."""
    values = {**V0_20, **REAL["cores for some containers alone"]}
    assert container_of(tmp_path, values)["securityContext"] == {
        "privileged": True,
        "readOnlyRootFilesystem": True,
        "runAsUser": 0,
    }
    added = {"securityContext": {"capabilities": {"add": ["SYS_ADMIN"]}}}
    assert "allowPrivilegeEscalation" not in container_of(tmp_path, added)["securityContext"]
    assert {"--pass-device-specs=true", "--device-id-strategy=index"} <= set(container_of(tmp_path, values)["args"])


def test_nvidias_names_for_the_network_and_the_resources_mean_the_same(tmp_path: Path) -> None:
    spec = spec_of(tmp_path, {**V0_20, "devicePlugin": {"enableHostNetwork": True, "resources": {"limits": {}}}})
    assert spec["hostNetwork"] is True
    assert "ports" not in spec["containers"][0]
    assert spec["containers"][0]["resources"] == {"limits": {}}


def test_what_concerns_cdi_arrives_in_the_environment(tmp_path: Path) -> None:
    given = {"nvidiaHookPath": "/usr/bin/nvidia-cdi-hook", "featureFlags": "disable-nvsandboxutils"}
    found = variables(tmp_path, {**V0_20, "cdi": given})
    assert (found["NVIDIA_CDI_HOOK_PATH"], found["CDI_FEATURE_FLAGS"]) == tuple(given.values())
    assert not {"NVIDIA_CDI_HOOK_PATH", "CDI_FEATURE_FLAGS"} & variables(tmp_path, V0_20).keys()


def test_more_variables_and_volumes_are_those_of_the_pod(tmp_path: Path) -> None:
    mount = {"name": "own", "mountPath": "/own"}
    values = {
        "extraEnv": [{"name": "LOG_LEVEL", "value": "debug"}, {"name": "NVIDIA_DRIVER_CAPABILITIES", "value": "all"}],
        "extraVolumes": [{"name": "own", "emptyDir": {}}],
        "extraVolumeMounts": [mount],
    }
    found = variables(tmp_path, values)
    assert found == {"NVIDIA_VISIBLE_DEVICES": "all", "NVIDIA_DRIVER_CAPABILITIES": "all", "LOG_LEVEL": "debug"}
    spec = spec_of(tmp_path, values)
    assert mount in spec["containers"][0]["volumeMounts"]
    assert {"name": "own", "emptyDir": {}} in spec["volumes"]
    for release in RELEASES:
        objects = rendered(tmp_path, values, release)
        assert [problem for each in objects for problem in api(release).problems(each)] == []


@pytest.mark.parametrize(
    ("account", "more", "name", "made"),
    [
        ({}, {}, "default", False),
        ({}, {"kubernetesEvents": True}, "gpus-plugin-gateway", True),
        ({"name": "own"}, {"kubernetesEvents": True}, "own", False),
        ({"name": "own", "create": True}, {}, "own", True),
        ({"create": True, "annotations": {"a": "b"}}, {}, "gpus-plugin-gateway", True),
        ({"name": "own", "create": False}, {}, "own", False),
    ],
)
def test_the_account_is_that_of_the_administrator_if_there_is_one(
    account: Values, more: Values, name: str, made: bool, tmp_path: Path
) -> None:
    objects = rendered(tmp_path, {"serviceAccount": account, **more})
    (found,) = (each for each in objects if each["kind"] == "DaemonSet")
    assert found["spec"]["template"]["spec"]["serviceAccountName"] == name
    accounts = [each["metadata"] for each in objects if each["kind"] == "ServiceAccount"]
    assert [each["name"] for each in accounts] == [name] * made
    assert [each.get("annotations") for each in accounts] == [account.get("annotations")] * made
    subjects = [each["subjects"][0]["name"] for each in objects if each["kind"] == "ClusterRoleBinding"]
    assert subjects == [name] * bool(more)


def test_pods_stay_on_nodes_with_gpus_only_by_choice(tmp_path: Path) -> None:
    assert "affinity" not in spec_of(tmp_path, {})
    assert spec_of(tmp_path, {"gpuNodesOnly": True})["affinity"] == BY_LABELS == spec_of(tmp_path, V0_20)["affinity"]
    own: Values = {"podAntiAffinity": {}}
    assert spec_of(tmp_path, {"gpuNodesOnly": True, "affinity": own})["affinity"] == own


def test_a_value_that_is_taken_away_stays_away(tmp_path: Path) -> None:
    """With null helm takes a value of the chart away, which the chart must not give back."""
    assert "limits" not in container_of(tmp_path, {"resources": {"limits": None}})["resources"]
    assert "priorityClassName" not in spec_of(tmp_path, {"priorityClassName": None})
