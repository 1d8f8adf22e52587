"""The check of manifests finds what an API server would refuse or drop."""

import re
from copy import deepcopy
from typing import Any

import pytest

from deployment.schemas import RELEASES, api

POD: dict[str, Any] = {
    "apiVersion": "v1",
    "kind": "Pod",
    "metadata": {"name": "p", "labels": {"a": "b"}},
    "spec": {
        "containers": [
            {
                "name": "c",
                "image": "i",
                "resources": {"limits": {"cpu": 1, "memory": "64Mi", "nvidia.com/gpu": 2}},
                "livenessProbe": {"httpGet": {"port": "http", "path": "/"}},
                "readinessProbe": {"httpGet": {"port": 80, "path": "/"}},
            }
        ]
    },
}


def spoiled(path: str, value: object) -> dict[str, Any]:
    pod = deepcopy(POD)
    *way, last = path.split(".")
    place: Any = pod
    for step in way:
        place = place[int(step) if step.isdigit() else step]
    if value is None:
        del place[last]
    else:
        place[last] = value
    return pod


@pytest.mark.parametrize("release", RELEASES)
def test_a_right_one_has_no_problems(release: str) -> None:
    assert list(api(release).problems(POD)) == []


@pytest.mark.parametrize("release", RELEASES)
@pytest.mark.parametrize(
    ("path", "value", "words"),
    [
        ("spec.container", [], "spec: Additional properties are not allowed .'container' was unexpected"),
        ("spec.containers", None, "spec: 'containers' is a required property"),
        ("spec.containers.0.name", None, r"spec.containers\[0\]: 'name' is a required property"),
        ("spec.containers.0.image", 5, r"spec.containers\[0\].image: 5 is not of type 'string'"),
        ("spec.hostNetwork", "yes", "spec.hostNetwork: 'yes' is not of type 'boolean'"),
        ("metadata.labels", {"a": 1}, "metadata.labels.a: 1 is not of type 'string'"),
        ("kind", "Prod", "v1 Prod is not served"),
        ("kind", None, "no object of Kubernetes"),
    ],
)
def test_a_wrong_one_is_told_with_its_place(release: str, path: str, value: object, words: str) -> None:
    (problem,) = api(release).problems(spoiled(path, value))
    assert re.search(words, problem), problem


@pytest.mark.parametrize(
    ("version", "served"),
    [("apps/v1", RELEASES[1:]), ("apps/v1beta2", RELEASES[:4]), ("extensions/v1beta1", RELEASES[:4])],
)
def test_a_version_is_served_where_it_was(version: str, served: tuple[str, ...]) -> None:
    """1.16 describes the old ones and serves them no more unless it is told to."""
    daemonset = {"apiVersion": version, "kind": "DaemonSet"}
    found = [each for each in RELEASES if not any("not served" in words for words in api(each).problems(daemonset))]
    assert found == list(served)
