"""Tests of nodes that choose their configuration by a label."""

import time
from collections.abc import Iterator

import pytest
import yaml

from cluster.cluster import LIMIT, RESOURCE, Cluster
from cluster.configuration import NODE
from cluster.facts import Note
from cluster.gateway import Gateway
from cluster.machine import wait_until
from cluster.pods import Pods, gpu_pod

pytestmark = pytest.mark.usefixtures("forgotten")

LABEL = "nvidia.com/device-plugin.config"
WHOLE = {"version": "v1"}
SHARED = {"version": "v1", "sharing": {"timeSlicing": {"resources": [{"name": RESOURCE, "replicas": 2}]}}}
WRONG = "halved"
"""No file has this name."""


@pytest.fixture
def unlabelled(cluster: Cluster) -> Iterator[None]:
    """The label is gone after the test."""
    yield
    cluster.kubectl("label", "node", NODE, f"{LABEL}-")


@pytest.mark.usefixtures("unlabelled")
def test_the_label_of_the_node_chooses_its_configuration(
    cluster: Cluster, bare: Gateway, pods: Pods, note: Note
) -> None:
    """Of two files in config.map the node's label chooses; a wrong name changes nothing, and an Event says so."""
    files = {name: yaml.safe_dump(content) for name, content in (("whole", WHOLE), ("shared", SHARED))}
    bare.install(config={"map": files, "default": "whole"}, kubernetesEvents=True)
    bare.wait_offered_as({"gpu": 8})
    pods.start(gpu_pod("holder"))
    held = pods.given("holder").uuids

    def choose(name: str) -> None:
        cluster.kubectl("label", "node", NODE, f"{LABEL}={name}", "--overwrite")

    began = time.monotonic()
    choose("shared")
    bare.wait_offered_as({"gpu": 14})  # the GPU that the pod holds whole is not shared before the pod has ended
    note("label to allocatable", time.monotonic() - began)
    pods.start(gpu_pod("sharing"))
    assert not held & pods.given("sharing").uuids

    choose(WRONG)
    wait_until(lambda: WRONG in _refused(cluster), lambda: f"an Event names it: {_refused(cluster)}", LIMIT)
    assert LABEL in bare.run("status")
    assert bare.offered() == {"gpu": 14}

    choose("whole")
    pods.delete()
    bare.wait_offered_as({"gpu": 8})


def _refused(cluster: Cluster) -> str:
    """Return the messages of the Events that say that the node's configuration was refused."""
    selected = f"--field-selector=involvedObject.name={NODE},reason=ConfigurationRefused"
    return " ".join(event["message"] for event in cluster.get("events", "--namespace=default", selected)["items"])
