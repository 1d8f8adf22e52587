"""The chart gives the pods what they need for the labels of their node, and no more."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from deployment.chart import DEPLOY, daemonset, refused, rendered
from deployment.nvidias_values import OWN_IMAGE, V0_14, V0_20
from deployment.schemas import RELEASES, api

FEATURES = "/etc/kubernetes/node-feature-discovery/features.d"
OWN = {"key": "plugin-gateway/unhealthy-device", "operator": "Exists"}


def pod(folder: Path, values: object, release: str = RELEASES[-1]) -> Any:
    return daemonset(folder, values, release)["spec"]["template"]["spec"]


def flags(spec: Any) -> list[str]:
    words = ("label", "taint", "timestamp")
    return sorted(each for each in spec["containers"][0]["args"] if any(word in each for word in words))


def variables(spec: Any) -> dict[str, str]:
    found = {each["name"]: each.get("valueFrom", {}) for each in spec["containers"][0]["env"]}
    return {name: source["fieldRef"]["fieldPath"] for name, source in found.items() if "fieldRef" in source}


def kinds(objects: Any) -> set[str]:
    return {each["kind"] for each in objects}


@pytest.mark.parametrize(
    "values", [{}, {"nodeLabels": "off"}, {"nodeLabels": False}, {"gfd": {"enabled": False}, "nfd": {"enabled": False}}]
)
def test_without_labels_there_are_no_rights_and_no_folder(values: object, tmp_path: Path) -> None:
    assert kinds(rendered(tmp_path, values)) == {"DaemonSet"}
    spec = pod(tmp_path, values)
    assert not variables(spec)
    assert FEATURES not in str(spec)


def test_the_file_is_written_into_the_folder_of_the_host_without_a_right(tmp_path: Path) -> None:
    values = {"nodeLabels": "file", "nodeLabelsRemove": True}
    assert kinds(rendered(tmp_path, values)) == {"DaemonSet"}
    spec = pod(tmp_path, values)
    assert flags(spec) == ["--node-labels-remove=true", "--node-labels=file"]
    assert {"name": "features", "hostPath": {"path": FEATURES, "type": "DirectoryOrCreate"}} in spec["volumes"]
    assert {"name": "features", "mountPath": FEATURES} in spec["containers"][0]["volumeMounts"]


def test_the_object_needs_a_role_in_its_namespace_alone(tmp_path: Path) -> None:
    objects = rendered(tmp_path, {"nodeLabels": "nodefeature"})
    assert kinds(objects) == {"DaemonSet", "ServiceAccount", "Role", "RoleBinding"}
    (role,) = (each for each in objects if each["kind"] == "Role")
    found = {(rule["resources"][0], verb) for rule in role["rules"] for verb in rule["verbs"]}
    verbs = ("get", "create", "patch", "delete")
    assert found == {("pods", "get"), *(("nodefeatures", verb) for verb in verbs)}
    spec = pod(tmp_path, {"nodeLabels": "nodefeature"})
    assert variables(spec) == {"NODE_NAME": "spec.nodeName", "POD_NAME": "metadata.name"}
    assert spec["automountServiceAccountToken"] is True


def test_the_node_needs_its_name(tmp_path: Path) -> None:
    assert variables(pod(tmp_path, {"nodeLabels": "patch"})) == {"NODE_NAME": "spec.nodeName"}


@pytest.mark.parametrize(
    ("values", "keys"),
    [
        ({}, ["nvidia.com/gpu", OWN["key"]]),
        ({"tolerations": None}, [OWN["key"]]),
        ({"tolerations": [{"operator": "Exists"}]}, [None, OWN["key"]]),
        (
            {
                "nodeLabelsByProduct": "*T4*=a.b/t4=yes, *H100*=a.b/fast=x:NoSchedule,*=a.b/c:PreferNoSchedule",
            },
            ["nvidia.com/gpu", OWN["key"], "a.b/fast", "a.b/c"],
        ),
        (
            {"nodeLabelsByProduct": ["*=a.b/c:NoSchedule"]},
            ["nvidia.com/gpu", OWN["key"], "a.b/c"],
        ),
    ],
)
def test_the_pods_tolerate_every_taint_that_they_can_set(values: Any, keys: list[str], tmp_path: Path) -> None:
    found = pod(tmp_path, values)["tolerations"]
    assert [each.get("key") for each in found] == keys
    assert OWN in found


@pytest.mark.parametrize("release", RELEASES)
@pytest.mark.parametrize("way", ["file", "nodefeature", "patch"])
def test_every_release_takes_what_is_rendered(way: str, release: str, tmp_path: Path) -> None:
    objects = rendered(tmp_path, {"nodeLabels": way, "nodeLabelsByProduct": ["*=a.b/c"]}, release)
    assert [problem for each in objects for problem in api(release).problems(each)] == []


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({"gfd": {"enabled": True}}, ["--node-labels=patch", "--node-labels-adopt=true"]),
        ({"gfd": {"enabled": True}, "nfd": {"enabled": True}}, ["--node-labels=patch", "--node-labels-adopt=true"]),
        ({"gfd": {"enabled": True}, "nfd": {"enabled": False}}, ["--node-labels=nodefeature"]),
        (
            {"gfd": {"enabled": True}, "nfd": {"enabled": False, "enableNodeFeatureApi": False}},
            ["--node-labels=file"],
        ),
        ({"gfd": {"enabled": True}, "nodeLabels": "off"}, ["--node-labels=off"]),
        ({"gfd": {"enabled": True}, "nodeLabelsAdopt": False}, ["--node-labels=patch", "--node-labels-adopt=false"]),
        (
            {"gfd": {"enabled": True, "noTimestamp": True, "sleepInterval": "30s"}},
            ["--node-labels=patch", "--node-labels-adopt=true", "--no-timestamp=true"],
        ),
    ],
)
@pytest.mark.parametrize("theirs", [{}, V0_14, V0_20], ids=["ours", "0.14", "0.20"])
def test_gpu_feature_discovery_of_nvidias_chart_becomes_a_way(
    theirs: Any, values: Any, expected: list[str], tmp_path: Path
) -> None:
    nfd = {**theirs.get("nfd", {}), **values.get("nfd", {})}
    nfd.setdefault("enabled", None)
    if "enableNodeFeatureApi" not in values.get("nfd", {}):
        nfd.pop("enableNodeFeatureApi", None)
    gfd = {**theirs.get("gfd", {}), **values["gfd"]}
    assert flags(pod(tmp_path, {**theirs, **OWN_IMAGE, **values, "gfd": gfd, "nfd": nfd})) == sorted(expected)


def test_a_way_that_is_none_is_refused(tmp_path: Path) -> None:
    assert "nodeLabels" in refused(tmp_path, {"nodeLabels": "annotation"})


def test_the_policy_for_the_own_node_is_taken_where_its_kind_is_known() -> None:
    objects = list(yaml.safe_load_all((DEPLOY / "examples/own-node/policy.yaml").read_text()))
    assert kinds(objects) == {"ValidatingAdmissionPolicy", "ValidatingAdmissionPolicyBinding"}
    assert [problem for each in objects for problem in api(RELEASES[-1]).problems(each)] == []
